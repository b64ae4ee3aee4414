"""A generator: one call draws the same tokens as a loop over the step, whatever the options, in both engines."""

import importlib.util
import shutil
from dataclasses import replace

import numpy as np
import pytest

from charrnn_runtime import load
from charrnn_runtime.bundle.golden import replay_generator
from charrnn_runtime.bundle.locate import files_of, read_manifest, step_files
from charrnn_runtime.bundle.open_generator import open_generator, signatures_of
from charrnn_runtime.core.step import zero_state
from charrnn_runtime.engines.generator import HostGenerator
from charrnn_runtime.errors import InputError, ModelFileError, OperationError, ParityError
from charrnn_runtime.sampling.draw import SamplingOptions
from charrnn_runtime.sampling.random_stream import Uniforms
from charrnn_runtime.sampling.sampler import Request, sample_tokens

FILES = {"onnxruntime": "model.generate.onnx", "litert": "model.tflite"}
MAX_LENGTH = 40
OPTIONS = [
    SamplingOptions(),
    SamplingOptions(temperature=0),
    SamplingOptions(temperature=0.3),
    SamplingOptions(temperature=2.5),
    SamplingOptions(top_k=1),
    SamplingOptions(top_k=4),
    SamplingOptions(top_k=1000),
    SamplingOptions(top_p=1e-6),
    SamplingOptions(top_p=0.5),
    SamplingOptions(top_p=1.0),
    SamplingOptions(temperature=0.8, top_k=5, top_p=0.9),
]


def opened(bundle, engine):
    if engine == "litert":
        pytest.importorskip("ai_edge_litert")
    path = bundle / FILES[engine]
    return open_generator(path, path.read_bytes())


@pytest.fixture(scope="session")
def bundle_with_generator(golden):
    """The kept bundle that was exported with --generate; not to be written to."""
    return golden / "loop"


@pytest.fixture(params=FILES)
def engine(request):
    return request.param


@pytest.fixture
def generator(bundle_with_generator, engine):
    return opened(bundle_with_generator, engine).generator


@pytest.fixture
def host(bundle_with_generator, engine):
    return HostGenerator(
        load(bundle_with_generator, engine=engine).step if engine == "onnxruntime" else litert(bundle_with_generator)
    )


def litert(bundle):
    pytest.importorskip("ai_edge_litert")
    return load(bundle / "model.tflite").step


def arguments(units, vocab_size, batch, steps, seed=3):
    generator = np.random.default_rng(seed)
    token = generator.integers(0, vocab_size, batch, dtype=np.int32)
    state = tuple(generator.normal(size=(batch, size)).astype(np.float32) for size in units for _ in "hc")
    return token, state, generator.random((batch, steps), np.float32).astype(np.float64)


def assert_same(received, expected):
    (tokens, state), (host_tokens, host_state) = received, expected
    np.testing.assert_array_equal(tokens, host_tokens)
    assert tokens.dtype == np.int32
    for got, want in zip(state, host_state, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_one_call_draws_what_the_host_draws(generator, host, options):
    for batch, steps in ((1, 1), (1, 30), (13, 17)):
        given = arguments(generator.units, host.step.vocab_size, batch, steps)
        assert_same(generator(*given, options), host(*given, options))


def test_names_are_those_of_sample_number_i_whatever_the_batch(generator, host):
    request = Request(np.empty(0, np.int32), MAX_LENGTH, seed=11)
    expected = [sample.tokens.tolist() for sample in sample_tokens(host.step, request, 100)]
    uniforms, random = np.empty((100, MAX_LENGTH)), Uniforms(11)
    for row in range(100):
        random.fill(uniforms[row], row)
    for batch in (100, 9):
        names = []
        for first in range(0, 100, batch):
            part = uniforms[first : first + batch]
            token, state = np.zeros(len(part), np.int32), zero_state(generator.units, len(part))
            for row in generator(token, state, part, SamplingOptions())[0].tolist():
                names.append(row[: row.index(0)] if 0 in row else row)
        assert names == expected


def test_two_calls_go_on_where_one_ended_and_a_row_that_ended_begins_its_next_line(generator, host):
    token, state, uniforms = arguments(generator.units, host.step.vocab_size, 40, 12)
    first, between = generator(token, state, uniforms[:, :5], SamplingOptions())
    second, final = generator(first[:, -1].copy(), between, uniforms[:, 5:], SamplingOptions())
    whole, whole_state = generator(token, state, uniforms, SamplingOptions())
    ended = (first == 0).any(axis=1)
    assert 0 < ended.sum() < 40
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1)[~ended], whole[~ended])
    for got, want in zip(final, whole_state, strict=True):
        np.testing.assert_allclose(got[~ended], want[~ended], rtol=0, atol=1e-4)
    for array in between:
        assert not array[ended].any()
    afresh, _ = generator(np.zeros(40, np.int32), zero_state(generator.units, 40), uniforms[:, 5:], SamplingOptions())
    np.testing.assert_array_equal(second[ended], afresh[ended])


