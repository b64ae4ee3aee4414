"""What `sample`, `verify` and `info` print, the same from both command lines."""

import math
from collections.abc import Mapping
from typing import Any

from charrnn_runtime.model import Model


def verification(model: Model) -> str:
    """Verify a model and return the sentence that says how it went.

    Raises:
        ParityError: The model does not repeat its golden transcript.
    """
    replay = model.verify()
    return (
        f"{model.path}: ok on {model.engine}: {replay.num_lines} lines identical, "
        f"log-probabilities within {replay.max_abs_diff:.1e} nats (allowed {replay.tolerance:.0e})"
    )


def information(model: Model) -> str:
    """Return what is known of a model, a line each: label and value."""
    description = model.description
    vocabulary = description.vocabulary
    known = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in vocabulary.characters[1:])
    case = "capital letters lowered" if vocabulary.rule.lowercase else "case kept"
    rows = {
        "file": f"{model.path} (run by {model.engine})",
        "model": f"LSTM over {description.mode}, units {' + '.join(map(str, description.units))}",
        "vocabulary": f"{vocabulary.size} tokens: newline, {known}",
        "text": f"normal form {vocabulary.rule.normal_form or 'none'}, {case}",
        "max length": f"{description.max_length} characters",
        "golden": f"{len(description.golden.samples) + 1} lines" if description.golden else "none: not exported yet",
        **{key.replace("_", " "): _in_words(value) for key, value in description.training.items()},
    }
    width = max(map(len, rows))
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows.items())


def loss_in_words(nats: float) -> str:
    """Return a loss in the units people are shown.

    >>> loss_in_words(math.log(4))
    '2.000 bits per character (1.3863 nats, perplexity 4.00)'
    """
    return f"{nats / math.log(2):.3f} bits per character ({nats:.4f} nats, perplexity {math.exp(min(nats, 700)):.2f})"


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        if isinstance(value.get("nats"), float):
            return loss_in_words(value["nats"])
        return ", ".join(f"{key.replace('_', ' ')} {_in_words(inner)}" for key, inner in value.items())
    return str(value)
