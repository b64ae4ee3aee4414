"""Bad input gets one clear line on stderr, the right exit code, and nothing lost."""

import gzip
import shutil
from pathlib import Path

import pytest


def refused(done, exit_code: int, *parts: str) -> None:
    assert done.returncode == exit_code, done.stderr
    assert done.stdout == ""
    line = done.stderr.removesuffix("\n")
    assert "\n" not in line, done.stderr
    assert line.startswith("charrnn: ")
    for part in parts:
        assert part in line


BAD_LISTS = {
    "empty": (b"", "is empty"),
    "only newlines": (b"\n\n\n", "holds no item"),
    "one distinct character": (b"a\naa\naaa\n" * 9, "too few characters"),
    "too few lines": (b"ab\nba\n", "too short"),
    "invalid UTF-8": (b"abc\nd\xffe\n", "byte"),
    "UTF-16": ("Ede\nEpe\n".encode("utf-16"), "UTF-16"),
    "binary": (bytes(range(256)) * 20, "binary"),
}


@pytest.mark.parametrize("name", BAD_LISTS)
def test_a_bad_list_is_refused_before_anything_is_written(charrnn, tmp_path: Path, name: str) -> None:
    data, part = BAD_LISTS[name]
    source = tmp_path / "list.txt"
    source.write_bytes(data)
    refused(charrnn("train", source, "-o", tmp_path / "run"), 2, "list.txt", part)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--validation", "--test"])
@pytest.mark.parametrize("name", ["empty", "only newlines", "invalid UTF-8", "UTF-16", "binary"])
def test_a_bad_file_of_held_out_lines_is_refused_before_anything_is_written(
    charrnn, names_file: Path, tmp_path: Path, name: str, option: str
) -> None:
    data, part = BAD_LISTS[name]
    held_out = tmp_path / "held out.txt"
    held_out.write_bytes(data)
    refused(charrnn("train", names_file, "-o", tmp_path / "run", option, held_out), 2, "held out.txt", part)
    assert not (tmp_path / "run").exists()


BAD_HELD_OUT_WORDS = [
    (["--test", "nowhere.txt"], "nowhere.txt does not exist"),
    (["--test", "."], "is a folder"),
    (["--test", "names.txt"], "too few lines of its own"),
    (["--test", "some.txt", "--validation", "some.txt"], "no validation line is left"),
    (["--test", "-", "--validation", "-"], "standard input can be read once"),
    (["--test", "some.txt", "--test-share", "0.2"], "option test_share"),
    (["--test", "odd.txt"], "U+20AC, EURO SIGN"),
    (["--validation", "odd.txt"], "U+20AC, EURO SIGN"),
]


@pytest.mark.parametrize(("words", "part"), BAD_HELD_OUT_WORDS)
def test_files_of_held_out_lines_that_make_no_sense_are_refused(charrnn, names_file, tmp_path, words, part) -> None:
    shutil.copy(names_file, tmp_path / "names.txt")
    (tmp_path / "some.txt").write_text("Abkan\nBélor\n", encoding="utf-8")
    (tmp_path / "odd.txt").write_text("Abkan\nAb€an\n", encoding="utf-8")
    refused(charrnn("train", "names.txt", "-o", "run", *words, cwd=tmp_path), 2, part)
    assert not (tmp_path / "run").exists()


def test_invalid_utf8_names_line_and_byte(charrnn, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"Ede\nEpe\nE\xffe\n")
    refused(charrnn("train", "list.txt", cwd=tmp_path), 2, "list.txt", "line 3", "byte", "9", "0xFF")


def test_a_missing_file_and_a_directory_are_named(charrnn, tmp_path: Path) -> None:
    refused(charrnn("train", tmp_path / "nowhere.txt"), 2, "nowhere.txt")
    refused(charrnn("train", tmp_path), 2, str(tmp_path), "is a folder")


