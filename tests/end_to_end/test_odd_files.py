"""Odd files, each read alike by `train`, by its held-out files and by `score`: the same items, or the same error."""

import bz2
import contextlib
import csv
import fcntl
import gzip
import io
import json
import lzma
import os
import signal
import subprocess
import sys
import termios
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.datasets.line_list import read_line_list
from charrnn.datasets.load import read_input
from charrnn.datasets.text import Text
from charrnn.options import TrainingOptions
from charrnn_runtime.cli.main import main
from charrnn_runtime.core.characters import BLANKS
from charrnn_runtime.core.line_files import LineFile
from charrnn_runtime.core.read_options import ReadOptions
from charrnn_runtime.core.vocabulary import TextRule
from charrnn_runtime.errors import InputError

MODEL = Path(__file__).parents[1] / "golden" / "two_layers"
AS_IS = TextRule(normal_form=None)


def zipped(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def lying_zip() -> bytes:
    """Return a zip whose index says that its member has fewer bytes than it unpacks to."""
    size = (1 << 20).to_bytes(4, "little")
    packed = zipped(**{"a.txt": b"Ede\n" * (1 << 18)})
    assert packed.count(size) == 2
    return packed.replace(size, (8).to_bytes(4, "little"))


def locked_zip() -> bytes:
    """Return a zip that says it has a password."""
    packed = bytearray(zipped(**{"a.txt": b"Ede\n"}))
    packed[6] |= 1
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(packed)


class Odd(NamedTuple):
    """A file, and what is read from it."""

    name: str
    """Its name; "-" for standard input, and "FIFO ..." for a named pipe."""

    content: bytes
    options: dict[str, Any]
    expected: list[str] | str
    """The items that are not empty, or a part of the error."""


TABLE = "people,name\n120,Ede\n93,Oss\n"
TOWNS = ["Ede", "Oss"]
BY_NAME = {"column": "name"}

ODD_FILES = [
    # Plain text
    Odd("no end.txt", b"Ede\nOss", {}, TOWNS),
    Odd("crlf.txt", b"\xef\xbb\xbfEde\r\nOss\r\n", {}, TOWNS),
    Odd("crcrlf.txt", b"Ede\r\r\nOss\r\r\n", {}, TOWNS),
    Odd("cr.txt", b"Ede\rOss\r", {}, "ends its lines with CR only: expected LF or CRLF, received 2 CR and no LF"),
    Odd(
        "mixed.txt", b"Ede\nOss\rEpe\nHem\r\n", {}, "mixed.txt: line 2 holds a carriage return that ends a line on its"
    ),
    Odd("joined.txt", "Ede\n\ufeffOss\n\ufeff\n".encode(), {}, TOWNS),
    Odd("blanks.txt", "\u00a0Ede\u3000\n\u200bOss\u200b\t\n \u3000\u200b\n".encode(), {}, TOWNS),
    Odd(
        "inside.txt",
        "E\u00a0de\nO\u3000s\u200bs\nE\ufeffpe\n".encode(),
        {},
        ["E\u00a0de", "O\u3000s\u200bs", "E\ufeffpe"],
    ),
    Odd("comments.txt", b"# towns\nEde\n  # more\nOss#\n", {"comment": "#"}, ["Ede", "Oss#"]),
    Odd("no comments.txt", b"# towns\nEde\n", {}, ["# towns", "Ede"]),
    Odd("latin-1.txt", "Ede\nHúns\n".encode("latin-1"), {}, "line 2 is not UTF-8: byte 0xFA at offset 5 "),
    Odd("nul.txt", b"Ede\nO\0ss\n", {}, "looks like a binary file: expected UTF-8 text, received control characters"),
    Odd("late nul.txt", (b"x" * 1999 + b"\n") * 525 + b"O\0ss\n", {}, "line 526: an item holds U+0000"),
    Odd("empty.txt", b"", {}, []),
    Odd("blank.txt", b"\n \r\n\t\n", {}, []),
    Odd(
        "long.txt",
        b"Ede\n" + b"x" * 2001 + b"\nOss\n" + b"y" * 3000,
        {},
        "2 lines are longer than 2,000 characters, the first is line 2",
    ),
    Odd("skipped.txt", b"Ede\n" + b"x" * 2001 + b"\nOss\n", {"skip_long": True}, TOWNS),
    Odd("raised.txt", b"x" * 2001, {"max_line_length": 2001}, ["x" * 2001]),
    Odd("longest.txt", b"Ede\n" + b"x" * 6_000_000 + b"\nOss\n", {"skip_long": True}, TOWNS),
    Odd("no suffix", b"Ede,1\nOss,2\n", {}, ["Ede,1", "Oss,2"]),
    Odd("a.txt", b"Ede\n", BY_NAME, "column 'name' was given, but only .csv and .tsv files have one"),
    # Other encodings
    Odd(
        "16.txt", "Ede\n".encode("utf-16"), {}, "is UTF-16: expected UTF-8. Convert it, such as with: iconv -f UTF-16 "
    ),
    Odd("16le.csv", "Ede\n".encode("utf-16-le"), {}, "is UTF-16LE: expected UTF-8"),
    Odd("16be.jsonl", "Ede\n".encode("utf-16-be"), {}, "is UTF-16BE: expected UTF-8"),
    Odd("16 Greek.txt", "Αθήνα\nΠάτρα\nΒόλος\n".encode("utf-16-le"), {}, "is UTF-16LE: expected UTF-8"),
    Odd("16 Chinese.txt", "北京\n上海\n".encode("utf-16-be"), {}, "is UTF-16BE: expected UTF-8"),
    Odd("32.txt", "Ede\n".encode("utf-32"), {}, "is UTF-32: expected UTF-8"),
    Odd("32le.txt", "Ede\n上海\n".encode("utf-32-le"), {}, "is UTF-32LE: expected UTF-8"),
    Odd("32be.txt", "Ede\n".encode("utf-32-be"), {}, "is UTF-32BE: expected UTF-8"),
    # Tables
    Odd("comma.csv", TABLE.encode(), BY_NAME, TOWNS),
    Odd("semicolon.csv", TABLE.replace(",", ";").encode(), BY_NAME, TOWNS),
    Odd("bar.csv", TABLE.replace(",", "|").encode(), BY_NAME, TOWNS),
    Odd("tab.csv", TABLE.replace(",", "\t").encode(), BY_NAME, TOWNS),
    Odd("tab.tsv", TABLE.replace(",", "\t").encode(), {"column": "2"}, TOWNS),
    Odd(
        "no column.csv",
        TABLE.encode(),
        {},
        "has 2 columns: expected a list of one item a line, or to be told the column",
    ),
    Odd("excel.csv", b'\xef\xbb\xbf"sep=;"\r\npeople;name\r\n1,5;Ede\r\n2;Oss\r\n', BY_NAME, TOWNS),
    Odd("excel tab.csv", b"sep=\t\r\npeople\tname\r\n1\tEde\r\n2\tOss\r\n", BY_NAME, TOWNS),
    Odd("heads numbers.csv", TABLE.encode(), {"column": "2"}, TOWNS),
    Odd("heads names.csv", b"town,land\nEde,NL\n", {"column": "1"}, ["town", "Ede"]),
    Odd("quotes.csv", b'people, name\n1, "Ede"\n2, "O""ss, the town"\n', BY_NAME, ["Ede", 'O"ss, the town']),
    Odd("quoted newline.csv", b'note,name\n"a\nb",Ede\n"c\n\nd",Oss\n', BY_NAME, TOWNS),
    Odd(
        "newline.csv",
        b'note,name\n"a\nb",Ede\nc,"O\nss"\n',
        BY_NAME,
        "line 4: an item holds a newline, the end of an item",
    ),
    Odd("ragged.csv", b"people,name\n1,Ede,x,y\n2,Oss\n", BY_NAME, TOWNS),
    Odd(
        "short.csv", b'people,name\n"1\n2",Ede\n3\n', BY_NAME, "line 4 has 1 cell: expected column 2 of 2, received '3'"
    ),
    Odd(
        "open.csv",
        b'people,name\n1,Ede\n2,"Oss\n3,Epe\n',
        BY_NAME,
        "line 3 is not a row of csv (unexpected end of data)",
    ),
    Odd(
        "cr.csv",
        b"people,name\n1,Ede\n2,O\rss\n",
        BY_NAME,
        "line 3 holds a carriage return that ends a line on its own",
    ),
    Odd(
        "bare.csv",
        b'Bergen, NH\nEde\n"Oss, the town"\nEpe\nHem\n',
        {},
        ["Bergen, NH", "Ede", "Oss, the town", "Epe", "Hem"],
    ),
    Odd("first comma.csv", b"Bergen, NH\nEde\nOss\n", {}, ["Bergen, NH", *TOWNS]),
    Odd("one column.tsv", b"name\nEde, the town\nOss\n", BY_NAME, ["Ede, the town", "Oss"]),
    Odd("twice.csv", b"name,name\nEde,x\nOss,y\n", BY_NAME, TOWNS),
    Odd("header.csv", b"people,name\n", BY_NAME, []),
    Odd("empty.csv", b"", BY_NAME, []),
    Odd("blank.csv", b"\n,\n", BY_NAME, []),
    Odd(
        "misnamed.csv", TABLE.encode(), {"column": "town"}, "has no column 'town': expected a name out of its first row"
    ),
    Odd("joined.csv", '\ufeff"name","people"\n"Ede",1\n\ufeff"Oss",2\n'.encode(), BY_NAME, TOWNS),
    Odd(
        "comments.csv",
        b'# towns\npeople,name\n"#\n# no comment",Ede\n# more\n2,Oss\n',
        {**BY_NAME, "comment": "#"},
        TOWNS,
    ),
    Odd("comment lines.csv", b"# a\npeople,name\n# b\n1,Ede\n2\n", {**BY_NAME, "comment": "#"}, "line 5 has 1 cell"),
    Odd("wide.csv", b"name" + b",x" * 999_999 + b"\nEde" + b",1" * 999_999 + b"\n", BY_NAME, ["Ede"]),
    Odd("big cell.csv", b"note,name\n" + b"x" * 300_000 + b",Ede\ny,Oss\n", BY_NAME, TOWNS),
    Odd(
        "no row end.csv",
        b"note,name\ny,Ede\n" + b'"x\n",' * 1_500_000,
        BY_NAME,
        "line 3 is not a row of csv (it is longer than",
    ),
    Odd(
        "no quote.csv",
        b"note,name\ny,Ede\n" + b'"' + b"x\n" * 4_000_000,
        BY_NAME,
        "line 3 is not a row of csv (it is longer than",
    ),
    # JSON
    Odd("strings.jsonl", b'"Ede"\n\n"O\\u0073s"\n', {}, TOWNS),
    Odd("objects.ndjson", b'{"name": "Ede"}\r\n{"name": " Oss "}\r\n', {"field": "name"}, TOWNS),
    Odd("joined.jsonl", '\ufeff"Ede"\n\ufeff"Oss"\n'.encode(), {}, TOWNS),
    Odd("comments.jsonl", b'// towns\n"Ede"\n//\n"Oss"\n', {"comment": "//"}, TOWNS),
    Odd("deep.jsonl", b'"Ede"\n' + b"[" * 100_000 + b"\n", {}, "line 2 is not JSON (it is nested too deeply)"),
    Odd(
        "number.jsonl",
        b'{"name": "Ede", "n": ' + b"9" * 5000 + b"}\n",
        {"field": "name"},
        "line 1 is not JSON (a number has too many digits)",
    ),
    Odd("half.jsonl", b'"Ede"\n"O\\ud800"\n', {}, "line 2: an item holds U+D800"),
    Odd(
        "no field.jsonl",
        b'{"name": "Ede"}\n',
        {},
        "line 1: expected a JSON string, received an object. Give field: one of 'name'",
    ),
    Odd("longest.jsonl", b'"Ede"\n"' + b"x" * 6_000_000 + b'"\n"Oss"\n', {"skip_long": True}, TOWNS),
    Odd("strings.json", b'\xef\xbb\xbf["Ede",\n\t"Oss"]\n', {}, TOWNS),
    Odd("objects.json", b'[{"name": "Ede"},\n{"name": "Oss", "n": [1, 2]}]', {"field": "name"}, TOWNS),
    Odd("one line.json", json.dumps(["x" * 1900] * 2400 + ["Oss"]).encode(), {}, ["x" * 1900] * 2400 + ["Oss"]),
    Odd(
        "comments.json",
        b'[\n# towns\n"Ede",\n"Oss",\n3]',
        {"comment": "#"},
        "line 5: expected a JSON string, received a number",
    ),
    Odd("two.json", b'["Ede"]\n["Oss"]', {}, "line 2: expected nothing behind the array, received '[\"Oss\"]'"),
    Odd("object.json", b'{"names": ["Ede"]}', {}, "line 1: expected a JSON array, such as"),
    Odd("lines.json", b'"Ede"\n"Oss"\n', {}, "Name the file .jsonl if it has one JSON value a line"),
    Odd("deep.json", b"[" * 100_000, {}, "line 1 is not JSON (it is nested too deeply)"),
    Odd(
        "open.json", b'["Ede",\n"' + b"x" * 6_000_000, {}, "line 2 is not JSON (it is longer than 4,000,000 characters)"
    ),
    Odd("empty.json", b"", {}, "line 1: expected a JSON array"),
    # Packed
    Odd("a.csv.gz", gzip.compress(TABLE.encode(), mtime=0), BY_NAME, TOWNS),
    Odd("a.jsonl.bz2", bz2.compress(b'"Ede"\n"Oss"\n'), {}, TOWNS),
    Odd("a.tsv.xz", lzma.compress(TABLE.replace(",", "\t").encode()), BY_NAME, TOWNS),
    Odd("a.zip", zipped(**{"folder/a.csv": TABLE.encode(), "__MACOSX/folder/._a.csv": b"\0"}), BY_NAME, TOWNS),
    Odd("unnamed.txt", gzip.compress(b"Ede\nOss\n", mtime=0), {}, TOWNS),
    Odd("two.zip", zipped(a=b"Ede\n", b=b"Oss\n"), {}, "holds 2 files: expected a zip of one, received 'a', 'b'"),
    Odd(
        "book.xlsx",
        zipped(**{"[Content_Types].xml": b"<x/>", "xl/a.xml": b"<x/>"}),
        {},
        "is a document of an office program",
    ),
    Odd("locked.zip", locked_zip(), {}, "is encrypted: expected a zip without a password"),
    Odd("lying.zip", lying_zip(), {}, "is damaged zip data (Bad CRC-32 for file 'a.txt')"),
    Odd("cut.gz", gzip.compress(b"Ede\n" * 999, mtime=0)[:-9], {}, "is damaged gzip data"),
    Odd("plain.gz", b"Ede\n", {}, "is not gzip data: expected its first bytes to say so, received 45 64 65 0A"),
    Odd(
        "a.txt.zst",
        b"\x28\xb5\x2f\xfd\x04\x00",
        {},
        "is zstandard data: expected plain text, or gzip, bzip2, xz or zip",
    ),
    # Standard input and pipes
    Odd("-", b"Ede\nOss\n", {}, TOWNS),
    Odd("-", TABLE.encode(), BY_NAME, TOWNS),
    Odd("-", b'{"name": "Ede"}\n{"name": "Oss"}', {"field": "name"}, TOWNS),
    Odd("-", zipped(**{"a.csv": TABLE.encode()}), BY_NAME, TOWNS),
    Odd("-", b"Ede\nOss\rEpe\n", {}, "standard input: line 2 holds a carriage return"),
    Odd("FIFO", b"Ede\nOss\n", {}, TOWNS),
    Odd("FIFO", TABLE.encode(), BY_NAME, TOWNS),
    Odd("FIFO.csv", TABLE.encode(), {"column": "2"}, TOWNS),
    Odd("FIFO", gzip.compress(b"Ede\nOss\n", mtime=0), {}, TOWNS),
    Odd("FIFO.zip", zipped(**{"a.txt": b"Ede\nOss\n"}), {}, TOWNS),
]

Run = Callable[[str | Path], Any]
Score = Callable[..., tuple[int, list[Any], str]]


@contextlib.contextmanager
def offered(odd: Odd, folder: Path) -> Iterator[str | Path]:
    """Offer a file for one reading, as a file, on standard input or by a named pipe."""
    path = folder / odd.name
    if odd.name == "-":
        before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(odd.content))
        try:
            yield "-"
        finally:
            sys.stdin = before
    elif odd.name.startswith("FIFO"):
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_bytes, args=(odd.content,))
        writer.start()
        yield path
        writer.join()
        path.unlink()
    else:
        path.write_bytes(odd.content)
        yield path


