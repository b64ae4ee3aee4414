"""What an exported file carries: it comes back as it was, and no flipped bit or lost byte goes unnoticed."""

import contextlib
import json

import numpy as np
import pytest

from charrnn_runtime.bundle.embedded import attach_to_onnx, attach_to_tflite, check_onnx, detach_from_tflite
from charrnn_runtime.errors import ModelFileError

SMALL = {"format": "charrnn", "text": "é🏙\n"}
LONG = {"format": "charrnn", "text": "x" * 70_000}
MODEL = bytes(range(256)) * 2


def positions(count: int, most: int) -> list[int]:
    """Return all positions if they are few, and a seeded sample with both ends otherwise."""
    if count <= most:
        return list(range(count))
    drawn = np.random.default_rng(1).choice(count, most - 2, replace=False).tolist()
    return sorted({0, count - 1, *drawn})


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def metadata(data: bytes) -> dict[str, str]:
    """Read the metadata_props of an ONNX file with a reader of protocol buffers of our own: field 14 holds 1 and 2."""

    def fields(message: bytes) -> list[tuple[int, bytes]]:
        found, at = [], 0

        def varint() -> int:
            nonlocal at
            value = shift = 0
            while True:
                byte, at = message[at], at + 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    return value

        while at < len(message):
            key = varint()
            if key & 7 == 0:
                varint()
                continue
            assert key & 7 == 2
            length = varint()
            found.append((key >> 3, message[at : at + length]))
            at += length
        return found

    entries = [dict(fields(content)) for number, content in fields(data) if number == 14]
    return {entry[1].decode(): entry[2].decode() for entry in entries}


@pytest.mark.parametrize("length", [0, 1, 60, 127, 128, 200, 16_200, 16_383, 16_384, 70_000, 2_100_000])
def test_a_description_of_any_length_comes_back_from_both_kinds_of_file(length):
    description = {"text": "x" * length}
    assert json.loads(metadata(attach_to_onnx(b"", description))["charrnn"]) == description
    check_onnx(attach_to_onnx(MODEL, description), "model.onnx")
    assert detach_from_tflite(attach_to_tflite(MODEL, description), "model.tflite") == (MODEL, description)


def test_the_same_model_gives_the_same_bytes():
    assert attach_to_onnx(MODEL, SMALL) == attach_to_onnx(MODEL, SMALL)
    assert attach_to_tflite(MODEL, SMALL) == attach_to_tflite(MODEL, SMALL)


def test_the_model_stands_first_and_untouched():
    assert attach_to_onnx(MODEL, SMALL).startswith(MODEL)
    assert attach_to_tflite(MODEL, SMALL).startswith(MODEL)


def test_a_model_that_looks_like_a_zip_archive_is_still_cut_off_in_the_right_place():
    once = attach_to_tflite(MODEL, SMALL)
    assert detach_from_tflite(attach_to_tflite(once, LONG), "model.tflite") == (once, LONG)


def test_every_flipped_bit_of_an_onnx_attachment_and_its_model_is_refused():
    whole = attach_to_onnx(MODEL, SMALL)
    for bit in range(8 * len(whole)):
        with pytest.raises(ModelFileError, match=r"^model\.onnx "):
            check_onnx(flipped(whole, bit), "model.onnx")


def test_every_flipped_bit_of_a_tflite_attachment_is_refused_or_changes_nothing_that_is_read():
    whole, refused = attach_to_tflite(MODEL, SMALL), 0
    for bit in range(8 * len(whole)):
        try:
            assert detach_from_tflite(flipped(whole, bit), "model.tflite") == (MODEL, SMALL), f"bit {bit}"
        except ModelFileError as error:
            refused += 1
            assert "model.tflite" in str(error)  # noqa: PT017
    assert refused > 8 * len(MODEL)


@pytest.mark.parametrize("name", ["one_layer", "two_layers"])
def test_a_flipped_bit_anywhere_in_a_real_onnx_file_is_refused(golden, name):
    whole = (golden / name / "model.onnx").read_bytes()
    for bit in positions(8 * len(whole), 2000):
        with pytest.raises(ModelFileError):
            check_onnx(flipped(whole, bit), "model.onnx")


@pytest.mark.parametrize("name", ["one_layer", "two_layers"])
def test_a_flipped_bit_anywhere_in_a_real_tflite_file_is_refused_or_changes_nothing_that_is_read(golden, name):
    whole = (golden / name / "model.tflite").read_bytes()
    expected = detach_from_tflite(whole, "model.tflite")
    end = 8 * (len(whole) - 700)  # the directory of the archive, where bits without a meaning are
    for bit in (*positions(end, 1500), *(end + bit for bit in positions(8 * 700, 1500))):
        with contextlib.suppress(ModelFileError):
            assert detach_from_tflite(flipped(whole, bit), "model.tflite") == expected, f"bit {bit}"


@pytest.mark.parametrize("description", [SMALL, LONG], ids=["small", "long"])
def test_a_file_cut_off_anywhere_is_refused(description):
    onnx, tflite = attach_to_onnx(MODEL, description), attach_to_tflite(MODEL, description)
    for length in positions(len(onnx), 1200):
        with pytest.raises(ModelFileError, match=r"^cut\.onnx "):
            check_onnx(onnx[:length], "cut.onnx")
    for length in positions(len(tflite), 1200):
        with pytest.raises(ModelFileError, match=r"^cut\.tflite "):
            detach_from_tflite(tflite[:length], "cut.tflite")


def test_bytes_put_behind_an_onnx_file_are_noticed():
    with pytest.raises(ModelFileError, match=r"carries no description .* digest .* is missing"):
        check_onnx(attach_to_onnx(MODEL, SMALL) + b"\x00", "model.onnx")


@pytest.mark.parametrize("data", [b"", b"x", b"PK\x05\x06" + bytes(18), b"\x1c\x00\x00\x00TFL3" + bytes(500)], ids=repr)
def test_a_file_without_our_attachment_is_refused_with_what_to_do(data):
    for read, name in ((check_onnx, "model.onnx"), (detach_from_tflite, "model.tflite")):
        with pytest.raises(ModelFileError, match=rf"^{name} carries no description .* export again$"):
            read(data, name)


def test_two_models_whose_attachments_were_swapped_are_refused():
    one, other = attach_to_tflite(MODEL, SMALL), attach_to_tflite(MODEL[::-1], SMALL)
    with pytest.raises(ModelFileError, match="is damaged: its SHA-256 is not the one it was written with"):
        detach_from_tflite(other[: len(MODEL)] + one[len(MODEL) :], "model.tflite")
    with pytest.raises(ModelFileError, match="is damaged: its SHA-256 is not the one it was written with"):
        check_onnx(MODEL[::-1] + attach_to_onnx(MODEL, SMALL)[len(MODEL) :], "model.onnx")
