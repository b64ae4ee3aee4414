"""Options and the recipe: what is refused, what is filled, and that nothing a person set is changed."""

import json
import math
import subprocess
import sys

import pytest

from charrnn.options import CHOSEN_BY_RECIPE, ResolvedOptions, TrainingOptions
from charrnn.training.recipe import excess, resolve, teacher_state_size
from charrnn_runtime.errors import InputError


def test_nothing_is_left_open_after_the_recipe() -> None:
    resolved = resolve(TrainingOptions(), 2400, 26_000)
    assert all(getattr(resolved, name) is not None for name in CHOSEN_BY_RECIPE)


def test_what_a_person_set_is_not_changed_even_where_it_is_zero() -> None:
    chosen = {"lr": 0.05, "state_size": 5, "iterations": 35_000, "warmup": 0, "dropout_embedding": 0.0, "patience": 3}
    resolved = resolve(TrainingOptions.from_json(chosen), 2400, 26_000)
    assert {name: getattr(resolved, name) for name in chosen} == chosen


@pytest.mark.parametrize(
    ("num_lines", "num_characters", "units", "dropouts"),
    [
        (4_200, 46_000, 256, (0.5, 0.2, 0.3)),
        (4_200, 46_000, 128, (0.3, 0.1, 0.2)),
        (28_500, 203_000, 256, (0.25, 0.05, 0.15)),
        (28_500, 203_000, 128, (0.1, 0.0, 0.05)),
    ],
)
def test_the_recipe_gives_the_trials_it_was_fitted_to(
    num_lines: int, num_characters: int, units: int, dropouts: tuple[float, float, float]
) -> None:
    resolved = resolve(TrainingOptions(state_size=units, teacher_iterations=0), num_lines, num_characters)
    received = (resolved.dropout_embedding, resolved.dropout_output, resolved.dropout_recurrent)
    assert received == pytest.approx(dropouts, abs=0.06)


def test_more_data_means_less_dropout_and_more_steps() -> None:
    options = TrainingOptions(state_size=128, teacher_iterations=0)
    small, large = (resolve(options, lines, 10 * lines) for lines in (2_000, 100_000))
    assert large.dropout_embedding < small.dropout_embedding
    assert large.dropout_recurrent < small.dropout_recurrent
    assert large.iterations > small.iterations


def test_lines_have_a_teacher_unless_the_run_is_a_small_or_a_chosen_one() -> None:
    taught = resolve(TrainingOptions(), 2400, 26_000)
    assert (taught.teacher_iterations, taught.state_size) == (2500, 256)
    assert taught.dropout_recurrent < resolve(TrainingOptions(teacher_iterations=0), 2400, 26_000).dropout_recurrent
    for chosen in ({"iterations": 500}, {"state_size": 32}, {"teacher_iterations": 0}):
        assert resolve(TrainingOptions.from_json(chosen), 2400, 26_000).teacher_iterations == 0
    assert resolve(TrainingOptions(mode="text"), 2400, 26_000).teacher_iterations == 0
    assert resolve(TrainingOptions(), 100_000, 1_000_000).teacher_iterations == 0
    small, large = (resolve(TrainingOptions(state_size=units), 27_500, 195_000) for units in (128, 256))
    assert small.teacher_iterations == large.teacher_iterations == 14_000
    assert teacher_state_size(2400) < teacher_state_size(27_500)
    asked = TrainingOptions(state_size=5, iterations=500, teacher_iterations=100)
    assert resolve(asked, 2400, 26_000).teacher_iterations == 100
    with pytest.raises(InputError, match="option teacher_iterations: expected 0 for a text, received 9"):
        TrainingOptions(mode="text", teacher_iterations=9)