def test_what_follows_the_end_of_a_line_is_0(generator, host):
    tokens, _ = generator(*arguments(generator.units, host.step.vocab_size, 40, 30), SamplingOptions())
    ended = (tokens == 0).any(axis=1)
    assert ended.any()
    assert not tokens[np.logical_or.accumulate(tokens == 0, axis=1)].any()


def test_a_uniform_of_1_or_next_to_it_draws_a_token(generator, host):
    token, state, _ = arguments(generator.units, host.step.vocab_size, 30, 1)
    near = np.full((30, 1), np.nextafter(1, 0))
    expected = host(token, state, near, SamplingOptions())
    assert_same(generator(token, state, near, SamplingOptions()), expected)
    assert_same(generator(token, state, np.ones((30, 1)), SamplingOptions()), expected)


def test_a_state_that_is_not_finite_gives_no_token(generator, host):
    """Not 0, which would look like the end of a line."""
    token, state, uniforms = arguments(generator.units, host.step.vocab_size, 3, 1)
    broken = (np.full_like(state[0], np.nan), *state[1:])
    tokens, _ = generator(token, broken, uniforms, SamplingOptions())
    assert tokens.tolist() == [[host.step.vocab_size]] * 3


def test_banned_tokens_are_refused(generator, host):
    with pytest.raises(InputError, match=r"^generate: no token can be banned inside a graph"):
        generator(*arguments(generator.units, host.step.vocab_size, 1, 1), SamplingOptions(banned=(1,)))


def test_a_state_of_another_size_is_an_error_of_ours(generator, host, engine):
    token, state, uniforms = arguments(generator.units, host.step.vocab_size, 2, 3)
    name = {"onnxruntime": "onnxruntime", "litert": "LiteRT"}[engine]
    with pytest.raises(OperationError, match=rf"^{name} cannot run "):
        generator(token, (state[0][:, :-1], *state[1:]), uniforms, SamplingOptions())


def test_the_manifest_says_what_each_file_computes(bundle_with_generator):
    manifest = read_manifest(bundle_with_generator)
    assert {name: entry.signatures for name, entry in manifest.files.items()} == {
        "model.onnx": ("step",),
        "model.generate.onnx": ("generate",),
        "model.tflite": ("step", "generate"),
    }
    assert step_files(manifest) == ["model.onnx", "model.tflite"]
    assert [path.name for path in files_of(bundle_with_generator)] == list(manifest.files)
    for name, entry in manifest.files.items():
        if not name.endswith("tflite"):
            assert signatures_of(bundle_with_generator / name, b"") == entry.signatures


def test_a_tflite_with_a_generator_is_still_a_step(bundle_with_generator, golden):
    pytest.importorskip("ai_edge_litert")
    data = (bundle_with_generator / "model.tflite").read_bytes()
    assert signatures_of(bundle_with_generator / "model.tflite", data) == ("step", "generate")
    plain, both = load(golden / "two_layers" / "model.tflite"), load(bundle_with_generator / "model.tflite")
    assert both.sample(20, seed=5) == plain.sample(20, seed=5)
    assert both.verify().max_abs_diff == plain.verify().max_abs_diff