def test_a_column_that_is_not_there_is_named_with_those_that_are(charrnn, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("city,people\nEde,1\nEpe,2\n", encoding="utf-8")
    refused(charrnn("train", table, "--column", "town"), 2, "town", "city", "people")


def test_a_damaged_gz_is_refused(charrnn, tmp_path: Path) -> None:
    packed = tmp_path / "list.txt.gz"
    packed.write_bytes(gzip.compress(b"Ede\nEpe\n" * 99, mtime=0)[:-9])
    refused(charrnn("train", packed), 2, "list.txt.gz")


BAD_SAMPLE_OPTIONS = [
    (["--prefix", "Ab€"], "U+20AC"),
    (["--prefix", "Ab\udcff"], "U+DCFF"),
    (["--temperature", "-1"], "temperature"),
    (["--temperature", "nan"], "temperature"),
    (["--temperature", "inf"], "temperature"),
    (["--temperature", "warm"], "temperature"),
    (["--top-p", "0"], "top_p"),
    (["--top-p", "1.5"], "top_p"),
    (["--top-p", "nan"], "top_p"),
    (["--top-k", "0"], "top_k"),
    (["--top-k", "-3"], "top_k"),
    (["-n", "0"], "number of samples"),
    (["-n", "-1"], "number of samples"),
    (["--max-length", "0"], "max_length"),
    (["--prefix", "Abkan", "--max-length", "5"], "max_length"),
    (["--batch-size", "0"], "batch_size"),
    (["--seed", "-1"], "seed"),
    (["--engine", "onx"], "onnxruntime"),
    (["--temprature", "1"], "--temperature"),
]


@pytest.mark.parametrize(("words", "part"), BAD_SAMPLE_OPTIONS)
def test_a_sampling_option_without_meaning_is_refused(charrnn, bundle: Path, words: list[str], part: str) -> None:
    refused(charrnn("sample", bundle, *words), 2, part)


BAD_TRAIN_OPTIONS = [
    (["--iterations", "0"], "iterations"),
    (["--state-size", "-5"], "state_size"),
    (["--lr", "nan"], "lr"),
    (["--normalize", "nfkc"], "normalize"),
    (["--validation-share", "0.9"], "test_share"),
    (["--dropout-output", "1"], "dropout_output"),
    (["--iteratons", "5"], "--iterations"),
    (["--seed", "x"], "seed"),
]


@pytest.mark.parametrize(("words", "part"), BAD_TRAIN_OPTIONS)
def test_a_training_option_without_meaning_is_refused(charrnn, names_file, tmp_path, words, part) -> None:
    refused(charrnn("train", names_file, "-o", tmp_path / "run", *words), 2, part)
    assert not (tmp_path / "run").exists()


def test_export_names_the_nearest_format(charrnn, exported_run: Path) -> None:
    refused(charrnn("export", exported_run, "--format", "onx"), 2, "'onx'", "did you mean onnx?")
    refused(charrnn("export", exported_run, "--fromat", "onnx"), 2, "--format")
    refused(charrnn("exprt"), 2, "Did you mean 'export'")


def test_export_of_a_folder_that_is_no_run_is_refused(charrnn, tmp_path: Path) -> None:
    refused(charrnn("export", tmp_path), 2, str(tmp_path), "no run")
    refused(charrnn("export", tmp_path / "nowhere"), 2, "nowhere")
    refused(charrnn("export", cwd=tmp_path), 2, "charrnn train")
    refused(charrnn("sample", cwd=tmp_path), 2, "charrnn train")


def test_a_truncated_onnx_is_refused(charrnn, bundle: Path, tmp_path: Path) -> None:
    whole = (bundle / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    refused(charrnn("sample", tmp_path / "model.onnx"), 2, "model.onnx", "truncated")


def test_a_bundle_with_one_flipped_bit_is_refused(charrnn, bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    data = bytearray((copy / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.onnx").write_bytes(data)
    refused(charrnn("sample", copy), 2, "model.onnx is damaged", "SHA-256")
    refused(charrnn("sample", copy / "model.onnx"), 2, "model.onnx is damaged", "SHA-256")


def test_a_tflite_without_its_metadata_is_refused(charrnn, bundle: Path, tmp_path: Path) -> None:
    from charrnn_runtime.bundle.embedded import detach_from_tflite

    model, _ = detach_from_tflite((bundle / "model.tflite").read_bytes(), "x")
    (tmp_path / "model.tflite").write_bytes(model)
    refused(charrnn("sample", tmp_path / "model.tflite"), 2, "model.tflite", "no description")


def test_another_run_is_not_replaced_without_force(
    charrnn, names_file: Path, exported_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(exported_run, tmp_path / "run"))
    before = (run / "weights.npz").read_bytes()
    words = ("train", names_file, "-o", run, "--iterations", 5, "--state-size", 8)
    refused(charrnn(*words), 2, str(run), "--force")
    assert (run / "weights.npz").read_bytes() == before
    assert charrnn(*words, "--force").returncode == 0
    assert (run / "weights.npz").read_bytes() != before
    assert not (run / "bundle").exists(), "a bundle of the replaced model must not stay"


def test_a_folder_that_cannot_be_written_is_named_before_training(charrnn, names_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    refused(charrnn("train", names_file, "-o", tmp_path / "file"), 2, str(tmp_path / "file"))
    refused(charrnn("train", names_file, "-o", tmp_path / "file/run"), 2, str(tmp_path / "file/run"))
    refused(charrnn("train", names_file, "-o", "/proc/run"), 2, "/proc/run")


def test_debug_shows_the_traceback(charrnn, tmp_path: Path) -> None:
    done = charrnn("train", tmp_path / "nowhere.txt", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
