"""Reading lists of lines, and splitting them."""

import bz2
import csv
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.datasets import line_list as line_list_module
from charrnn.datasets.line_list import LineList, embedded_list_path, make_line_list, read_line_list
from charrnn.datasets.split import check_trainable, split_lines
from charrnn_runtime.core.characters import BLANKS
from charrnn_runtime.core.read_options import ReadOptions
from charrnn_runtime.core.vocabulary import TextRule
from charrnn_runtime.errors import InputError, OperationError

AS_IS = TextRule(normal_form=None)
TENTHS: dict[str, Any] = {"validation_share": 0.1, "test_share": 0.1, "max_held_out": 2000}
Write = Callable[[str, str | bytes], Path]
PLACES = [f"place {number}" for number in range(100)]

# What a line may hold and still be the same after reading: no boundary, no control characters, nothing to strip.
line_texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(
    lambda text: text == text.strip(BLANKS)
)
line_lists = st.lists(line_texts, min_size=1, max_size=30)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a file and returns its path."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return path

    return write_file


@pytest.fixture
def standard_input(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Return a function that puts bytes on standard input."""
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def read(source: str | Path, *, rule: TextRule = TextRule(), **how: Any) -> LineList:
    return read_line_list(source, ReadOptions(**how), rule=rule)


def message_of(source: str | Path, **options: Any) -> str:
    """Return the message of the error that reading raises; it must be a single line and exit with 2."""
    with pytest.raises(InputError) as caught:
        read(source, **options)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Plain text


def test_a_text_file_is_read_in_order_with_its_copies(write: Write) -> None:
    assert read(write("names.txt", "Ede\nOss\nEde\n")).lines == ("Ede", "Oss", "Ede")


def test_a_last_line_without_an_end_counts(write: Write) -> None:
    assert read(write("names.txt", "Ede\nOss")).lines == ("Ede", "Oss")


def test_a_byte_order_mark_is_dropped_and_crlf_counts_as_lf(write: Write) -> None:
    found = read(write("names.txt", b"\xef\xbb\xbfEde\r\nOss\r\n"))
    assert found.lines == ("Ede", "Oss")
    assert found.statistics.empty == 0


def test_lines_end_at_lf_only(write: Write) -> None:
    separators = "\v\f\x85\u2028\u2029"
    line = "a".join(["", *separators, ""])
    assert read(write("names.txt", f"{line}\nOss\n")).lines == (line, "Oss")


def test_blanks_of_every_kind_around_a_line_are_stripped_and_inside_it_kept_and_named(write: Write) -> None:
    path = write("names.txt", " \tDen  Haag\t \r\r\n\u00a0Oss\v\n\ufeffE\u00a0de\u3000\n\u200bE\u200bpe\u200b\n")
    found = read(path)
    assert found.lines == ("Den  Haag", "Oss", "E\u00a0de", "E\u200bpe")
    assert found.statistics.invisible == "\u00a0\u200b"
    assert found.statistics.summary().endswith(
        "invisible inside lines: U+00A0, NO-BREAK SPACE, U+200B, ZERO WIDTH SPACE"
    )


def test_the_text_rule_is_applied_to_every_line(write: Write) -> None:
    path = write("names.txt", "Hu\u0301ns\nEDE\n")
    assert read(path).lines == ("Húns", "EDE")
    assert read(path, rule=AS_IS).lines == ("Hu\u0301ns", "EDE")
    assert read(path, rule=TextRule(lowercase=True)).lines == ("húns", "ede")


def test_copies_are_counted_after_the_text_rule(write: Write) -> None:
    path = write("names.txt", "Ede\nEDE\n")
    assert read(path).statistics.duplicates == 0
    assert read(path, rule=TextRule(lowercase=True)).statistics.duplicates == 1


def test_an_unknown_suffix_is_read_as_text(write: Write) -> None:
    assert read(write("names", "a,b\nc,d\n")).lines == ("a,b", "c,d")


def test_a_path_may_be_a_string(write: Write) -> None:
    assert read(str(write("names.txt", "Ede\n"))).lines == ("Ede",)


@given(line_lists)
def test_what_was_written_as_text_is_read_back(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "property.txt"
    path.write_bytes("\n".join(lines).encode("utf-8"))
    assert read(path, rule=AS_IS).lines == tuple(lines)


# The report


def test_the_report_counts_lines_copies_empty_lines_and_characters(write: Write) -> None:
    content = "Ede\n\nOss\n  \nEde\nAlmelo\n"
    statistics = read(write("names.txt", content)).statistics
    assert (statistics.lines, statistics.distinct, statistics.duplicates, statistics.empty) == (4, 3, 1, 2)
    assert (statistics.longest, statistics.longest_line) == (6, "Almelo")
    assert statistics.characters == len(set("EdeOssAlmelo"))
    assert statistics.sha256 == hashlib.sha256(content.encode()).hexdigest()


def test_the_report_counts_code_points_not_bytes(write: Write) -> None:
    statistics = read(write("names.txt", "é𝔸é\n")).statistics
    assert (statistics.longest, statistics.characters) == (3, 2)


def test_the_report_clips_a_very_long_line(write: Write) -> None:
    statistics = read(write("names.txt", "x" * 1000)).statistics
    assert statistics.longest == 1000
    assert statistics.longest_line == "x" * 59 + "…"


def test_the_report_survives_json_and_reads_well(write: Write) -> None:
    path = write("names.txt", "Ede\nOss\n")
    statistics = read(path).statistics
    assert type(statistics)(**json.loads(json.dumps(asdict(statistics)))) == statistics
    assert (
        str(statistics)
        == statistics.summary()
        == (f"{path}: 2 lines, 2 distinct (0 duplicates), 0 empty, 5 characters, longest 3 ('Ede')")
    )


# csv and tsv


def test_a_csv_of_bare_lines_is_read_whole_with_its_first_line(write: Write) -> None:
    assert read(write("names.csv", "name\nEde\nOss\n")).lines == ("name", "Ede", "Oss")


def test_a_comma_in_a_few_bare_lines_does_no_harm(write: Write) -> None:
    content = "Ede\nBergen, Noord-Holland\nOss\nEpe\n"
    assert read(write("names.csv", content)).lines == ("Ede", "Bergen, Noord-Holland", "Oss", "Epe")


def test_a_comma_in_less_than_half_of_the_lines_makes_no_table(write: Write) -> None:
    lines = [*(f"{place}, NL" for place in PLACES[:49]), *PLACES[49:]]
    assert read(write("names.csv", "\n".join(lines))).lines == tuple(lines)


def test_lines_with_commas_here_and_there_make_no_table(write: Write) -> None:
    lines = ["so, yes", "well, no", "ah, so", "oh, ah", "yes", "no", "oh", "one, two, three", "a, b, c", "x, y, z"]
    assert read(write("prose.csv", "\n".join(lines))).lines == tuple(lines)


def test_a_bare_line_that_is_one_quoted_cell_loses_its_quotes(write: Write) -> None:
    content = 'Ede\n"Bergen, Noord-Holland"\n"say ""hi"""\n"so" they say\n5" disk\n'
    expected = ("Ede", "Bergen, Noord-Holland", 'say "hi"', '"so" they say', '5" disk')
    assert read(write("names.csv", content)).lines == expected


def test_a_bare_line_that_opens_a_quote_and_does_not_close_it_is_named(write: Write) -> None:
    path = write("names.csv", 'Ede\n"Ber\ngen"\nOss\n')
    assert message_of(path) == (
        f"{path}: line 2 opens a quote that is not closed on the line: expected an item on one line, received "
        "'\"Ber'. Close the quote, or name the file .txt to read its lines as they are"
    )


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_column_is_found_by_its_name_whatever_the_delimiter(write: Write, delimiter: str) -> None:
    rows = [["id", "name", "people"], ["1", "Ede", "120"], ["2", "Oss", "93"]]
    path = write("places.csv", "\n".join(delimiter.join(row) for row in rows))
    assert read(path, column="name").lines == ("Ede", "Oss")


def test_a_column_is_read_from_a_tsv(write: Write) -> None:
    assert read(write("places.tsv", "name\tnote\nEde\ta,b\nOss\tc,d\n"), column="name").lines == (
        "Ede",
        "Oss",
    )


def test_quoted_cells_may_hold_delimiters_and_quotes(write: Write) -> None:
    content = 'name, people\n"Bergen, ""NH""", 3\nOss, 4\n'
    assert read(write("places.csv", content), column="name").lines == ('Bergen, "NH"', "Oss")


def test_a_semicolon_wins_over_a_decimal_comma(write: Write) -> None:
    assert read(write("places.csv", "1,5;Ede\n2,5;Oss\n"), column="2").lines == ("Ede", "Oss")


def test_a_position_counts_from_one_and_includes_a_first_row_that_is_no_header(write: Write) -> None:
    path = write("places.csv", "1,Ede\n2,Oss\n")
    assert read(path, column="2").lines == ("Ede", "Oss")
    assert read(path, column="1").lines == ("1", "2")


def test_a_position_leaves_out_a_first_row_that_heads_numbers(write: Write) -> None:
    assert read(write("places.csv", 'name,people\nEde,"120,000"\nOss,\n'), column="1").lines == ("Ede", "Oss")


def test_a_number_too_large_for_a_position_is_a_name(write: Write) -> None:
    assert read(write("places.csv", "2020,2021\nEde,Oss\n"), column="2021").lines == ("Oss",)


def test_a_list_of_one_column_can_be_named_too(write: Write) -> None:
    path = write("names.csv", "name\nEde\nOss, the town\n")
    assert read(path, column="name").lines == ("Ede", "Oss")
    assert read(path, column="1").lines == ("name", "Ede", "Oss")
    assert read(write("quoted.csv", 'name\nEde\n"Oss, the town"\n'), column="name").lines == ("Ede", "Oss, the town")


def test_empty_rows_and_empty_cells_are_counted_as_empty(write: Write) -> None:
    statistics = read(write("places.csv", "\nname,people\nEde,1\n\n,2\n,\n"), column="name").statistics
    assert (statistics.lines, statistics.empty) == (1, 4)


def test_a_table_without_a_column_is_refused_and_its_columns_named(write: Write) -> None:
    path = write("places.csv", "name,people\nEde,120\nOss,93\n")
    assert message_of(path) == (
        f"{path} has 2 columns: expected a list of one item a line, or to be told the column; the first row is "
        "1 'name', 2 'people'. Give column (a name or a position), or name the file .txt to read whole lines"
    )


def test_a_table_with_many_blank_lines_is_still_a_table(write: Write) -> None:
    path = write("places.csv", "name,people\n\n\n\nEde,120\n\n\n")
    assert "has 2 columns" in message_of(path)
    assert read(path, column="name").lines == ("Ede",)


def test_a_table_with_quoted_line_ends_is_still_a_table(write: Write) -> None:
    path = write("places.csv", 'name,note\nEde,"a\nb"\nOss,"c\nd\ne"\n')
    assert "has 2 columns" in message_of(path)
    assert read(path, column="name").lines == ("Ede", "Oss")


def test_a_column_that_is_not_there_is_refused_and_the_others_named(write: Write) -> None:
    path = write("places.csv", "name,people\nEde,120\n")
    assert message_of(path, column="city") == (
        f"{path} has no column 'city': expected a name out of its first row or a position from 1 to 2; the first row "
        "is 1 'name', 2 'people'"
    )


@pytest.mark.parametrize("column", ["0", "3", "-1", "1.0", "", "²", "9" * 5000])
def test_a_position_out_of_range_is_refused(write: Write, column: str) -> None:
    assert "has no column" in message_of(write("places.csv", "name,people\nEde,120\n"), column=column)


def test_a_wide_table_names_its_first_columns_only(write: Write) -> None:
    header = ",".join(f"column{number}" for number in range(100))
    assert "8 'column7' and 92 more" in message_of(write("places.csv", f"{header}\n{header}\n"))


def test_rows_of_different_lengths_are_read_by_the_column_and_one_that_lacks_it_is_named(write: Write) -> None:
    rows = ["people,name", '1,"Ede\n"', "2,Oss,x,y", "3,Epe,z", "4"]
    path = write("places.csv", "\n".join(rows))
    assert read(path, column="people").lines == ("1", "2", "3", "4")
    assert message_of(path, column="name") == (
        f"{path}: line 6 has 1 cell: expected column 2 of 2, received '4'. Correct the row, or quote the cell "
        "that holds the delimiter"
    )


def test_a_column_of_a_table_without_a_common_length_is_never_a_whole_row(write: Write) -> None:
    path = write("places.csv", "name;a\nEde;x;y\nOss;x;y;z\nEpe\nHem;x;y;z;u\n")
    assert read(path, column="1").lines == ("name", "Ede", "Oss", "Epe", "Hem")
    assert read(path, column="name").lines == ("Ede", "Oss", "Epe", "Hem")
    assert "line 4 has 1 cell: expected column 2" in message_of(path, column="2")


def test_a_newline_inside_a_cell_of_the_column_is_named_by_its_first_line(write: Write) -> None:
    path = write("places.csv", 'name,people\nEde,1\n"Den\nHaag",2\n')
    assert message_of(path, column="name") == (
        f"{path}: line 3: an item holds a newline, the end of an item: expected text on one line, received "
        "'Den\\nHaag'. Replace it or leave the item out"
    )


def test_a_row_that_is_not_csv_is_named(write: Write) -> None:
    path = write("places.csv", 'name,people\nEde,1\n"Oss"x,2\nEpe,3\n')
    assert message_of(path, column="name") == (
        f"{path}: line 3 is not a row of csv (',' expected after '\"'): expected cells between commas, with quotes in "
        "pairs around a cell. Correct the row"
    )


def test_a_quote_that_never_closes_is_an_error_and_does_not_swallow_the_rest(write: Write) -> None:
    path = write("places.csv", 'name,people\nEde,1\nOss,2\n"Epe,3\nHem,4\n')
    assert "line 4 is not a row of csv (unexpected end of data)" in message_of(path, column="name")


def test_a_stray_carriage_return_in_a_table_is_named(write: Write) -> None:
    path = write("places.csv", "name,people\nEde,1\nO\rss,2\n")
    assert "line 3 holds a carriage return that ends a line on its own" in message_of(path, column="name")
    assert "has 2 columns" in message_of(path)


def test_a_table_of_empty_cells_is_refused(write: Write) -> None:
    path = write("places.csv", ",\n,\n")
    assert "has 2 columns" in message_of(path)
    assert "holds no item" in message_of(path, column="1")


def test_a_cell_beyond_the_usual_limit_of_csv_is_read_as_a_long_line(write: Write) -> None:
    path = write("places.csv", f"name,people\nEde,1\n{'x' * 200_000},2\n")
    assert "1 line is longer than 2,000 characters, the first is line 3" in message_of(path, column="name")
    assert read(path, column="name", skip_long=True).lines == ("Ede",)
    assert read(path, column="name", max_line_length=200_000).lines == ("Ede", "x" * 200_000)
    assert read(path, column="people").lines == ("1", "2")


@given(line_lists, st.sampled_from([",", ";", "\t"]))
def test_what_was_written_as_csv_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], delimiter: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "property.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerows([["name", "number"], *([line, "7"] for line in lines)])
    assert read(path, column="name", rule=AS_IS).lines == tuple(lines)


