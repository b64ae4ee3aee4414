"""The generator as a graph: what is written, that a second export writes the same, and that faults in it are caught."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from charrnn_runtime import Selection, load
from charrnn_runtime.bundle.locate import read_manifest
from charrnn_runtime.bundle.open_generator import generator_beside, open_generator
from charrnn_runtime.core.step import NumpyStep, zero_state
from charrnn_runtime.engines.generator import HostGenerator
from charrnn_runtime.errors import InputError, ModelFileError, ParityError
from charrnn_runtime.sampling.draw import SamplingOptions, running_sums

onnx = pytest.importorskip("onnx")
pytest.importorskip("tf2onnx")
pytest.importorskip("tensorflow")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

from charrnn_export.bundle import export_bundle  # noqa: E402
from charrnn_export.generate_parity import _is_sure, check_generator  # noqa: E402
from charrnn_export.onnx_format import convert as onnx_format  # noqa: E402
from charrnn_export.targets import GENERATORS, Target, choose  # noqa: E402
from charrnn_export.tflite_format import convert as tflite_format  # noqa: E402
from charrnn_export.writers import ExportSource  # noqa: E402

ONNX, TFLITE = GENERATORS
FLOAT32 = 0
"""TensorType.FLOAT32 of the TFLite schema."""


def source_of(tiny):
    return ExportSource(tiny.weights, tiny.step, tiny.description, tiny.held_out)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="session")
def converted(tiny_two):
    """What the converters write for the tiny model of two layers, converted once."""
    return {
        "onnx": onnx_format.convert_generate(tiny_two.weights, stop_at_boundary=True),
        "tflite": tflite_format.convert_with_generate(tiny_two.weights, stop_at_boundary=True),
    }


@pytest.fixture
def refused(tiny_two, monkeypatch, tmp_path):
    """Let the converter write some bytes; the export must refuse them and write nothing."""

    def run(data, match):
        kind = TFLITE if data[4:8] == b"TFL3" else ONNX
        monkeypatch.setattr(onnx_format, "convert_generate", lambda *_, **__: data)
        monkeypatch.setattr(tflite_format, "convert_with_generate", lambda *_, **__: data)
        with pytest.raises(ParityError, match=rf"^{kind.file_name}, generate: {match}"):
            export_bundle(source_of(tiny_two), tmp_path / "new", [kind])
        assert not (tmp_path / "new").exists()

    return run


# what is written


def test_a_second_export_gives_the_same_bytes(tiny_two, tmp_path):
    """Also in one process, where the converter counts its names up."""
    for name in ("first", "second"):
        export_bundle(source_of(tiny_two), tmp_path / name, GENERATORS)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_the_step_is_the_first_graph_of_the_tflite_and_its_weights_stand_once(tiny_two, converted):
    data = converted["tflite"]
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    index = {entry.signatureKey: entry.subgraphIndex for entry in model.signatureDefs}
    assert index[b"step"] == 0 != index[b"generate"]
    weights = tiny_two.weights
    for array in (weights.input_table, *(kernel.T for kernel in weights.recurrent_kernels)):
        assert data.count(np.ascontiguousarray(array).tobytes()) == 1


def test_weights_in_the_tflite_are_aligned_as_the_schema_demands(converted):
    data = converted["tflite"]
    model, start = schema.Model.GetRootAs(data, 0), np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    buffers = [model.Buffers(number) for number in range(model.BuffersLength())]
    filled = [buffer.DataAsNumpy() for buffer in buffers if buffer.DataLength()]
    assert len(filled) > 10
    assert {(array.__array_interface__["data"][0] - start) % 16 for array in filled} == {0}


def test_the_weights_of_the_onnx_stand_once_and_outside_of_the_loop(tiny_two, converted):
    model = onnx.load_from_string(converted["onnx"])
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    floats = sum(np.prod(t.dims) for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
    assert tiny_two.weights.num_parameters <= floats <= tiny_two.weights.num_parameters + 10


def test_the_card_tells_how_to_call_it(golden):
    card = (golden / "loop" / "README.md").read_text("utf-8")
    assert "## Whole texts in one call" in card
    assert "| in | uniforms | float64 | ['batch', 'steps'] |" in card
    assert "| in | uniforms | float32 | ['batch', 'steps'] |" in card
    assert "it ends before its first 0" in card
    assert "## Whole texts" not in (golden / "two_layers" / "README.md").read_text("utf-8")


def test_the_manifest_holds_what_the_gate_measured(golden):
    files = read_manifest(golden / "loop").files
    for name in ("model.generate.onnx", "model.tflite"):
        measured = files[name].parity["generate"]
        assert measured["num_tokens"] > 1000
        assert measured["num_unsure"] < 0.1 * measured["num_tokens"]
        assert measured["states_max_abs_diff"] < 1e-4
    assert "generate" not in files["model.onnx"].parity


def test_a_later_export_without_the_loop_keeps_that_of_the_same_model(tiny_two, tmp_path):
    folder = tmp_path / "bundle"
    export_bundle(source_of(tiny_two), folder, [ONNX])
    export_bundle(source_of(tiny_two), folder, [Target("onnx")])
    assert list(read_manifest(folder).files) == ["model.onnx", "model.generate.onnx"]
    weights = replace(tiny_two.weights, projection_bias=tiny_two.weights.projection_bias[::-1].copy())
    other = ExportSource(weights, NumpyStep(weights), tiny_two.description, tiny_two.held_out)
    export_bundle(other, folder, [Target("onnx")])
    assert list(read_manifest(folder).files) == ["model.onnx"]
    assert not (folder / "model.generate.onnx").exists()


def test_the_loop_takes_the_place_of_the_plain_tflite():
    assert choose([], [], generate=True) == [Target("onnx"), ONNX, TFLITE]
    assert choose(["tflite"], ["int8", "fp32"], generate=True) == [Target("tflite", "int8"), TFLITE]


@pytest.mark.parametrize(("formats", "precisions"), [(["npz"], []), ([], ["int8"])], ids=str)
def test_what_cannot_hold_the_loop_is_refused(formats, precisions):
    with pytest.raises(InputError, match=r"^--generate: expected --format onnx or tflite with --precision fp32"):
        choose(formats, precisions, generate=True)


@pytest.mark.parametrize("kind", GENERATORS, ids=lambda kind: kind.format)
def test_in_running_text_a_newline_is_a_character_like_any_other(tiny_one, tmp_path, kind):
    text = replace(tiny_one, description=replace(tiny_one.description, mode="text"))
    export_bundle(source_of(text), tmp_path / "bundle", [kind])
    path = tmp_path / "bundle" / kind.file_name
    loop = open_generator(path, path.read_bytes()).generator
    uniforms = np.random.default_rng(1).random((3, 50), np.float32).astype(np.float64)
    given = (np.zeros(3, np.int32), zero_state(loop.units, 3), uniforms, SamplingOptions())
    tokens, state = loop(*given)
    expected, expected_state = HostGenerator(tiny_one.step, stop_at_boundary=False)(*given)
    np.testing.assert_array_equal(tokens, expected)
    for got, want in zip(state, expected_state, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-3)
    assert ((tokens == 0) & (np.arange(50) < 40)).any()
    assert "it ends before" not in (tmp_path / "bundle" / "README.md").read_text("utf-8")


@pytest.fixture(scope="session")
def text_bundle(tiny_two, tmp_path_factory):
    """A model of running text, exported with the loop."""
    folder = tmp_path_factory.mktemp("text") / "bundle"
    text = replace(tiny_two, description=replace(tiny_two.description, mode="text"))
    export_bundle(source_of(text), folder, choose(["onnx"], [], generate=True))
    return folder


OPTIONS = (
    {},
    {"prefix": "dr"},
    {"prefix": "A", "temperature": 0.6, "top_k": 3, "max_length": 300, "seed": 5},
    {"temperature": 0},
    {"top_p": 0.7, "max_length": 1},
    {"ban": "s"},
    {"min_length": 30},
)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_running_text_is_the_same_with_the_loop_and_without(text_bundle, options):
    with_loop, without = load(text_bundle), load(text_bundle / "model.onnx")
    assert (with_loop._generator is None, without._generator is None) == (False, True)
    request = with_loop.request(**options)
    expected = list(without.samples(request, 7, first_index=3))
    for batch_size in (1, 3, 256):
        assert list(with_loop.samples(request, 7, first_index=3, batch_size=batch_size)) == expected
    assert "".join(with_loop.stream(request, 3)) == expected[0].text
    assert list(with_loop.samples(request, 1, first_index=3)) == expected[:1]


def test_refused_samples_of_running_text_are_replaced_with_the_loop_too(text_bundle):
    texts = []
    for model in (load(text_bundle), load(text_bundle / "model.onnx")):
        request = model.request(max_length=2, temperature=0.3)
        texts.append([sample.text for sample in model.samples(request, 20, selection=Selection(unique=True))])
    assert texts[0] == texts[1]
    assert len({*texts[0]}) == 20


def test_wrong_numbers_of_samples_are_refused_with_the_loop_too(text_bundle):
    model = load(text_bundle)
    with pytest.raises(InputError, match=r"^batch_size: expected 1 or more, received 0"):
        list(model.samples(model.request(), 3, batch_size=0))


def test_a_loop_that_is_damaged_or_of_another_model_is_not_used(text_bundle, tiny_two, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(text_bundle, folder)
    path = folder / "model.generate.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ModelFileError, match=r"model\.generate\.onnx is damaged: its SHA-256 is not the one in"):
        load(folder).sample(1)
    path.write_bytes(whole)
    manifest = read_manifest(folder)
    other = replace(manifest.description, max_length=499)
    assert generator_beside(folder / "model.onnx", manifest.description) is not None
    assert generator_beside(folder / "model.onnx", other) is None


def test_lines_are_drawn_without_the_loop(golden):
    assert load(golden / "loop")._generator is None


# faults: ONNX


def body_of(model):
    (loop,) = (node for node in model.graph.node if node.op_type == "Loop")
    return next(attribute.g for attribute in loop.attribute if attribute.name == "body")


def change_body(data, change):
    model = onnx.load_from_string(data)
    change(body_of(model))
    return model.SerializeToString()


def feeding(output, name):
    """A change that feeds the nodes that write an output another tensor in the place of their second input."""

    def change(body):
        graphs = [body, *(a.g for node in body.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH)]
        (node,) = (node for graph in graphs for node in graph.node if output in node.output)
        node.input[1] = name

    return change


def handing_back(name):
    """A change that hands a state back as it came."""

    def change(body):
        for node in body.node:
            node.output[:] = ["lost" if output == f"loop/{name}_out" else output for output in node.output]
            node.input[:] = ["lost" if used == f"loop/{name}_out" else used for used in node.input]
        body.node.append(onnx.helper.make_node("Identity", [f"loop/{name}"], [f"loop/{name}_out"]))

    return change


def swapping(one, other):
    """A change that passes two states on in each other's place."""

    def change(body):
        names = [value.name for value in body.output]
        first, second = names.index(f"loop/{one}_out"), names.index(f"loop/{other}_out")
        body.output[first].name, body.output[second].name = names[second], names[first]

    return change


