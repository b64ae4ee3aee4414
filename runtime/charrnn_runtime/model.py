"""The model as a program uses it: load it, then sample, score and complete, in characters instead of tokens."""

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn_runtime.bundle import golden
from charrnn_runtime.bundle.open_step import open_model
from charrnn_runtime.core.vocabulary import BOUNDARY, TextRule, Tokens, Unknown
from charrnn_runtime.errors import InputError, ModelFileError, UnknownCharacterError
from charrnn_runtime.results import Completion, LineScore, LineScores, Sample
from charrnn_runtime.sampling import sampler
from charrnn_runtime.sampling.draw import SamplingOptions
from charrnn_runtime.sampling.sampler import Request

# Modules that many programs never need are imported by the methods that use them, so that the first sample comes
# sooner: benchmarks/startup.py measures it.
if TYPE_CHECKING:
    from charrnn_runtime.bundle.locate import Engine
    from charrnn_runtime.bundle.manifest import Description
    from charrnn_runtime.core.step import Step
    from charrnn_runtime.engines.generator import Generator
    from charrnn_runtime.sampling.training_lines import TrainingLines
    from charrnn_runtime.selection import Selection
    from charrnn_runtime.session import Session

DEFAULT_BATCH_SIZE = 256
"""Default number of samples drawn, or lines scored, side by side; changes the speed, not the result."""

_SHOWN_SAMPLES, _SHOWN_CHARACTERS = 5, 300
"""Samples of lines, and characters of running text, that a notebook shows of a model."""