# jsonl


def test_a_field_is_read_from_every_object(write: Write) -> None:
    path = write("places.jsonl", '{"name": "Ede", "n": 1}\n\n{"name": "H\\u00fans"}\n{"name": " \\n"}\n')
    found = read(path, field="name")
    assert found.lines == ("Ede", "Húns")
    assert found.statistics.empty == 2


def test_lines_that_are_json_strings_need_no_field(write: Write) -> None:
    assert read(write("names.ndjson", '"Ede"\n"Oss \\"s"\n')).lines == ("Ede", 'Oss "s')


@given(line_lists)
def test_what_was_written_as_jsonl_is_read_back(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "property.jsonl"
    path.write_text("".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    assert read(path, field="text", rule=AS_IS).lines == tuple(lines)


JSON_ERRORS = [
    ('{"a": "x"}', None, "expected a JSON string, received an object. Give field: one of 'a'"),
    ("3", None, "expected a JSON string, received a number. Correct the line"),
    ("[]", None, "expected a JSON string, received an array. Correct the line"),
    ('"x"', "a", "expected an object with the field 'a', received a string. Correct the line, or leave field out if"),
    ('{"b": "x", "c": 1}', "a", "the field 'a' is missing: received the fields 'b', 'c'. Correct the line or the name"),
    ("{}", "a", "the field 'a' is missing: received the fields none. Correct the line or the name"),
    ('{"a": null}', "a", "the field 'a' is not a string: received null. Correct the line or leave it out"),
    ('{"a": 7.5}', "a", "the field 'a' is not a string: received a number."),
    ('{"a": true}', "a", "the field 'a' is not a string: received a boolean."),
    ('{"a": ["x"]}', "a", "the field 'a' is not a string: received an array."),
    ('{"a": "x\\ny"}', "a", "an item holds a newline, the end of an item: expected text on one line, received 'x\\ny'"),
    ('{"a": "x\\ud800y"}', "a", "an item holds U+D800: expected text on one line, received 'x\\ud800y'."),
    ('{"a": "x\\u0000"}', "a", "an item holds U+0000: expected text on one line, received 'x\\x00'."),
]


@pytest.mark.parametrize(("line", "field", "expected"), JSON_ERRORS)
def test_a_json_line_that_is_no_item_is_named_with_what_is_wrong(
    write: Write, line: str, field: str | None, expected: str
) -> None:
    path = write("places.jsonl", ('{"a": "fine"}' if field else '"fine"') + f"\n{line}\n")
    options = {"field": field} if field else {}
    assert message_of(path, **options).startswith(f"{path}: line 2: {expected}")


def test_a_line_that_is_not_json_is_named_with_the_place(write: Write) -> None:
    path = write("places.jsonl", '{"a": "fine"}\n{"a": "x"\n')
    assert message_of(path, field="a") == (
        f"{path}: line 2 is not JSON (Expecting ',' delimiter at character 10): expected one JSON value a line, "
        'received \'{"a": "x"\'. Correct the line or leave it out'
    )


@pytest.mark.parametrize("line", ["{'a': 'x'}", '{"a": "x"', "Ede", "[" * 100_000, "9" * 5000, '"\u2028'])
def test_any_line_that_is_not_json_is_named(write: Write, line: str) -> None:
    path = write("places.jsonl", f'{{"a": "fine"}}\n{line}\n')
    message = message_of(path, field="a")
    assert message.startswith(f"{path}: line 2")
    assert "expected" in message
    assert len(message) < 400 + len(str(path))


# Compressed files and standard input


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.txt.gz", "Ede\nOss\n", {}),
        ("a.csv.gz", "name,n\nEde,1\nOss,2\n", {"column": "name"}),
        ("a.TSV.GZ", "name\tn\nEde\t1\nOss\t2\n", {"column": "name"}),
        ("a.jsonl.gz", '{"name": "Ede"}\n{"name": "Oss"}\n', {"field": "name"}),
        ("a.gz", "Ede\nOss\n", {}),
        ("not-named-gz.txt", "Ede\nOss\n", {}),
    ],
)
def test_every_kind_may_be_compressed(write: Write, name: str, content: str, options: dict[str, Any]) -> None:
    packed = gzip.compress(content.encode())
    found = read(write(name, packed), **options)
    assert found.lines == ("Ede", "Oss")
    assert found.statistics.sha256 == hashlib.sha256(packed).hexdigest()


