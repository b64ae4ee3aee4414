"""Sides with a file of their own: what is held out is what was given, and nothing of it is trained on unasked."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.datasets.split import GivenSplits, split_lines
from charrnn.options import TrainingOptions
from charrnn.runs.config import CONFIG, read_config
from charrnn.training.job import TrainingJob
from charrnn_runtime.core.read_options import ReadOptions
from charrnn_runtime.errors import InputError, ModelFileError

TENTHS: dict[str, Any] = {"seed": 0, "validation_share": 0.1, "test_share": 0.1, "max_held_out": 1000}
PLACES = [f"plaats {number}" for number in range(100, 160)]

some_places = st.lists(st.sampled_from(PLACES), min_size=1, max_size=20)


class Folder:
    """Files in a folder, and runs on them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("list.txt", PLACES)

    def write(self, name: str, lines: Sequence[str]) -> str:
        file = self.path / name
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return str(file)

    def prepare(self, source: str = "list.txt", **how: Any) -> TrainingJob:
        given = {split: how.pop(split) for split in ("validation", "test") if split in how}
        read = ReadOptions(**{name: how.pop(name) for name in ("column", "field") if name in how})
        force, options = how.pop("force", False), TrainingOptions(**how)
        source = str(self.path / source)
        return TrainingJob.prepare(source, self.path / "run", options, given=given, read=read, force=force)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@given(some_places, some_places, st.booleans())
def test_no_line_stands_on_two_sides_unless_copies_are_kept(
    validation: list[str], test: list[str], with_validation: bool
) -> None:
    sides = GivenSplits(tuple(validation) if with_validation else None, tuple(test))
    if set(validation) <= set(test) and with_validation:
        with pytest.raises(InputError, match="no validation line is left"):
            sides.without_duplicates()
        return
    split = split_lines(PLACES, given=sides.without_duplicates(), **TENTHS)
    assert set(split.test) == set(test)
    assert len({*split.train, *split.validation, *split.test}) == sum(map(len, vars(split).values())) == len(PLACES)
    if with_validation:
        assert set(split.validation) == set(validation) - set(test)


@given(some_places, some_places)
def test_with_copies_kept_every_side_is_as_it_was_given(validation: list[str], test: list[str]) -> None:
    sides = GivenSplits(tuple(validation), tuple(test))
    split = split_lines(PLACES * 2, given=sides, keep_duplicates=True, **TENTHS)
    assert (split.validation, split.test) == (tuple(validation), tuple(test))
    assert sorted(split.train) == sorted(PLACES * 2)


def test_the_side_without_a_file_is_split_off_by_the_seed() -> None:
    test = GivenSplits(None, ("Ede", "Epe"))
    one, again, other = (split_lines(PLACES, given=test, **{**TENTHS, "seed": seed}) for seed in (1, 1, 2))
    assert one == again
    assert set(one.validation) != set(other.validation)
    assert (len(one.train), len(one.validation), one.test) == (54, 6, ("Ede", "Epe"))


def test_the_limit_on_held_out_lines_is_one_on_the_seeded_split_alone() -> None:
    split = split_lines(PLACES, given=GivenSplits(None, tuple(PLACES[:30])), **{**TENTHS, "max_held_out": 2})
    assert (len(split.train), len(split.validation), len(split.test)) == (28, 2, 30)


def test_a_run_trains_on_nothing_that_its_files_hold_out(folder: Folder) -> None:
    test = folder.write("test.txt", ["plaats 100", "plaats 99", "plaats 100", "plaats 101"])
    validation = folder.write("validation.txt", ["plaats 99", "plaats 102", "plaats 98"])
    job = folder.prepare(validation=validation, test=test)
    assert job.dataset.split.test == ("plaats 100", "plaats 99", "plaats 101")
    assert job.dataset.split.validation == ("plaats 102", "plaats 98")
    assert sorted(job.dataset.split.train) == PLACES[3:]
    # Of the test both copies of 100, and 101; of the validation lines 99, which is tested, and 102, which is listed.
    assert job.run.config.data.duplicates_across_sides == 5


def test_copies_on_two_sides_are_kept_and_counted_when_that_is_asked_for(folder: Folder) -> None:
    test = folder.write("test.txt", PLACES[:7])
    job = folder.prepare(test=test, validation=folder.write("validation.txt", ["plaats 1"]), keep_duplicates=True)
    assert (len(job.dataset.split.train), job.dataset.split.test) == (60, tuple(PLACES[:7]))
    stored = json.loads((job.run.path / CONFIG).read_text("utf-8"))["data"]
    assert stored["duplicates_across_sides"] == 7
    assert stored["held_out"]["test"]["source"] == "test.txt"
    assert stored["held_out"]["test"]["lines"] == 7
    assert read_config(job.run.path) == job.run.config