def summing_exclusively(body):
    (node,) = (node for node in body.node if node.op_type == "CumSum")
    node.attribute.append(onnx.helper.make_attribute("exclusive", 1))


ONNX_FAULTS = {
    "h and c swapped": swapping("h_0", "c_0"),
    "the temperature ignored": feeding("scaled", "one"),
    "top_k ignored": feeding("within_k", "vocab_size"),
    "top_p ignored": feeding("share", "two"),
    "always the first uniform": feeding("uniform", "rows"),
    "c not passed on": handing_back("c_1"),
    "h not passed on": handing_back("h_0"),
    "a sum that leaves out the token itself": summing_exclusively,
}


def test_without_a_fault_the_repacked_onnx_passes(tiny_two, monkeypatch, tmp_path, converted):
    data = change_body(converted["onnx"], lambda body: None)
    monkeypatch.setattr(onnx_format, "convert_generate", lambda *_, **__: data)
    assert list(export_bundle(source_of(tiny_two), tmp_path / "new", [ONNX]).files) == ["model.generate.onnx"]


@pytest.mark.parametrize("fault", ONNX_FAULTS)
def test_a_fault_in_the_onnx_loop_is_caught(refused, converted, fault):
    refused(change_body(converted["onnx"], ONNX_FAULTS[fault]), r".*(rows differ from the loop|differs by \d)")