def test_a_file_of_several_gzip_members_is_read_whole(write: Write) -> None:
    assert read(write("a.gz", gzip.compress(b"Ede\n", mtime=0) + gzip.compress(b"Oss\n", mtime=0))).lines == (
        "Ede",
        "Oss",
    )


def test_a_gz_cut_anywhere_is_a_clean_error(write: Write) -> None:
    packed = gzip.compress("\n".join(PLACES).encode())
    for length in range(1, len(packed)):
        assert "gzip data" in message_of(write("a.gz", packed[:length]))


def test_a_gz_with_a_changed_byte_never_passes_for_the_same_list(write: Write) -> None:
    packed = gzip.compress("\n".join(PLACES).encode(), mtime=0)
    for position in range(10, len(packed)):
        damaged = packed[:position] + bytes([packed[position] ^ 0xFF]) + packed[position + 1 :]
        assert "is damaged gzip data" in message_of(write("a.gz", damaged))


def test_a_gz_that_is_not_gzip_says_so(write: Write) -> None:
    path = write("a.txt.gz", "Ede\n")
    assert message_of(path) == (
        f"{path} is not gzip data: expected its first bytes to say so, received 45 64 65 0A. "
        "Drop .gz from its name if it is plain text"
    )


def test_standard_input_is_text_unless_a_column_or_field_is_given(standard_input: Callable[[bytes], None]) -> None:
    standard_input(b"Ede\nOss\n")
    found = read("-")
    assert (found.lines, found.statistics.source) == (("Ede", "Oss"), "standard input")
    standard_input(b"name,n\nEde,1\n")
    assert read(Path("-"), column="name").lines == ("Ede",)
    standard_input(b'{"name": "Ede"}\n')
    assert read("-", field="name").lines == ("Ede",)
    standard_input(gzip.compress(b"Ede\nOss\n", mtime=0))
    assert read("-").lines == ("Ede", "Oss")


