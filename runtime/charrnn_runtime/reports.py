"""What `sample`, `verify` and `info` print, the same from both command lines."""

from collections.abc import Iterator, Mapping
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
    known = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in description.vocabulary.characters[1:])
    rows: dict[str, object] = {
        "file": model.path,
        "engine": model.engine,
        "mode": description.mode,
        "units": " + ".join(map(str, description.units)),
        "vocabulary": f"{description.vocabulary.size} tokens: newline, {known}",
        "normal form": description.vocabulary.rule.normal_form or "none",
        "lowercase": "yes" if description.vocabulary.rule.lowercase else "no",
        "max length": f"{description.max_length} characters",
        "golden transcript": f"{len(description.golden.samples) + 1} lines" if description.golden else "none",
        **dict(_flatten(description.training, "training")),
    }
    width = max(map(len, rows))
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows.items())


def _flatten(value: Mapping[str, Any], label: str) -> Iterator[tuple[str, object]]:
    for key, inner in value.items():
        name = f"{label} {key.replace('_', ' ')}"
        if isinstance(inner, Mapping):
            yield from _flatten(inner, name)
        else:
            yield name, inner
