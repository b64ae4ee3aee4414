"""`score`: files of every kind, in their order, with the scores behind."""

import csv
import gzip
import io
import json
import math
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest

from charrnn_runtime import LineScore, load
from charrnn_runtime.cli.shading import legend, shaded

LINES = ["dries", "Aden", "", "sésé", "rrrrr"]


def one_line_error(done, *parts):
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for part in parts:
        assert part in done.stderr


@pytest.fixture
def scores(bundle):
    return load(bundle).score(LINES)


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "lijst é.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return path


def test_a_text_comes_back_with_bits_and_percentile_before_each_line(runtime_command, bundle, text_file, scores):
    done = runtime_command("score", bundle, text_file)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [text for _, _, text in rows] == LINES
    for (bits, percentile, _), score in zip(rows, scores, strict=True):
        assert float(bits) == pytest.approx(score.bits_per_character, abs=6e-4)
        assert float(percentile) == pytest.approx(score.percentile, abs=0.06)


def test_processes_write_what_one_writes(runtime_command, bundle, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("\n".join(LINES * 2000), encoding="utf-8")
    alone, together = (runtime_command("score", bundle, path, "--workers", count) for count in (1, 2))
    assert (together.returncode, together.stderr) == (0, alone.stderr)
    for one, other in zip(alone.stdout.splitlines(), together.stdout.splitlines(), strict=True):
        (bits, percentile, text), (other_bits, other_percentile, other_text) = one.split("\t"), other.split("\t")
        assert text == other_text
        assert float(bits) == pytest.approx(float(other_bits), abs=2e-3)
        assert float(percentile) == pytest.approx(float(other_percentile), abs=0.11)


def test_the_summary_on_stderr_is_the_mean_a_character_of_all_lines(runtime_command, bundle, text_file):
    done = runtime_command("score", bundle, text_file)
    bits = load(bundle).bits_per_character(LINES)
    characters = sum(len(line) + 1 for line in LINES)
    assert done.stderr.startswith(f"scored 5 lines, {characters} characters: {bits:.3f} bits per character")


def test_standard_input_and_gzip_give_the_same(runtime_command, bundle, text_file, tmp_path):
    plain = runtime_command("score", bundle, text_file).stdout
    packed = tmp_path / "lines.txt.gz"
    packed.write_bytes(gzip.compress(text_file.read_bytes()))
    assert runtime_command("score", bundle, packed).stdout == plain
    assert runtime_command("score", bundle, "-", input=text_file.read_text(encoding="utf-8")).stdout == plain


def test_a_byte_order_mark_and_carriage_returns_are_no_part_of_a_line(runtime_command, bundle, text_file, tmp_path):
    other = tmp_path / "windows.txt"
    other.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(LINES).encode())
    assert runtime_command("score", bundle, other).stdout == runtime_command("score", bundle, text_file).stdout


def test_a_csv_gets_columns_appended(runtime_command, bundle, tmp_path, scores):
    path = tmp_path / "names.csv"
    path.write_text("id;name;note\n" + "".join(f'{i};{line};"a ""b"""\n' for i, line in enumerate(LINES)))
    done = runtime_command("score", bundle, path, "--column", "name", "--characters")
    rows = list(csv.DictReader(io.StringIO(done.stdout), delimiter=";"))
    assert [(row["id"], row["name"], row["note"]) for row in rows] == [
        (str(i), line, 'a "b"') for i, line in enumerate(LINES)
    ]
    for row, score in zip(rows, scores, strict=True):
        assert float(row["log_probability"]) == pytest.approx(score.log_probability, abs=1e-5)
        assert float(row["bits_per_character"]) == pytest.approx(score.bits_per_character, abs=1e-5)
        assert float(row["perplexity"]) == pytest.approx(score.perplexity, rel=1e-3)
        assert float(row["percentile"]) == pytest.approx(score.percentile, abs=0.01)
        bits = [float(word) for word in row["character_bits"].split()]
        assert bits == pytest.approx((-score.log_probabilities / math.log(2)).tolist(), abs=1e-4)


def test_a_column_by_number_has_no_header(runtime_command, bundle, tmp_path):
    path = tmp_path / "names.tsv"
    path.write_text("1\tAden\n2\tdries\n")
    done = runtime_command("score", bundle, path, "--column", "2")
    assert [line.split("\t")[:2] for line in done.stdout.splitlines()] == [["1", "Aden"], ["2", "dries"]]


def test_json_lines_keep_their_fields(runtime_command, bundle, tmp_path, scores):
    path = tmp_path / "names.jsonl"
    path.write_text("".join(json.dumps({"id": i, "name": line}) + "\n" for i, line in enumerate(LINES)))
    done = runtime_command("score", bundle, path, "--field", "name")
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["id"], one["name"]) for one in objects] == list(enumerate(LINES))
    assert [one["log_probability"] for one in objects] == pytest.approx([s.log_probability for s in scores], abs=1e-5)


def test_above_and_below_share_the_lines_between_them(runtime_command, bundle, text_file, scores):
    done = {side: runtime_command("score", bundle, text_file, f"--{side}", 50) for side in ("above", "below")}
    texts = {side: [line.split("\t")[2] for line in one.stdout.splitlines()] for side, one in done.items()}
    assert texts["above"] == [line for line, score in zip(LINES, scores, strict=True) if score.percentile > 50]
    assert texts["below"] == [line for line, score in zip(LINES, scores, strict=True) if score.percentile <= 50]
    assert 0 < len(texts["above"]) < 5
    assert f"{len(texts['above'])} lines shown" in done["above"].stderr