def test_standard_input_is_read_as_utf_8_in_the_c_locale() -> None:
    code = "from charrnn.datasets.line_list import read_line_list; print(ascii(*read_line_list('-').lines))"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, input="Húns\n".encode(), env=environment, capture_output=True, check=True).stdout
    assert output == b"'H\\xfans'\n"


def test_an_empty_or_closed_standard_input_is_a_clean_error(
    standard_input: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    standard_input(b"")
    assert message_of("-").startswith("standard input is empty: expected one item a line, received 0 bytes.")
    monkeypatch.setattr(sys, "stdin", None)
    assert message_of("-").startswith("standard input cannot be read (it is closed)")


# What is not a list of lines


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    expected = f"{path} does not exist: expected a text, csv, tsv or jsonl file. Check the path"
    assert message_of(path) == expected


def test_a_folder_is_named(tmp_path: Path) -> None:
    assert message_of(tmp_path) == f"{tmp_path} is a folder: expected a file. Name one of the files in it"


def test_a_path_that_cannot_be_read_says_why(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot be read (Not a directory)" in message_of(write("names.txt", "Ede\n") / "names.txt")
    assert "cannot be read (File name too long)" in message_of(tmp_path / ("x" * 5000))
    assert "cannot be read (embedded null byte)" in message_of("a\0b")

    def refuse(_: Path, mode: str) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    path = tmp_path / "names.txt"
    assert message_of(path) == (
        f"{path} cannot be read (Permission denied): expected a readable file. Check the path and your permissions"
    )


def test_a_name_with_a_newline_stays_on_one_line(tmp_path: Path) -> None:
    assert message_of(f"{tmp_path}/a\nb.txt").startswith(repr(f"{tmp_path}/a\nb.txt"))


def test_an_empty_file_is_refused(write: Write) -> None:
    path = write("names.txt", "")
    assert message_of(path) == (
        f"{path} is empty: expected one item a line, received 0 bytes. Check that this is the right file"
    )


@pytest.mark.parametrize("content", ["\n\n\n", "\r\n\r\n\r\n", " \n\t\n  \n"])
def test_a_file_of_empty_lines_is_refused(write: Write, content: str | bytes) -> None:
    path = write("names.txt", content)
    assert message_of(path) == (
        f"{path} holds no item: expected one item a line, received none but 3 empty ones. "
        "Check that this is the right file"
    )


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.csv", "\n\n", {}),
        ("a.csv", "name,people\n", {"column": "name"}),
        ("a.jsonl", "\n", {"field": "name"}),
        ("a.txt", b"\xef\xbb\xbf", {}),
        ("a.gz", gzip.compress(b"", mtime=0), {}),
    ],
)
def test_a_file_without_items_is_refused_whatever_its_kind(
    write: Write, name: str, content: str | bytes, options: dict[str, Any]
) -> None:
    assert "holds no item" in message_of(write(name, content), **options)


