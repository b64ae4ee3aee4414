"""The model as a program uses it: load it, then sample, score and complete, in characters instead of tokens."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn_runtime.bundle import golden
from charrnn_runtime.bundle.locate import Engine
from charrnn_runtime.bundle.manifest import Description
from charrnn_runtime.bundle.open_generator import loop_beside
from charrnn_runtime.bundle.open_step import open_model
from charrnn_runtime.core.step import Step
from charrnn_runtime.core.vocabulary import BOUNDARY, TextRule, Tokens, Unknown
from charrnn_runtime.engines import generator
from charrnn_runtime.errors import InputError, ModelFileError, UnknownCharacterError
from charrnn_runtime.results import Completion, LineScore, Sample
from charrnn_runtime.sampling import sampler
from charrnn_runtime.sampling.draw import SamplingOptions
from charrnn_runtime.sampling.sampler import Request
from charrnn_runtime.scoring import score as scoring
from charrnn_runtime.scoring.completion import DEFAULT_BUDGET
from charrnn_runtime.selection import Selection, select

# What many programs never call is loaded when it is called: the first sample comes sooner.
if TYPE_CHECKING:
    from charrnn_runtime.sampling.training_lines import TrainingLines
    from charrnn_runtime.session import Session

DEFAULT_BATCH_SIZE = 256
"""Samples drawn side by side unless told otherwise; changes the speed, not the text."""


@dataclass(frozen=True)
class Model:
    """A character model that is ready to be used; made by `load`.

    Threads may share one (a LiteRT model takes one call at a time; `load` one for each thread to run them side by
    side). A pickled one is loaded again, from its file, in the process that unpickles it.
    """

    step: Step
    """The bare step, for callers that drive it themselves."""

    description: Description
    """What the model is and was trained on."""

    path: Path
    """The file in use; for C, the folder."""

    engine: Engine
    """What runs it: "onnxruntime", "litert", "numpy" or "c"."""

    source: Path
    """What was loaded, as an absolute path: a run, a bundle, or one file."""

    num_threads: int = 1
    """Threads inside one operator."""

    @cached_property
    def _loop(self) -> generator.Generator | None:
        """The whole loop in one graph, where a bundle of running text holds it: twice as fast for one sample."""
        if self.description.stop_at_boundary or not self.source.is_dir():
            return None
        return loop_beside(self.path, self.description, num_threads=self.num_threads)

    def __reduce__(self) -> tuple[object, ...]:
        """Let another process load the model for itself."""
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
        """Say what is to be drawn, in characters.

        Args:
            prefix: What every sample begins with.
            temperature: Below 1 safer, above 1 wilder; 0 always takes the most probable character.
            top_k: Keep only the k most probable characters; None keeps all.
            top_p: Keep only the most probable characters that hold this share (0 to 1); None keeps all.
            max_length: The most characters of a sample, prefix included; None takes the model's default.
            min_length: The fewest characters of a sample, prefix included.
            ban: Characters that are never drawn.
            seed: Sample number i of a seed has the same text everywhere.
            unknown: What to do with a character of the prefix that the model does not know: "error" or "skip".

        Raises:
            InputError: A value has no meaning.
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
        selection: Selection = Selection(),
        batch_size: int = DEFAULT_BATCH_SIZE,
        first_index: int = 0,
        num_workers: int = 1,
    ) -> Iterator[Sample]:
        """Yield drawn samples in the order of their numbers, as they get ready, in constant memory.

        Args:
            request: What to draw.
            num_samples: How many, 1 or more.
            selection: Which samples are left out; others are drawn instead of them.
            batch_size: How many are drawn side by side; changes the speed, not the text.
            first_index: The number of the first.
            num_workers: Processes that draw; worth it for some ten thousand samples and more.

        Raises:
            InputError: A number below 1.
            OperationError: The selection leaves nothing to draw.
        """
        if num_samples < 1:
            raise InputError(f"number of samples: expected 1 or more, received {num_samples}")
        count = num_samples if selection.is_open else None
        if num_workers == 1:
            drawn = self._drawn(request, count, batch_size, first_index)
        else:
            from charrnn_runtime import parallel

            drawn = parallel.draw(self, request, count, batch_size, first_index, num_workers)
        yield from drawn if selection.is_open else select(drawn, num_samples, selection)

    def _drawn(self, request: Request, count: int | None, batch_size: int, first_index: int) -> Iterator[Sample]:
        decode = self.description.vocabulary.decode
        draw = sampler.sample_tokens
        if self._loop is not None and generator.can_draw(request):
            draw = partial(generator.sample_text, self._loop)
        drawn = draw(self.step, request, count, batch_size=batch_size, first_index=first_index)
        for sample in drawn:
            yield Sample(sample.number, decode(sample.tokens.tolist()), sample.ended)

    def training_lines(self) -> "TrainingLines":
        """Return what tells whether a line, in the model's normal form and case, was one of the training lines.

        Exact for a run; for a bundle a filter that takes a new line for a training line once in a thousand times.

        Raises:
            ModelFileError: The model was loaded from a single file, is one of running text, or was exported without.
        """
        if self.description.mode != "lines":
            raise ModelFileError(f"{self.source} was trained on running text, which has no lines to tell from new ones")
        from charrnn_runtime.bundle.open_step import read_training_lines

        return read_training_lines(self.source)

    def stream(self, request: Request, index: int = 0) -> Iterator[str]:
        """Yield the characters of sample number `index` as they are drawn: the prefix first, the final newline not."""
        characters = self.description.vocabulary.characters
        yield from self.description.vocabulary.decode(request.prefix)
        for token in sampler.stream_tokens(self.step, request, index):
            if token or not request.stop_at_boundary:
                yield characters[token]

    def score(
        self, lines: Iterable[str], *, unknown: Unknown = "error", batch_size: int = scoring.DEFAULT_BATCH_SIZE
    ) -> list[LineScore]:
        """Return how probable the model finds each of some lines; see `scores`."""
        return list(self.scores(lines, unknown=unknown, batch_size=batch_size))

    def scores(
        self,
        lines: Iterable[str],
        *,
        unknown: Unknown = "error",
        batch_size: int = scoring.DEFAULT_BATCH_SIZE,
        num_workers: int = 1,
    ) -> Iterator[LineScore]:
        """Yield how probable the model finds each line, in the order given, in constant memory.

        Args:
            lines: Any number of lines, without their newlines; they are read some thousands ahead.
            unknown: What to do with a character that the model does not know: "error" or "skip".
            batch_size: How many lines go side by side; changes the speed, not the scores.
            num_workers: Processes that score; worth it for some hundred thousand lines and more.

        Raises:
            UnknownCharacterError: A line holds a character that the model has never seen; line and character are named.
            InputError: A line holds a newline, or a number is below 1.
        """
        waiting: deque[Tokens] = deque()
        tokens = self._encoded(lines, unknown, waiting)
        if num_workers == 1:
            scored = scoring.iterate_log_probabilities(self.step, tokens, batch_size=batch_size)
        else:
            from charrnn_runtime import parallel

            scored = parallel.score(self, tokens, batch_size, num_workers)
        for scores in scored:
            text = self.description.vocabulary.decode(waiting.popleft().tolist())
            yield LineScore(text, scores, self.description.held_out)

    def score_samples(self, samples: Sequence[Sample]) -> list[float]:
        """Return the log-probability (nats, at temperature 1) of the characters of samples, and of their end if any.

        The characters count as they were drawn: a normal form is not applied to them.
        """
        vocabulary = replace(self.description.vocabulary, rule=TextRule(normal_form=None))
        scores = scoring.log_probabilities(self.step, [vocabulary.encode(sample.text) for sample in samples])
        return [
            float(row.sum() if sample.ended else row[:-1].sum()) for sample, row in zip(samples, scores, strict=True)
        ]

    def bits_per_character(self, lines: Sequence[str]) -> float:
        """Return the mean bits a predicted character of some lines, the newline that ends each included."""
        encode = self.description.vocabulary.encode
        return scoring.bits_per_character(self.step, [encode(line) for line in lines])

    def complete(
        self,
        prefix: str = "",
        num_completions: int = 10,
        *,
        max_length: int | None = None,
        unknown: Unknown = "error",
        budget: int = DEFAULT_BUDGET,
    ) -> list[Completion]:
        """Return the most probable whole lines that begin with a prefix, with their exact probabilities.

        Args:
            prefix: What they begin with; may be empty.
            num_completions: How many, 1 or more.
            max_length: The most characters of a line; None takes the model's default.
            unknown: What to do with a character of the prefix that the model does not know: "error" or "skip".
            budget: Most rows to feed before the search gives up proving; see `Completion.is_proven`.

        Raises:
            InputError: A number below 1, or a prefix that is too long or holds a newline.
            UnknownCharacterError: The prefix holds a character that the model has never seen.
        """
        session = self.session(prefix, max_length=max_length, unknown=unknown)
        return session.complete(num_completions, budget=budget)

    def session(self, text: str = "", *, max_length: int | None = None, unknown: Unknown = "error") -> "Session":
        """Return a text that can be typed on, with suggestions after every key; see `Session`."""
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
        """Yield the tokens of lines, and put them down for whoever needs them once more."""
        for number, line in enumerate(lines, start=1):
            try:
                tokens = self.description.vocabulary.encode(line, unknown=unknown)
            except UnknownCharacterError as error:
                raise UnknownCharacterError(f"line {number:,}: {error}; or skip unknown characters") from error
            if BOUNDARY in tokens and self.description.stop_at_boundary:
                raise InputError(f"line {number:,}: expected one line, received a text with a newline in it")
            waiting.append(tokens)
            yield tokens

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
        engine: "auto", "onnxruntime", "litert", "numpy" (which runs the weights of a run), or "c", which compiles and
            runs the plain C of a bundle: only for a bundle of someone you trust.
        num_threads: Threads inside one operator; one is fastest for cells of this size.

    Raises:
        ModelFileError: There is no model, or it is damaged; the message says which check failed.
        EngineMissingError: The engine that is needed is not installed.
    """
    loaded = open_model(Path(path), engine=engine, num_threads=num_threads)
    source = Path(path).absolute()
    return Model(loaded.step, loaded.description, loaded.path, loaded.engine, source, num_threads)


def _load_again(source: Path, engine: Engine, num_threads: int) -> Model:
    return load(source, engine=engine, num_threads=num_threads)
