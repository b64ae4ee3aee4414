"""Faults planted in the very bytes that a converter wrote: each is caught, named, and nothing is written."""

from dataclasses import replace

import numpy as np
import pytest

from charrnn_runtime.errors import ModelFileError, OperationError, ParityError

onnx = pytest.importorskip("onnx")
pytest.importorskip("tf2onnx")
tf = pytest.importorskip("tensorflow")

from charrnn_export.bundle import export_bundle  # noqa: E402
from charrnn_export.onnx_format import convert as onnx_format  # noqa: E402
from charrnn_export.targets import Target  # noqa: E402
from charrnn_export.tf_graph.step import input_signature  # noqa: E402
from charrnn_export.tflite_format import convert as tflite_format  # noqa: E402
from charrnn_export.writers import ExportSource  # noqa: E402

MODULES = {"onnx": onnx_format, "tflite": tflite_format}
FLOAT32 = 0
"""TensorType.FLOAT32 of the TFLite schema."""


@pytest.fixture(scope="session")
def converted(tiny):
    """What the converters write for each tiny model, converted once."""
    return {name: module.convert(tiny.weights) for name, module in MODULES.items()}


@pytest.fixture(params=MODULES)
def kind(request):
    return request.param


def source_of(tiny):
    return ExportSource(tiny.weights, tiny.step, tiny.description, tiny.held_out)


def refused(tiny, monkeypatch, tmp_path, kind, data, match, error=ParityError):
    """Let the converter write some bytes; the export must refuse them and leave both kinds of folder as they were."""
    monkeypatch.setattr(MODULES[kind], "convert", lambda *_: data)
    folders = ["new"]
    if not (tmp_path / "old").exists():  # once a test is enough
        (tmp_path / "old").mkdir()
        (tmp_path / "old" / f"model.{kind}").write_bytes(b"what was there")
        folders.append("old")
    for folder in folders:
        with pytest.raises(error, match=match):
            export_bundle(source_of(tiny), tmp_path / folder, [Target(kind)])
    assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "old").iterdir()] == [f"model.{kind}"]
    assert (tmp_path / "old" / f"model.{kind}").read_bytes() == b"what was there"


# finding and changing the weights in real files


def onnx_weights(data):
    """Return a parsed ONNX model and its float tensors of more than one number."""
    model = onnx.load_from_string(data)
    tensors = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and np.prod(t.dims) > 1]
    return model, tensors


def change_onnx(data, number, change):
    model, tensors = onnx_weights(data)
    array = onnx.numpy_helper.to_array(tensors[number]).copy()
    change(array)
    tensors[number].CopyFrom(onnx.numpy_helper.from_array(array, tensors[number].name))
    return model.SerializeToString()


def tflite_weights(model):
    """Return the float buffers of more than one number of an unpacked TFLite model."""
    buffers = {tensor.buffer for tensor in model.subgraphs[0].tensors if tensor.type == FLOAT32}
    with_data = [model.buffers[index] for index in sorted(buffers) if model.buffers[index].data is not None]
    return [buffer for buffer in with_data if len(buffer.data) > 4]


def change_tflite(edit_tflite, data, number, change):
    def edit(model):
        buffer = tflite_weights(model)[number]
        array = np.frombuffer(bytes(bytearray(buffer.data)), np.float32).copy()
        change(array)
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)

    return edit_tflite(data, edit)


@pytest.fixture
def change(edit_tflite, converted, kind):
    """Change tensor `number` of the converted model of a kind."""

    def run(number, how):
        if kind == "onnx":
            return change_onnx(converted["onnx"], number, how)
        return change_tflite(edit_tflite, converted["tflite"], number, how)

    return run


@pytest.fixture
def num_tensors(edit_tflite, converted, kind):
    if kind == "onnx":
        return len(onnx_weights(converted["onnx"])[1])
    found = []
    edit_tflite(converted["tflite"], lambda model: found.extend(tflite_weights(model)))
    return len(found)


def largest(array):
    array.flat[np.abs(array).argmax()] *= np.float32(1.01)


# the faults


def test_without_a_fault_the_changed_and_repacked_bytes_pass(tiny, monkeypatch, tmp_path, change, kind):
    """Without this, the tests below could pass because the editing itself breaks the model."""
    monkeypatch.setattr(MODULES[kind], "convert", lambda *_: data)
    data = change(0, lambda array: None)
    assert list(export_bundle(source_of(tiny), tmp_path / "new", [Target(kind)]).files) == [f"model.{kind}"]


def test_one_weight_changed_by_one_percent_in_any_tensor_is_caught(
    tiny, monkeypatch, tmp_path, change, num_tensors, kind
):
    assert num_tensors >= 2 + 2 * len(tiny.weights.units)
    for number in range(num_tensors):
        data = change(number, largest)
        refused(
            tiny, monkeypatch, tmp_path, kind, data, rf"^model\.{kind}: one step .* differs by \d\.\d\de-0\d, allowed"
        )