def test_invalid_utf_8_is_named_by_line_offset_and_byte(write: Write) -> None:
    path = write("names.txt", b"\xef\xbb\xbfEde\r\nH\xc3\xbans\r\nH\xfans\r\n")
    assert message_of(path) == (
        f"{path}: line 3 is not UTF-8: byte 0xFA at offset 16 (counted from 0) does not fit (invalid start byte). "
        "Convert the file, such as with: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
    )


def test_the_offset_of_invalid_utf_8_is_that_in_the_unpacked_text(write: Write) -> None:
    assert "line 2 is not UTF-8: byte 0xC3 at offset 5 " in message_of(
        write("a.gz", gzip.compress(b"Ede\nH\xc3ns", mtime=0))
    )


def test_a_file_that_ends_inside_a_character_is_refused(write: Write) -> None:
    assert "byte 0xC3 at offset 1 (counted from 0)" in message_of(write("names.txt", b"H\xc3"))


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16LE"), ("utf-16-be", "UTF-16BE"), ("utf-32", "UTF-32")],
)
@pytest.mark.parametrize("name", ["names.txt", "names.csv", "names.jsonl"])
def test_utf_16_is_recognised_with_and_without_its_mark(write: Write, name: str, encoding: str, shown: str) -> None:
    path = write(name, "Húns\nDen Haag\n".encode(encoding))
    assert message_of(path) == (
        f"{path} is {shown}: expected UTF-8. Convert it, such as with: iconv -f {shown} -t UTF-8 FILE > NEW"
    )


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
        b"\nELF\x02\x01\x01\x00",
        b"Ede\nO\x00ss\n",
        b"\nb\x01\x02\x03ab\n",
        b"\n\0",
    ],
)
def test_a_binary_file_is_refused_with_the_line_of_its_first_control_character(write: Write, content: bytes) -> None:
    path = write("names.txt", content)
    assert message_of(path) == (
        f"{path} looks like a binary file: expected UTF-8 text, received control characters (such as NUL), the "
        "first on line 2. Export it as text, csv or jsonl first, or take them out"
    )


def test_a_single_nul_in_a_long_text_is_refused(write: Write) -> None:
    assert "looks like a binary file" in message_of(write("names.txt", "Ede\n" * 1000 + "O\0ss\n"))


def test_a_single_control_character_in_a_long_text_is_kept(write: Write) -> None:
    assert read(write("names.txt", "bell \a\n" + "Ede\n" * 100)).lines[0] == "bell \a"