@pytest.fixture
def score(capsys: pytest.CaptureFixture[str]) -> Iterator[Score]:
    """Score a file as the command does, in this process: the exit code, the JSON objects and stderr out."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(source: object, options: dict[str, Any]) -> tuple[int, list[Any], str]:
        words = [
            f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in options.items()
        ]
        exit_code = main(["score", str(MODEL), str(source), "--json", "--unknown", "skip", *words])
        written = capsys.readouterr()
        return exit_code, [json.loads(line) for line in written.out.splitlines()], written.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def outcome(read: Callable[[], list[str]]) -> list[str] | str:
    """Return the items that a reader gives, or its error."""
    try:
        return read()
    except InputError as error:
        return str(error)


def as_validation(source: str | Path, options: ReadOptions, characters: str) -> list[str]:
    """Read a file as the validation lines beside a list that has their characters."""
    chosen = TrainingOptions(normalize="none", keep_duplicates=True)
    # Every character of the file, in lines that are none of its own.
    lines = [
        f"{number}{characters[at : at + 99]}." for at in range(0, len(characters), 99) for number in range(100, 120)
    ]
    read = read_input(lines, chosen, given={"validation": source}, read=options)
    return list(read.write_dataset(Path(os.devnull)).split.validation)


@pytest.mark.parametrize("odd", ODD_FILES, ids=lambda odd: f"{odd.name} {odd.options}")
def test_an_odd_file_is_read_alike_by_train_and_score(
    odd: Odd, tmp_path: Path, score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.datasets.dataset.write_atomically", lambda path, data: None)
    options = ReadOptions(**odd.options)
    with offered(odd, tmp_path) as source:
        streamed = outcome(lambda: [item.text for item in LineFile(source, options).items() if item.text])
    with offered(odd, tmp_path) as source:
        listed = outcome(lambda: list(read_line_list(source, options, rule=AS_IS).lines))
    with offered(odd, tmp_path) as source:
        characters = "".join(sorted(set("ab").union(*odd.expected)))
        held_out = outcome(lambda: as_validation(source, options, characters))
    with offered(odd, tmp_path) as source:
        exit_code, rows, stderr = score(source, odd.options)
    assert held_out == listed
    if isinstance(odd.expected, str):
        assert odd.expected in streamed
        assert listed == streamed
        assert (exit_code, stderr) == (2, f"charrnn: {streamed}\n")
        return
    assert streamed == odd.expected
    assert exit_code == 0, stderr
    key = odd.options.get("field", "text")
    scored = [text for row in rows if (text := row[key].strip(BLANKS))]
    assert scored == odd.expected
    if odd.expected:
        assert listed == odd.expected
    else:
        assert "is empty" in listed or "holds no item" in listed


def test_what_is_no_file_is_refused_alike(tmp_path: Path, score: Score) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "list.txt").write_text("Ede\n", encoding="utf-8")
    places = {
        "https://example.org/a.txt": "https://example.org/a.txt is a URL: expected a file. Download it first",
        str(tmp_path / "none.txt"): "none.txt does not exist",
        str(tmp_path / "list.txt" / "none"): "cannot be read (Not a directory)",
        str(tmp_path): "is a folder",
        str(tmp_path / "folder.csv"): "folder.csv is a folder",
        "/dev/zero": "/dev/zero looks like a binary file",
    }
    for place, expected in places.items():
        message = outcome(lambda place=place: list(read_line_list(place).lines))
        assert expected in message
        assert score(place, {})[::2] == (2, f"charrnn: {message}\n")
        assert outcome(lambda place=place: Text.of(place).scan(TextRule())) == message


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs users")
def test_a_file_without_permission_is_refused_alike(tmp_path: Path, score: Score) -> None:
    path = tmp_path / "list.txt"
    path.write_text("Ede\n", encoding="utf-8")
    path.chmod(0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        message = outcome(lambda: list(read_line_list(path).lines))
        assert outcome(lambda: [item.text for item in LineFile(path).items()]) == message
    finally:
        os.seteuid(before)
    assert "list.txt cannot be read (Permission denied): expected a readable file" in message
    if before != 0:
        assert score(path, {})[::2] == (2, f"charrnn: {message}\n")


def test_process_substitution_is_read_as_lines_as_text_and_by_score(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("Ede\nAden\n", encoding="utf-8")
    (tmp_path / "read.py").write_text(
        "import sys\n"
        "from charrnn.datasets.line_list import read_line_list\n"
        "from charrnn.datasets.text import Text\n"
        "from charrnn_runtime.core.vocabulary import TextRule\n"
        "print(*read_line_list(sys.argv[1]).lines)\n"
        "text = Text.of(sys.argv[2])\n"
        "print(text.scan(TextRule()).length, *''.join(text.pieces(TextRule())).split())\n",
        encoding="utf-8",
    )
    python = f"{sys.executable} read.py <(cat list.txt) <(cat list.txt)"
    scored = f"{sys.executable} -m charrnn_runtime score {MODEL} <(printf 'note,name\\nx,Aden\\n') --column name"
    done = subprocess.run(
        ["bash", "-c", f"{python} && {scored}"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    first, second, header, row = done.stdout.splitlines()
    assert (first, second) == ("Ede Aden", "9 Ede Aden")
    assert (header.split(",")[:3], row.split(",")[:2]) == (["note", "name", "log_probability"], ["x", "Aden"])


def test_a_zip_from_standard_input_is_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(zipped(**{"a.txt": b"Ede\nOss\n"}))))
    assert Text.of("-").scan(TextRule()).length == 8


# Bounded memory


def bomb(begin: bytes, block: bytes) -> bytes:
    """Return a quarter of a gigabyte, packed into less than a megabyte: a beginning, and a block again and again."""
    # Members of a gzip file may be joined.
    return gzip.compress(begin) + gzip.compress(block * ((1 << 24) // len(block))) * 16


BOMBS = [
    Odd("line.txt.gz", bomb(b"Ede\n", b"x"), {}, "1 line is longer than 2,000 characters, the first is line 2"),
    Odd("skipped.txt.gz", bomb(b"Ede\n", b"x"), {"skip_long": True}, ["Ede"]),
    Odd("quote.csv.gz", bomb(b'a,name\n1,"', b"x"), BY_NAME, "line 2 is not a row of csv (it is longer than 4,000,000"),
    Odd(
        "cells.csv.gz", bomb(b"a,name\n1,", b"xx,"), BY_NAME, "line 2 is not a row of csv (it is longer than 4,000,000"
    ),
    Odd(
        "row.csv.gz",
        bomb(b"a,name\n1,", b'"xxx\n",'),
        BY_NAME,
        "line 2 is not a row of csv (it is longer than 4,000,000",
    ),
    Odd("string.json.gz", bomb(b'["Ede",\n"', b"x"), {}, "line 2 is not JSON (it is longer than 4,000,000"),
    Odd("blanks.json.gz", bomb(b'["Ede",\n', b" "), {}, "line 2: expected another value behind a comma"),
    Odd("line.jsonl.gz", bomb(b'"Ede"\n"', b"x"), {"skip_long": True}, ["Ede"]),
]


@pytest.mark.parametrize("odd", BOMBS, ids=lambda odd: odd.name)
def test_a_line_row_or_value_without_an_end_takes_bounded_memory(odd: Odd, tmp_path: Path) -> None:
    with offered(odd, tmp_path) as source:
        tracemalloc.start()
        try:
            found = outcome(lambda: [item.text for item in LineFile(source, ReadOptions(**odd.options)).items()])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert odd.expected == found if isinstance(odd.expected, list) else odd.expected in found
    # 4 million characters are held, a few times over while they are cut into lines and cells; the bomb has 268 million.
    assert peak < 130_000_000


def test_a_text_of_one_word_takes_bounded_memory(tmp_path: Path) -> None:
    for name, block in (("letters", b"x"), ("marks", "\u0301".encode())):
        path = tmp_path / f"{name}.txt.gz"
        path.write_bytes(gzip.compress(b"Ede ") + gzip.compress(block * (1 << 23)) * 4)
        tracemalloc.start()
        try:
            length = sum(map(len, Text.of(path).pieces(AS_IS)))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert length == 4 + (1 << 25)
        assert peak < 60_000_000


# Properties

cells = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8).map(lambda text: text.strip(BLANKS))
rows = st.lists(st.tuples(cells, cells.filter(bool), st.text('a\n",; ', max_size=5)), min_size=1, max_size=9)


@given(rows, st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["\n", "\r\n"]), st.integers(0, 2))
def test_what_the_csv_module_wrote_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], delimiter: str, end: str, quoting: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=(0, 1, 2)[quoting])
        writer.writerows([("id", "name", "note"), *rows])
    found = LineFile(path, ReadOptions(column="name"))
    assert [item.text for item in found.items()] == [name for _, name, _ in rows]
    assert found.header == ["id", "name", "note"]


@given(rows, st.sampled_from([None, 1]), st.booleans(), st.booleans())
def test_what_the_json_module_wrote_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, str]],
    indent: int | None,
    ascii_only: bool,
    as_lines: bool,
) -> None:
    path = tmp_path_factory.getbasetemp() / ("written.jsonl" if as_lines else "written.json")
    values = [{"note": note, "name": name} for _, name, note in rows]
    if as_lines:
        text = "".join(json.dumps(value, ensure_ascii=ascii_only) + "\n" for value in values)
    else:
        text = json.dumps(values, ensure_ascii=ascii_only, indent=indent)
    path.write_text(text, encoding="utf-8")
    found = LineFile(path, ReadOptions(field="name"))
    assert [(item.text, item.row) for item in found.items()] == [(value["name"], value) for value in values]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    content=st.binary(max_size=60) | st.text('a,;"\t\r\n[]{}:\ufeff\u3000é1#', max_size=40).map(str.encode),
    name=st.sampled_from(["a.txt", "a.csv", "a.tsv", "a.jsonl", "a.json", "a.gz", "a.zip"]),
    options=st.sampled_from(
        [
            {},
            {"column": "1"},
            {"column": "a"},
            {"field": "a"},
            {"comment": "#"},
            {"skip_long": True, "max_line_length": 2},
        ]
    ),
)
def test_any_bytes_are_read_or_refused_alike_in_one_line(
    content: bytes, name: str, options: dict[str, Any], tmp_path: Path, score: Score
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    chosen = ReadOptions(**options)
    streamed = outcome(lambda: [item.text for item in LineFile(path, chosen).items() if item.text])
    listed = outcome(lambda: list(read_line_list(path, chosen, rule=AS_IS).lines))
    exit_code, rows, stderr = score(path, options)
    if isinstance(streamed, str):
        assert listed == streamed
        assert "\n" not in streamed
        assert (exit_code, stderr) == (2, f"charrnn: {' '.join(streamed.split())}\n")
        return
    assert (listed == streamed) if streamed else ("is empty" in listed or "holds no item" in listed)
    assert exit_code == 0
    key = options.get("field", "text")
    scored = [text for row in rows if (text := row.get(key, row.get("text", "")).strip(BLANKS))]
    assert scored == streamed


# What score writes


def scored_csv(capsys: pytest.CaptureFixture[str], path: Path, *words: str) -> tuple[list[list[str]], str]:
    assert main(["score", str(MODEL), str(path), "--unknown", "skip", *words]) == 0
    written = capsys.readouterr()
    delimiter = "\t" if path.suffix == ".tsv" else ","
    return list(csv.reader(io.StringIO(written.out, newline=""), delimiter=delimiter)), written.err


def test_a_scored_table_stays_a_table_with_its_scores_below_their_names(
    tmp_path: Path, score: Score, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.csv"
    path.write_bytes(
        b'\xef\xbb\xbf"id",name,"the ""note"""\r\n1,Aden,"a\r\nb"\r\n\r\n2,dries\r\n# no\r\n3,Aden,"x\ry",extra\r\n'
        b"4," + b"A" * 9 + b",z\r\n"
    )
    words = ("--column", "name", "--comment", "#", "--max-line-length", "8", "--skip-long")
    [header, *rows], stderr = scored_csv(capsys, path, *words)
    assert header[:4] == ["id", "name", 'the "note"', "log_probability"]
    assert [row[:3] for row in rows] == [
        ["1", "Aden", "a\r\nb"],
        ["", "", ""],
        ["2", "dries", ""],
        ["3", "Aden", "x\ry"],
    ]
    assert [len(row) - len(header) for row in rows] == [0, 0, 0, 1]
    assert rows[3][3 : len(header)] == rows[0][3:]
    assert rows[3][-1] == "extra"
    assert stderr.endswith("; 1 comment left out; 1 line too long and left out (the first is line 8)\n")


