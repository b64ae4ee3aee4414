"""Reading a running text piece by piece: the same as reading it whole, whatever stands where two pieces meet."""

import gzip
import io
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.datasets.batches import text_batches
from charrnn.datasets.dataset import TextDataset
from charrnn.datasets.load import MAX_HELD_OUT_CHARACTERS, read_input
from charrnn.datasets.text import Text
from charrnn.datasets.token_file import TokenFile, take, write_tokens
from charrnn.evaluation.evaluate import in_pieces, text_log_probabilities
from charrnn.options import TrainingOptions
from charrnn_runtime.core import source_files
from charrnn_runtime.core.read_options import ReadOptions
from charrnn_runtime.core.step import NumpyStep
from charrnn_runtime.core.vocabulary import TextRule, Vocabulary
from charrnn_runtime.errors import InputError, ModelFileError
from charrnn_runtime.scoring.score import log_probabilities

RULES = [TextRule(), TextRule(lowercase=True), TextRule(None)]
# What normal forms, line ends and lowering look across: marks, jamo, sigma, CR.
PARTS = [*"ab \n\u0301\u0327e\u1100\u1161\u11a8Σ\u4e00\U0001f600'", "\r\n"]
TROUBLE = st.lists(st.sampled_from(PARTS), min_size=1, max_size=60).map("".join)


def text_of(data: bytes) -> Text:
    return Text("the text", lambda: io.BufferedReader(io.BytesIO(data)))  # type: ignore[arg-type]


@given(TROUBLE, st.sampled_from(RULES), st.integers(1, 7))
def test_a_text_read_in_pieces_is_the_text_read_whole(content: str, rule: TextRule, block: int) -> None:
    before = source_files._BLOCK_BYTES
    source_files._BLOCK_BYTES = block
    try:
        pieces = list(text_of(f"{content}\n".encode()).pieces(rule))
    finally:
        source_files._BLOCK_BYTES = before
    assert "".join(pieces) == rule.apply(f"{content}\n".replace("\r\n", "\n"))


def test_a_scan_says_what_is_in_a_text(tmp_path: Path) -> None:
    file = tmp_path / "text.txt.gz"
    file.write_bytes(gzip.compress("\ufeffEde,\r\nE\u0301pe\r\n".encode()))
    report = Text.of(file).scan(TextRule())
    assert (report.length, report.lines, report.characters) == (9, 2, "\n,Edepÿ".replace("ÿ", "É"))
    assert report.summary() == f"{file}: 9 characters in 2 lines, 7 different"
    tokens = np.concatenate(list(Text.of(file).tokens(Vocabulary(report.characters))))
    assert Vocabulary(report.characters).decode(tokens) == "Ede,\nÉpe\n"


REFUSED = {
    "invalid UTF-8": (b"Ede\nEpe\n" * 3 + b"E\xffe", r"line 7 is not UTF-8: byte 0xFF at offset 25"),
    "cut inside a character": ("Ede\né".encode()[:-1], r"line 2 is not UTF-8: byte 0xC3 at offset 4"),
    "UTF-16": ("Ede Epe".encode("utf-16"), "is UTF-16"),
    "binary": (bytes(range(256)), "binary"),
    "nothing": (b"", "is empty"),
    "CR only": (b"Ede\rEpe\r", "CR only"),
    "half a gz": (gzip.compress(b"Ede" * 99, mtime=0)[:-9], "is damaged gzip data"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("block", [3, 1 << 20])
def test_what_is_no_text_is_refused(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if block == 3 and name in ("UTF-16", "CR only"):
        return  # recognised by a beginning of some length
    monkeypatch.setattr(source_files, "_BLOCK_BYTES", block)
    data, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        text_of(data).scan(TextRule())


def test_a_missing_text_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere does not exist"):
        Text.of(tmp_path / "nowhere").scan(TextRule())
    with pytest.raises(InputError, match="is a folder"):
        Text.of(tmp_path)


def test_standard_input_can_be_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Ede\nEpe\n")))
    text = Text.of("-")
    assert text.scan(TextRule()).length == 8
    assert "".join(text.pieces(TextRule())) == "Ede\nEpe\n"


@pytest.mark.parametrize(("vocab_size", "itemsize"), [(2, 1), (256, 1), (257, 2), (70_000, 4)])
def test_tokens_are_stored_in_as_few_bytes_as_hold_them(tmp_path: Path, vocab_size: int, itemsize: int) -> None:
    tokens = np.random.default_rng(1).integers(vocab_size, size=1000).astype(np.int32)
    file = tmp_path / "train.npy"
    write_tokens(file, np.array_split(tokens, 7), 1000, vocab_size)
    stored = TokenFile.open(file)
    assert (len(stored), stored.dtype.itemsize) == (1000, itemsize)
    np.testing.assert_array_equal(np.load(file), tokens)
    for start, stop in ((0, 1000), (990, 2000), (-5, 3), (500, 501), (7, 7)):
        np.testing.assert_array_equal(stored.read(start, stop), tokens[max(start, 0) : stop])
        assert stored.read(start, stop).dtype == np.int32


def test_a_damaged_token_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "train.npy"
    write_tokens(file, [np.arange(100, dtype=np.int32)], 100, 100)
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole + b"x", whole[:20], b"", b"text"):
        file.write_bytes(damaged)
        with pytest.raises(ModelFileError, match=r"train\.npy"):
            TokenFile.open(file)
    np.save(file, np.zeros((3, 3), np.uint8))
    with pytest.raises(ModelFileError, match="is damaged"):
        TokenFile.open(file)
    with pytest.raises(ModelFileError, match="cannot be read"):
        TokenFile.open(tmp_path / "nowhere.npy")


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 40), max_size=4))
def test_a_stream_is_cut_where_it_is_wanted(lengths: list[int], wanted: list[int]) -> None:
    stream = np.arange(sum(lengths), dtype=np.int32)
    pieces, rest = iter(np.split(stream, np.cumsum(lengths)[:-1]) if lengths else []), []
    position = 0
    for count in wanted:
        if position + count > len(stream):
            break
        taken = list(take(pieces, rest, count))
        np.testing.assert_array_equal(np.concatenate([stream[:0], *taken]), stream[position : position + count])
        position += count