def test_a_weight_of_the_onnx_loop_changed_by_one_percent_in_any_tensor_is_caught(refused, converted):
    model = onnx.load_from_string(converted["onnx"])
    names = [t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and np.prod(t.dims) > 1]
    assert len(names) == 7
    for name in names:
        model = onnx.load_from_string(converted["onnx"])
        (tensor,) = (t for t in model.graph.initializer if t.name == name)
        array = onnx.numpy_helper.to_array(tensor).copy()
        array.flat[np.abs(array).argmax()] *= np.float32(1.01)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))
        refused(model.SerializeToString(), r"\d+ rows of ")


def test_a_nan_in_the_onnx_loop_is_caught(refused, converted, tiny_two):
    model = onnx.load_from_string(converted["onnx"])
    size = tiny_two.weights.vocab_size
    (tensor,) = (t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and list(t.dims) == [size])
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(size, np.nan, np.float32), tensor.name))
    refused(model.SerializeToString(), rf".* rows differ from the loop on the host, .* received {size}")


# faults: TFLite


def operators(model, graph, name):
    wanted = getattr(schema.BuiltinOperator, name)
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) == wanted:
            yield operator


def loop_body(model):
    for graph in model.subgraphs:
        for operator in operators(model, graph, "WHILE"):
            return model.subgraphs[operator.builtinOptions.bodySubgraphIndex]
    raise AssertionError("there is no loop")


