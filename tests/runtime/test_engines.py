"""onnxruntime and LiteRT as steps: the same numbers as the numpy step, whatever the batch and the number of threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from charrnn_runtime.bundle.embedded import detach_from_tflite
from charrnn_runtime.engines.onnx_engine import OnnxStep
from charrnn_runtime.errors import ModelFileError, OperationError
from charrnn_runtime.sampling.draw import SamplingOptions
from charrnn_runtime.sampling.sampler import Request, sample_tokens
from charrnn_runtime.scoring.score import log_probabilities

ENGINES = ("onnxruntime", "litert")


def litert_step(data, **options):
    pytest.importorskip("ai_edge_litert")
    from charrnn_runtime.engines.litert_engine import LiteRTStep

    return LiteRTStep(data, **options)


def make_step(bundle, engine, **options):
    if engine == "onnxruntime":
        return OnnxStep((bundle / "model.onnx").read_bytes(), **options)
    return litert_step(tflite_model(bundle), **options)


def tflite_model(bundle):
    return detach_from_tflite((bundle / "model.tflite").read_bytes(), "model.tflite")[0]


@pytest.fixture(params=ENGINES)
def step(request, kept_bundle):
    return make_step(kept_bundle, request.param)


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


def arguments(step, batch, seed):
    generator = np.random.default_rng(seed)
    token = generator.integers(0, step.vocab_size, batch, dtype=np.int32)
    state = tuple(generator.normal(size=(batch, size)).astype(np.float32) for size in step.units for _ in "hc")
    return token, state


def outputs(step, token, state):
    logits, after = step(token, state)
    return (logits, *after)


def assert_close(received, expected, tolerance=1e-5):
    assert len(received) == len(expected)
    for got, want in zip(received, expected, strict=True):
        assert got.shape == want.shape
        assert got.dtype == want.dtype == np.float32
        assert np.abs(got - want).max() <= tolerance


def test_an_engine_knows_the_sizes_of_its_model(step, tiny):
    assert (step.vocab_size, step.units) == (tiny.step.vocab_size, tiny.step.units)


@pytest.mark.parametrize("batch", [1, 2, 7, 256])
def test_an_engine_computes_what_the_numpy_step_computes(step, tiny, batch):
    given = arguments(step, batch, seed=batch)
    assert_close(outputs(step, *given), outputs(tiny.step, *given))


def test_every_token_there_is_has_its_own_row_in_every_engine(step, tiny):
    token = np.arange(step.vocab_size, dtype=np.int32)[::-1].copy()
    given = (token, arguments(step, len(token), 1)[1])
    assert_close(outputs(step, *given), outputs(tiny.step, *given))


def test_the_batch_may_change_from_call_to_call_and_back(step, tiny):
    for call, batch in enumerate((1, 7, 1, 64, 3, 3, 1, 7)):
        given = arguments(step, batch, seed=call)
        assert_close(outputs(step, *given), outputs(tiny.step, *given))


def test_what_a_call_returned_is_not_changed_by_the_next(step):
    for batch in (1, 5):
        first = outputs(step, *arguments(step, batch, seed=1))
        kept = [array.copy() for array in first]
        for seed in range(2, 6):
            step(*arguments(step, batch, seed=seed))
        assert all(np.array_equal(array, copy) for array, copy in zip(first, kept, strict=True))


def test_a_call_does_not_change_what_it_was_given(step):
    token, state = arguments(step, 3, seed=1)
    before = [array.copy() for array in (token, *state)]
    step(token, state)
    assert all(np.array_equal(array, copy) for array, copy in zip((token, *state), before, strict=True))


def test_a_state_that_is_a_slice_or_cannot_be_written_to_is_read_all_the_same(step, tiny):
    token, state = arguments(step, 8, seed=1)
    sliced = (token[::2], tuple(np.asfortranarray(array)[::2] for array in state))
    for array in (sliced[0], *sliced[1]):
        array.flags.writeable = False
    assert_close(outputs(step, *sliced), outputs(tiny.step, *sliced))


def test_one_step_may_be_shared_by_four_threads(step):
    given = [arguments(step, batch, seed) for seed, batch in enumerate([1, 3, 1, 7] * 10)]
    expected = [outputs(step, *arrays) for arrays in given]
    barrier, wrong = threading.Barrier(4), []

    def drive(offset):
        barrier.wait()
        for turn in range(120):
            i = (turn * 7 + offset * 11) % len(given)
            for got, want in zip(outputs(step, *given[i]), expected[i], strict=True):
                if got.shape != want.shape or not np.abs(got - want).max() <= 1e-6:
                    wrong.append((offset, turn))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(drive, range(4)))
    assert wrong == []


@pytest.mark.parametrize("options", [SamplingOptions(), SamplingOptions(0.8, 5, 0.95), SamplingOptions(0)], ids=str)
def test_the_same_seed_gives_the_same_lines_on_every_engine_at_every_batch_size(step, tiny, options, margins):
    request = Request(tiny.vocabulary.encode("A"), 50, options, seed=7)

    def drawn(by, batch_size):
        samples = sample_tokens(by, request, 100, batch_size=batch_size)
        return [tiny.vocabulary.decode(sample.tokens) for sample in samples]

    expected = drawn(tiny.step, 256)
    for batch_size in (1, 7, 256):
        margins.assert_same_texts(
            drawn(step, batch_size), expected, tiny.step, tiny.vocabulary, seed=7, prefix="A", options=options
        )


def test_scores_are_the_same_on_every_engine(step, tiny):
    for got, want in zip(
        log_probabilities(step, tiny.held_out), log_probabilities(tiny.step, tiny.held_out), strict=True
    ):
        assert got.tolist() == pytest.approx(want.tolist(), abs=1e-5)


def test_more_threads_inside_an_operator_change_nothing(kept_bundle, engine, tiny):
    step = make_step(kept_bundle, engine, num_threads=2)
    given = arguments(step, 5, seed=9)
    assert_close(outputs(step, *given), outputs(tiny.step, *given))


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"no model at all", b"\x08\x08" * 40], ids=repr)
def test_bytes_that_are_no_model_are_refused_in_one_line_that_names_the_file(engine, data):
    make, says = {
        "onnxruntime": (OnnxStep, "onnxruntime cannot load somewhere"),
        "litert": (litert_step, "LiteRT cannot load somewhere"),
    }[engine]
    with pytest.raises(ModelFileError, match=says) as caught:
        make(data, name="somewhere")
    assert "\n" not in str(caught.value)


def test_what_an_engine_cannot_run_is_an_error_of_ours_that_names_the_file(kept_bundle, engine, tiny):
    step = make_step(kept_bundle, engine, name="somewhere")
    token, state = arguments(step, 2, seed=1)
    for wrong in ((token + 10**6, state), (token, tuple(array[:, 1:] for array in state))):
        with pytest.raises(OperationError, match=r"^(onnxruntime|LiteRT) cannot run somewhere: ") as caught:
            step(*wrong)
        assert "\n" not in str(caught.value)
        assert_close(outputs(step, token, state), outputs(tiny.step, token, state))


# models that are sound, but no step


def onnx_change(bundle, change):
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string((bundle / "model.onnx").read_bytes())
    change(model, onnx)
    return model.SerializeToString()


def rename(model, onnx, old, new):
    for value in (*model.graph.input, *model.graph.output):
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = new if name == old else name


def declare(model, name, kind=None, shape=None):
    for value in (*model.graph.input, *model.graph.output):
        if value.name == name:
            tensor = value.type.tensor_type
            tensor.elem_type = kind or tensor.elem_type
            for i, size in enumerate(shape or ()):
                dimension = tensor.shape.dim[i]
                if isinstance(size, int):
                    dimension.dim_value = size
                else:
                    dimension.dim_param = size


def declare_scalar(model):
    del model.graph.input[0].type.tensor_type.shape.dim[:]
    assert model.graph.input[0].name == "token"


def stateless(model, onnx):
    model.graph.CopyFrom(
        onnx.helper.make_graph(
            [
                onnx.helper.make_node("Cast", ["token"], ["wide"], to=onnx.TensorProto.FLOAT),
                onnx.helper.make_node("Identity", ["wide"], ["logits"]),
            ],
            "no_step",
            [onnx.helper.make_tensor_value_info("token", onnx.TensorProto.INT32, ["batch"])],
            [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch"])],
        )
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model, onnx: rename(model, onnx, "token", "x"), r"token, h_0, c_0 .* received \['c_0',"),
        (lambda model, onnx: rename(model, onnx, "logits", "y"), r"received .*'y'\] out"),
        (lambda model, onnx: rename(model, onnx, "c_1_out", "c_2_out"), r"'c_2_out'"),
        (lambda model, onnx: rename(model, onnx, "h_1", "h_x"), r"'h_x'"),
        (lambda model, onnx: declare(model, "token", shape=[1]), r"token tensor\(int32\) with an open batch .* \[1\]"),
        (
            lambda model, onnx: declare(model, "c_1", shape=[4, 12]),
            r"c_1 .* with an open batch .* \[4, 12\]",
        ),
        (lambda model, onnx: declare_scalar(model), r"token tensor\(int32\) .* received tensor\(int32\) \[\]"),
        (stateless, r"logits tensor.*received tensor\(float\) "),
    ],
    ids=["token", "logits", "c_1_out", "h_1", "token of 1", "c_1 of 4", "scalar token", "stateless"],
)
def test_an_onnx_model_that_is_no_step_is_refused_with_what_was_expected(golden, change, message):
    data = onnx_change(golden / "two_layers", change)
    with pytest.raises(ModelFileError, match=r"^odd\.onnx is not a step: expected .*" + message) as caught:
        OnnxStep(data, name="odd.onnx")
    assert "\n" not in str(caught.value)


def test_a_model_that_points_to_data_in_another_file_is_refused(golden, tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string((golden / "two_layers" / "model.onnx").read_bytes())
    table = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    (tmp_path / "weights.bin").write_bytes(table.raw_data)
    table.ClearField("raw_data")
    table.data_location = onnx.TensorProto.EXTERNAL
    table.external_data.add(key="location", value="weights.bin")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFileError, match=r"^onnxruntime cannot load odd\.onnx"):
        OnnxStep(model.SerializeToString(), name="odd.onnx")
    absolute = table.external_data[0]
    absolute.value = str(tmp_path / "weights.bin")
    with pytest.raises(ModelFileError, match=r"^onnxruntime cannot load odd\.onnx"):
        OnnxStep(model.SerializeToString(), name="odd.onnx")


def signature_of(model):
    return model.signatureDefs[0]


def tensor_of(model, name, maps):
    signature = signature_of(model)
    index = next(entry.tensorIndex for entry in getattr(signature, maps) if entry.name == name.encode())
    return model.subgraphs[0].tensors[index]


def rename_signature(model):
    signature_of(model).signatureKey = b"serving_default"


def rename_input(model):
    signature_of(model).inputs[0].name = b"x"


def drop_output(model):
    signature_of(model).outputs.pop()


def close_batch(model):
    tensor_of(model, "token", "inputs").shapeSignature = np.array([1], np.int32)


def other_type(model):
    tensor_of(model, "token", "inputs").type = 4  # int64


def no_signature(model):
    model.signatureDefs = []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_signature, r"expected a signature 'step', received \['serving_default'\]"),
        (no_signature, r"expected a signature 'step', received \[\]"),
        (rename_input, r"expected token, h_0, c_0 .* received .*'x'"),
        (drop_output, r"expected token, h_0, c_0 .* received"),
        (close_batch, r"expected token int32 \['batch'\], received int32 \[1\]"),
        (other_type, r"expected token int32 \['batch'\], received int64 \[-1\]"),
    ],
)
def test_a_tflite_model_that_is_no_step_is_refused_with_what_was_expected(golden, edit_tflite, change, message):
    data = edit_tflite(tflite_model(golden / "two_layers"), change)
    with pytest.raises(ModelFileError, match=r"^odd\.tflite is not a step: " + message):
        litert_step(data, name="odd.tflite")


def test_a_model_that_was_taken_apart_and_put_together_again_still_runs(golden, edit_tflite, tiny_two):
    """Without this, the test above could pass because the editing breaks the model."""
    step = litert_step(edit_tflite(tflite_model(golden / "two_layers"), lambda model: None))
    given = arguments(step, 3, seed=1)
    assert_close(outputs(step, *given), outputs(tiny_two.step, *given))


def test_making_an_onnx_step_reads_nothing_from_the_current_folder(golden, tmp_path, monkeypatch):
    data = (golden / "one_layer" / "model.onnx").read_bytes()
    monkeypatch.chdir(tmp_path)
    OnnxStep(data)
    assert list(tmp_path.iterdir()) == []