def test_held_out_files_are_read_as_the_list_is(folder: Folder) -> None:
    (folder.path / "list.csv").write_text("id,plaats\n" + "".join(f"{i},Ee{i}\n" for i in range(20)), encoding="utf-8")
    (folder.path / "test.csv").write_text("plaats,jaar\nEE77,1999\nEe1\u0065\u0301,2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"test\.csv: 'é' \(U\+00E9, .*\) in 'ee1é' does not occur in .*list\.csv"):
        folder.prepare("list.csv", test=str(folder.path / "test.csv"), column="plaats", lowercase=True)
    (folder.path / "test.csv").write_text("plaats,jaar\nEE77,1999\n", encoding="utf-8")
    job = folder.prepare("list.csv", test=str(folder.path / "test.csv"), column="plaats", lowercase=True)
    assert job.dataset.split.test == ("ee77",)
    with pytest.raises(InputError, match=r"test\.txt: column 'plaats' was given"):
        folder.prepare("list.csv", test=folder.write("test.txt", ["ee1"]), column="plaats")


def test_held_out_characters_do_not_enter_the_vocabulary(folder: Folder) -> None:
    job = folder.prepare(test=folder.write("test.txt", ["plaats 7", "taal"]))
    assert job.dataset.vocabulary.characters == "\n" + "".join(sorted(set("".join(PLACES))))
    for side in ("validation", "test"):
        file = folder.write("other.txt", ["plaats 7", "plaats €", "plaatş"])
        message = rf"other\.txt: '€' \(U\+20AC, EURO SIGN\) in 'plaats €' .*{side} lines .*received 2 with others"
        with pytest.raises(InputError, match=message):
            folder.prepare(**{side: file})


def test_another_test_file_is_another_run(folder: Folder) -> None:
    def prepare(lines: list[str], **how: Any) -> TrainingJob:
        job = folder.prepare(test=folder.write("test.txt", lines), **how)
        job.run.write_weights({})
        return job

    prepare(["plaats 7"])
    prepare(["plaats 7"])
    with pytest.raises(
        InputError, match=r"another run in .*: its test lines are other ones \(test\.txt\)\. Pass --force"
    ):
        prepare(["plaats 8"])
    with pytest.raises(InputError, match=r"its test lines are other ones \(test\.txt\)"):
        folder.prepare()
    folder.prepare(force=True).run.write_weights({})
    with pytest.raises(InputError, match=r"its validation lines are other ones \(split off the list\)"):
        folder.prepare(validation=folder.write("validation.txt", ["plaats 8"]))


@pytest.mark.parametrize("damage", [[], {"test": {}}, {"test": {"sha256": 1}}, {"test": 1}])
def test_a_config_with_damaged_held_out_files_is_named(folder: Folder, damage: object) -> None:
    run = folder.prepare(test=folder.write("test.txt", ["plaats 7"])).run
    stored = json.loads((run.path / CONFIG).read_text("utf-8"))
    stored["data"]["held_out"] = damage
    (run.path / CONFIG).write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"config\.json is damaged"):
        read_config(run.path)


def test_what_leaves_a_side_empty_or_contradicts_itself_is_refused(folder: Folder) -> None:
    whole = str(folder.path / "list.txt")
    some = folder.write("some.txt", PLACES[1:3])
    refused: list[tuple[dict[str, Any], str]] = [
        (
            {"test": whole},
            r"too few lines of its own: expected at least 2 .* received 0 of 60.*or pass --keep-duplicates",
        ),
        ({"test": some, "validation": some}, r"no validation line is left: all 2 stand among the test lines"),
        ({"test": "-", "validation": "-"}, "standard input can be read once"),
        ({"test": some, "test_share": 0.2}, r"option test_share: expected no share beside a file of test lines"),
        ({"validation": some, "validation_share": 0.2}, r"option validation_share: .*received 0\.2 and"),
        ({"test": str(folder.path / "nowhere")}, "nowhere does not exist"),
        ({"test": ""}, "is a folder"),
        ({"validation": folder.write("empty.txt", ["", ""])}, r"empty\.txt holds no item"),
    ]
    for how, message in refused:
        with pytest.raises(InputError, match=message):
            folder.prepare(**how)
    assert not (folder.path / "run").exists()