def swap_states(model):
    graph = loop_body(model)
    floats = [place for place, tensor in enumerate(graph.outputs) if graph.tensors[tensor].type == FLOAT32]
    outputs = np.array(graph.outputs)
    outputs[floats[-2:]] = outputs[floats[-2:]][::-1]
    graph.outputs = outputs


def multiply_by_temperature(model):
    graph = loop_body(model)
    product = next(operators(model, graph, "MUL"))
    (division,) = operators(model, graph, "DIV")
    division.opcodeIndex = product.opcodeIndex
    division.builtinOptionsType, division.builtinOptions = product.builtinOptionsType, product.builtinOptions


def sum_exclusively(model):
    (running,) = operators(model, loop_body(model), "CUMSUM")
    running.builtinOptions.exclusive = True


def rename_final_states(model):
    (signature,) = (entry for entry in model.signatureDefs if entry.signatureKey == b"generate")
    swap = {b"h_0_out": b"c_0_out", b"c_0_out": b"h_0_out"}
    for entry in signature.outputs:
        entry.name = swap.get(entry.name, entry.name)


TFLITE_FAULTS = {
    "states swapped": swap_states,
    "multiplied by the temperature": multiply_by_temperature,
    "a sum that leaves out the token itself": sum_exclusively,
    "final states with each other's names": rename_final_states,
}


@pytest.mark.parametrize("fault", TFLITE_FAULTS)
def test_a_fault_in_the_tflite_loop_is_caught(refused, converted, edit_tflite, fault):
    refused(edit_tflite(converted["tflite"], TFLITE_FAULTS[fault]), r".*(rows differ from the loop|differs by \d)")


