"""The Keras model, the numpy step and both exported files are one model: numbers, text, bits, names of a seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn_runtime import load
from charrnn_runtime.bundle.manifest import Description
from charrnn_runtime.core.step import NumpyStep, Step
from charrnn_runtime.core.vocabulary import Vocabulary
from charrnn_runtime.sampling.sampler import Request, sample_tokens
from charrnn_runtime.scoring.score import bits_per_character

VOCABULARY = Vocabulary.build(["abcdefghijklmnopqrstuvwxyz", "ABCDE-' éû"])
LINES = [VOCABULARY.encode(line) for line in ("Ede", "Baarle-Bû", "", "'a", "éé", "Dzzzzxyq Cab")]
SIZES = {"1 layer": (24,), "2 layers": (24, 20)}


@pytest.fixture(scope="session", params=SIZES)
def source(request: pytest.FixtureRequest) -> Any:
    """A Keras model with lively weights (an untrained one says nearly nothing), ready to be exported."""
    from charrnn.model.keras_model import KerasStep, ModelSizes, arrays_of, build_model, set_arrays, step_weights
    from charrnn_export.writers import ExportSource

    units = SIZES[request.param]
    model = build_model(ModelSizes(VOCABULARY.size, 12, units), seed=5)
    set_arrays(model, {name: array * np.float32(3) for name, array in arrays_of(model).items()})
    return ExportSource(step_weights(model), KerasStep(model), Description(VOCABULARY, units), LINES)


@pytest.fixture(scope="session")
def engines(source: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Step]:
    """Every way to run the exported model."""
    from charrnn_export.bundle import export_bundle
    from charrnn_export.targets import choose

    bundle = tmp_path_factory.mktemp("parity") / "bundle"
    export_bundle(source, bundle, choose([], []))
    return {
        "onnxruntime": load(bundle, engine="onnxruntime").step,
        "litert": load(bundle, engine="litert").step,
        "numpy": NumpyStep(source.weights),
    }


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("engine", ["onnxruntime", "litert", "numpy"])
def test_one_step_from_random_states_agrees_with_keras(source: Any, engines: Any, engine: str, batch: int) -> None:
    from charrnn_export.states import random_state

    generator = np.random.default_rng(batch)
    for _ in range(20):
        token = generator.integers(VOCABULARY.size, size=batch).astype(np.int32)
        state = random_state(source.reference.units, batch, generator)
        want, got = source.reference(token, state), engines[engine](token, state)
        for expected, received in zip((want[0], *want[1]), (got[0], *got[1]), strict=True):
            np.testing.assert_allclose(received, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("engine", ["onnxruntime", "litert", "numpy"])
def test_a_greedy_rollout_of_1000_steps_has_the_same_text_as_keras(source: Any, engines: Any, engine: str) -> None:
    from charrnn_export.parity import greedy_rollout

    expected = greedy_rollout(source.reference, 1000)
    assert len(set(expected.tolist())) > 3, "a rollout that says one thing proves nothing"
    np.testing.assert_array_equal(greedy_rollout(engines[engine], 1000), expected)


@pytest.mark.parametrize("engine", ["onnxruntime", "litert", "numpy"])
def test_bits_per_character_agree_with_keras(source: Any, engines: Any, engine: str) -> None:
    difference = bits_per_character(engines[engine], LINES) - bits_per_character(source.reference, LINES)
    assert abs(difference) <= 1e-3


@pytest.mark.parametrize("batch", [1, 7, 256])
def test_the_names_of_a_seed_are_those_of_keras_at_every_batch_size(source: Any, engines: Any, batch: int) -> None:
    request = Request(np.empty(0, np.int32), max_length=20, seed=7)

    def draw(step: Step, size: int) -> list[str]:
        return [VOCABULARY.decode(sample.tokens) for sample in sample_tokens(step, request, 300, batch_size=size)]

    expected = draw(source.reference, 256)
    for name, step in engines.items():
        assert draw(step, batch) == expected, name


def test_nothing_is_left_behind_when_a_keras_model_and_its_weights_disagree(source: Any, tmp_path: Path) -> None:
    """The folding is inside the gate: a wrong table is caught, because the reference is the Keras model itself."""
    from dataclasses import replace

    from charrnn_export.bundle import export_bundle
    from charrnn_export.targets import choose
    from charrnn_runtime.errors import ParityError

    table = source.weights.input_table.copy()
    table[17, 3] *= np.float32(1.01)
    wrong = replace(source, weights=replace(source.weights, input_table=table))
    with pytest.raises(ParityError, match=r"model\.onnx: one step from random states"):
        export_bundle(wrong, tmp_path / "bundle", choose([], []))
    assert not (tmp_path / "bundle").exists()
