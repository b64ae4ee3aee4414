"""Make the tiny models of the tests, and the exported bundles of them that are kept in this folder.

    python tests/golden/make_golden.py

Their weights are drawn from a seed, not trained: what the runtime's tests need is real files that a real converter
wrote, where TensorFlow is absent. `tests/export` checks that an export of today still says what these files say.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charrnn_runtime.bundle.manifest import Description
from charrnn_runtime.core.step import Float32, NumpyStep, StepWeights
from charrnn_runtime.core.vocabulary import Tokens, Vocabulary
from charrnn_runtime.scoring.quantiles import Quantiles

GOLDEN = Path(__file__).parent
UNITS = {"one_layer": (16,), "two_layers": (16, 12)}
LOOP = "loop"
VOCABULARY = Vocabulary.build(["Aden", "dries", "ést-🏙"])
HELD_OUT = ("dries", "Aden", "sné", "", "ténie-🏙e")
TRAINING_LINES = ("Aden", "dries", "ést-🏙", "A", "")
TRAINING = {"source": "nothing: random weights", "counts": {"lines": 5}}


@dataclass(frozen=True)
class Tiny:
    """A tiny model, its numpy step standing in for the trained one."""

    name: str
    weights: StepWeights
    description: Description

    @property
    def step(self) -> NumpyStep:
        return NumpyStep(self.weights)

    @property
    def vocabulary(self) -> Vocabulary:
        return self.description.vocabulary

    @property
    def held_out(self) -> list[Tokens]:
        return [self.vocabulary.encode(line) for line in HELD_OUT]


def tiny_model(name: str) -> Tiny:
    """Return a tiny model by its name."""
    units = UNITS[name]
    weights = tiny_weights(units)
    quantiles = Quantiles.measure(NumpyStep(weights), [VOCABULARY.encode(line) for line in HELD_OUT])
    return Tiny(name, weights, Description(VOCABULARY, units, training=TRAINING, score_quantiles=quantiles))


def tiny_weights(units: tuple[int, ...], seed: int = 1) -> StepWeights:
    """Return seeded random weights; raw uniforms of Philox, which numpy keeps the same from version to version."""
    generator = np.random.Generator(np.random.Philox(key=[seed, len(units)]))

    def uniform(*shape: int, bound: float = 0.9) -> Float32:
        return ((2 * generator.random(shape) - 1) * bound).astype(np.float32)

    return StepWeights(
        input_table=uniform(VOCABULARY.size, 4 * units[0], bound=1.5),
        recurrent_kernels=tuple(uniform(size, 4 * size) for size in units),
        input_kernels=tuple(uniform(below, 4 * size) for below, size in itertools.pairwise(units)),
        biases=tuple(uniform(4 * size) for size in units[1:]),
        projection_kernel=uniform(units[-1], VOCABULARY.size, bound=2.0),
        projection_bias=uniform(VOCABULARY.size),
    )


def main() -> None:
    """Export both models into this folder, the second one once more with the whole loop."""
    from charrnn_export.bundle import export_bundle
    from charrnn_export.targets import choose
    from charrnn_export.writers import ExportSource

    for name in UNITS:
        tiny = tiny_model(name)
        source = ExportSource(tiny.weights, tiny.step, tiny.description, tiny.held_out, TRAINING_LINES)
        export_bundle(source, GOLDEN / name, choose([], []))
    export_bundle(source, GOLDEN / LOOP, choose([], [], generate=True))


if __name__ == "__main__":
    main()
