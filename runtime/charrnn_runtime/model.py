"""The model as a program uses it: load it, then sample, stream and measure, in characters instead of tokens."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from charrnn_runtime import golden, sampling, scoring
from charrnn_runtime.drawing import Drawing
from charrnn_runtime.errors import ModelFileError
from charrnn_runtime.loading import Engine, open_model
from charrnn_runtime.manifest import Description
from charrnn_runtime.sampling import Request
from charrnn_runtime.step import Step
from charrnn_runtime.vocabulary import Unknown

DEFAULT_BATCH_SIZE = 64
"""Samples drawn side by side unless told otherwise; changes the speed, not the text."""


@dataclass(frozen=True)
class Sample:
    """One drawn text."""

    index: int
    """Its number: with the seed, what it was drawn from."""

    text: str
    """Prefix included, the newline that ended it not."""

    ended: bool
    """Whether it ended by itself; False if it was cut at max_length."""


@dataclass(frozen=True)
class Model:
    """A character model that is ready to be used; made by `load`."""

    step: Step
    """The bare step, for callers that drive it themselves."""

    description: Description
    """What the model is and was trained on."""

    path: Path
    """The file in use."""

    engine: str
    """What runs it: "onnxruntime", "litert" or "numpy"."""

    def request(
        self,
        prefix: str = "",
        *,
        temperature: float = Drawing.temperature,
        top_k: int | None = Drawing.top_k,
        top_p: float | None = Drawing.top_p,
        max_length: int | None = None,
        seed: int = Request.seed,
        unknown: Unknown = "error",
    ) -> Request:
        """Say what is to be drawn, in characters.

        Args:
            prefix: What every sample begins with.
            temperature: Below 1 safer, above 1 wilder; 0 always takes the most probable character.
            top_k: Keep only the k most probable characters; None keeps all.
            top_p: Keep only the most probable characters that hold this share (0 to 1); None keeps all.
            max_length: The most characters of a sample, prefix included; None takes the model's default.
            seed: Sample number i of a seed has the same text everywhere.
            unknown: What to do with a character of the prefix that the model does not know: "error" or "skip".

        Raises:
            InputError: A value has no meaning.
            UnknownCharacterError: The prefix holds a character that the model has never seen.
        """
        return Request(
            prefix=self.description.vocabulary.encode(prefix, unknown=unknown),
            max_length=self.description.max_length if max_length is None else max_length,
            drawing=Drawing(temperature, top_k, top_p),
            seed=seed,
            stop_at_boundary=self.description.stop_at_boundary,
        )

    def sample(
        self,
        num_samples: int = 10,
        prefix: str = "",
        *,
        temperature: float = Drawing.temperature,
        top_k: int | None = Drawing.top_k,
        top_p: float | None = Drawing.top_p,
        max_length: int | None = None,
        seed: int = Request.seed,
    ) -> list[str]:
        """Return drawn texts, number 0 to num_samples - 1 of a seed; see `request` for the options."""
        request = self.request(
            prefix, temperature=temperature, top_k=top_k, top_p=top_p, max_length=max_length, seed=seed
        )
        return [sample.text for sample in self.samples(request, num_samples)]

    def samples(
        self, request: Request, num_samples: int, *, batch_size: int = DEFAULT_BATCH_SIZE, first_index: int = 0
    ) -> Iterator[Sample]:
        """Yield drawn samples in the order of their numbers, as they get ready, in constant memory.

        Args:
            request: What to draw.
            num_samples: How many, 1 or more.
            batch_size: How many are drawn side by side; changes the speed, not the text.
            first_index: The number of the first.
        """
        decode = self.description.vocabulary.decode
        drawn = sampling.sample_tokens(self.step, request, num_samples, batch_size=batch_size, first_index=first_index)
        for sample in drawn:
            yield Sample(sample.index, decode(sample.tokens), sample.ended)

    def stream(self, request: Request, index: int = 0) -> Iterator[str]:
        """Yield the characters of sample number `index` as they are drawn: the prefix first, the final newline not."""
        characters = self.description.vocabulary.characters
        yield from self.description.vocabulary.decode(request.prefix)
        for token in sampling.stream_tokens(self.step, request, index):
            if token or not request.stop_at_boundary:
                yield characters[token]

    def bits_per_character(self, lines: Sequence[str]) -> float:
        """Return the mean bits a predicted character of some lines, the newline that ends each included."""
        encode = self.description.vocabulary.encode
        return scoring.bits_per_character(self.step, [encode(line) for line in lines])

    def verify(self) -> golden.Replay:
        """Replay the golden transcript that travels with the model, on this engine and machine.

        Raises:
            ParityError: The engine says something else than the trained model did.
            ModelFileError: The model carries no transcript (it was not exported).
        """
        transcript = self.description.golden
        if transcript is None:
            raise ModelFileError(f"{self.path} carries no golden transcript: `charrnn export` adds one")
        return golden.replay(
            self.step, self.description.vocabulary, transcript, stop_at_boundary=self.description.stop_at_boundary
        )


def load(path: str | os.PathLike[str], *, engine: Engine = "auto", num_threads: int = 1) -> Model:
    """Load a model.

    Args:
        path: A run, a bundle, or one exported .onnx or .tflite file.
        engine: "auto", "onnxruntime", "litert", or "numpy" (which runs the weights of a run).
        num_threads: Threads inside one operator; one is fastest for cells of this size.

    Raises:
        ModelFileError: There is no model, or it is damaged; the message says which check failed.
        EngineMissingError: The engine that is needed is not installed.
    """
    loaded = open_model(Path(path), engine=engine, num_threads=num_threads)
    return Model(loaded.step, loaded.description, loaded.path, loaded.engine)
