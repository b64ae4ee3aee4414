"""Reading and writing: nobody meets half a file, and nothing is read without a bound."""

import errno
import json
import os
import stat
import tracemalloc
from pathlib import Path

import pytest

from charrnn_runtime.core import files
from charrnn_runtime.core.files import (
    finite_number,
    json_bytes,
    parse_json,
    read_bounded,
    read_json,
    sha256,
    typed,
    whole_number,
    write_atomically,
    write_json_atomically,
    write_together,
)
from charrnn_runtime.errors import ModelFileError, OperationError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_what_is_read(tmp_path):
    write_atomically(tmp_path / "model.onnx", b"\x00\xff" * 1000)
    assert read_bounded(tmp_path / "model.onnx", 2000) == b"\x00\xff" * 1000
    write_atomically(tmp_path / "model.onnx", b"")
    assert read_bounded(tmp_path / "model.onnx", 2000) == b""
    assert names(tmp_path) == ["model.onnx"]


def test_a_written_file_can_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_leaves_the_old_content_and_no_temporary_file(tmp_path, monkeypatch, call, failure):
    def fail(*_: object) -> None:
        raise OSError(failure, os.strerror(failure))

    path = tmp_path / "model.onnx"
    write_atomically(path, b"old")
    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OperationError, match=f"^could not write .*model.onnx: {os.strerror(failure)}; .* unchanged$"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model.onnx"]


def test_an_interrupt_in_the_middle_leaves_the_old_content_and_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "model.onnx"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model.onnx"]


def test_files_that_belong_together_are_all_old_when_the_disk_is_full_at_the_last(tmp_path, monkeypatch):
    old = {tmp_path / name: b"old" for name in ("model.onnx", "model.tflite", "manifest.json")}
    write_together(old)
    real, calls = os.fsync, []

    def full_at_the_third(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_the_third)
    with pytest.raises(OperationError, match=r"could not write .*manifest\.json: No space left on device"):
        write_together(dict.fromkeys(old, b"new"))
    assert {path: path.read_bytes() for path in old} == old
    assert len(names(tmp_path)) == 3


def test_files_that_belong_together_are_put_in_place_in_the_order_given(tmp_path, monkeypatch):
    placed, real = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: (placed.append(target.name), real(self, target))[1])
    write_together({tmp_path / name: b"x" for name in ("b", "a", "manifest.json")})
    assert placed == ["b", "a", "manifest.json"]


def test_a_folder_that_cannot_be_synchronised_is_no_failed_write(tmp_path, monkeypatch):
    real = os.open

    def refuse_folders(path: object, flags: int, *rest: object, **options: object) -> int:
        if flags == os.O_RDONLY and Path(str(path)).is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refuse_folders)
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_writing_where_no_file_can_be_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    for path, reason in (
        (tmp_path / "file" / "model.onnx", "Not a directory"),
        (tmp_path / "absent" / "model.onnx", "No such file or directory"),
        (tmp_path / "folder", "Is a directory"),
        (tmp_path / ("n" * 300), "File name too long"),
    ):
        with pytest.raises(OperationError, match=f"^could not write .*{path.name}: {reason}"):
            write_atomically(path, b"x")
    assert names(tmp_path) == ["file", "folder"]


def test_json_is_readable_and_comes_back_as_it_was(tmp_path):
    value = {"b": "é🏙", "a": [1, 2.5, None, True, "\n"]}
    write_json_atomically(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    text = (tmp_path / "value.json").read_text("utf-8")
    assert "é🏙" in text
    assert text.endswith("}\n")
    assert text.index('"b"') < text.index('"a"')


def test_a_nan_is_never_written_as_json():
    with pytest.raises(ValueError, match="JSON compliant"):
        json_bytes({"loss": float("nan")})


NO_OBJECTS = (b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"a": \xff}', b"[" * 99_999, b"{} {}", b"{'a': 1}")
NO_NUMBERS = (b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": ' + b"9" * 5000 + b"}")


@pytest.mark.parametrize("data", [*NO_OBJECTS, *NO_NUMBERS], ids=lambda data: repr(data[:12]))
def test_what_is_no_json_object_is_refused_in_a_short_message(data):
    with pytest.raises(ModelFileError, match=r"^manifest\.json is damaged: expected a JSON object, received") as caught:
        parse_json(data, "manifest.json")
    assert len(str(caught.value)) < 300


def test_a_file_that_is_not_there_or_not_a_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ModelFileError, match=r"^could not read .*absent: No such file or directory"):
        read_bounded(tmp_path / "absent", 10)
    with pytest.raises(ModelFileError, match=r"^could not read .*: Is a directory"):
        read_bounded(tmp_path, 10)
    with pytest.raises(ModelFileError, match=r"^could not read "):
        read_json(tmp_path / "absent.json")


@pytest.mark.parametrize(("size", "fits"), [(99, True), (100, True), (101, False), (5000, False)])
def test_a_file_above_the_limit_is_not_read(tmp_path, size, fits):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x" * size)
    if fits:
        assert len(read_bounded(path, 100)) == size
    else:
        with pytest.raises(
            ModelFileError, match=r"model\.onnx is larger than 100 bytes, the limit for a file of its kind"
        ):
            read_bounded(path, 100)


def test_reading_a_small_file_does_not_set_memory_aside_for_the_largest_that_is_allowed(tmp_path):
    (tmp_path / "small").write_bytes(b"x" * 1000)
    tracemalloc.start()
    try:
        read_bounded(tmp_path / "small", files.MAX_MODEL_BYTES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_an_endless_device_is_not_read_to_its_end():
    assert len(read_bounded(Path("/dev/zero"), files.MAX_MODEL_BYTES)) <= 1


def test_the_digest_is_sha256():
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(("value", "kind"), [(True, int), (1, bool), (1.0, int), ("1", int), (None, str), ([], dict)])
def test_a_value_of_another_type_is_refused(value, kind):
    with pytest.raises(TypeError, match=f"expected {kind.__name__}, received {type(value).__name__}"):
        typed(value, kind)


@pytest.mark.parametrize("value", [0, -1, 2**63, True, "3", 3.0, None])
def test_a_whole_number_is_one_and_in_its_range(value):
    with pytest.raises((TypeError, ValueError)):
        whole_number(value, 1)
    assert whole_number(2**63 - 1, 1) == 2**63 - 1


@pytest.mark.parametrize("value", [json.loads("1e999"), float("nan"), 10**400, "1", True, None])
def test_a_finite_number_is_one(value):
    with pytest.raises((TypeError, ValueError)):
        finite_number(value)
    assert finite_number(-2) == -2.0
