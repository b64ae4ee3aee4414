"""A model as plain C sources: it needs only a C99 compiler, on a desktop as on a microcontroller.

The code in `c_template/` is the same for every model. This module fills in the sizes and the transcript of a model;
`weights_header` writes its weights.
"""

import math
from collections.abc import Mapping
from importlib.resources import files

from charrnn_export.c_format.weights_header import BLOCK, braced, weights_header
from charrnn_runtime.bundle.golden import Golden
from charrnn_runtime.bundle.manifest import MANIFEST_NAME, Description, FileEntry, Manifest
from charrnn_runtime.core.files import json_bytes, sha256
from charrnn_runtime.core.signature import Precision
from charrnn_runtime.core.step import StepWeights
from charrnn_runtime.core.vocabulary import Vocabulary
from charrnn_runtime.engines.c_engine import HEADER, SOURCE
from charrnn_runtime.errors import InputError

WEIGHTS, GOLDEN = "charrnn_weights.h", "charrnn_golden.h"
SAMPLER, MAKEFILE, README = "main.c", "Makefile", "README.md"


def convert(weights: StepWeights, description: Description, precision: Precision = "fp32") -> Mapping[str, bytes]:
    """Return the files of a model in C, by name; the last is a manifest, so that their folder is a bundle.

    Args:
        weights: The weights of the step.
        description: What the model is; its vocabulary and default length become part of the header.
        precision: How the weights are stored, "fp32" or "int8".

    Raises:
        InputError: Another precision, or a vocabulary with the character U+0000, which ends a text in C.
        ModelFileError: A weight is NaN or infinite.
    """
    if precision not in BLOCK:
        raise InputError(f"precision: expected fp32 or int8 for C, received {precision!r}")
    if "\0" in description.vocabulary.characters:
        raise InputError(
            "vocabulary: C cannot hold the character U+0000, which ends a text there; train on lines without it"
        )
    filled = {
        HEADER: {"sizes": _sizes(weights, description, precision)},
        README: {"facts": _facts(weights, description, precision)},
    }
    converted = {name: _template(name, filled.get(name, {})) for name in (HEADER, SOURCE, SAMPLER, MAKEFILE, README)}
    converted[WEIGHTS] = weights_header(weights, description.vocabulary, precision).encode()
    converted[GOLDEN] = _transcript(description.golden).encode()
    entries = {name: FileEntry("c", precision, len(data), sha256(data)) for name, data in converted.items()}
    return {**converted, MANIFEST_NAME: json_bytes(Manifest(description, entries).to_json())}


def _sizes(weights: StepWeights, description: Description, precision: Precision) -> str:
    """Return the definitions at the start of a model's header, each below a comment with its meaning."""
    vocabulary = description.vocabulary
    rows: tuple[tuple[str, str, object], ...] = (
        ("How many tokens there are.", "VOCAB_SIZE", vocabulary.size),
        ("How many LSTM layers.", "NUM_LAYERS", len(weights.units)),
        ("The units of each layer, the lowest first, to initialise an array with.", "UNITS", braced(weights.units)),
        ("The units of all layers together.", "TOTAL_UNITS", sum(weights.units)),
        ("The most characters of a sample, unless the request says otherwise.", "MAX_LENGTH", description.max_length),
        ("The most bytes of one character.", "CHARACTER_BYTES", max(len(c.encode()) for c in vocabulary.characters)),
        (
            "Whether a drawn newline ends a sample (lines), or is a character like any other (running text).",
            "STOP_AT_BOUNDARY",
            int(description.stop_at_boundary),
        ),
        ("The form that text must have.", "TEXT_FORM", f'"{_text_form(vocabulary)}"'),
        ("Whether weights are 8-bit numbers with a scale a row, or floats.", "INT8", int(precision == "int8")),
    )
    return "\n".join(f"/* {meaning} */\n#define CHARRNN_{name} {value}" for meaning, name, value in rows)


def _text_form(vocabulary: Vocabulary) -> str:
    form = f"normal form {vocabulary.rule.normal_form}" if vocabulary.rule.normal_form else "any normal form"
    return f"{form}, small letters" if vocabulary.rule.lowercase else form


def _transcript(golden: Golden | None) -> str:
    """Return the text of charrnn_golden.h, the transcript that `sample -v` repeats."""
    lines = [golden.greedy, *golden.samples] if golden else [""]
    sums = [math.fsum(row) for row in golden.log_probabilities] if golden else [0.0]
    rows = (
        "/* Written by charrnn: what the model said when it was exported; `make check` repeats it. */",
        f"#define GOLDEN_SAMPLES {len(lines) - 1}",
        f"#define GOLDEN_SEED UINT64_C({golden.seed if golden else 0})",
        f"#define GOLDEN_MAX_LENGTH {golden.max_length if golden else 1}",
        "/* Nats a character. */",
        f"#define GOLDEN_TOLERANCE {golden.tolerance if golden else 0.0!r}",
        "/* Whether every line must come out the same, or only be as probable. */",
        f"#define GOLDEN_SAME_TEXT {int(golden.same_text if golden else 1)}",
        "/* The greedy line, and then the samples number 0, 1, ... of the seed. */",
        "static const char *const golden_lines[] = {\n    " + ",\n    ".join(map(_text_literal, lines)) + "\n};",
        "/* Of each sample, the sum over its characters and the newline that ends it. */",
        "static const double golden_log_probabilities[] = {" + ", ".join(map(repr, sums)) + "};",
    )
    return "\n".join(rows) + "\n"


def _text_literal(text: str) -> str:
    r"""Return a text as a C string literal in ASCII.

    >>> print(_text_literal('é"?\n'))
    "\303\251\042\077\012"
    """
    # Question marks are escaped too, since `??x` can be a trigraph; an octal escape ends after three digits.
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(plain)}"'


def _facts(weights: StepWeights, description: Description, precision: Precision) -> str:
    layers = " + ".join(map(str, weights.units))
    stored = "8-bit weights with a scale a row" if precision == "int8" else "float32 weights"
    return (
        f"An LSTM of {layers} units over {weights.vocab_size} characters, {stored}. "
        f"Text must have this form: {_text_form(description.vocabulary)}."
    )


def _template(name: str, filled: Mapping[str, str]) -> bytes:
    text = files("charrnn_export.c_format").joinpath("c_template", name).read_text(encoding="utf-8")
    for key, value in filled.items():
        for marker in (f"/* @{key}@ */", f"@{key}@"):
            text = text.replace(marker, value)
    return text.encode()
