"""A line that is being typed: the most probable next characters and completions, after every key.

The session keeps the position after each character, so a new character costs one step, and deleting one costs none.
"""

import math

import numpy as np

from charrnn_runtime.core.step import Step
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens, Unknown, Vocabulary
from charrnn_runtime.errors import InputError
from charrnn_runtime.results import Completion
from charrnn_runtime.scoring import completion
from charrnn_runtime.scoring.completion import DEFAULT_BUDGET


class Session:
    """A prefix that can be edited. Not for threads to share."""

    def __init__(self, step: Step, vocabulary: Vocabulary, *, max_length: int, unknown: Unknown = "error") -> None:
        """Start with an empty line.

        Args:
            step: The model.
            vocabulary: Its characters.
            max_length: The most characters of a whole line; longer completions are not considered.
            unknown: "error" raises on a character that the model has never seen, "skip" leaves it out.
        """
        self._step, self._vocabulary, self._max_length, self._unknown = step, vocabulary, max_length, unknown
        self._typed = ""
        self._tokens: Tokens = np.empty(0, np.int32)
        self._positions = [completion.start(step)]

    @property
    def text(self) -> str:
        """The line so far, as it was typed."""
        return self._typed

    @property
    def prefix(self) -> str:
        """The line so far, as the model reads it: in its normal form and case."""
        return self._vocabulary.decode(self._tokens.tolist())

    def type(self, characters: str) -> None:
        """Append characters; see `change_to` for the errors."""
        self.change_to(self._typed + characters)

    def delete(self, count: int = 1) -> None:
        """Delete characters at the end; more than there are empty the line."""
        self.change_to(self._typed[: max(len(self._typed) - count, 0)])

    def change_to(self, text: str) -> None:
        """Replace the line; the part in common with the old line is not computed again.

        Raises:
            UnknownCharacterError: The model has never seen a character; the session is unchanged.
            InputError: The text holds a newline, or is too long; the session is unchanged.
        """
        tokens = self._vocabulary.encode(text, unknown=self._unknown)
        if BOUNDARY in tokens:
            raise InputError("prefix: expected the beginning of one line, received a text with a newline in it")
        if len(tokens) > self._max_length:
            raise InputError(
                f"prefix: expected at most the {self._max_length} characters of max_length, received {len(tokens)}"
            )
        shorter = min(len(tokens), len(self._tokens))
        different = np.flatnonzero(tokens[:shorter] != self._tokens[:shorter])
        common = int(different[0]) if len(different) else shorter
        del self._positions[common + 1 :]
        self._tokens = tokens[:common]
        for token in tokens[common:].tolist():
            self._positions.append(completion.advance(self._step, self._positions[-1], token))
        self._tokens, self._typed = tokens, text

    def next_characters(self, num_characters: int = 5) -> list[tuple[str, float]]:
        """Return the most probable next characters and their probabilities; a newline means the end of the line."""
        scores = self._positions[-1].log_probabilities
        best = np.argsort(-scores, kind="stable")[:num_characters]
        return [(self._vocabulary.characters[token], math.exp(scores[token])) for token in best.tolist()]

    def complete(self, num_completions: int = 10, *, budget: int = DEFAULT_BUDGET) -> list[Completion]:
        """Return the most probable whole lines that begin with the text, the most probable first.

        Args:
            num_completions: How many, 1 or more; fewer are returned only if no more lines fit into max_length.
            budget: The most rows to feed; after that the search returns the best it has, unproven.

        Raises:
            InputError: A number below 1.
        """
        found = completion.complete(self._step, self._positions[-1], num_completions, self._max_length, budget=budget)
        prefix = self.prefix
        return [
            Completion(
                prefix + self._vocabulary.decode(one.tokens.tolist()),
                one.log_probability,
                found.exact or one.log_probability >= found.bound,
            )
            for one in found.found
        ]