def test_line_ends_of_cr_alone_are_recognised(write: Write) -> None:
    path = write("names.txt", "Ede\rOss\rEpe\r")
    assert message_of(path) == (
        f"{path} ends its lines with CR only: expected LF or CRLF, received 3 CR and no LF. "
        "Convert it, such as with: tr '\\r' '\\n' < FILE > NEW"
    )


def test_a_json_array_of_strings_or_objects_is_a_list(write: Write) -> None:
    path = write("names.json", '[\n  "Ede",\n  "O\\u00e9s", " "\n]\n')
    assert read(path).lines == ("Ede", "Oés")
    assert read(write("places.json", '[{"name": "Ede"}, {"name": "Oss"}]'), field="name").lines == ("Ede", "Oss")
    assert "holds no item" in message_of(write("none.json", "[]"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"a": 1}', "line 1: expected a JSON array"),
        ('["Ede", 3]', "line 1: expected a JSON string, received a number"),
        ('["Ede",\n\n"Oss" "Epe"]', "line 3: expected a comma or the end of the array"),
        ('["Ede",\n"Oss', "line 2 is not JSON"),
        ('["Ede",\n', "line 2: expected another value behind a comma, received the end of the file"),
        ('["Ede",]', "line 1: expected another value behind a comma, received ']'"),
        ('["Ede"', "expected a comma or the end of the array behind a value, received the end of the file"),
        ('["Ede"]\n["Oss"]', "line 2: expected nothing behind the array, received '[\"Oss\"]'"),
        ("", 'line 1: expected a JSON array, such as ["Ede", "Oss"], received the end of the file'),
        ("[" * 100_000, "line 1"),
    ],
)
def test_what_is_no_json_array_is_named_by_its_line(write: Write, content: str, expected: str) -> None:
    assert expected in message_of(write("names.json", content))


def test_an_option_of_another_kind_is_refused(write: Write) -> None:
    text, table, objects = (write(name, "Ede\n") for name in ("a.txt", "a.csv", "a.jsonl"))
    assert message_of(text, column="name") == (
        f"{text}: column 'name' was given, but only .csv and .tsv files have one and this file is read as one item a "
        "line. Leave column out, or rename the file"
    )
    assert "field 'name' was given, but only .jsonl, .ndjson and .json" in message_of(table, field="name")
    assert "column 'name' was given, but only .csv and .tsv" in message_of(objects, column="name")
    assert "were both given" in message_of(table, column="name", field="name")


@given(
    st.binary(min_size=1, max_size=200) | st.text(max_size=60).map(str.encode),
    st.sampled_from([".txt", ".csv", ".tsv", ".jsonl", ".gz", ".csv.gz"]),
    st.sampled_from([{}, {"column": "1"}, {"field": "a"}]),
)
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str, options: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / f"anything{suffix}"
    path.write_bytes(content)
    try:
        found = read(path, **options)
    except InputError as error:
        refused = str(error)
    else:
        refused = ""
        assert found.lines
        assert not any("\n" in line or "\0" in line or not line for line in found.lines)
    assert "\n" not in refused


# What can be trained on


def test_one_distinct_character_cannot_be_trained_on() -> None:
    with pytest.raises(InputError) as caught:
        check_trainable(["a" * number for number in range(1, 30)], source="names.txt")
    assert str(caught.value) == (
        "names.txt has too few characters: expected at least 2 different ones, received only 'a' (U+0061, LATIN SMALL "
        "LETTER A). Check that this is the right file or column"
    )


def test_no_lines_cannot_be_trained_on() -> None:
    with pytest.raises(InputError, match=r"the list has too few characters: .*, received none"):
        check_trainable([])


def test_nine_distinct_lines_are_too_few_however_often_they_come() -> None:
    with pytest.raises(InputError) as caught:
        check_trainable(PLACES[:9] * 100)
    assert str(caught.value) == (
        "the list is too short to be split into training, validation and test lines: expected at least 10 distinct "
        "lines, received 9. Add lines"
    )
    check_trainable(PLACES[:10])


# The split

split_inputs = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=4), min_size=10, max_size=60
).filter(lambda lines: len(set(lines)) >= 10 and len(set("".join(lines))) >= 2)
seeds = st.integers(-(2**70), 2**70)
shares = st.floats(0.001, 0.4)


@given(split_inputs, seeds, shares, shares, st.integers(1, 20), st.booleans())
def test_a_split_never_puts_copies_on_both_sides(
    lines: list[str], seed: int, validation_share: float, test_share: float, most: int, keep: bool
) -> None:
    split = split_lines(
        lines,
        seed=seed,
        validation_share=validation_share,
        test_share=test_share,
        max_held_out=most,
        keep_duplicates=keep,
    )
    train, validation, test = set(split.train), set(split.validation), set(split.test)
    assert len(train | validation | test) == len(train) + len(validation) + len(test)
    assert len(train) >= 1
    assert 1 <= len(validation) <= most
    assert 1 <= len(test) <= most
    everything = Counter([*split.train, *split.validation, *split.test])
    assert everything == (Counter(lines) if keep else Counter(set(lines)))


@given(split_inputs, seeds, st.booleans(), st.randoms(use_true_random=False))
def test_a_split_does_not_depend_on_the_order_of_the_file(
    lines: list[str], seed: int, keep: bool, generator: random.Random
) -> None:
    shuffled = list(lines)
    generator.shuffle(shuffled)
    first = split_lines(lines, seed=seed, keep_duplicates=keep, **TENTHS)
    assert split_lines(shuffled, seed=seed, keep_duplicates=keep, **TENTHS) == first