@pytest.fixture
def numbers(tmp_path: Path) -> TokenFile:
    """A text whose token at position i is i."""
    write_tokens(tmp_path / "train.npy", [np.arange(1000, dtype=np.int32)], 1000, 1000)
    return TokenFile.open(tmp_path / "train.npy")


def test_windows_go_on_where_the_one_before_ended(numbers: TokenFile) -> None:
    batches = list(itertools.islice(text_batches(numbers, 4, 20, seed=3), 36))
    for before, batch in itertools.pairwise(batches):
        np.testing.assert_array_equal(batch.targets, batch.inputs + 1)
        assert batch.carries_state == bool((batch.inputs[0] == before.targets[-1]).all())
    passes = [index for index, batch in enumerate(batches) if not batch.carries_state]
    assert passes == [0, 12, 24]
    starts = {int(batches[index].inputs[0, 0]) for index in passes}
    assert len(starts) > 1, "every pass begins elsewhere"
    one_pass = np.concatenate([batch.inputs.ravel() for batch in batches[:12]])
    assert len(set(one_pass.tolist())) == len(one_pass) == 12 * 80 >= 1000 - 2 * 4 * 20


@pytest.mark.parametrize("start", [1, 11, 12, 25])
def test_windows_can_be_read_from_any_step_on(numbers: TokenFile, start: int) -> None:
    whole = list(itertools.islice(text_batches(numbers, 4, 20, seed=3), start, start + 5))
    parts = list(itertools.islice(text_batches(numbers, 4, 20, seed=3, start=start), 5))
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.inputs, other.inputs)
        assert one.carries_state == other.carries_state


def test_a_text_that_is_too_short_for_a_window_is_refused(numbers: TokenFile) -> None:
    with pytest.raises(InputError, match=r"at least 1,009 characters for batch_size 8 and window 112, received 1,000"):
        next(text_batches(numbers, 8, 112, seed=3))


def test_a_text_is_scored_as_if_read_from_its_first_character_to_its_last(tiny_one) -> None:
    step: NumpyStep = tiny_one.step
    tokens = np.random.default_rng(1).integers(tiny_one.vocabulary.size, size=900).astype(np.int32)
    tokens[0] = 0
    [expected] = log_probabilities(step, [tokens[1:]])
    whole = text_log_probabilities(step, tokens, rows=1, warm_up=0)
    np.testing.assert_allclose(whole, expected[:-1], atol=1e-6)
    for rows in (2, 7, 64):
        parts = text_log_probabilities(step, tokens, rows=rows, warm_up=200)
        np.testing.assert_allclose(parts, whole, atol=1e-3)
    assert abs(text_log_probabilities(step, tokens, rows=7, warm_up=0) - whole).max() > 1e-2
    assert in_pieces(whole).characters.tolist() == [899]
    assert in_pieces(np.zeros(2500)).characters.tolist() == [1000, 1000, 500]


def sides_of(folder: Path, content: str, **chosen: object) -> TextDataset:
    (folder / "text.txt").write_text(content, encoding="utf-8")
    read = read_input(str(folder / "text.txt"), TrainingOptions.from_json({"mode": "text", **chosen}))
    sides = read.write_dataset(folder)
    assert isinstance(sides, TextDataset)
    return sides


def test_a_text_is_split_in_its_order(tmp_path: Path) -> None:
    content = "".join(f"{number:04}\n" for number in range(400))
    sides = sides_of(tmp_path, content, test_share=0.1)
    assert sides.sizes == {"train": 1700, "validation": 100, "test": 200}
    texts = [sides.vocabulary.decode(side.read(0, len(side))) for side in (sides.train, sides.validation, sides.test)]
    assert "".join(texts) == content
    assert sides.vocabulary.characters == "\n0123456789"
    assert len(sides.held_out(3)) == 1
    again = TextDataset.read(tmp_path, sides.vocabulary)
    assert again.sizes == sides.sizes


def test_held_out_parts_of_a_long_text_are_bounded(tmp_path: Path) -> None:
    sizes = sides_of(tmp_path, "ab" * 4_000_000).sizes
    assert sizes == {"train": 7_400_000, "validation": MAX_HELD_OUT_CHARACTERS, "test": MAX_HELD_OUT_CHARACTERS}


@pytest.mark.parametrize(("content", "message"), [("ab" * 400, "too short"), ("a" * 5000, "too short")])
def test_a_text_that_teaches_nothing_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sides_of(tmp_path, content)


def test_a_text_has_no_columns(tmp_path: Path) -> None:
    options = TrainingOptions(mode="text")
    with pytest.raises(InputError, match="column 'a' was given, but a text is read as it is"):
        read_input(str(tmp_path / "x.csv"), options, read=ReadOptions(column="a"))