@dataclass(frozen=True)
class Model:
    """A character model that is ready to use; made by `load`.

    Threads may share one. A LiteRT model runs one call at a time: `load` one for each thread to run them side by side.
    A process that unpickles one loads it again from its file.
    """

    step: "Step"
    """The step, for callers that feed it themselves."""

    description: "Description"
    """What the model is and what it was trained on."""

    path: Path
    """The file that was opened; for C, the folder."""

    engine: "Engine"
    """The engine that runs it: "onnxruntime", "litert", "numpy" or "c"."""

    source: Path
    """The absolute path that was passed to `load`: a run, a bundle, or one file."""

    num_threads: int = 1
    """Threads inside one operator."""

    @cached_property
    def _generator(self) -> "Generator | None":
        """The generator, if a bundle of running text has one: twice as fast as the step for one sample."""
        if self.description.stop_at_boundary or not self.source.is_dir():
            return None
        from charrnn_runtime.bundle.open_generator import generator_beside

        return generator_beside(self.path, self.description, num_threads=self.num_threads)

    def __reduce__(self) -> tuple[object, ...]:
        return _load_again, (self.source, self.engine, self.num_threads)

    def request(
        self,
        prefix: str = "",
        *,
        temperature: float = SamplingOptions.temperature,
        top_k: int | None = SamplingOptions.top_k,
        top_p: float | None = SamplingOptions.top_p,
        max_length: int | None = None,
        min_length: int = Request.min_length,
        ban: str = "",
        seed: int = Request.seed,
        unknown: Unknown = "error",
    ) -> Request:
        """Return a request for `samples` and `stream`.

        Args:
            prefix: The first characters of every sample.
            temperature: Below 1 safer, above 1 wilder; 0 always takes the most probable character.
            top_k: Keep only the k most probable characters; None keeps all.
            top_p: Keep only the most probable characters that hold this share (0 to 1); None keeps all.
            max_length: The most characters of a sample, prefix included; None takes the model's default.
            min_length: The fewest characters of a sample, prefix included.
            ban: Characters that are never drawn.
            seed: Sample number i of a seed has the same text everywhere.
            unknown: "error" raises on a character of the prefix that the model has never seen, "skip" leaves it out.

        Raises:
            InputError: A value is out of range.
            UnknownCharacterError: The prefix holds a character that the model has never seen.
        """
        return Request(
            prefix=self.description.vocabulary.encode(prefix, unknown=unknown),
            max_length=self.description.max_length if max_length is None else max_length,
            options=SamplingOptions(temperature, top_k, top_p, self._banned(ban)),
            seed=seed,
            stop_at_boundary=self.description.stop_at_boundary,
            min_length=min_length,
        )

    def sample(
        self,
        num_samples: int = 10,
        prefix: str = "",
        *,
        temperature: float = SamplingOptions.temperature,
        top_k: int | None = SamplingOptions.top_k,
        top_p: float | None = SamplingOptions.top_p,
        max_length: int | None = None,
        seed: int = Request.seed,
    ) -> list[str]:
        """Return drawn texts, number 0 to num_samples - 1 of a seed; see `request` for the options."""
        request = self.request(
            prefix, temperature=temperature, top_k=top_k, top_p=top_p, max_length=max_length, seed=seed
        )
        return [sample.text for sample in self.samples(request, num_samples)]

    def samples(
        self,
        request: Request,
        num_samples: int,
        *,
        selection: "Selection | None" = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        first_index: int = 0,
        num_workers: int = 1,
    ) -> Iterator[Sample]:
        """Yield drawn samples in the order of their numbers, as soon as they are finished, in constant memory.

        Args:
            request: What to draw.
            num_samples: How many, 1 or more.
            selection: Which samples are left out; others are drawn in their place. None keeps all.
            batch_size: How many are drawn side by side; changes the speed, not the text.
            first_index: The number of the first.
            num_workers: Processes that draw; faster from some ten thousand samples on.

        Raises:
            InputError: A number is below 1.
            OperationError: The selection leaves nothing to draw.
        """
        if num_samples < 1:
            raise InputError(f"number of samples: expected 1 or more, received {num_samples}")
        keeps_all = selection is None or selection.keeps_all
        count = num_samples if keeps_all else None
        if num_workers == 1:
            drawn = self._drawn(request, count, batch_size, first_index)
        else:
            from charrnn_runtime import parallel

            drawn = parallel.draw(self, request, count, batch_size, first_index, num_workers)
        if selection is None or keeps_all:
            yield from drawn
        else:
            from charrnn_runtime.selection import select

            yield from select(drawn, num_samples, selection)

    def _drawn(self, request: Request, count: int | None, batch_size: int, first_index: int) -> Iterator[Sample]:
        decode = self.description.vocabulary.decode
        draw = sampler.sample_tokens
        if self._generator is not None:
            from charrnn_runtime.engines import generator

            if generator.can_draw(request):
                draw = partial(generator.sample_text, self._generator)
        drawn = draw(self.step, request, count, batch_size=batch_size, first_index=first_index)
        for sample in drawn:
            yield Sample(sample.number, decode(sample.tokens.tolist()), sample.ended)

    def training_lines(self) -> "TrainingLines":
        """Return the set of the training lines, in the model's normal form and case, for `line in ...`.

        Exact for a run; for a bundle a filter, which takes one new line in a thousand for a training line.

        Raises:
            ModelFileError: The model was loaded from a single file, is one of running text, or has no filter.
        """
        if self.description.mode != "lines":
            raise ModelFileError(f"{self.source} was trained on running text, which has no lines to tell from new ones")
        from charrnn_runtime.bundle.open_step import read_training_lines

        return read_training_lines(self.source)

    def stream(self, request: Request, index: int = 0) -> Iterator[str]:
        """Yield the characters of sample number `index` as they are drawn, prefix first, without the final newline."""
        characters = self.description.vocabulary.characters
        yield from self.description.vocabulary.decode(request.prefix)
        for token in sampler.stream_tokens(self.step, request, index):
            if token or not request.stop_at_boundary:
                yield characters[token]

    def score(
        self, lines: Iterable[str], *, unknown: Unknown = "error", batch_size: int = DEFAULT_BATCH_SIZE
    ) -> LineScores:
        """Return the score of each line, as a list; see `scores`."""
        return LineScores(self.scores(lines, unknown=unknown, batch_size=batch_size))

    def scores(
        self,
        lines: Iterable[str],
        *,
        unknown: Unknown = "error",
        batch_size: int = DEFAULT_BATCH_SIZE,
        num_workers: int = 1,
    ) -> Iterator[LineScore]:
        """Yield the score of each line, in the order given, in constant memory.

        Args:
            lines: Any number of lines, without their newlines; some thousands are read ahead.
            unknown: "error" raises on a character that the model has never seen, "skip" leaves it out.
            batch_size: How many lines are scored side by side; changes the speed, not the scores.
            num_workers: Processes that score; faster from some hundred thousand lines on.

        Raises:
            UnknownCharacterError: The model has never seen a character; the message names the line and the character.
            InputError: A line holds a newline, or a number is below 1.
        """
        waiting: deque[Tokens] = deque()
        tokens = self._encoded(lines, unknown, waiting)
        if num_workers == 1:
            from charrnn_runtime.scoring.score import iterate_log_probabilities

            scored = iterate_log_probabilities(self.step, tokens, batch_size=batch_size)
        else:
            from charrnn_runtime import parallel

            scored = parallel.score(self, tokens, batch_size, num_workers)
        for scores in scored:
            text = self.description.vocabulary.decode(waiting.popleft().tolist())
            yield LineScore(text, scores, self.description.score_quantiles)

    def score_samples(self, samples: Sequence[Sample]) -> list[float]:
        """Return the log-probability (nats, at temperature 1) of each sample, with that of its end if it has one.

        The normal form is not applied: the characters are scored as they were drawn.
        """
        from charrnn_runtime.scoring.score import log_probabilities

        vocabulary = replace(self.description.vocabulary, rule=TextRule(normal_form=None))
        scores = log_probabilities(self.step, [vocabulary.encode(sample.text) for sample in samples])
        return [
            float(row.sum() if sample.ended else row[:-1].sum()) for sample, row in zip(samples, scores, strict=True)
        ]

    def bits_per_character(self, lines: Sequence[str]) -> float:
        """Return the mean bits per predicted character of some lines, with the newline that ends each."""
        from charrnn_runtime.scoring.score import bits_per_character

        encode = self.description.vocabulary.encode
        return bits_per_character(self.step, [encode(line) for line in lines])

    def complete(
        self,
        prefix: str = "",
        num_completions: int = 10,
        *,
        max_length: int | None = None,
        unknown: Unknown = "error",
        budget: int | None = None,
    ) -> list[Completion]:
        """Return the most probable whole lines that begin with a prefix, with their exact probabilities.

        Args:
            prefix: The first characters; may be empty.
            num_completions: How many, 1 or more.
            max_length: The most characters of a line; None takes the model's default.
            unknown: "error" raises on a character of the prefix that the model has never seen, "skip" leaves it out.
            budget: The most rows to feed; after that the search returns the best it has (see `Completion.is_proven`).
                None takes `charrnn_runtime.scoring.completion.DEFAULT_BUDGET`.

        Raises:
            InputError: A number is below 1, or the prefix is too long or holds a newline.
            UnknownCharacterError: The prefix holds a character that the model has never seen.
        """
        from charrnn_runtime.scoring.completion import DEFAULT_BUDGET

        session = self.session(prefix, max_length=max_length, unknown=unknown)
        return session.complete(num_completions, budget=DEFAULT_BUDGET if budget is None else budget)

    def session(self, text: str = "", *, max_length: int | None = None, unknown: Unknown = "error") -> "Session":
        """Return a line that can be edited, with completions after every key; see `Session`."""
        from charrnn_runtime.session import Session

        longest = self.description.max_length if max_length is None else max_length
        session = Session(self.step, self.description.vocabulary, max_length=longest, unknown=unknown)
        session.change_to(text)
        return session

    def _banned(self, characters: str) -> tuple[int, ...]:
        tokens = sorted(set(self.description.vocabulary.encode(characters).tolist()))
        if self.description.stop_at_boundary and BOUNDARY in tokens:
            raise InputError("ban: expected characters of a line, received a newline, without which no line ends")
        if len(tokens) >= self.description.vocabulary.size - 1:
            raise InputError(f"ban: nothing is left to draw: all {len(tokens)} characters of the model are banned")
        return tuple(tokens)

    def _encoded(self, lines: Iterable[str], unknown: Unknown, waiting: deque[Tokens]) -> Iterator[Tokens]:
        """Yield the tokens of lines, and append them to `waiting` too."""
        for number, line in enumerate(lines, start=1):
            try:
                tokens = self.description.vocabulary.encode(line, unknown=unknown)
            except UnknownCharacterError as error:
                raise UnknownCharacterError(f"line {number:,}: {error}; or skip unknown characters") from error
            if BOUNDARY in tokens and self.description.stop_at_boundary:
                raise InputError(f"line {number:,}: expected one line, received a text with a newline in it")
            waiting.append(tokens)
            yield tokens

    def _repr_html_(self) -> str:
        from charrnn_runtime.notebook import model_html

        lines = self.description.mode == "lines"
        length = self.description.max_length if lines else _SHOWN_CHARACTERS
        return model_html(_facts(self), self.sample(_SHOWN_SAMPLES if lines else 1, max_length=length))

    def verify(self) -> golden.Replay:
        """Replay the golden transcript of the model, on this engine and machine.

        Raises:
            ParityError: The engine gives something else than the transcript.
            ModelFileError: The model has no transcript (it was not exported).
        """
        transcript = self.description.golden
        if transcript is None:
            raise ModelFileError(f"{self.path} carries no golden transcript: `charrnn export` adds one")
        return golden.replay(
            self.step, self.description.vocabulary, transcript, stop_at_boundary=self.description.stop_at_boundary
        )