def test_more_lines_than_are_read_ahead_come_back_in_their_order(runtime_command, bundle, tmp_path):
    path = tmp_path / "many.txt"
    lines = [("dA"[number % 2]) + "r" * (number % 9) for number in range(40_000)]
    path.write_text("\n".join(lines) + "\n")
    done = runtime_command("score", bundle, path)
    assert [line.rpartition("\t")[2] for line in done.stdout.splitlines()] == lines


def test_an_empty_file_is_no_lines(runtime_command, bundle, tmp_path):
    (tmp_path / "empty.txt").write_bytes(b"")
    done = runtime_command("score", bundle, tmp_path / "empty.txt")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "scored no lines\n")


BAD = [
    ("a.txt", b"dries\nd\xff\n", [], ["a.txt", "line 2 is not UTF-8"]),
    ("a.txt", "dries\nAß\n".encode(), [], ["a.txt: line 2: unknown character 'ß'", "skip"]),
    ("a.csv", b"id,name\n1,Aden\n", [], ["2 columns", "1 'id', 2 'name'", "Give column"]),
    ("a.csv", b"id,name\n1,Aden\n", ["--column", "nam"], ["no column 'nam'", "1 'id', 2 'name'"]),
    ("a.csv", b"id,name\n1,Aden\n", ["--column", "3"], ["no column '3'", "from 1 to 2"]),
    ("a.csv", b'id,name\n1,"A\nd"\n', ["--column", "name"], ["line 2: an item holds a newline"]),
    ("a.jsonl", b'{"name": "A"}\n', [], ["line 1", "expected a JSON string", "Give field"]),
    ("a.jsonl", b'"A"\n{\n', [], ["line 2 is not JSON"]),
    ("a.jsonl", b'{"name": 3}\n', ["--field", "name"], ["line 1: the field 'name' is not a string"]),
    ("a.jsonl", b'{"name": "A"}\n', ["--field", "nam"], ["line 1: the field 'nam' is missing"]),
    ("a.txt", b"A\n", ["--column", "1"], ["column '1' was given, but", "read as one item a line"]),
    ("a.txt.gz", gzip.compress(b"Aden\n" * 5000, mtime=0)[:-30], [], ["a.txt.gz is damaged gzip data"]),
    ("a.txt", b"A\n", ["--above", "101"], ["percentile from 0 to 100", "101"]),
]


@pytest.mark.parametrize(("name", "content", "words", "parts"), BAD, ids=lambda value: str(value)[:20])
def test_a_file_that_cannot_be_scored_is_one_line_on_stderr(
    runtime_command, bundle, tmp_path, name, content, words, parts
):
    (tmp_path / name).write_bytes(content)
    one_line_error(runtime_command("score", bundle, tmp_path / name, *words), *parts)


def test_a_file_that_is_not_there_is_one_line_on_stderr(runtime_command, bundle, tmp_path):
    one_line_error(runtime_command("score", bundle, tmp_path / "absent.txt"), "absent.txt does not exist")
    one_line_error(runtime_command("score", bundle, tmp_path), "is a folder")


def test_the_newest_run_scores_when_no_model_is_named(runtime_command, bundle, text_file, tmp_path):
    run = tmp_path / "artifacts" / "names"
    run.mkdir(parents=True)
    (run / "weights.npz").write_bytes(b"")
    bundle.rename(run / "bundle")
    done = runtime_command("score", text_file, cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 5


# the bits of each character as colours


def on_a_terminal(*words, **variables):
    """Stdout of a command that writes to a terminal, and its stderr."""
    master, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "", **variables}
    command = [sys.executable, "-m", "charrnn_runtime", *map(str, words)]
    done = subprocess.run(command, stdout=terminal, stderr=subprocess.PIPE, env=environment, check=True, timeout=60)
    os.close(terminal)
    shown = os.read(master, 1 << 16).decode()
    os.close(master)
    return shown.replace("\r\n", "\n"), done.stderr.decode()


def test_characters_are_shaded_on_a_terminal_and_the_scale_is_said_once(bundle, text_file, scores):
    shown, messages = on_a_terminal("score", bundle, text_file, "--characters")
    rows = [row.split("\t") for row in shown.splitlines()]
    assert [re.sub(r"\x1b\[[0-9;]*m", "", row[-1]) for row in rows] == [f"{line}⏎" for line in LINES]
    assert [row[:2] for row in rows] == [[f"{one.bits_per_character:.3f}", f"{one.percentile:.1f}"] for one in scores]
    assert [row[-1] for row in rows] == [shaded(one) for one in scores]
    assert messages.splitlines()[0] == legend()
    assert messages.count("bits a character:") == 1


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_without_colours_gets_the_numbers(bundle, text_file, runtime_command, variables):
    shown, messages = on_a_terminal("score", bundle, text_file, "--characters", **variables)
    assert shown == runtime_command("score", bundle, text_file, "--characters").stdout
    assert "\x1b" not in shown + messages


def test_json_is_never_shaded(bundle, text_file, runtime_command):
    shown, messages = on_a_terminal("score", bundle, text_file, "--characters", "--json")
    assert shown == runtime_command("score", bundle, text_file, "--characters", "--json").stdout
    assert "\x1b" not in shown + messages


def test_control_characters_are_escaped_between_the_colours():
    score = LineScore("a\x1b[2J\u202e", -np.full(7, 3 * np.log(2)), None)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shaded(score))
    assert plain == "a\\x1b[2J\\u202e⏎"


def test_more_bits_have_another_colour():
    colours = {shaded(LineScore("a", -np.array([bits, 0.5]) * np.log(2), None)) for bits in (0.5, 1.5, 3, 5, 7, 9, 15)}
    assert len(colours) == 7
    assert shaded(LineScore("a", -np.array([0.5, 0.5]) * np.log(2), None)) == "a⏎"
