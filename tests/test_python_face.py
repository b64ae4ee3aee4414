"""`import charrnn`: training, exporting and opening a run from a program or a notebook."""

import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("matplotlib")

import charrnn
from charrnn.keywords import TrainKeywords
from charrnn.options import TrainingOptions
from charrnn_runtime.core.read_options import ReadOptions
from charrnn_runtime.errors import InputError, ModelFileError

# Of one length, so that there is one width to compile.
NAMES = [first + middle + last for first in "ABCD" for middle in "ae" for last in ("ck", "lo", "rg", "st")]
TINY: dict[str, Any] = {"state_size": 4, "iterations": 20, "teacher_iterations": 0, "evaluate_every": 10}
ONE_STEP = TINY | {"iterations": 1}
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a list in it, names.txt."""
    made = tmp_path_factory.mktemp("<face>")
    (made / "names.txt").write_text("".join(f"{name}\n" for name in NAMES), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def heard() -> list[charrnn.Progress]:
    """What the callback of `run` was called with."""
    return []


@pytest.fixture(scope="module")
def run(folder: Path, heard: list[charrnn.Progress]) -> charrnn.Run:
    """A run of the list; not to be written to."""
    return charrnn.train(folder / "names.txt", folder / "<b>run", **TINY, progress=heard.append)


def weights_of(run: charrnn.Run) -> bytes:
    return (run.path / "weights.npz").read_bytes()


def test_a_run_has_what_the_command_writes(run: charrnn.Run, folder: Path) -> None:
    by_command = folder / "by_command"
    options = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words = ["train", str(folder / "names.txt"), "-o", str(by_command), *options]
    done = subprocess.run([sys.executable, "-m", "charrnn", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = {path.relative_to(by_command) for path in by_command.rglob("*") if path.is_file()}
    assert {path.relative_to(run.path) for path in run.path.rglob("*") if path.is_file()} == written
    # The others hold seconds, or the name of the folder.
    for name in ("weights.npz", "history.csv", "config.json", "splits/train.txt"):
        assert (run.path / name).read_bytes() == (by_command / name).read_bytes(), name
    opened = charrnn.Run(by_command)
    assert (opened.test, opened.validation, opened.baseline) == (run.test, run.validation, run.baseline)
    assert opened.history == run.history
    assert f"{run.test.bits:.3f}" in done.stdout


def test_a_run_tells_its_losses_its_options_and_its_history(run: charrnn.Run) -> None:
    assert run.test.nats == run.results["test"]["nats"]
    assert run.test.standard_error == run.results["test"]["standard_error"]
    assert run.validation.nats == min(row.validation_nats for row in run.history)
    assert run.baseline.nats == run.results["baseline"]["test"]["nats"]
    assert [row.step for row in run.history] == [0, 10, 20]
    assert (run.options.state_size, run.options.iterations, run.options.batch_size > 0) == (4, 20, True)
    bits = f"{run.test.bits:.3f} bits per character on test, {run.baseline.bits:.3f} by counting"
    assert repr(run) == f"Run({str(run.path)!r}): {bits}"


def test_the_history_is_a_table_for_pandas(run: charrnn.Run) -> None:
    pandas = pytest.importorskip("pandas", reason="the extra `examples` is not installed")
    frame = pandas.DataFrame(run.history)
    assert list(frame) == ["step", "train_nats", "validation_nats", "learning_rate"]
    assert list(frame["validation_nats"]) == [row.validation_nats for row in run.history]


def test_the_callback_hears_every_evaluation(run: charrnn.Run, heard: list[charrnn.Progress]) -> None:
    evaluated = [(one.step, one.validation_nats) for one in heard if one.evaluated]
    assert evaluated == [(row.step, row.validation_nats) for row in run.history[1:]]
    bits = run.history[-1].validation_nats / 0.6931471805599453
    assert str(heard[-1]) == f"step 20 of 20: validation {bits:.3f} bits per character, 0 s left"


def test_one_column_of_a_data_frame_trains_what_its_file_trains(run: charrnn.Run, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="the extra `examples` is not installed")
    frame = pandas.DataFrame({"number": range(len(NAMES)), "name": NAMES}, index=range(7, 7 + len(NAMES)))
    trained = charrnn.train(frame["name"], tmp_path / "run", **TINY)
    assert weights_of(trained) == weights_of(run)
    assert trained.results["data"]["source"] == "lines"


def test_an_open_file_trains_what_its_name_trains(run: charrnn.Run, folder: Path, tmp_path: Path) -> None:
    with (folder / "names.txt").open(encoding="utf-8") as file:
        assert weights_of(charrnn.train(file, tmp_path / "run", **TINY)) == weights_of(run)


def test_strings_and_files_that_are_given_are_the_splits(tmp_path: Path) -> None:
    (tmp_path / "validation.txt").write_text("\n".join(NAMES[:4]), encoding="utf-8")
    given = {"validation": tmp_path / "validation.txt", "test": iter(NAMES[4:8])}
    trained = charrnn.train((name for name in NAMES), tmp_path / "run", **given, **ONE_STEP)
    splits = {name: (trained.path / "splits" / f"{name}.txt").read_text("utf-8").split() for name in SPLITS}
    assert {name: sorted(lines) for name, lines in splits.items()} == {
        "train": NAMES[8:],
        "validation": NAMES[:4],
        "test": NAMES[4:8],
    }


def test_options_begin_with_those_of_another_run(run: charrnn.Run, tmp_path: Path) -> None:
    other = charrnn.train(NAMES, tmp_path / "run", options=run.options, state_size=3, iterations=1)
    assert (other.options.state_size, other.options.evaluate_every, other.history[-1].step) == (3, 10, 1)


@pytest.mark.parametrize(
    ("source", "chosen", "message"),
    [
        (NAMES, {"stat_size": 3}, "received 'stat_size'; did you mean 'state_size'"),
        (NAMES, {"state_size": 0}, "option state_size: expected a whole number from 1 to 4096"),
        (NAMES, {"column": "name"}, "column 'name' was given, but they are strings"),
        (NAMES, {"max_line_length": 2}, "32 items are longer than 2 characters, the first is item 1"),
        ([*NAMES, 3], {}, "item 33: expected a string, received int '3'"),
        (dict.fromkeys(NAMES), {}, "such as one column of a data frame, received a whole dict"),
        ("absent.txt", {}, "absent.txt"),
    ],
)
def test_what_cannot_be_used_is_an_error_and_leaves_no_folder(
    source: Any, chosen: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        charrnn.train(source, tmp_path / "run", **{**TINY, **chosen})
    assert not (tmp_path / "run").exists()


def test_a_whole_data_frame_is_refused(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="the extra `examples` is not installed")
    with pytest.raises(InputError, match=r"received a whole DataFrame\. Choose a column"):
        charrnn.train(pandas.DataFrame({"name": NAMES}), tmp_path / "run")


def test_another_run_in_the_folder_is_replaced_only_by_force(run: charrnn.Run, tmp_path: Path) -> None:
    there = charrnn.Run(shutil.copytree(run.path, tmp_path / "run"))
    with pytest.raises(InputError, match=r"there is another run in .*: iterations is 20, not 1"):
        charrnn.train(NAMES, there, **ONE_STEP)
    assert weights_of(there) == weights_of(run)
    assert charrnn.train(NAMES, there, **ONE_STEP, force=True).options.iterations == 1


def raise_interrupt() -> None:
    raise KeyboardInterrupt


def send_signal() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("interrupt", [raise_interrupt, send_signal])
def test_a_run_that_is_interrupted_is_kept_and_goes_on_to_the_same_weights(
    interrupt: Callable[[], None], run: charrnn.Run, tmp_path: Path
) -> None:
    def stop(progress: charrnn.Progress) -> None:
        if progress.step == 10:
            interrupt()

    with pytest.raises(KeyboardInterrupt, match=r"stopped at step 10; the best weights so far \(step 10\) are in"):
        charrnn.train(NAMES, tmp_path / "run", **TINY, progress=stop)
    stopped = charrnn.Run(tmp_path / "run")
    assert (stopped.results["stopped_by"], stopped.history[-1].step) == ("interrupt", 10)
    assert len(stopped.load().sample(3)) == 3
    assert weights_of(charrnn.train(NAMES, stopped, **TINY, resume=True)) == weights_of(run)


def test_resuming_a_run_that_has_ended_returns_it_as_it_is(run: charrnn.Run) -> None:
    written = (run.path / "weights.npz").stat().st_mtime_ns
    assert charrnn.train(output=run, resume=True).test == run.test
    assert (run.path / "weights.npz").stat().st_mtime_ns == written


def test_two_threads_train_two_runs_at_once(run: charrnn.Run, tmp_path: Path) -> None:
    trained: dict[int, charrnn.Run] = {}

    def work(number: int) -> None:
        trained[number] = charrnn.train(NAMES, tmp_path / str(number), **TINY)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [weights_of(trained[number]) == weights_of(run) for number in range(2)] == [True, True]


def test_a_process_that_trains_on_a_table_and_exports_prints_nothing(run: charrnn.Run, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("number;name\n" + "".join(f"{i};{name}\n" for i, name in enumerate(NAMES)), encoding="utf-8")
    script = (
        "import charrnn\n"
        f"run = charrnn.train({str(table)!r}, {str(tmp_path / 'run')!r}, column='name', sample_every=10, **{TINY})\n"
        "run.export(formats=['onnx', 'tflite', 'c'], precisions=['fp32', 'int8'], max_cost=9, verify=False)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert weights_of(charrnn.Run(tmp_path / "run")) == weights_of(run)


def test_an_export_is_a_bundle_that_load_opens(
    run: charrnn.Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copied = charrnn.Run(shutil.copytree(run.path, tmp_path / "run"))
    bundle = copied.export(formats=["onnx", "npz"], precisions="fp32", held_out=False)
    assert capfd.readouterr() == ("", "")
    assert bundle == copied.path / "bundle"
    assert {"model.onnx", "model.npz", "manifest.json"} <= {path.name for path in bundle.iterdir()}
    drawn = charrnn.load(bundle).sample(5, prefix="A", seed=7)
    assert drawn == run.load(engine="numpy").sample(5, prefix="A", seed=7)
    assert drawn == copied.load(engine="onnxruntime").sample(5, prefix="A", seed=7)
    assert charrnn.export(copied, formats="npz") == charrnn.export(str(copied.path), formats="npz") == bundle


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"formats": "onx"}, "expected onnx, tflite, npz, c or all, received 'onx'; did you mean onnx"),
        ({"formats": ["npz"], "precisions": ["int8"]}, "npz has no int8"),
        ({"max_cost": 0}, "max_cost: expected bits per character above 0, such as 0.02, received 0"),
        ({"max_cost": float("nan")}, "received nan"),
        ({"verify": False}, "only plain C can be written unchecked"),
    ],
)
def test_an_export_that_cannot_be_is_refused(chosen: dict[str, Any], message: str, run: charrnn.Run) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        run.export(**chosen)
    assert not (run.path / "bundle").exists()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for open_it in (charrnn.Run, charrnn.export, charrnn.load):
        with pytest.raises(ModelFileError, match=r"no model|no run"):
            open_it(tmp_path)


def test_a_run_can_be_pickled_and_is_a_path(run: charrnn.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(run.path.parent)
    opened = charrnn.Run(run.path.name)
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(pickle.dumps(opened))
    assert (again.path, again.test, again.history) == (run.path, run.test, run.history)
    assert Path(again) == run.path


def test_a_notebook_shows_losses_and_curve(run: charrnn.Run) -> None:
    shown = run._repr_html_()
    assert f'<td>test</td><td>network</td><td class="number">{run.test.bits:.3f} ±' in shown
    assert f"{run.baseline.bits:.3f}" in shown
    assert shown.count("<svg") == 1
    assert "bits per character</text>" in shown
    assert "<b>&lt;b&gt;run</b>" in shown
    assert "<b>run" not in shown
    other = re.findall(r'id="([^"]+)"', charrnn.Run(run.path)._repr_html_())
    assert len(set(other)) == len(other)
    assert all(name.startswith("run-") for name in other)


def test_without_matplotlib_a_notebook_shows_the_losses_alone(
    run: charrnn.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    shown = run._repr_html_()
    assert "<svg" not in shown
    assert f"{run.test.bits:.3f}" in shown


def test_the_keywords_are_the_fields_of_the_options_with_their_types() -> None:
    assert get_type_hints(TrainKeywords) == get_type_hints(ReadOptions) | get_type_hints(TrainingOptions)
    assert not {field.name for field in fields(ReadOptions)} & {field.name for field in fields(TrainingOptions)}


def test_the_public_names_are_loaded_when_they_are_used() -> None:
    script = (
        "import sys, charrnn\n"
        "ours = {name for name in sys.modules if name.partition('.')[0] in ('charrnn', 'charrnn_runtime')}\n"
        "print(sorted(ours), sorted(set(charrnn.__all__) - set(dir(charrnn))))\n"
        "from charrnn import *\n"
        "print(train.__module__, load.__module__, all(hasattr(charrnn, name) for name in charrnn.__all__))\n"
        "print(hasattr(charrnn, 'absent'), {'tensorflow', 'matplotlib', 'typer', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['charrnn'] []", "charrnn.api charrnn_runtime.model True", "False set()"]


def test_a_missing_package_is_named_with_what_installs_it(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "import charrnn\n"
        f"try: charrnn.train(['a'], {str(tmp_path / 'run')!r})\n"
        "except charrnn.CharrnnError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "`charrnn.train` needs tensorflow, which this installation lacks: pip install" in done.stdout


def test_the_program_of_the_document_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shorter = program.replace("iterations=200", "iterations=20, teacher_iterations=0")
    assert shorter != program
    done = subprocess.run([sys.executable, "-c", shorter], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    *progress, losses, drawn = done.stdout.splitlines()
    assert progress[-1].startswith("step 20 of 20: validation ")
    assert len(losses.split()) == 2
    assert drawn.count("'A") == 10


def test_a_type_checker_knows_the_options(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="the extra `dev` is not installed")
    root = Path(__file__).parents[1]
    (tmp_path / "right.py").write_text(
        "import charrnn\n"
        "run = charrnn.train('names.txt', state_size=128, column='name', progress=print)\n"
        "nats: float = run.test.nats + run.baseline.nats + run.history[0].validation_nats\n"
        "lines: list[str] = charrnn.load(run.export(formats=['onnx'], precisions='int8')).sample(10, prefix='A')\n"
    )
    (tmp_path / "wrong.py").write_text(
        "import charrnn\ncharrnn.train('a', state_size='x')\ncharrnn.train('a', stat=1)\n"
    )
    words = [sys.executable, "-m", "mypy", "--strict", "--config-file", root / "pyproject.toml", "--cache-dir"]
    words += [tmp_path / "cache", tmp_path / "right.py", tmp_path / "wrong.py"]
    done = subprocess.run(list(map(str, words)), cwd=root, capture_output=True, text=True, check=False)
    *errors, summary = done.stdout.splitlines()
    assert [line.split(": error: ")[1] for line in errors if ": error: " in line] == [
        'Argument "state_size" to "train" has incompatible type "str"; expected "int | None"  [arg-type]',
        'Unexpected keyword argument "stat" for "train"  [call-arg]',
    ], done.stdout
    assert summary.startswith("Found 2 errors in 1 file")