@given(split_inputs, seeds)
def test_keeping_copies_moves_no_line_to_another_side(lines: list[str], seed: int) -> None:
    once = split_lines(lines, seed=seed, **TENTHS)
    kept = split_lines(lines, seed=seed, keep_duplicates=True, **TENTHS)
    assert [set(kept.train), set(kept.validation), set(kept.test)] == [
        set(once.train),
        set(once.validation),
        set(once.test),
    ]


def test_a_split_is_the_same_on_every_machine() -> None:
    split = split_lines(PLACES, seed=7, **TENTHS)
    digest = hashlib.sha256("\n".join([*split.train, *split.validation, *split.test]).encode()).hexdigest()
    assert digest == "4e20e145196306a1331c5f6e42bba6c8bf03bbf74c54458b86412a6698de86ca"


def test_a_tenth_is_held_out_twice() -> None:
    split = split_lines(PLACES, seed=0, **TENTHS)
    assert (len(split.train), len(split.validation), len(split.test)) == (80, 10, 10)


def test_the_held_out_sides_stop_at_their_limit() -> None:
    split = split_lines([str(number) for number in range(30_000)], seed=0, **TENTHS)
    assert (len(split.train), len(split.validation), len(split.test)) == (26_000, 2_000, 2_000)


def test_ten_lines_give_one_line_to_each_held_out_side() -> None:
    split = split_lines(PLACES[:10], seed=0, **{**TENTHS, "validation_share": 0.01, "test_share": 0.01})
    assert (len(split.train), len(split.validation), len(split.test)) == (8, 1, 1)


def test_another_seed_gives_another_split() -> None:
    assert len({split_lines(PLACES, seed=seed, **TENTHS).test for seed in range(20)}) == 20


def test_every_line_is_held_out_about_as_often_as_the_others() -> None:
    times = Counter(line for seed in range(1000) for line in split_lines(PLACES, seed=seed, **TENTHS).test)
    assert len(times) == 100
    assert 60 <= min(times.values()) <= max(times.values()) <= 140  # mean 100, standard deviation 9.5


def test_a_list_that_grows_keeps_nearly_all_lines_on_their_side() -> None:
    before = split_lines(PLACES, seed=3, **TENTHS)
    after = split_lines([*PLACES, "one more"], seed=3, **TENTHS)
    assert len(set(before.test) - set(after.test)) <= 1
    assert len(set(before.train) - set(after.train)) <= 1


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan"), float("inf")])
@pytest.mark.parametrize("option", ["validation_share", "test_share"])
def test_a_share_out_of_range_is_refused(option: str, share: float) -> None:
    with pytest.raises(InputError) as caught:
        split_lines(PLACES, seed=0, **{**TENTHS, option: share})
    assert str(caught.value) == (
        f"{option} is out of range: expected a number above 0 and below 1, received {share}. "
        "0.1 holds out a tenth of the lines"
    )


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(InputError, match=r"share 0\.5 and test_share 0\.5 leave no line of 100 to train on"):
        split_lines(PLACES, seed=0, **{**TENTHS, "validation_share": 0.5, "test_share": 0.5})


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="max_held_out is out of range: expected 1 or more lines, received 0"):
        split_lines(PLACES, seed=0, **{**TENTHS, "max_held_out": 0})


def test_a_list_too_short_to_split_is_named() -> None:
    with pytest.raises(InputError, match=r"^names\.txt is too short"):
        split_lines(PLACES[:3], seed=0, source="names.txt", **TENTHS)


# The module as a whole


def test_a_long_list_is_read_and_split(write: Write) -> None:
    generator = random.Random(0)
    lines = ["".join(generator.choices("abcdefghij", k=8)) for _ in range(100_000)]
    found = read(write("long.txt", "\n".join(lines)))
    split = split_lines(found.lines, seed=0, **TENTHS)
    assert found.statistics.lines == 100_000
    assert len(split.train) == found.statistics.distinct - 4000


def test_reading_loads_no_engine() -> None:
    code = "import sys, charrnn.datasets.line_list; print({'tensorflow', 'keras', 'onnxruntime'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
    assert output.strip() == b"set()"


def test_the_embedded_list_is_found_in_a_checkout_and_in_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(embedded_list_path()).statistics.duplicates == 0
    package = tmp_path / "charrnn"
    (package / "data").mkdir(parents=True)
    (package / "data" / "nl_cities.csv").write_text("Ede\n")
    monkeypatch.setattr(line_list_module, "__file__", str(package / "datasets" / "line_list.py"))
    assert embedded_list_path() == package / "data" / "nl_cities.csv"


def test_a_missing_embedded_list_is_an_error_that_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_list_module, "__file__", str(tmp_path / "charrnn" / "datasets" / "line_list.py"))
    with pytest.raises(OperationError) as caught:
        embedded_list_path()
    assert str(caught.value) == (
        f"the embedded list is missing: expected {tmp_path}/charrnn/data/nl_cities.csv or {tmp_path}/data/"
        "nl_cities.csv, received neither. Install charrnn again, or name a file of your own"
    )


# Lines that are too long, comments, pipes


def test_lines_above_the_limit_are_all_counted_and_the_first_is_named(write: Write) -> None:
    path = write("names.txt", f"Ede\n{'x' * 2001}\nOss\n{'y' * 5000}\n{'z' * 2000}\n")
    assert message_of(path) == (
        f"{path}: 2 lines are longer than 2,000 characters, the first is line 2: expected shorter ones. Split them, "
        "pass --skip-long to leave them out, or raise --max-line-length"
    )
    found = read(path, skip_long=True)
    assert found.lines == ("Ede", "Oss", "z" * 2000)
    assert (found.statistics.long, found.statistics.first_long) == (2, 2)
    assert "2 too long and left out (the first is line 2)" in found.statistics.summary()
    assert len(read(path, max_line_length=5000).lines) == 5


