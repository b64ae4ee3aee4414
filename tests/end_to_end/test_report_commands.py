"""The report and TensorBoard's file as a person asks for them, and what a training whose report fails says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SHORT = ("--iterations", 20, "--state-size", 8, "--evaluate-every", 10)


@pytest.fixture(scope="module")
def trained_run(charrnn, names_file, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained from the command line; read only."""
    run = tmp_path_factory.mktemp("artifacts") / "names"
    done = charrnn("train", names_file, "-o", run, *SHORT)
    assert done.returncode == 0, done.stderr
    assert f"report      {run / 'report.html'}\n" in done.stdout
    return run


def test_training_says_where_the_report_is_and_the_command_makes_it_again(charrnn, trained_run: Path, tmp_path) -> None:
    run = Path(shutil.copytree(trained_run, tmp_path / "artifacts" / "names"))
    made = (run / "report.html").read_text(encoding="utf-8")
    (run / "report.html").unlink()
    (run / "loss.png").unlink()
    done = charrnn("report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{Path('artifacts/names/report.html')}\n"
    assert done.stderr == f"run: {Path('artifacts/names')}\n"
    assert (run / "loss.png").is_file()
    # The same page, but for the folder that its commands name.
    assert (run / "report.html").read_text(encoding="utf-8").replace("artifacts/names", str(trained_run)) == made


def test_the_report_of_no_run_is_one_line_and_exit_code_2(charrnn, tmp_path: Path) -> None:
    for words, part in ((("report",), "there is no run below"), (("report", tmp_path), "holds no model")):
        done = charrnn(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stdout == ""
        assert part in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_report_that_fails_takes_neither_the_run_nor_its_figures_with_it(charrnn, names_file, tmp_path) -> None:
    run = tmp_path / "run"
    # No file may grow above 40 kilobytes: enough for the weights, too little for a picture.
    limited = ["bash", "-c", 'ulimit -f 40 && exec "$@"', "bash", sys.executable, "-m", "charrnn"]
    words = [*limited, "train", names_file, "-o", run, *SHORT]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert rows["report"].startswith("not made: ")
    assert f"could not write {run / 'loss.png'}: File too large" in rows["report"]
    assert rows["report"].endswith(f"(the run is complete; `charrnn report {run}` tries again)")
    assert "bits per character" in rows["test"]
    assert not (run / "report.html").exists()
    assert charrnn("sample", run, "-n", 2).returncode == 0
    assert charrnn("report", run).returncode == 0
    assert (run / "report.html").is_file()


def test_a_stopped_run_gets_its_report_by_the_command(charrnn, trained_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    training = (run / "training.json").read_text(encoding="utf-8")
    (run / "training.json").write_text(training.replace('"stopped_by": "iterations"', '"stopped_by": "interrupt"'))
    assert charrnn("report", run).returncode == 0
    assert "stopped by hand" in (run / "report.html").read_text(encoding="utf-8")


def test_tensorboard_gets_every_evaluation_while_the_run_trains(charrnn, names_file, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    run = tmp_path / "run"
    done = charrnn("train", names_file, "-o", run, *SHORT, "--tensorboard")
    assert done.returncode == 0, done.stderr
    assert "report" in done.stdout
    [file] = (run / "tensorboard").iterdir()
    found: dict[str, dict[int, float]] = {}
    for event in tf.compat.v1.train.summary_iterator(os.fspath(file)):
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name in ("scalars", "")
            found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    header, *rows = [line.split(",") for line in (run / "history.csv").read_text().splitlines()]
    assert header[:4] == ["step", "train_nats", "validation_nats", "learning_rate"]
    for tag, column in (("nats/train", 1), ("nats/validation", 2), ("learning_rate", 3)):
        expected = {int(row[0]): float(row[column]) for row in rows if row[column]}
        assert found[tag] == pytest.approx(expected, rel=1e-6)
    # The same run again has one file again, not two that tell the same.
    assert charrnn("train", names_file, "-o", run, *SHORT, "--tensorboard").returncode == 0
    assert len(list((run / "tensorboard").iterdir())) == 1


def test_a_folder_that_tensorboard_cannot_have_ends_training_with_one_line(charrnn, names_file, tmp_path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    (run / "tensorboard").write_text("a file")
    done = charrnn("train", names_file, "-o", run, *SHORT, "--tensorboard")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"charrnn: could not write {run / 'tensorboard'}")
    assert "Traceback" not in done.stderr