def test_a_random_entry_of_the_input_table_changed_by_one_percent_is_caught(
    tiny, monkeypatch, tmp_path, change, num_tensors, kind
):
    table = tiny.weights.input_table
    place = int(np.random.default_rng(4).choice(np.flatnonzero(np.abs(table) > 0.05)))
    found = []

    def at_place(array):
        if array.size == table.size and np.array_equal(array.ravel(), table.ravel()):
            found.append(place)
            array.flat[place] *= np.float32(1.01)

    for number in range(num_tensors):
        data = change(number, at_place)
        if found:
            break
    assert found == [place]
    refused(tiny, monkeypatch, tmp_path, kind, data, rf"^model\.{kind}: one step .* differs by")


def test_a_nan_in_any_tensor_is_caught(tiny, monkeypatch, tmp_path, change, num_tensors, kind):
    for number in range(num_tensors):
        data = change(number, lambda array: array.flat.__setitem__(array.size // 2, np.nan))
        refused(
            tiny, monkeypatch, tmp_path, kind, data, rf"^model\.{kind}: one step .* differs by nan, allowed are 1e-05"
        )


def test_two_tokens_that_changed_places_in_the_table_are_caught(tiny, monkeypatch, tmp_path, kind):
    weights = tiny.weights
    order = np.arange(weights.vocab_size)
    order[[3, 4]] = order[[4, 3]]
    swapped = replace(weights, input_table=weights.input_table[order])
    refused(tiny, monkeypatch, tmp_path, kind, MODULES[kind].convert(swapped), r"one step .* differs by")


def test_a_vocabulary_in_another_order_is_caught(tiny, monkeypatch, tmp_path, kind):
    weights = tiny.weights
    order = np.roll(np.arange(weights.vocab_size), 1)
    moved = replace(
        weights,
        input_table=weights.input_table[order],
        projection_kernel=np.ascontiguousarray(weights.projection_kernel[:, order]),
        projection_bias=weights.projection_bias[order],
    )
    refused(tiny, monkeypatch, tmp_path, kind, MODULES[kind].convert(moved), r"one step .* differs by")


def test_a_model_of_another_size_is_caught(tiny, tiny_one, tiny_two, monkeypatch, tmp_path, kind):
    other = tiny_two if tiny.name == "one_layer" else tiny_one
    data = MODULES[kind].convert(other.weights)
    refused(tiny, monkeypatch, tmp_path, kind, data, r"does not fit its description", ModelFileError)


def swap_names(names, one, other):
    return [{one: other, other: one}.get(name, name) for name in names]


PAIRS = [("h_0_out", "c_0_out"), ("h_0", "c_0")]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_two_tensors_that_swapped_their_names_are_caught(
    tiny, monkeypatch, tmp_path, converted, edit_tflite, kind, pair
):
    if kind == "onnx":
        model = onnx.load_from_string(converted["onnx"])
        for node in model.graph.node:
            node.input[:] = swap_names(node.input, *pair)
            node.output[:] = swap_names(node.output, *pair)
        data = model.SerializeToString()
    else:

        def swap(model):
            for entries in (model.signatureDefs[0].inputs, model.signatureDefs[0].outputs):
                names = [entry.name.decode() for entry in entries]
                for entry, name in zip(entries, swap_names(names, *pair), strict=True):
                    entry.name = name.encode()

        data = edit_tflite(converted["tflite"], swap)
    refused(tiny, monkeypatch, tmp_path, kind, data, r"one step .* differs by")


def test_a_state_that_is_not_passed_on_is_caught(tiny, monkeypatch, tmp_path, converted, edit_tflite, kind):
    """c_0_out hands back c_0, as if the cell had no memory of the token."""
    if kind == "onnx":
        model = onnx.load_from_string(converted["onnx"])
        for node in model.graph.node:
            node.input[:] = ["c_0_before" if name == "c_0_out" else name for name in node.input]
            node.output[:] = ["c_0_before" if name == "c_0_out" else name for name in node.output]
        model.graph.node.append(onnx.helper.make_node("Identity", ["c_0"], ["c_0_out"]))
        data = model.SerializeToString()
    else:

        def hand_back(model):
            signature = model.signatureDefs[0]
            before = next(entry.tensorIndex for entry in signature.inputs if entry.name == b"c_0")
            after = next(entry for entry in signature.outputs if entry.name == b"c_0_out")
            graph = model.subgraphs[0]
            graph.outputs = np.array([before if i == after.tensorIndex else i for i in graph.outputs], np.int32)
            after.tensorIndex = before

        data = edit_tflite(converted["tflite"], hand_back)
    refused(tiny, monkeypatch, tmp_path, kind, data, r"c_0_out differs by")


def test_weights_that_were_zeroed_in_the_tflite_are_caught(tiny, monkeypatch, tmp_path, converted, edit_tflite):
    def zero(model):
        for buffer in tflite_weights(model):
            buffer.data = np.zeros(len(buffer.data), np.uint8)

    data = edit_tflite(converted["tflite"], zero)
    refused(tiny, monkeypatch, tmp_path, "tflite", data, r"^model\.tflite: one step .* differs by")


def test_weights_that_were_dropped_from_the_tflite_are_caught(tiny, monkeypatch, tmp_path, converted, edit_tflite):
    def drop(model):
        for buffer in tflite_weights(model):
            buffer.data = None

    data = edit_tflite(converted["tflite"], drop)
    assert len(data) < len(converted["tflite"]) / 2
    refused(
        tiny, monkeypatch, tmp_path, "tflite", data, r"^LiteRT cannot run model\.tflite: .* lacks data", OperationError
    )


def test_weights_that_the_converter_itself_lost_are_caught(tiny_one, monkeypatch, tmp_path, converted_by_hand):
    """A saved module over a Keras model: the converter leaves its weights out, half the file, without an error."""
    assert "VAR_HANDLE" in tflite_format.operators(converted_by_hand)
    assert len(converted_by_hand) < len(tflite_format.convert(tiny_one.weights)) / 2
    # What stands in the place of the weights is whatever the memory held: NaN, or any number.
    match = r"^model\.tflite: one step .* logits differs by \S+, allowed are 1e-05"
    refused(tiny_one, monkeypatch, tmp_path, "tflite", converted_by_hand, match)


@pytest.fixture
def converted_by_hand(tiny_one, tmp_path):
    """The tiny model of one layer, built of Keras layers and converted on the route that loses their weights."""
    import keras

    weights, (units,) = tiny_one.weights, tiny_one.weights.units
    token, h, c = keras.Input((), dtype="int32"), keras.Input((units,)), keras.Input((units,))
    table = keras.layers.Embedding(weights.vocab_size, 4 * units)
    recurrent = keras.layers.Dense(4 * units, use_bias=False)
    projection = keras.layers.Dense(weights.vocab_size)
    i, f, g, o = keras.ops.split(table(token) + recurrent(h), 4, axis=1)
    after = keras.ops.sigmoid(f) * c + keras.ops.sigmoid(i) * keras.ops.tanh(g)
    below = keras.ops.sigmoid(o) * keras.ops.tanh(after)
    model = keras.Model([token, h, c], {"logits": projection(below), "h_0_out": below, "c_0_out": after})
    table.set_weights([weights.input_table])
    recurrent.set_weights([weights.recurrent_kernels[0]])
    projection.set_weights([weights.projection_kernel, weights.projection_bias])

    module = tf.Module()
    module.model = model
    module.step = tf.function(lambda token, h, c: model([token, h, c]), input_signature=input_signature(weights))
    concrete = module.step.get_concrete_function(
        *(tf.TensorSpec(spec.shape, spec.dtype, spec.name) for spec in input_signature(weights))
    )
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"step": concrete})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"), signature_keys=["step"])
    return converter.convert()