def test_a_line_without_an_end_is_not_held_whole(write: Write) -> None:
    path = write("names.txt.gz", gzip.compress(b"Ede\n" + b"x" * 50_000_000 + b"\nOss\n", mtime=0))
    assert "1 line is longer than 2,000 characters, the first is line 2" in message_of(path)
    assert read(path, skip_long=True).lines == ("Ede", "Oss")


@pytest.mark.parametrize(
    ("name", "content", "how", "expected"),
    [
        ("a.txt", "# a list\nEde\n  # two\nOss #1\n", {}, ("Ede", "Oss #1")),
        ("a.csv", '# from a "register\nname,n\nEde,1\n"Oss\n# no comment",2\n', {"column": "n"}, ("1", "2")),
        ("a.csv", "#\nEde\n# x, y\nOss\n", {}, ("Ede", "Oss")),
        ("a.jsonl", '# strings\n"Ede"\n"# Oss"\n', {}, ("Ede", "# Oss")),
    ],
)
def test_comment_lines_are_left_out_and_counted(
    write: Write, name: str, content: str, how: dict[str, Any], expected: tuple[str, ...]
) -> None:
    found = read(write(name, content), comment="#", **how)
    assert found.lines == expected
    assert f", {found.statistics.comments} comments, " in found.statistics.summary()


def test_a_separator_line_of_a_spreadsheet_says_the_delimiter(write: Write) -> None:
    path = write("places.csv", '"sep=;"\r\nname;people\r\nEde, the town;1,5\r\nOss;2\r\n')
    assert read(path, column="name").lines == ("Ede, the town", "Oss")
    assert "has 2 columns" in message_of(path)


def test_a_lone_carriage_return_in_a_mixed_file_is_named_with_its_line(write: Write) -> None:
    path = write("names.txt", "Ede\r\nOss\rEpe\nHem\n")
    assert message_of(path).startswith(f"{path}: line 2 holds a carriage return that ends a line on its own")


def test_a_url_is_to_be_downloaded_first() -> None:
    assert message_of("https://example.org/names.txt") == (
        "https://example.org/names.txt is a URL: expected a file. Download it first, such as with: curl -LO "
        "https://example.org/names.txt"
    )


def zipped(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(name, "name,n\nEde,1\nOss,2\n")
    return data.getvalue()


def test_a_zip_of_one_file_is_read_as_that_file(write: Write, standard_input: Callable[[bytes], None]) -> None:
    assert read(write("a.zip", zipped("folder/places.csv")), column="name").lines == ("Ede", "Oss")
    standard_input(zipped("places.csv"))
    assert read("-", column="name").lines == ("Ede", "Oss")
    assert "holds 2 files: expected a zip of one, received 'a.csv', 'b.csv'" in message_of(
        write("b.zip", zipped("a.csv", "b.csv"))
    )
    assert "holds 0 files" in message_of(write("c.zip", zipped()))


@pytest.mark.parametrize(("suffix", "pack"), [(".bz2", bz2.compress), (".xz", lzma.compress)])
def test_bzip2_and_xz_are_unpacked(write: Write, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b"Ede\nOss\n")
    for name in (f"a.txt{suffix}", "a.txt"):
        assert read(write(name, packed)).lines == ("Ede", "Oss")
    assert "is damaged" in message_of(write(f"b{suffix}", packed[:-5]))


def test_a_list_that_begins_like_the_name_of_a_packing_is_text(write: Write) -> None:
    assert read(write("a.txt", "BZh9\nPK\n")).lines == ("BZh9", "PK")


def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text("name,n\nEde,1\nOss,2\n"))
    writer.start()
    assert read(pipe, column="name").lines == ("Ede", "Oss")
    writer.join()


def test_lines_of_a_program_are_a_list_with_the_digest_of_their_file(write: Write) -> None:
    made = make_line_list(line for line in ["Ede", " Oss ", "", "Ede"])
    assert made.lines == ("Ede", "Oss", "Ede")
    assert (made.statistics.distinct, made.statistics.empty) == (2, 1)
    assert made.statistics.sha256 == hashlib.sha256(b"Ede\nOss\n\nEde\n").hexdigest()
    assert read(write("names.txt", "Ede\nOss\n\nEde\n")).statistics.sha256 == made.statistics.sha256


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (3, "item 2: expected a string, received int '3'"),
        (None, "item 2: expected a string, received NoneType 'None'"),
        ("a\nb", "item 2: expected text on one line, received 'a\\\\nb'"),
        ("x" * 2001, "1 item is longer than 2,000 characters, the first is item 2"),
        ("a\ud800", "item 2: expected text on one line"),
    ],
)
def test_an_item_of_a_program_that_is_no_line_is_named(line: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_line_list(["Ede", line])


def test_lines_of_a_program_are_left_out_as_those_of_a_file_are() -> None:
    made = make_line_list(
        ["# names", "Ede", "x" * 9, "Oss"], ReadOptions(comment="#", max_line_length=8, skip_long=True)
    )
    assert made.lines == ("Ede", "Oss")
    assert (made.statistics.comments, made.statistics.long, made.statistics.first_long) == (1, 1, 3)
