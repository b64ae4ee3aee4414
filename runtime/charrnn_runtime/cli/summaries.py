"""Sentences and tables about a model, for the commands `train`, `verify`, `info` and `score`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charrnn_runtime.bundle import golden
from charrnn_runtime.bundle.locate import bundle_of, read_manifest
from charrnn_runtime.bundle.manifest import NOT_CHECKED
from charrnn_runtime.bundle.open_generator import LoadedGenerator, generator_files
from charrnn_runtime.bundle.open_step import LoadedStep
from charrnn_runtime.core.loss import Loss
from charrnn_runtime.core.signature import GENERATE_NAME, generate_signature
from charrnn_runtime.errors import ModelFileError
from charrnn_runtime.model import Model


def verification(model: Model) -> str:
    """Replay the golden transcript of a model, and return a sentence about the result.

    Raises:
        ParityError: The model does not reproduce its golden transcript.
    """
    replay = model.verify()
    of = "" if replay.num_lines == replay.total_lines else f" of {replay.total_lines}, as integer arithmetic may"
    return (
        f"{model.path}: ok on {model.engine}: {replay.num_lines} lines identical{of}, "
        f"log-probabilities within {replay.max_abs_diff:.1e} nats (allowed {replay.tolerance:.0e})"
    )


def generator_verification(loaded: LoadedGenerator) -> str:
    """Replay the golden transcript by a generator, and return a sentence about the result.

    Raises:
        ParityError: The generator does not reproduce the golden transcript.
        ModelFileError: The file has none.
    """
    description = loaded.description
    if description.golden is None:
        raise ModelFileError(f"{loaded.path} carries no golden transcript: `charrnn export` adds one")
    count = golden.replay_generator(
        loaded.generator,
        description.vocabulary,
        description.golden,
        stop_at_boundary=description.stop_at_boundary,
    )
    return f"{loaded.path}: ok on {loaded.engine}: {count} lines identical, each drawn in one call of `generate`"


def information(loaded: LoadedStep | LoadedGenerator, named: Path) -> str:
    """Return a table about a model and the bundle that was named: label and value, one a line."""
    description = loaded.description
    vocabulary = description.vocabulary
    characters = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in vocabulary.characters[1:])
    case = "capital letters lowered" if vocabulary.rule.lowercase else "case kept"
    rows = {
        "file": f"{loaded.path} (run by {loaded.engine})",
        **_bundle_rows(named),
        **_generator_rows(loaded),
        "model": f"LSTM over {description.mode}, units {' + '.join(map(str, description.units))}",
        "vocabulary": f"{vocabulary.size} tokens: newline, {characters}",
        "text": f"normal form {vocabulary.rule.normal_form or 'none'}, {case}",
        "max length": f"{description.max_length} characters",
        "golden": f"{len(description.golden.samples) + 1} lines" if description.golden else "none: not exported yet",
        **training_rows(description.training),
    }
    width = max(map(len, rows))
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows.items())


def _bundle_rows(path: Path) -> dict[str, str]:
    """Return the models of the bundle that was named; nothing for one file or a run that was not exported."""
    try:
        manifest = read_manifest(bundle_of(path))
    except ModelFileError:
        return {}
    unchecked = {name for name, files in manifest.models().items() if manifest.files[files[0]].parity == NOT_CHECKED}
    listed = (f"{name} (parity not checked)" if name in unchecked else name for name in manifest.models())
    return {} if [*manifest.models()] == ["."] else {"bundle": ", ".join(listed)}


def _generator_rows(loaded: LoadedStep | LoadedGenerator) -> dict[str, str]:
    """Return the files with a generator and the names of its tensors."""
    rows = {}
    for name, format in generator_files(loaded.path).items():
        tensors = generate_signature(loaded.description.units, format)
        where = f"{name}, signature {GENERATE_NAME}" if format == "tflite" else name
        rows[f"generator ({format})"] = (
            f"{where}: {', '.join(tensors['inputs'])} in; {', '.join(tensors['outputs'])} out"
        )
    return rows


def baseline_rows(baseline: Mapping[str, Any]) -> dict[str, str]:
    """Return the results of the count model, and of the network compared with it: label and value.

    Args:
        baseline: The object `baseline` of a training.json.
    """
    test, difference = baseline["test"], baseline["difference"]
    counting = f"by counting: {baseline['model']} {baseline['order']}-gram, {baseline['num_counts']:,} counts"
    return {
        "baseline": f"{Loss(test['nats'], test.get('standard_error')).in_words} {counting}",
        "difference": _difference_in_words(difference["percent"], difference.get("standard_error_percent")),
    }


def training_rows(training: Mapping[str, Any]) -> dict[str, str]:
    """Return all results of a training run: label and value.

    Args:
        training: The content of a training.json.
    """
    rows: dict[str, str] = {}
    for key, value in training.items():
        try:
            rows |= baseline_rows(value) if key == "baseline" else {key.replace("_", " "): _in_words(value)}
        except (KeyError, TypeError, ValueError):
            # Another version of charrnn wrote it in another form; show it as it is.
            rows[key] = _in_words(value)
    return rows


def _difference_in_words(percent: float, standard_error: float | None) -> str:
    error = "" if standard_error is None else f" ± {standard_error:.1f}%"
    if percent >= 0:
        return (
            f"the network does not beat counting: its loss is {percent:.1f}%{error} above the baseline's on the same "
            "lines. More lines, a larger state_size or more iterations may help"
        )
    below = f"the network's loss is {-percent:.1f}%{error} below the baseline's on the same lines"
    if standard_error is None or -percent < 2 * standard_error:
        return f"{below}: too few lines to be sure that it beats counting"
    return below


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        nats, standard_error = value.get("nats"), value.get("standard_error")
        if isinstance(nats, float) and isinstance(standard_error, float | None):
            return Loss(nats, standard_error).in_words
        return ", ".join(f"{key.replace('_', ' ')} {_in_words(inner)}" for key, inner in value.items())
    return str(value)