def test_without_a_fault_the_repacked_tflite_passes(tiny_two, monkeypatch, tmp_path, converted, edit_tflite):
    data = edit_tflite(converted["tflite"], lambda model: None)
    monkeypatch.setattr(tflite_format, "convert_with_generate", lambda *_, **__: data)
    assert list(export_bundle(source_of(tiny_two), tmp_path / "new", [TFLITE]).files) == ["model.tflite"]


def test_a_fault_in_the_step_of_a_tflite_with_the_loop_is_caught(tiny_two, tmp_path):
    weights = replace(tiny_two.weights, projection_bias=tiny_two.weights.projection_bias + np.float32(1e-4))
    with pytest.raises(ParityError, match=r"^model\.tflite: one step .* logits differs by 1\.\d\de-04"):
        export_bundle(
            ExportSource(weights, tiny_two.step, tiny_two.description, tiny_two.held_out), tmp_path / "new", [TFLITE]
        )
    assert not (tmp_path / "new").exists()


# faults: both


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_a_loop_that_does_not_end_lines_is_caught(refused, tiny_two, kind):
    if kind == "onnx":
        data = onnx_format.convert_generate(tiny_two.weights, stop_at_boundary=False)
    else:
        data = tflite_format.convert_with_generate(tiny_two.weights, stop_at_boundary=False)
    refused(data, r".*(rows differ from the loop|differs by \d)")


def test_a_loop_of_another_size_is_caught(tiny_one, tiny_two):
    with pytest.raises(ParityError, match=r"^it: sizes differ: expected units \(16,\), received \(16, 12\)"):
        check_generator(tiny_one.step, HostGenerator(tiny_two.step), stop_at_boundary=True, name="it")


def test_the_gate_lets_a_loop_pass_whose_rounding_differs_and_none_whose_logits_do(tiny_two):
    class Off:
        vocab_size, units = tiny_two.step.vocab_size, tiny_two.step.units

        def __init__(self, by):
            self.by = by

        def __call__(self, token, state):
            logits, after = tiny_two.step(token, state)
            logits = logits.copy()
            logits[:, 2] += np.float32(self.by)
            return logits, after

    check_generator(tiny_two.step, HostGenerator(Off(1e-6)), stop_at_boundary=True, name="it")
    with pytest.raises(ParityError, match=r"^it: \d+ rows of 1, temperature 1\.0: \d+ rows differ from the loop"):
        check_generator(tiny_two.step, HostGenerator(Off(1e-3)), stop_at_boundary=True, name="it")


@pytest.mark.parametrize(
    "options", [{"top_k": 2}, {"top_p": 0.6}, {"temperature": 0.5, "top_k": 3, "top_p": 0.7}], ids=str
)
@pytest.mark.parametrize(("gap", "sure"), [(1e-6, False), (0.2, True)])
def test_a_place_is_unsure_where_rounding_chooses_a_token_at_the_limit_of_top_k_or_top_p(options, gap, sure):
    """Seen with 4,846 tokens, among which such a pair is common."""
    options = SamplingOptions(**options)
    logits = np.log(np.array([[0.4, 0.25, 0.25, 0.1]])).astype(np.float32)
    logits[0, 1] += np.float32(gap)
    running = running_sums(logits, options)
    uniforms = np.array([0.3])
    assert _is_sure(logits, running, uniforms, options).tolist() == [sure]


def test_a_place_is_unsure_where_rounding_of_top_p_decides():
    logits = np.log(np.array([[0.4, 0.3, 0.2, 0.1]])).astype(np.float32)
    for top_p, sure in ((0.7 + 1e-6, False), (0.75, True)):
        options = SamplingOptions(top_p=top_p)
        for uniform, expected in ((0.6, True), (0.5, sure)):  # token 1 of three and of two; token 1 of three, 0 of two
            drawn_with = (running_sums(logits, options), np.array([uniform]), options)
            assert _is_sure(logits, *drawn_with).tolist() == [expected]