@pytest.mark.parametrize("num_characters", [1_000, 30_000, 1_000_000, 1_000_000_000])
def test_the_recipe_of_a_text_has_windows_that_fit(num_characters: int) -> None:
    options = resolve(TrainingOptions(mode="text"), 1, num_characters)
    assert options.window * (options.batch_size + 1) + 1 <= num_characters
    assert options.iterations <= 100_000 or num_characters > 10**8
    assert (options.validation_share, options.test_share) == (0.05, 0.05)


def test_excess_is_the_logarithm_of_weights_a_character() -> None:
    options = TrainingOptions(state_size=2, embedding_dim=3, num_layers=2)
    weights = 4 * 2 * (3 + 2 + 1) + 4 * 2 * (2 + 2 + 1) + 50 * (3 + 2 + 1)
    assert excess(options, 100) == pytest.approx(math.log2(weights / 100))


@pytest.mark.parametrize("num_lines", [1, 2, 63, 1_000_000])
def test_the_recipe_is_legal_for_any_number_of_lines(num_lines: int) -> None:
    resolved = resolve(TrainingOptions(), num_lines, 2 * num_lines)
    assert 1 <= resolved.batch_size <= num_lines


@pytest.mark.parametrize("iterations", [1, 2, 49, 50, 1000])
def test_a_short_run_is_evaluated_at_least_once_and_warms_up_within_it(iterations: int) -> None:
    resolved = resolve(TrainingOptions(iterations=iterations), 2400, 26_000)
    assert 1 <= resolved.evaluate_every <= iterations
    assert resolved.warmup < iterations


def test_no_lines_are_refused() -> None:
    with pytest.raises(InputError, match="at least one line"):
        resolve(TrainingOptions(), 0, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iterations", 0),
        ("iterations", 2.5),
        ("iterations", True),
        ("state_size", 0),
        ("state_size", 10**6),
        ("num_layers", 0),
        ("lr", 0.0),
        ("lr", -0.1),
        ("lr", math.nan),
        ("lr", math.inf),
        ("batch_size", 0),
        ("warmup", -1),
        ("weight_decay", 2.0),
        ("clip_norm", 0.0),
        ("dropout_embedding", 1.0),
        ("dropout_recurrent", -0.1),
        ("average_decay", 1.0),
        ("evaluate_every", 0),
        ("patience", 0),
        ("sample_every", -1),
        ("sample_size", 0),
        ("seed", -1),
        ("seed", 2**64),
        ("validation_share", 0.0),
        ("test_share", 1.0),
        ("max_held_out", 0),
        ("keep_duplicates", 1),
        ("normalize", "nfd"),
        ("lowercase", "yes"),
        ("mode", "words"),
        ("sample_every", None),
        ("seed", None),
    ],
)
def test_a_value_without_meaning_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"option {name}: expected .*, received {value!r}".replace("+", r"\+")):
        TrainingOptions.from_json({name: value})


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(InputError, match=r"less than 1 together, received 0\.5 \+ 0\.5"):
        TrainingOptions(validation_share=0.5, test_share=0.5)


def test_an_unknown_option_is_refused_with_the_nearest_legal_one() -> None:
    with pytest.raises(InputError, match="received 'state_sise'; did you mean 'state_size'"):
        TrainingOptions.from_json({"state_sise": 5})


def test_resolved_options_leave_nothing_open() -> None:
    with pytest.raises(InputError, match="option iterations: expected a value, received None"):
        ResolvedOptions.from_json({})


def test_options_survive_json() -> None:
    options = TrainingOptions(lr=0.05, clip_norm=None, lowercase=True)
    resolved = resolve(options, 2400, 26_000)
    assert TrainingOptions.from_json(json.loads(json.dumps(options.to_json()))) == options
    assert ResolvedOptions.from_json(json.loads(json.dumps(resolved.to_json()))) == resolved


@pytest.mark.parametrize(
    "module", ["charrnn.options", "charrnn.training.recipe", "charrnn.datasets.batches", "charrnn.runs.directory"]
)
def test_tensorflow_is_not_loaded_by(module: str) -> None:
    code = f"import sys, {module}; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
