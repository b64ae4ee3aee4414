"""A list of emoji with joiners, combining marks, right-to-left and CJK lines, from training to samples and scores."""

import json
import unicodedata

import pytest

FAMILY = "👩\u200d👩\u200d👧"
WORDS = [FAMILY, "👍🏽", "q\u0323\u0307", "e\u0301té", "שלום", "سلام", "東京", "서울", "नि\u200cक", "naïve"]
LINES = [f"{one}{other}" for one in WORDS for other in WORDS if one != other]


@pytest.fixture(scope="module")
def run(charrnn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unicode")
    path = folder / "lijst.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    trained = charrnn("train", path, "-o", folder / "run", "--iterations", 40, "--state-size", 16)
    assert trained.returncode == 0, trained.stderr
    exported = charrnn("export", folder / "run")
    assert exported.returncode == 0, exported.stderr
    return folder / "run"


def test_every_character_of_every_script_is_sampled_as_it_is(charrnn, run):
    known = set("".join(unicodedata.normalize("NFC", line) for line in LINES))
    done = {engine: charrnn("sample", run, "-n", 200, "--engine", engine) for engine in ("onnxruntime", "litert")}
    assert done["onnxruntime"].stdout == done["litert"].stdout
    text = done["onnxruntime"].stdout
    assert text.count("\n") == 200
    assert set(text) - {"\n"} <= known
    assert len(set(text) & known) > len(known) / 2
    assert charrnn("verify", run).returncode == 0


@pytest.mark.parametrize("prefix", ["e\u0301té", FAMILY, "q\u0323\u0307", "שלום", "東京"], ids=ascii)
def test_both_spellings_of_a_prefix_give_the_same(charrnn, run, prefix):
    composed, decomposed = (unicodedata.normalize(form, prefix) for form in ("NFC", "NFD"))
    for words in (("sample", run, "-n", 5, "--prefix"), ("complete", run, "-n", 3)):
        first, second = charrnn(*words, composed), charrnn(*words, decomposed)
        assert first.returncode == 0, first.stderr
        assert first.stdout == second.stdout
        assert all(composed in line for line in first.stdout.splitlines())


def test_lines_of_every_script_are_scored_in_either_spelling(charrnn, run, tmp_path):
    scores = []
    for form in ("NFC", "NFD"):
        path = tmp_path / f"{form}.txt"
        path.write_text("\n".join(unicodedata.normalize(form, line) for line in LINES), encoding="utf-8")
        done = charrnn("score", run, path, "--json")
        assert done.returncode == 0, done.stderr
        scores.append([json.loads(line)["log_probability"] for line in done.stdout.splitlines()])
    assert len(scores[0]) == len(LINES)
    assert scores[0] == scores[1]