def test_an_operator_that_interpreters_lack_is_refused_before_it_runs(tiny_one, monkeypatch):
    weights = tiny_one.weights

    @tf.function(input_signature=input_signature(weights))
    def looping(token, h_0, c_0):
        h = tf.while_loop(lambda h: tf.reduce_sum(h) < 10.0, lambda h: [h + 1.0], [h_0])[0]
        return {"logits": h, "h_0_out": h, "c_0_out": c_0 + tf.cast(token[:, None], tf.float32)}

    monkeypatch.setattr(tflite_format, "step_function", lambda *_, **__: looping)
    with pytest.raises(OperationError, match=r"the TFLite converter wrote \['WHILE'\]: expected plain builtin"):
        tflite_format.convert(weights)


def test_a_converter_that_writes_rubbish_is_caught(tiny, monkeypatch, tmp_path, kind):
    refused(tiny, monkeypatch, tmp_path, kind, b"rubbish" * 50, r"cannot load model\.", ModelFileError)


def test_a_fault_in_the_second_format_keeps_the_first_from_being_written(tiny, monkeypatch, tmp_path, converted):
    broken = change_onnx(converted["onnx"], 0, largest)
    monkeypatch.setattr(onnx_format, "convert", lambda *_: broken)
    with pytest.raises(ParityError, match=r"^model\.onnx: "):
        export_bundle(source_of(tiny), tmp_path / "new", [Target("tflite"), Target("onnx")])
    assert not (tmp_path / "new").exists()


def test_a_reference_that_is_not_what_the_weights_say_is_caught(tiny, tmp_path):
    """The gate compares with the trained model: a folding that went wrong has nowhere to hide."""
    wrong = replace(tiny.weights, projection_bias=tiny.weights.projection_bias + np.float32(1e-4))
    with pytest.raises(ParityError, match=r"logits differs by 1\.\d\de-04"):
        export_bundle(
            ExportSource(wrong, tiny.step, tiny.description, tiny.held_out), tmp_path / "new", [Target("onnx")]
        )
    assert not (tmp_path / "new").exists()


def test_a_converter_that_fails_leaves_nothing_behind(tiny, monkeypatch, tmp_path, kind):
    def fail(*_):
        raise OperationError("the converter failed")

    monkeypatch.setattr(MODULES[kind], "convert", fail)
    with pytest.raises(OperationError, match="the converter failed"):
        export_bundle(source_of(tiny), tmp_path / "new", [Target(kind)])
    assert not (tmp_path / "new").exists()