def test_a_generator_alone_is_no_step_and_a_step_no_generator(bundle_with_generator, golden):
    with pytest.raises(ModelFileError, match=r"holds a generator and no step; name the bundle or its model\.onnx"):
        load(bundle_with_generator / "model.generate.onnx")
    step = golden / "two_layers" / "model.onnx"
    with pytest.raises(
        ModelFileError, match=r"holds no generator of charrnn's: expected logits to be absent, received"
    ):
        open_generator(step, step.read_bytes())
    other = golden / "two_layers" / "model.npz"
    with pytest.raises(ModelFileError, match=r"holds no generator: expected what `charrnn export --generate` writes"):
        open_generator(other, b"")


def test_a_tflite_without_a_generator_says_so(golden):
    pytest.importorskip("ai_edge_litert")
    path = golden / "two_layers" / "model.tflite"
    with pytest.raises(
        ModelFileError, match=r"holds no generator: expected a signature 'generate', received \['step'\]"
    ):
        open_generator(path, path.read_bytes())


def test_a_flipped_bit_in_a_file_with_a_generator_is_noticed(bundle_with_generator, engine):
    if engine == "litert":
        pytest.importorskip("ai_edge_litert")
    path = bundle_with_generator / FILES[engine]
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    with pytest.raises(ModelFileError, match="is damaged"):
        open_generator(path, bytes(data))


def test_a_generator_that_draws_something_else_fails_its_transcript(bundle_with_generator, engine):
    loaded = opened(bundle_with_generator, engine)
    vocabulary, golden = loaded.description.vocabulary, loaded.description.golden
    assert replay_generator(loaded.generator, vocabulary, golden, stop_at_boundary=True) == 9
    with pytest.raises(ParityError, match=r"^golden transcript, by `generate`: greedy line: expected 'x', received"):
        replay_generator(loaded.generator, vocabulary, replace(golden, greedy="x"), stop_at_boundary=True)
    changed = replace(golden, samples=("x", *golden.samples[1:]))
    with pytest.raises(ParityError, match=r"^golden transcript, by `generate`: drawn line 0: expected 'x', received"):
        replay_generator(loaded.generator, vocabulary, changed, stop_at_boundary=True)


def test_verify_replays_the_transcript_by_step_and_by_generator(bundle_with_generator, runtime_command):
    done = runtime_command("verify", bundle_with_generator)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    sentences = [
        line
        for line in lines
        if line.endswith("ok on onnxruntime: 9 lines identical, each drawn in one call of `generate`")
    ]
    assert [line.partition(": ok")[0].rpartition("/")[2] for line in sentences] == ["model.generate.onnx"]
    if importlib.util.find_spec("ai_edge_litert") is None:
        return
    assert len(lines) == 4
    assert lines[3].endswith("model.tflite: ok on litert: 9 lines identical, each drawn in one call of `generate`")


def test_verify_names_a_file_with_a_generator_alone(bundle_with_generator, runtime_command):
    done = runtime_command("verify", bundle_with_generator / "model.generate.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    refused = runtime_command("verify", bundle_with_generator / "model.generate.onnx", "--engine", "litert")
    assert refused.returncode == 2
    assert "is run by onnxruntime, received 'litert'" in refused.stderr


def test_info_names_the_files_with_a_generator_and_their_tensors(bundle_with_generator, golden, runtime_command):
    done = runtime_command("info", bundle_with_generator)
    assert (done.returncode, done.stderr) == (0, "")
    tensors = "token, h_0, c_0, h_1, c_1, uniforms, temperature, top_k, top_p in; tokens, h_0_out, c_0_out, h_1_out"
    assert f"model.generate.onnx: {tensors}" in done.stdout
    assert f"model.tflite, signature generate: {tensors}" in done.stdout
    assert "generat" not in runtime_command("info", golden / "two_layers").stdout


def test_info_knows_a_file_with_a_generator_that_was_copied_away(bundle_with_generator, tmp_path, runtime_command):
    for name in ("model.generate.onnx", "model.tflite"):
        if name.endswith("tflite") and importlib.util.find_spec("ai_edge_litert") is None:
            continue
        shutil.copy(bundle_with_generator / name, tmp_path)
        done = runtime_command("info", tmp_path / name)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{tmp_path / name} (run by" in done.stdout
        assert "uniforms, temperature, top_k, top_p in; tokens, h_0_out" in done.stdout
