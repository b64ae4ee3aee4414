"""The run directory: what stands in it, what is refused, and that nothing is lost when a run replaces another."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from charrnn.datasets.dataset import Data, LineDataset, read_dataset
from charrnn.datasets.split import Split
from charrnn.evaluation.scores import Scores
from charrnn.options import TrainingOptions
from charrnn.runs.config import CONFIG, RunConfig, read_config
from charrnn.runs.directory import HISTORY, SPLITS, TRAINING, Run
from charrnn.runs.results import HistoryRow, TrainingResult
from charrnn.training.recipe import resolve
from charrnn_runtime.bundle.locate import RUN_WEIGHTS, read_run
from charrnn_runtime.core.vocabulary import Vocabulary
from charrnn_runtime.errors import InputError, ModelFileError

SPLIT = Split(("Ede", "’s-Gravenhage", "IJ\u2028muiden"), ("Épe",), ("Ee",))
VOCABULARY = Vocabulary.build((*SPLIT.train, *SPLIT.validation, *SPLIT.test))
DATASET = LineDataset(SPLIT, VOCABULARY)
TEST = Scores(np.array([3 * math.log(8)]), np.array([3]))
RESULT = TrainingResult("iterations", 10, 8, math.log(4), TEST, 1234, 1.5)
ARRAYS = {"embedding": np.eye(3, dtype=np.float32), "lstm_0/bias": np.arange(8, dtype=np.float32)}


def config(sha256: str = "aa", **chosen: object) -> RunConfig:
    requested = TrainingOptions.from_json({"state_size": 4, **chosen})
    return RunConfig(resolve(requested, 3, 30), requested, Data("plaatsen.txt", sha256, 5, 5))


def finished_run(path: Path, run_config: RunConfig, *, force: bool = False) -> Run:
    run = Run.create(path, run_config, force=force)
    DATASET.write(run.make_splits_folder())
    run.write_description(VOCABULARY, {})
    run.write_weights(ARRAYS)
    run.finish(RESULT, DATASET, None)
    return run


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_holds_what_sampling_and_exporting_need(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run"
    finished_run(path, config())
    description, arrays = read_run(path)
    assert description.vocabulary == VOCABULARY
    assert description.units == (4,)
    assert description.training == json.loads((path / TRAINING).read_text("utf-8"))
    assert {name: array.tolist() for name, array in arrays.items()} == {n: a.tolist() for n, a in ARRAYS.items()}
    assert read_config(path) == config()
    assert read_dataset(path / SPLITS, VOCABULARY, "lines") == DATASET


def test_the_figures_say_on_what_and_in_which_units(tmp_path: Path) -> None:
    finished_run(tmp_path / "run", config())
    record = json.loads((tmp_path / "run" / TRAINING).read_text("utf-8"))
    assert record["test"] == {"nats": 2.079442, "bits_per_character": 3.0, "perplexity": 8.0}
    assert record["validation"]["bits_per_character"] == 2.0
    assert record["split"] == {"train": 3, "validation": 1, "test": 1}
    assert record["data"]["duplicates_removed"] is True
    assert record["versions"]["keras"]


def test_names_are_written_as_themselves(tmp_path: Path) -> None:
    finished_run(tmp_path / "run", config())
    assert "É" in (tmp_path / "run" / "description.json").read_text("utf-8")


def test_equal_weights_give_equal_bytes_without_pickle(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path / name, config()) for name in ("a", "b")]
    one, other = ((run.path / RUN_WEIGHTS).read_bytes() for run in runs)
    assert one == other
    with pytest.raises(ValueError, match=r"pickle|Object arrays"):
        runs[0].write_weights({"embedding": np.array([{}], object)})
    assert (runs[0].path / RUN_WEIGHTS).read_bytes() == one


def test_history_has_a_row_an_evaluation(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", config())
    run.write_history([HistoryRow(0, None, 3.5, 0.001), HistoryRow(10, 2.5, 2.25, 0.0005)])
    with (run.path / HISTORY).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"step": "0", "train_nats": "", "validation_nats": "3.5", "learning_rate": "0.001"}
    assert rows[1]["train_nats"] == "2.5"


def test_config_keeps_apart_what_was_set_and_what_was_chosen(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", config(lr=0.05))
    stored = json.loads((run.path / CONFIG).read_text("utf-8"))
    assert stored["set_by_user"] == {"state_size": 4, "lr": 0.05}
    assert stored["options"] == run.config.options.to_json()


@pytest.mark.parametrize(
    ("other", "message"),
    [(config(lr=0.05), r"lr is 0\.003, not 0\.05"), (config("bb"), "it was trained on other data")],
)
def test_another_run_is_replaced_only_by_force(tmp_path: Path, other: RunConfig, message: str) -> None:
    path = tmp_path / "run"
    finished_run(path, config())
    before = content(tmp_path)
    with pytest.raises(InputError, match=rf"{message}.*--force"):
        Run.create(path, other)
    assert content(tmp_path) == before
    finished_run(path, other, force=True).discard_replaced()
    assert read_config(path) == other
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_the_same_run_may_be_repeated_without_force(tmp_path: Path) -> None:
    finished_run(tmp_path / "run", config())
    finished_run(tmp_path / "run", config()).discard_replaced()
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_the_old_run_comes_back_when_the_new_one_learned_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run"
    finished_run(path, config())
    before = content(tmp_path)
    run = Run.create(path, config("bb"), force=True)
    assert content(tmp_path) != before
    assert run.restore_replaced()
    assert content(tmp_path) == before


def test_the_old_run_survives_any_number_of_killed_ones(tmp_path: Path) -> None:
    path = tmp_path / "run"
    finished_run(path, config())
    before = content(path)
    for digest in ("bb", "cc"):
        killed = Run.create(path, config(digest), force=True)
        killed.write_weights(ARRAYS)
        assert content(tmp_path / ".run.replaced") == before
    assert killed.restore_replaced()
    assert content(path) == before


def test_files_of_others_in_a_replaced_run_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "run"
    finished_run(path, config())
    (path / "notes.txt").write_text("mine", encoding="utf-8")
    (path / "bundle").mkdir()
    finished_run(path, config("bb"), force=True).discard_replaced()
    assert (path / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert not (path / "bundle").exists(), "a bundle of the old weights must not stand beside new ones"


def test_a_folder_that_is_no_run_is_not_touched_even_by_force(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(InputError, match=r"holds no run of charrnn: .*received one with 'thesis\.tex'"):
        Run.create(tmp_path, config(), force=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="expected a folder, received a file"):
        Run.create(tmp_path / "run", config(), force=True)
    with pytest.raises(InputError, match="cannot write to"):
        Run.create(tmp_path / "run" / "below", config())


def test_a_folder_that_cannot_be_written_is_bad_input_and_leaves_the_old_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    finished_run(path, config())
    before = content(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # The tests may run as root, whom permissions do not stop.
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match=r"cannot write to .*: Permission denied"):
        Run.create(path, config("bb"), force=True)
    assert content(tmp_path) == before


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", config())
    for damaged in ("{", "{}", '{"options": 1}', json.dumps(replace_key(run, "lr", -1))):
        (run.path / CONFIG).write_text(damaged, encoding="utf-8")
        with pytest.raises(ModelFileError, match=r"config\.json is damaged"):
            read_config(run.path)
        with pytest.raises(InputError, match=r"its config\.json cannot be read.*--force"):
            Run.create(run.path, config())


def test_a_run_that_died_before_it_had_weights_is_replaced_without_a_question(tmp_path: Path) -> None:
    Run.create(tmp_path / "run", config())
    assert Run.create(tmp_path / "run", config("bb")).config == read_config(tmp_path / "run")


def replace_key(run: Run, name: str, value: object) -> dict[str, object]:
    return run.config.to_json() | {"options": run.config.options.to_json() | {name: value}}