def test_a_scored_tsv_of_one_column_and_a_bare_csv_stay_what_they_are(
    tmp_path: Path, score: Score, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.tsv").write_text("name\nAden, A\n", encoding="utf-8")
    [header, row], _ = scored_csv(capsys, tmp_path / "odd.tsv", "--column", "name")
    assert (header[:2], row[0], len(row)) == (["name", "log_probability"], "Aden, A", len(header))
    (tmp_path / "odd.csv").write_text('Aden\n"A, d"\nA\u00a0d\n', encoding="utf-8")
    rows, stderr = scored_csv(capsys, tmp_path / "odd.csv")
    assert [row[0] for row in rows] == ["Aden", "A, d", "A\u00a0d"]
    assert stderr.endswith("; invisible inside lines: U+00A0, NO-BREAK SPACE\n")


def test_a_scored_json_array_is_json_lines_even_with_half_a_code_point(tmp_path: Path, score: Score) -> None:
    path = tmp_path / "odd.json"
    path.write_text('[{"name": "Aden", "note": "\\ud800"}, {"name": "é"}]', encoding="utf-8")
    exit_code, rows, _ = score(path, {"field": "name"})
    assert (exit_code, [(row["name"], row.get("note")) for row in rows]) == (0, [("Aden", "\ud800"), ("é", None)])


def test_an_unknown_character_is_named_with_the_line_of_the_file(
    tmp_path: Path, score: Score, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.csv"
    path.write_text('# towns\nnote,name\n"a\nb",Aden\n#\nc,Aßen\n', encoding="utf-8")
    assert main(["score", str(MODEL), str(path), "--column", "name", "--comment", "#"]) == 2
    assert f"{path}: line 6: unknown character 'ß'" in capsys.readouterr().err


def test_a_reader_that_goes_away_ends_score_quietly(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("Aden\n" * 60_000, encoding="utf-8")
    command = f"{sys.executable} -m charrnn_runtime score {MODEL} long.txt | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == ["0"]


def test_ctrl_c_ends_score_while_it_waits_for_a_named_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)
    os.write(held, b"Aden\n")
    command = [sys.executable, "-m", "charrnn_runtime", "score", str(MODEL), str(pipe)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        # It has read the line and waits for another.
        while fcntl.ioctl(held, termios.FIONREAD, bytes(4)) != bytes(4):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    os.close(held)
    assert (process.returncode, stderr) == (130, "charrnn: interrupted\n")
