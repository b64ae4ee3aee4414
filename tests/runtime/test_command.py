"""`python -m charrnn_runtime` as a process, the way a device runs it."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charrnn_runtime import load
from charrnn_runtime.cli.main import all_options

FORBIDDEN = ("tensorflow", "keras", "onnx", "tf2onnx", "typer", "matplotlib", "charrnn", "charrnn_export")
IMPORTS = """
import sys
sys.argv = ["charrnn_runtime", *sys.argv[1:]]
from charrnn_runtime.__main__ import main
code = main()
print(sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
sys.exit(code)
"""
REFUSE = f"""
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FORBIDDEN}:
            raise ImportError(name + " is refused here")

sys.meta_path.insert(0, Refuse())
import charrnn_runtime
print(charrnn_runtime.load(sys.argv[1]).sample(2))
"""


def one_line_error(done, *parts, code=2):
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("charrnn: ")
    for part in parts:
        assert part in lines[0]


# what works


def test_sample_prints_one_line_for_each_sample_and_nothing_else(runtime_command, bundle):
    done = runtime_command("sample", bundle, "-n", 12, "--prefix", "A", "--seed", 7)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == load(bundle).sample(12, prefix="A", seed=7)
    assert len(done.stdout.splitlines()) == 12


def test_sample_takes_every_option_of_the_library(runtime_command, bundle):
    words = ("-n", 9, "--temperature", 0.7, "--top-k", 5, "--top-p", 0.9, "--max-length", 6, "--seed", 2**64 - 1)
    done = runtime_command("sample", bundle, *words, "--batch-size", 2, "--first-value", "dr")
    model = load(bundle)
    expected = model.sample(9, "dr", temperature=0.7, top_k=5, top_p=0.9, max_length=6, seed=2**64 - 1)
    assert done.stdout.splitlines() == expected


def test_one_exported_file_is_enough_for_sample_verify_and_info(runtime_command, bundle):
    pytest.importorskip("ai_edge_litert")
    alone = bundle.rename(bundle.parent / "before") / "model.tflite"
    moved = alone.rename(bundle.parent / "alleen é.tflite")
    assert runtime_command("sample", moved, "-n", 2).stdout.count("\n") == 2
    assert "ok on litert: 9 lines identical" in runtime_command("verify", moved).stdout
    assert "alleen é.tflite" in runtime_command("info", moved).stdout


def test_verify_says_what_it_compared(runtime_command, bundle):
    done = runtime_command("verify", bundle)
    assert done.returncode == 0
    if importlib.util.find_spec("ai_edge_litert"):
        assert done.stderr == ""
        assert "model.tflite: ok on litert: 9 lines identical" in done.stdout
    else:
        assert "not verified: " in done.stderr
        assert "model.tflite needs LiteRT, which is not installed here" in done.stderr
    assert "model.onnx: ok on onnxruntime: 9 lines identical, log-probabilities within" in done.stdout


def test_info_names_the_file_the_sizes_and_the_characters(runtime_command, bundle):
    done = runtime_command("info", bundle)
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("model.onnx", "16 + 12", "12 tokens", "é", "🏙", "NFC", "nothing: random weights", "50 characters"):
        assert part in done.stdout


def test_without_a_model_the_newest_run_is_taken_and_named_on_stderr(runtime_command, bundle, tmp_path):
    run = tmp_path / "artifacts" / "names"
    run.mkdir(parents=True)
    (run / "weights.npz").write_bytes(b"")
    bundle.rename(run / "bundle")
    done = runtime_command("sample", "-n", 3, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.count("\n") == 3
    assert str(Path("artifacts", "names")) in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_lists_the_commands_and_their_options(runtime_command):
    for words, part in ((["--help"], "verify"), (["sample", "--help"], "--top-p"), (["info", "--help"], "--engine")):
        done = runtime_command(*words)
        assert done.returncode == 0
        assert part in done.stdout


# what is refused

USAGE = [
    (["-n", "0"], ["number of samples", "received 0"]),
    (["-n", "-1"], ["number of samples", "received -1"]),
    (["-n", "two"], ["-n", "two"]),
    (["--temperature", "-1"], ["temperature", "received -1"]),
    (["--temperature", "nan"], ["temperature", "received nan"]),
    (["--temperature", "inf"], ["temperature", "received inf"]),
    (["--temperature", "warm"], ["--temperature", "warm"]),
    (["--top-p", "0"], ["top_p", "received 0"]),
    (["--top-p", "1.5"], ["top_p", "received 1.5"]),
    (["--top-p", "nan"], ["top_p", "received nan"]),
    (["--top-k", "0"], ["top_k", "received 0"]),
    (["--max-length", "0"], ["max_length", "received 0"]),
    (["--max-length", "2", "--prefix", "dries"], ["max_length", "5 characters of the prefix", "received 2"]),
    (["--seed", "-1"], ["seed", "received -1"]),
    (["--seed", str(2**64)], ["seed", f"received {2**64}"]),
    (["--batch-size", "0"], ["batch_size", "received 0"]),
    (["--prefix", "Xq"], ["unknown character 'X' (U+0058, LATIN CAPITAL LETTER X) at position 1", "-Adeinrsté🏙"]),
    (["--prefix", "d🏡"], ["unknown character '🏡' (U+1F3E1, HOUSE WITH GARDEN) at position 2"]),
    (["--prefix", "d\t"], ["unknown character U+0009 at position 2"]),
    (["--engine", "torch"], ["--engine", "torch", "onnxruntime"]),
    (["--engine", "numpy"], ["holds no file that numpy could run"]),
    (["--temprature", "1"], ["--temprature"]),
    (["second"], ["second"]),
]


@pytest.mark.parametrize(("words", "parts"), USAGE, ids=lambda value: " ".join(value))
def test_bad_usage_is_one_line_on_stderr_and_exit_code_2(runtime_command, bundle, words, parts):
    one_line_error(runtime_command("sample", bundle, *words), *parts)


RANGED = [
    (command, one.spellings[-1])
    for command in ("sample", "score", "complete", "benchmark")
    for one in all_options(command)
    if one.legal.limits and not (isinstance(one.legal.read, type) and one.legal.accepts(one.legal.read("-1")))
]


@pytest.mark.parametrize(("command", "option"), RANGED)
def test_a_value_outside_the_range_that_help_shows_is_refused(runtime_command, bundle, tmp_path, command, option):
    (tmp_path / "lines.txt").write_text("dries\n", encoding="utf-8")
    words = {"score": [tmp_path / "lines.txt"], "complete": ["d"]}.get(command, [])
    one_line_error(runtime_command(command, bundle, *words, f"{option}=-1"), "expected", "-1")


@pytest.mark.parametrize("words", [[], ["samples"], ["train", "x"], ["--version-of-what"]], ids=str)
def test_a_command_that_is_not_there_is_one_line_on_stderr(runtime_command, words):
    one_line_error(runtime_command(*words), "--help")


@pytest.mark.parametrize("command", ["sample", "verify", "info"])
def test_every_command_refuses_a_model_that_is_not_there(runtime_command, tmp_path, command):
    one_line_error(runtime_command(command, tmp_path / "absent"), "there is no model at", "absent")


def test_without_a_model_and_without_a_run_the_message_says_what_to_do(runtime_command, tmp_path):
    one_line_error(runtime_command("sample", cwd=tmp_path), "there is no run below", "charrnn train")


def test_damaged_models_are_refused_by_the_command(runtime_command, bundle):
    onnx, tflite = bundle / "model.onnx", bundle / "model.tflite"
    whole = onnx.read_bytes()
    onnx.write_bytes(whole[:9000])
    one_line_error(runtime_command("sample", onnx), "model.onnx carries no description", "truncated")
    onnx.write_bytes(whole[:5000] + bytes([whole[5000] ^ 4]) + whole[5001:])
    one_line_error(runtime_command("sample", bundle), "model.onnx is damaged", "SHA-256", "manifest.json")
    one_line_error(runtime_command("verify", onnx), "model.onnx is damaged", "SHA-256")
    tflite.write_bytes(tflite.read_bytes()[:-200])
    one_line_error(runtime_command("info", tflite), "model.tflite carries no description")
    one_line_error(runtime_command("sample", bundle / "README.md"), "README.md is no model")
    (bundle / "manifest.json").write_bytes(b"{")
    one_line_error(runtime_command("sample", bundle), "manifest.json is damaged: expected a JSON object")


def test_a_name_with_a_line_break_still_gives_one_line(runtime_command, tmp_path):
    one_line_error(runtime_command("sample", tmp_path / "two\nlines"), "there is no model at")


def test_an_option_with_a_line_break_still_gives_one_line(runtime_command, tmp_path):
    one_line_error(runtime_command("sample", tmp_path, "--two\nlines"), "lines")


def test_debug_shows_where_an_error_came_from(runtime_command, tmp_path):
    done = runtime_command("sample", tmp_path / "absent", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("charrnn: there is no model at")


# streams, locales, signals


def test_a_reader_that_goes_away_ends_the_command_quietly(bundle):
    command = f"{sys.executable} -m charrnn_runtime sample '{bundle}' -n 200000 | head -3"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, encoding="utf-8", timeout=60)
    assert done.stdout.splitlines() == load(bundle).sample(3)
    assert done.stderr == ""


def test_a_full_disk_behind_stdout_is_an_error(bundle):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "charrnn_runtime", "sample", bundle],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == ["charrnn: the system refused: [Errno 28] No space left on device"]


NO_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LOCALES = [{"LC_ALL": "C"}, NO_UTF8, {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}]


@pytest.mark.parametrize("locale", LOCALES, ids=str)
def test_names_beyond_ascii_come_out_as_utf_8_whatever_the_locale(runtime_command, small_bundle, locale):
    done = runtime_command("sample", small_bundle, "--prefix", "é🏙", "-n", 5, env=locale)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == load(small_bundle).sample(5, prefix="é🏙")
    unknown = runtime_command("sample", small_bundle, "--prefix", "ß", env=locale)
    one_line_error(unknown, "unknown character 'ß' (U+00DF")


def test_a_path_beyond_ascii_is_found_whatever_the_locale(runtime_command, bundle):
    assert runtime_command("sample", bundle, "-n", 5, env=NO_UTF8).stdout.splitlines() == load(bundle).sample(5)


def test_a_prefix_that_is_no_utf_8_is_an_unknown_character(bundle):
    command = [sys.executable, "-m", "charrnn_runtime", "sample", os.fsencode(bundle), "--prefix", b"d\xff"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.decode().startswith("charrnn: unknown character U+DCFF at position 2")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_with_one_line_and_its_own_exit_code(bundle, number, code):
    command = [sys.executable, "-m", "charrnn_runtime", "sample", bundle, "-n", "100000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()  # it is drawing by now
        process.send_signal(number)
        end = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < end:
            process.stdout.read1(65536)
        process.kill()  # if it still runs
        _, errors = process.communicate()
    assert process.returncode == code
    assert len(errors.decode().splitlines()) == 1
    assert errors.decode().startswith("charrnn: ")


# what is loaded


@pytest.mark.parametrize("words", [["sample", "-n", "3"], ["complete", "d"], ["verify"], ["info"]], ids=str)
def test_nothing_of_the_training_side_is_loaded(bundle, words):
    file = bundle / "model.onnx" if words == ["verify"] else bundle  # of a bundle, verify runs every file
    command = [sys.executable, "-c", IMPORTS, words[0], str(file), *words[1:]]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = done.stderr.splitlines()[-1]
    assert "'onnxruntime'" in loaded
    for package in (*FORBIDDEN, "ai_edge_litert"):
        assert f"'{package}'" not in loaded


def test_the_runtime_works_where_the_training_side_cannot_be_imported(golden):
    command = [sys.executable, "-c", REFUSE, golden / "one_layer"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(load(golden / "one_layer").sample(2))


# what sample can do beside


def test_sample_as_json_has_the_log_probability_of_each_text(runtime_command, bundle):
    done = runtime_command("sample", bundle, "-n", 300, "--json", "--seed", 3, "--max-length", 5)
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    model = load(bundle)
    samples = list(model.samples(model.request(seed=3, max_length=5), 300))
    received = [(one["text"], one["index"], one["ended"]) for one in objects]
    assert received == [(sample.text, sample.index, sample.ended) for sample in samples]
    assert [one["log_probability"] for one in objects] == pytest.approx(model.score_samples(samples), abs=1e-5)


def test_sample_keeps_what_is_asked_for(runtime_command, bundle):
    words = ("-n", 40, "--unique", "--novel", "--min-length", 3, "--max-length", 7, "--ban", "és")
    done = runtime_command("sample", bundle, *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(set(lines)) == len(lines) == 40
    training = load(bundle).training_lines()
    for line in lines:
        assert line not in training
        assert 3 <= len(line) <= 7
        assert not set(line) & set("és")


def test_several_temperatures_stand_side_by_side(runtime_command, bundle):
    done = runtime_command("sample", bundle, "-n", 3, "--temperature", "0,0.5,2", "--max-length", 8)
    head, *rows = [line.split("  ") for line in done.stdout.splitlines()]
    assert [word.strip() for word in head if word.strip()] == ["0.0", "0.5", "2.0"]
    assert len(rows) == 3
    greedy = load(bundle).sample(1, temperature=0, max_length=8)[0]
    assert [row[0].strip() for row in rows] == [greedy] * 3


def test_when_nothing_is_left_to_draw_it_ends_with_what_there_is_and_says_so(runtime_command, bundle):
    for words in ([], ["--json"]):
        done = runtime_command("sample", bundle, "-n", 9, "--unique", "--temperature", 0, *words)
        assert done.returncode == 1
        assert len(done.stdout.splitlines()) == 1
        assert done.stderr.startswith(
            "charrnn: nothing is left to draw: found 1 of 9 samples; of 10,000 that were drawn"
        )


def test_processes_print_what_one_prints(runtime_command, bundle):
    words = ("sample", bundle, "-n", 9000, "--max-length", 5, "--seed", 7)
    alone, together = runtime_command(*words), runtime_command(*words, "--workers", 2, "--threads", 2)
    assert (together.returncode, together.stderr) == (0, "")
    assert together.stdout == alone.stdout


# complete


def test_complete_prints_probabilities_and_lines(runtime_command, bundle):
    done = runtime_command("complete", bundle, "dr", "-n", 4, "--max-length", 6)
    expected = load(bundle).complete("dr", 4, max_length=6)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [text for _, text in rows] == [one.text for one in expected]
    assert [float(percent.rstrip("%")) for percent, _ in rows] == pytest.approx(
        [100 * one.probability for one in expected], rel=1e-3
    )


def test_complete_as_json_and_the_next_characters(runtime_command, bundle):
    done = runtime_command("complete", bundle, "dr", "-n", 3, "--json")
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == [
        one.text for one in load(bundle).complete("dr", 3)
    ]
    done = runtime_command("complete", bundle, "dr", "--next", "-n", 99)
    assert len(done.stdout.splitlines()) == 12
    assert "(end)" in done.stdout


def test_a_single_word_that_is_no_path_is_a_prefix_for_the_newest_run(runtime_command, bundle, tmp_path):
    run = tmp_path / "artifacts" / "names"
    run.mkdir(parents=True)
    (run / "weights.npz").write_bytes(b"")
    bundle.rename(run / "bundle")
    done = runtime_command("complete", "dr", "-n", 2, cwd=tmp_path)
    assert all(line.split("\t")[1].startswith("dr") for line in done.stdout.splitlines())
    assert len(done.stdout.splitlines()) == 2
    one_line_error(runtime_command("complete", "no/model", cwd=tmp_path), "there is no model at no/model")


def test_words_may_stand_behind_options(runtime_command, bundle, tmp_path):
    expected = runtime_command("complete", bundle, "dr", "-n", 2).stdout
    assert runtime_command("complete", bundle, "-n", 2, "dr").stdout == expected
    assert runtime_command("complete", "-n", 2, bundle, "dr").stdout == expected
    (tmp_path / "lines.txt").write_text("dries\n")
    assert runtime_command("score", bundle, "--json", tmp_path / "lines.txt").returncode == 0
    one_line_error(runtime_command("complete", bundle, "dr", "-n", 2, "more"), "unknown argument more")


def test_a_search_that_its_budget_ended_says_so(runtime_command, bundle):
    done = runtime_command("complete", bundle, "-n", 5, "--budget", 1)
    assert done.returncode == 0
    assert "not proven" in done.stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["dX"], "unknown character 'X'"),
        (["d", "-n", "0"], "number of completions"),
        (["dries", "--max-length", "3"], "expected at most the 3 characters"),
        (["d", "--budget", "0"], "budget"),
    ],
)
def test_what_cannot_be_completed_is_one_line_on_stderr(runtime_command, bundle, words, part):
    one_line_error(runtime_command("complete", bundle, *words), part)