def _facts(model: Model) -> dict[str, str]:
    description = model.description
    units = " + ".join(map(str, description.units))
    facts = {
        "model": f"LSTM over {description.mode}, units {units}, {description.vocabulary.size} tokens",
        "file": f"{model.path} (run by {model.engine})",
    }
    for split in ("validation", "test"):
        loss = description.training.get(split)
        if isinstance(loss, Mapping) and isinstance(nats := loss.get("nats"), float):
            facts[split] = f"{nats / math.log(2):.3f} bits per character"
    return facts


def load(path: str | os.PathLike[str], *, engine: "Engine" = "auto", num_threads: int = 1) -> Model:
    """Load a model.

    Args:
        path: A run, a bundle, or one exported .onnx or .tflite file.
        engine: "auto", "onnxruntime", "litert", "numpy" (which runs the weights of a run), or "c", which compiles and
            runs the plain C of a bundle: only for a bundle from someone you trust.
        num_threads: Threads inside one operator; one is fastest for cells of this size.

    Raises:
        ModelFileError: There is no model, or it is damaged; the message says which check failed.
        EngineMissingError: The engine that is needed is not installed.
    """
    loaded = open_model(Path(path), engine=engine, num_threads=num_threads)
    source = Path(path).absolute()
    return Model(loaded.step, loaded.description, loaded.path, loaded.engine, source, num_threads)


def _load_again(source: Path, engine: "Engine", num_threads: int) -> Model:
    return load(source, engine=engine, num_threads=num_threads)
