"""Faults planted in the C that the generator wrote: each is caught, named, and nothing is written."""

import re
from dataclasses import replace

import numpy as np
import pytest

from charrnn_export.bundle import export_bundle
from charrnn_export.c_format import sources as c_format
from charrnn_export.c_format.sources import HEADER, SOURCE, WEIGHTS
from charrnn_export.targets import Target
from charrnn_export.writers import ExportSource
from charrnn_runtime.errors import ModelFileError, OperationError, ParityError

C, INT8 = Target("c"), Target("c", "int8")
ARRAY = re.compile(r"static const (float|int8_t|uint32_t) (\w+)\[\] = \{\n(.*?)\n\};", re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def _compiler(c_compiler):
    """Every fault is found by compiling."""


def refused(tiny, monkeypatch, tmp_path, change, match, *, error=ParityError, target=C):
    """Let the generator write something else; the export must refuse it and leave nothing behind."""
    real = c_format.convert
    monkeypatch.setattr(c_format, "convert", lambda *arguments: change(dict(real(*arguments))))
    source = ExportSource(tiny.weights, tiny.step, tiny.description, tiny.held_out)
    with pytest.raises(error, match=match):
        export_bundle(source, tmp_path / "bundle", [target], max_cost=1.0)
    monkeypatch.undo()
    assert not (tmp_path / "bundle").exists()


def replaced(name, old, new):
    def change(files):
        assert files[name].count(old) == 1
        return {**files, name: files[name].replace(old, new)}

    return change


def weights_changed(array, change):
    """Return what changes the numbers of an array: `change` gets them as float64 and changes them in place."""

    def edit(found):
        if found[2] != array:
            return found[0]
        numbers = np.array([float(word.rstrip("f")) for word in found[3].replace(",", " ").split()])
        change(numbers)
        suffix = "f" if found[1] == "float" else ""
        words = [f"{number!r}f" if suffix else str(int(number)) for number in numbers.tolist()]
        return f"static const {found[1]} {found[2]}[] = {{\n{', '.join(words)}\n}};"

    return lambda files: {**files, WEIGHTS: ARRAY.sub(edit, files[WEIGHTS].decode()).encode()}


def largest(numbers):
    numbers[np.abs(numbers).argmax()] *= 1.01


def arrays_of(tiny, precision="fp32"):
    listed = c_format.convert(tiny.weights, tiny.description, precision)[WEIGHTS].decode()
    return [found[2] for found in ARRAY.finditer(listed)]


def test_without_a_fault_the_edited_c_passes(tiny, monkeypatch, tmp_path):
    """Without this, the tests below could pass because the editing itself breaks the model."""
    real = c_format.convert
    change = weights_changed("projection_bias", lambda numbers: None)
    monkeypatch.setattr(c_format, "convert", lambda *arguments: change(dict(real(*arguments))))
    source = ExportSource(tiny.weights, tiny.step, tiny.description, tiny.held_out)
    assert list(export_bundle(source, tmp_path / "bundle", [C]).models()) == ["c"]


def test_one_weight_changed_by_one_percent_in_any_array_is_caught(tiny, monkeypatch, tmp_path):
    arrays = [name for name in arrays_of(tiny) if name != "code_points"]
    assert len(arrays) == 2 * len(tiny.weights.units) + 2
    for name in arrays:
        refused(tiny, monkeypatch, tmp_path, weights_changed(name, largest), r"^c: one step .* differs by \d")


def test_a_scale_that_is_twice_too_large_is_caught_in_int8(tiny_two, monkeypatch, tmp_path):
    def twice(numbers):
        numbers[:] *= 2

    for name in ("input_scales", "projection_scales"):
        change = weights_changed(name, twice)
        refused(tiny_two, monkeypatch, tmp_path, change, r"^c-int8: one step .* differs by \d", target=INT8)


FAULTS = {
    "a state that is not passed on": (b"        c[k] = new_c[k];", b"        c[k] = c[k];", r"c_0_out differs by \d"),
    "a forget gate that is the input gate": (
        b"sigmoid(gates[UNITS_PER_BLOCK + k]) * new_c[k]",
        b"sigmoid(gates[k]) * new_c[k]",
        r"differs by \d",
    ),
    "an exp that is a little off": (b"0.166664153f", b"0.167664153f", r"differs by \d\.\d+e-0[45],"),
    "a number that is none": (b"logits[first + k] = outputs[k]", b"logits[first + k] = outputs[k] * NAN", "by nan,"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_code_is_caught(tiny, monkeypatch, tmp_path, fault):
    old, new, message = FAULTS[fault]
    refused(tiny, monkeypatch, tmp_path, replaced(SOURCE, old, new), rf"^c: one step from random states, .*{message}")


def zeroed(weights):
    return replace(weights, recurrent_kernels=tuple(0 * kernel for kernel in weights.recurrent_kernels))


def twice(weights):
    return replace(weights, projection_kernel=2 * weights.projection_kernel)


def another_vocabulary(weights):
    return replace(weights, input_table=np.roll(weights.input_table, 1, axis=0))


def cell_and_output_swapped(weights):
    kernels = tuple(np.ascontiguousarray(np.roll(kernel, len(kernel), axis=1)) for kernel in weights.recurrent_kernels)
    return replace(weights, recurrent_kernels=kernels)


@pytest.mark.parametrize("fault", [zeroed, twice, another_vocabulary, cell_and_output_swapped])
def test_a_fault_that_int8_must_not_hide_is_caught(tiny_two, monkeypatch, tmp_path, fault):
    wrong = c_format.convert(fault(tiny_two.weights), tiny_two.description, "int8")
    refused(tiny_two, monkeypatch, tmp_path, lambda _: wrong, r"^c-int8: one step .* differs by \d", target=INT8)


def test_two_tokens_that_changed_places_in_the_table_are_caught(tiny, monkeypatch, tmp_path):
    def exchange(numbers):
        rows = numbers.reshape(tiny.vocabulary.size, -1)
        rows[[3, 4]] = rows[[4, 3]]

    refused(tiny, monkeypatch, tmp_path, weights_changed("input_table", exchange), r"^c: one step .* differs by \d")


def test_characters_that_changed_places_are_caught(tiny, monkeypatch, tmp_path):
    def exchange(numbers):
        numbers[[3, 4]] = numbers[[4, 3]]

    change = weights_changed("code_points", exchange)
    refused(
        tiny, monkeypatch, tmp_path, change, r"^c does not fit its description: .* characters", error=ModelFileError
    )


def test_a_model_of_another_size_is_caught(tiny_one, tiny_two, monkeypatch, tmp_path):
    other = c_format.convert(tiny_two.weights, tiny_two.description)
    taken = {name: other[name] for name in (HEADER, SOURCE, WEIGHTS)}
    match = (
        r"^c does not fit its description: expected vocab_size and units \(12, \(16,\)\), received \(12, \(16, 12\)\)"
    )
    refused(tiny_one, monkeypatch, tmp_path, lambda files: {**files, **taken}, match, error=ModelFileError)


@pytest.mark.parametrize(
    ("files", "message", "error"),
    [
        ({SOURCE: b"rubbish"}, r"^the C compiler \S+ failed: .*error", OperationError),
        ({SOURCE: b""}, r"^charrnn_model.c is damaged: expected the functions of", ModelFileError),
        ({SOURCE: b"#include <absent.h>\n"}, r"^the C compiler \S+ failed: .*absent\.h", OperationError),
        ({HEADER: b""}, r"^charrnn_model.h is damaged: expected a definition", ModelFileError),
    ],
    ids=["rubbish", "nothing", "a header that is not there", "no sizes"],
)
def test_a_generator_that_writes_rubbish_is_caught(tiny_one, monkeypatch, tmp_path, files, message, error):
    refused(tiny_one, monkeypatch, tmp_path, lambda written: {**written, **files}, message, error=error)


def test_a_generator_that_fails_leaves_nothing_behind(tiny_one, monkeypatch, tmp_path):
    def fail(files):
        raise OperationError("the generator failed")

    refused(tiny_one, monkeypatch, tmp_path, fail, "the generator failed", error=OperationError)


def test_a_reference_that_is_not_what_the_weights_say_is_caught(tiny, tmp_path):
    """The gate compares with the trained model: a folding that went wrong has nowhere to hide."""
    wrong = replace(tiny.weights, projection_bias=tiny.weights.projection_bias + np.float32(1e-4))
    with pytest.raises(ParityError, match=r"^c: .* logits differs by 1\.\d\de-04"):
        export_bundle(ExportSource(wrong, tiny.step, tiny.description, tiny.held_out), tmp_path / "bundle", [C])
    assert not (tmp_path / "bundle").exists()
