"""The README.md of a bundle: what the model is, and how to call it from any language."""

from collections.abc import Mapping, Sequence
from typing import Any

from charrnn_export.snippets import snippets
from charrnn_runtime.bundle.manifest import NOT_CHECKED, Description, FileEntry, Manifest
from charrnn_runtime.cli.summaries import training_rows
from charrnn_runtime.core.signature import GENERATE_NAME, SIGNATURE_NAME, generate_signature, signature


def model_card(manifest: Manifest) -> str:
    """Return the text of the card, in Markdown."""
    description = manifest.description
    files = "\n".join(
        _file_row(name, [manifest.files[file] for file in files]) for name, files in manifest.models().items()
    )
    generators = {name: entry for name, entry in manifest.files.items() if GENERATE_NAME in entry.signatures}
    return f"""# A character model

{_figures(manifest)}

| file | format | precision | bytes | one step differs by at most | bits per character differ by |
|---|---|---|---|---|---|
{files}

Each file agrees with the trained model as the table says, and carries its own description and a golden transcript:
`python -m charrnn_runtime verify .` replays it on this device, `python -m charrnn_runtime sample .` draws from it.
{_benchmark(manifest)}

{_plain_c(manifest)}{_calling(manifest)}

## The same in five languages

Each of these always takes the most probable token. To draw at random as `sample` does, follow docs/random_stream.md of
charrnn, as its docs/examples/javascript does.

{snippets(description)}
{_generators(generators, description)}"""


def _calling(manifest: Manifest) -> str:
    """Return the section on the step: its tensors and how to drive it."""
    description = manifest.description
    without_step = [f"`{name}`" for name, entry in manifest.files.items() if SIGNATURE_NAME not in entry.signatures]
    but = f" but {', '.join(without_step)}" if without_step else ""
    return f"""## Calling it from another language

Every .onnx and .tflite{but} holds one step. Bind the tensors by name:

{_tensor_table("", signature(description.vocabulary.size, description.units))}

1. Begin with all states zero and `token` 0, the newline, which is the boundary of a line.
2. Feed the token and the states; draw the next token from softmax(`logits` / temperature).
3. Feed that token with the `_out` states; stop when token 0 is drawn.

The character of token i is at position i of `vocabulary.characters` in manifest.json (one code point each, newline
first). Text that is fed must have the normal form and case that the manifest's `vocabulary` names."""


def _benchmark(manifest: Manifest) -> str:
    if manifest.held_out_sample is None:
        return "`python -m charrnn_runtime benchmark . --text FILE` measures every file here, on lines of your own."
    return """`python -m charrnn_runtime benchmark .` measures every file here, on some of the held-out lines. They
are in manifest.json as plain text; `charrnn export --no-held-out` leaves them out."""


def _figures(manifest: Manifest) -> str:
    description = manifest.description
    layers = " + ".join(map(str, description.units))
    lines = [f"An LSTM of {layers} units over {description.vocabulary.size} characters."]
    training = description.training
    data = training.get("data")
    source = data.get("source") if isinstance(data, Mapping) else training.get("source")
    if source:
        lines.append(f"Trained on {source}; manifest.json has the counts, the digest of the data and the figures.")
    rows = training_rows(training)
    figures = [f"- {label}: {rows[label]}" for label in ("test", "baseline", "difference") if label in rows]
    return "\n".join([" ".join(lines), *(["", "On held-out lines:", ""] if figures else []), *figures])


def _file_row(name: str, entries: Sequence[FileEntry]) -> str:
    parity, size = entries[0].parity, sum(entry.bytes for entry in entries)
    row = f"| {name} | {entries[0].format} | {entries[0].precision} | {size:,} |"
    if parity == NOT_CHECKED:
        return f"{row} not checked | not checked |"
    if SIGNATURE_NAME not in entries[0].signatures:
        return f"{row} `generate` alone | |"
    return f"{row} {parity['one_step_max_abs_diff']:.1e} | {parity['delta_bits_per_character']:+.1e} |"


def _plain_c(manifest: Manifest) -> str:
    """Return the section on the folders with the model in C; empty if there are none."""
    folders = {name: files for name, files in manifest.models().items() if manifest.files[files[0]].format == "c"}
    if not folders:
        return ""
    listed = "\n".join(f"- {', '.join(f'`{file}`' for file in files)}" for files in folders.values())
    return f"""## In plain C

For a microcontroller, or wherever there is a C99 compiler and nothing else:

{listed}

The `README.md` of each folder says how to use it; `make check` there repeats the transcript. The commands above compile
and run it only with `--engine c`.

"""


def _generators(generators: Mapping[str, FileEntry], description: Description) -> str:
    """Return the section on the files with a generator; empty if there are none."""
    if not generators:
        return ""
    listed = " and ".join(
        f"`{name}`" + (", signature `generate`" if name.endswith("tflite") else "") for name in generators
    )
    end = "; it ends before its first 0" if description.stop_at_boundary else ""
    tables = "\n\n".join(
        _tensor_table(f" {name}", generate_signature(description.units, entry.format))
        for name, entry in generators.items()
    )
    return f"""
## Whole texts in one call

{listed}: one call draws as many characters as it gets uniforms, each as `charrnn sample` draws it.

{tables}

1. Begin with `token` 0 and all states zero, a row for each text; fill `uniforms` with random numbers from 0 to below 1.
2. `temperature` 0 always takes the most probable character; `top_k` 0 and `top_p` 1 are off.
3. A row of `tokens` is a text{end}.
4. For more, pass the last column of `tokens` as `token`, and the `_out` states; rows that had ended begin a new text.

The token vocab_size, which is no character, means that a number in the model is not finite: the file or the engine
is damaged.
"""


def _tensor_table(title: str, tensors: Mapping[str, Any]) -> str:
    return f"""|{title} | name | type | shape |
|---|---|---|---|
{_tensor_rows("in", tensors["inputs"])}
{_tensor_rows("out", tensors["outputs"])}"""


def _tensor_rows(direction: str, tensors: dict[str, dict[str, object]]) -> str:
    return "\n".join(
        f"| {direction} | {name} | {tensor['dtype']} | {tensor['shape']} |" for name, tensor in tensors.items()
    )
