"""The benchmark runs every file of a bundle in a process of its own and says what its text costs."""

import json
from dataclasses import replace

import pytest

from charrnn_runtime.benchmark import benchmark, check_cost, in_words
from charrnn_runtime.errors import InputError, ModelFileError, ParityError


@pytest.fixture(scope="module")
def table(golden):
    return benchmark(golden / "one_layer")


def test_there_is_a_row_for_every_file_that_an_engine_here_runs(table):
    names = [row.file for row in table.rows]
    assert names[0] == "model.onnx"
    assert {*names} <= {"model.onnx", "model.tflite"}
    assert len(names) + len(table.missing) == 2
    for row in table.rows:
        assert row.load_ms > 0
        assert row.us_per_char > 0
        assert row.chars_per_s > 0
        assert row.parity < 1e-5
        assert abs(row.delta_bits_per_char) < 1e-5


def test_the_table_in_words_has_a_line_a_file_and_says_on_what_it_was_measured(table):
    said = in_words(table)
    for row in table.rows:
        assert f"| {row.file} " in said
    assert "5 held-out lines of the bundle" in said
    assert "onnxruntime" in said


def test_a_cost_above_the_accepted_one_is_named(table):
    check_cost(table, 0.02)
    dear = replace(table, rows=(replace(table.rows[0], delta_bits_per_char=0.03),))
    with pytest.raises(ParityError, match=r"^model\.onnx costs \+0\.0300 bits .*, allowed are 0\.02 \(--max-cost\)$"):
        check_cost(dear, 0.02)
    with pytest.raises(ParityError, match="costs \\+nan"):
        check_cost(replace(table, rows=(replace(table.rows[0], delta_bits_per_char=float("nan")),)), 0.02)


def test_one_file_and_a_text_of_ones_own_can_be_measured(golden, tmp_path):
    (tmp_path / "lines.txt").write_text("Aden\r\ndries\n", encoding="utf-8")
    table = benchmark(golden / "one_layer" / "model.onnx", text=tmp_path / "lines.txt")
    assert [row.file for row in table.rows] == ["model.onnx"]
    assert table.text.startswith("2 lines of ")
    (tmp_path / "lines.txt").write_text("\n\n", encoding="utf-8")
    with pytest.raises(InputError, match="expected one line or more"):
        benchmark(golden / "one_layer", text=tmp_path / "lines.txt")


def test_a_file_that_is_in_no_bundle_is_refused(golden, tmp_path):
    (tmp_path / "model.onnx").write_bytes((golden / "one_layer/model.onnx").read_bytes())
    with pytest.raises(ModelFileError, match="belongs to no bundle"):
        benchmark(tmp_path / "model.onnx")


def test_the_command_prints_json_and_verify_goes_through_every_file(runtime_command, small_bundle):
    done = runtime_command("benchmark", small_bundle, "--json", "--max-cost", "0.02")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"][0]["file"] == "model.onnx"
    verified = runtime_command("verify", small_bundle)
    assert verified.returncode == 0, verified.stderr
    assert "model.onnx: ok" in verified.stdout
