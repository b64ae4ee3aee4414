"""The C export: it compiles without a warning, passes the gate, and says what the Python runtime says."""

import ctypes
import math
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn_export.c_format.sources import GOLDEN, HEADER, SAMPLER, SOURCE, WEIGHTS, convert
from charrnn_export.c_format.weights_header import rounded_to_int8
from charrnn_export.parity import FP32, Tolerance, check_parity
from charrnn_runtime.bundle import golden as transcripts
from charrnn_runtime.bundle.manifest import MANIFEST_NAME
from charrnn_runtime.core.step import NumpyStep
from charrnn_runtime.core.vocabulary import TextRule, Vocabulary
from charrnn_runtime.engines.c_engine import CStep, compile_c
from charrnn_runtime.errors import EngineMissingError, InputError, ModelFileError, OperationError, ParityError
from charrnn_runtime.model import Model
from charrnn_runtime.sampling.draw import SamplingOptions, draw
from charrnn_runtime.sampling.random_stream import uniform_stream
from charrnn_runtime.scoring.score import log_probabilities

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
ERRORS = {"token": -1, "utf8": -2, "character": -3, "buffer": -4, "option": -5, "prefix": -6, "logit": -7}


@pytest.fixture(scope="session", params=["gcc", "clang"])
def compiler(request, need_compiler):
    need_compiler(request.param, *STRICT, "-O3", "-march=native", "-ffp-contract=fast")
    need_compiler(request.param, "-std=c99", "-O2", "-fPIC", "-shared")
    return request.param


@pytest.fixture(scope="session")
def sanitizing_compiler(compiler, need_compiler):
    need_compiler(compiler, *STRICT, "-O1", *SANITIZE)
    return compiler


@pytest.fixture(scope="session", params=["fp32", "int8"])
def precision(request):
    return request.param


@pytest.fixture(scope="session")
def sources(tiny, precision):
    return convert(tiny.weights, tiny.description, precision)


def expected_step(tiny, precision):
    return NumpyStep(rounded_to_int8(tiny.weights) if precision == "int8" else tiny.weights)


def expected_model(tiny, precision):
    return Model(expected_step(tiny, precision), tiny.description, Path("tiny"), "numpy", Path("tiny"))


def written(sources, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in sources.items():
        (folder / name).write_bytes(data)
    return folder


def built_sampler(sources, folder, compiler, *flags):
    written(sources, folder)
    program = folder / "sample"
    compile_c([compiler, *STRICT, *flags, folder / SAMPLER, folder / SOURCE, "-o", program, "-lm"])
    return program


def said(program, *words):
    done = subprocess.run([program, *map(str, words)], capture_output=True, encoding="utf-8", check=True)
    return done.stdout.splitlines()


# the step


@pytest.mark.parametrize("flags", [("-O0",), ("-O2",), ("-O3", "-march=native", "-ffp-contract=fast")], ids=" ".join)
def test_the_float_export_passes_the_gate_of_all_formats(tiny, compiler, flags):
    step = CStep(
        convert(tiny.weights, tiny.description),
        compiler=[compiler],
        flags=[*STRICT, *flags],
    )
    report = check_parity(tiny.step, step, tiny.held_out, name="c", tolerance=FP32)
    assert 0 < report.one_step_max_abs_diff <= 1e-5


def test_the_int8_export_computes_with_the_rounded_weights(tiny, compiler):
    sources = convert(tiny.weights, tiny.description, "int8")
    step = CStep(sources, compiler=[compiler])
    # h is off by half of 1/32767 at most; 28 inputs with weights up to 2 make that 8.5e-4, and less than that in truth.
    tolerance = Tolerance(one_step=2e-4, bits_per_character=1e-4, rollout_steps=1000)
    check_parity(expected_step(tiny, "int8"), step, tiny.held_out, name="c", tolerance=tolerance)
    with pytest.raises(ParityError, match=r"logits differs by"):
        check_parity(tiny.step, step, tiny.held_out, name="c", tolerance=tolerance)


def test_rounding_to_int8_keeps_every_row_within_half_a_step(tiny):
    rounded = rounded_to_int8(tiny.weights)
    kernel, near = tiny.weights.recurrent_kernels[0], rounded.recurrent_kernels[0]
    assert (np.abs(kernel - near) <= np.abs(kernel).max(axis=0) / 127 * 0.5001).all()
    assert max(len(np.unique(near[:, output])) for output in range(near.shape[1])) <= len(kernel)
    assert rounded.projection_bias is tiny.weights.projection_bias


def test_a_row_of_zeros_stays_one(tiny_one):
    table = tiny_one.weights.input_table.copy()
    table[3] = 0
    rounded = rounded_to_int8(replace(tiny_one.weights, input_table=table))
    assert (rounded.input_table[3] == 0).all()


@pytest.mark.parametrize("call", ["hyperbolic_tangent", "sigmoid"])
def test_the_approximations_are_as_near_as_their_comment_says(sources, tmp_path, compiler, call):
    written(sources, tmp_path)
    opened = f'#include "{SOURCE}"\nfloat opened(float x);\nfloat opened(float x) {{ return {call}(x); }}\n'
    (tmp_path / "opened.c").write_text(opened)
    compile_c([compiler, "-O2", "-fPIC", "-shared", tmp_path / "opened.c", "-o", tmp_path / "opened.so", "-lm"])
    function = ctypes.CDLL(str(tmp_path / "opened.so")).opened
    function.argtypes, function.restype = [ctypes.c_float], ctypes.c_float
    x = np.concatenate([np.linspace(-12, 12, 20001), np.geomspace(1e-40, 1e38, 400), [0.0, np.inf, -np.inf]])
    x = np.concatenate([x, -x]).astype(np.float32)
    got = np.array([function(value) for value in x.tolist()])
    exact = np.tanh(x.astype(np.float64))
    if call == "sigmoid":
        exact = 0.5 + 0.5 * np.tanh(0.5 * x.astype(np.float64))
    assert np.abs(got - exact).max() <= 1.8e-7


def test_a_token_that_is_none_is_refused_and_changes_nothing(tiny, library):
    state = np.arange(2 * sum(tiny.step.units), dtype=np.float32) / 100
    for token in (-1, tiny.step.vocab_size, 2**31 - 1):
        assert library.charrnn_step(pointer(state), token) == ERRORS["token"]
    assert (state == np.arange(len(state), dtype=np.float32) / 100).all()
    step = CStep(convert(tiny.weights, tiny.description))
    with pytest.raises(OperationError, match=r"expected a token below 12, received 12"):
        step(np.array([12], np.int32), tuple(np.zeros((1, size), np.float32) for size in tiny.step.units for _ in "hc"))


# the sampler


OPTIONS = {
    "as it comes": ({}, ()),
    "cold, with a prefix": ({"temperature": 0.8, "prefix": "és"}, ("-t", "0.8", "-p", "és")),
    "greedy": ({"temperature": 0.0}, ("-t", "0")),
    "top_k": ({"top_k": 3}, ("-k", "3")),
    "top_p, hot": ({"top_p": 0.6, "temperature": 1.5}, ("-c", "0.6", "-t", "1.5")),
    "both, short": ({"top_k": 5, "top_p": 0.9, "max_length": 7}, ("-k", "5", "-c", "0.9", "-m", "7")),
    "next to greedy": ({"temperature": 1e-300}, ("-t", "1e-300")),
}


@pytest.fixture(scope="session")
def sampler(tiny, precision, sources, sanitizing_compiler, tmp_path_factory):
    """The sampler with address and undefined-behaviour checks on."""
    return built_sampler(sources, tmp_path_factory.mktemp("c"), sanitizing_compiler, "-O1", *SANITIZE)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_same_seed_gives_the_same_text_as_the_python_runtime(tiny, precision, sampler, options, margins):
    arguments, words = OPTIONS[options]
    names = said(sampler, "-n", 200, "-s", 2**64 - 1, *words)
    expected = expected_model(tiny, precision).sample(200, seed=2**64 - 1, **arguments)
    drawing = SamplingOptions(**{name: arguments[name] for name in arguments if name not in ("prefix", "max_length")})
    # What int8 may differ by: see test_the_int8_export_computes_with_the_rounded_weights.
    shift = 2e-4 if precision == "int8" else margins.ROUNDING
    margins.assert_same_texts(
        names,
        expected,
        expected_step(tiny, precision),
        tiny.vocabulary,
        seed=2**64 - 1,
        prefix=arguments.get("prefix", ""),
        options=drawing,
        shift=shift,
    )


def test_the_makefile_builds_a_sampler_that_scores_as_the_runtime_does(tiny_two, need_make, tmp_path):
    folder = written(convert(tiny_two.weights, tiny_two.description), tmp_path / "c")
    subprocess.run(["make", "-s"], cwd=folder, check=True, capture_output=True)
    for line in ("dries", "", "té🏙"):
        nats, _, bits, *_ = said(folder / "sample", "-l", line)[0].split()
        scores = log_probabilities(tiny_two.step, [tiny_two.vocabulary.encode(line)])[0]
        assert float(nats) == pytest.approx(scores.sum(), abs=2e-5)
        assert float(bits) == pytest.approx(-scores.mean() / math.log(2), abs=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-p", "Q"], "a character that the model has never seen"),
        (["-p", b"\xff"], "not UTF-8"),
        (["-p", "dries", "-m", "5"], "the prefix leaves nothing to draw"),
        (["-p", "d\n"], "the prefix leaves nothing to draw"),
        (["-t", "-1"], "an option has no meaning"),
        (["-t", "nan"], "an option has no meaning"),
        (["-c", "1.5"], "an option has no meaning"),
        (["-c", "0"], "usage"),
        (["-k", "0"], "usage"),
        (["-m", "0"], "usage"),
        (["-n", "-3"], "usage"),
        (["-s", "18446744073709551616"], "usage"),
        (["-s"], "usage"),
        (["-x", "1"], "usage"),
        (["-l", "Q"], "a character that the model has never seen"),
    ],
)
def test_what_the_sampler_cannot_use_is_refused_in_words(sampler, words, message):
    done = subprocess.run([sampler, *words], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()


@pytest.fixture(scope="session")
def described(tiny, precision):
    """The description of a tiny model with the transcript of what the export computes."""
    transcript = transcripts.record(expected_step(tiny, precision), tiny.vocabulary, stop_at_boundary=True)
    return replace(tiny.description, golden=transcript)


def test_the_sampler_repeats_the_transcript_without_python(tiny, precision, described, sanitizing_compiler, tmp_path):
    described_sources = convert(tiny.weights, described, precision)
    program = built_sampler(described_sources, tmp_path, sanitizing_compiler, "-O1", *SANITIZE)
    assert said(program, "-v") == ["verified: 9 lines are what the model said when it was exported"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda golden: replace(golden, seed=8), 'sample: the transcript says "'),
        (lambda golden: replace(golden, greedy=golden.greedy + "d"), 'sample: the transcript says "'),
        (lambda golden: replace(golden, log_probabilities=((-1.0,),) * 8), " nats in the transcript, here "),
    ],
)
def test_a_model_that_says_something_else_than_its_transcript_is_noticed(
    tiny_two, c_compiler, tmp_path, change, message
):
    transcript = transcripts.record(tiny_two.step, tiny_two.vocabulary, stop_at_boundary=True)
    description = replace(tiny_two.description, golden=change(transcript))
    program = built_sampler(convert(tiny_two.weights, description), tmp_path, c_compiler, "-O1")
    done = subprocess.run([program, "-v"], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr


def test_of_an_integer_model_other_lines_are_told_and_other_probabilities_refused(tiny_two, c_compiler, tmp_path):
    """Rounding may turn a drawn character on another processor, after which the lines have nothing in common."""

    def verified(change):
        transcript = transcripts.record(expected_step(tiny_two, "int8"), tiny_two.vocabulary, stop_at_boundary=True)
        transcript = replace(transcript, tolerance=0.01, same_text=False)
        sources = convert(tiny_two.weights, replace(tiny_two.description, golden=change(transcript)), "int8")
        program = built_sampler(sources, tmp_path, c_compiler, "-O1")
        return subprocess.run([program, "-v"], capture_output=True, encoding="utf-8", check=False)

    other = verified(lambda golden: replace(golden, greedy=golden.greedy + "d"))
    assert (other.returncode, other.stderr) == (0, "")
    assert other.stdout == "verified: 8 of 9 lines are what the model said when it was exported\n"
    damaged = verified(lambda golden: replace(golden, log_probabilities=((-1.0,),) * 8))
    assert (damaged.returncode, damaged.stdout) == (1, "")
    assert " nats in the transcript, here " in damaged.stderr
    unreadable = verified(lambda golden: replace(golden, samples=("Q", *golden.samples[1:])))
    assert (unreadable.returncode, unreadable.stdout) == (1, "")
    assert "a character that the model has never seen" in unreadable.stderr


def test_a_model_without_a_transcript_says_so(sampler):
    done = subprocess.run([sampler, "-v"], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "sample: this model carries no transcript: `charrnn export` adds one\n"


def test_in_text_mode_the_newline_is_a_character_like_any_other(tiny_one, c_compiler, tmp_path):
    description = replace(tiny_one.description, mode="text", max_length=120)
    program = built_sampler(convert(tiny_one.weights, description), tmp_path, c_compiler, "-O1")
    (text,) = Model(tiny_one.step, description, Path("x"), "numpy", Path("x")).sample(1, prefix="d\n", seed=3)
    assert text.count("\n") > 1
    assert "\n".join(said(program, "-n", 1, "-s", 3, "-p", "d\n")) == text


# the functions, one by one


class Random(ctypes.Structure):
    _fields_ = (
        ("key", ctypes.c_uint64 * 2),
        ("counter", ctypes.c_uint64),
        ("block", ctypes.c_uint64 * 4),
        ("used", ctypes.c_int32),
    )


class Options(ctypes.Structure):
    _fields_ = (("temperature", ctypes.c_double), ("top_k", ctypes.c_int32), ("top_p", ctypes.c_double))


class Request(ctypes.Structure):
    _fields_ = (
        ("prefix", ctypes.c_char_p),
        ("seed", ctypes.c_uint64),
        ("index", ctypes.c_uint64),
        ("max_length", ctypes.c_int32),
        ("drawing", Options),
    )


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


@pytest.fixture(scope="session")
def library(tiny, c_compiler, tmp_path_factory):
    """The float export as a shared library."""
    folder = written(convert(tiny.weights, tiny.description), tmp_path_factory.mktemp("library"))
    compile_c([c_compiler, "-std=c99", "-O2", "-fPIC", "-shared", folder / SOURCE, "-o", folder / "m.so", "-lm"])
    loaded = ctypes.CDLL(str(folder / "m.so"))
    loaded.charrnn_seed.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]
    loaded.charrnn_uniform.argtypes, loaded.charrnn_uniform.restype = [ctypes.c_void_p], ctypes.c_double
    loaded.charrnn_draw.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_double]
    loaded.charrnn_step.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    loaded.charrnn_prime.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    loaded.charrnn_sample.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32]
    loaded.charrnn_log_probability.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return loaded


WORDS = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**32, 2**63, 2**64 - 1]))


@given(seed=WORDS, index=WORDS)
def test_the_random_stream_is_numpy_s(library, seed, index):
    random = Random()
    library.charrnn_seed(ctypes.byref(random), seed, index)
    drawn = [library.charrnn_uniform(ctypes.byref(random)) for _ in range(11)]
    stream = uniform_stream(seed, index)
    assert drawn == [next(stream) for _ in range(11)]


# Few different values, so that there are ties and temperatures that leave little; or any.
LOGITS = st.one_of(st.sampled_from([-1e30, -3.0, 0.0, 0.5, 2.0, 40.0]), st.floats(-60, 60, width=32))
UNIFORMS = st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, 0.25, 0.5, 1 - 2**-53]))


@given(
    logits=st.lists(LOGITS, min_size=12, max_size=12),
    uniform=UNIFORMS,
    temperature=st.one_of(st.sampled_from([0.0, 1e-300, 0.5, 1.0, 1e30]), st.floats(0.1, 3)),
    top_k=st.one_of(st.none(), st.integers(1, 14)),
    top_p=st.one_of(st.none(), st.sampled_from([0.25, 0.5, 1.0, 1e-300]), st.floats(0.01, 1)),
)
def test_a_draw_is_that_of_the_python_runtime(library, logits, uniform, temperature, top_k, top_p):
    row = np.array([logits], np.float32)
    options = Options(temperature, top_k or 0, top_p or 0)
    drawn = library.charrnn_draw(pointer(row), ctypes.byref(options), uniform)
    assert drawn == draw(row, np.array([uniform]), SamplingOptions(temperature, top_k, top_p))[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("position", [0, 5, 11])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_logit_that_is_not_finite_is_an_error(library, bad, position, temperature):
    logits = np.zeros(12, np.float32)
    logits[position] = bad
    options = Options(temperature, 0, 0)
    assert library.charrnn_draw(pointer(logits), ctypes.byref(options), 0.5) == ERRORS["logit"]
    logits[:] = -np.inf
    assert library.charrnn_draw(pointer(logits), ctypes.byref(options), 0.5) == ERRORS["logit"]


@pytest.mark.parametrize(
    ("options", "uniform"),
    [
        ((-0.1, 0, 0), 0.5),
        ((math.inf, 0, 0), 0.5),
        ((math.nan, 0, 0), 0.5),
        ((1, -1, 0), 0.5),
        ((1, 0, 1.01), 0.5),
        ((1, 0, math.nan), 0.5),
        ((1, 0, 0), 1.0),
        ((1, 0, 0), -0.1),
        ((1, 0, 0), math.nan),
    ],
)
def test_options_without_a_meaning_are_errors(library, options, uniform):
    logits = np.zeros(12, np.float32)
    assert library.charrnn_draw(pointer(logits), ctypes.byref(Options(*options)), uniform) == ERRORS["option"]


@given(text=st.one_of(st.binary(max_size=6), st.text(max_size=3).map(lambda text: text.encode("utf-8", "replace"))))
def test_text_is_read_as_python_reads_it(library, tiny, text):
    text = text.replace(b"\0", b"")
    token, rest = ctypes.c_int32, ctypes.c_char_p(text)
    try:
        characters = text.decode()
    except UnicodeDecodeError:
        characters = None
    state = np.zeros(2 * sum(tiny.step.units), np.float32)
    fed = library.charrnn_prime(pointer(state), text)
    if characters is None:
        assert fed in (ERRORS["utf8"], ERRORS["character"])
    elif set(characters) <= set(tiny.vocabulary.characters):
        assert fed == len(characters)
    else:
        assert fed == ERRORS["character"]
    if text and characters:
        read = token(library.charrnn_token(ctypes.byref(rest))).value
        known = tiny.vocabulary.characters.find(characters[0])
        assert read == (known if known >= 0 else ERRORS["character"])
        assert rest.value == (text[len(characters[0].encode()) :] if known >= 0 else text)


@pytest.mark.parametrize(
    "text", [b"\x80", b"\xc3", b"\xc1\x81", b"\xe0\x80\x8a", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80"]
)
def test_bytes_that_are_no_utf_8_are_refused(library, text):
    rest = ctypes.c_char_p(text)
    assert library.charrnn_token(ctypes.byref(rest)) == ERRORS["utf8"]
    assert rest.value == text


def test_every_character_is_written_as_it_is_read(library, tiny):
    for token, character in enumerate(tiny.vocabulary.characters):
        written_bytes, text = ctypes.create_string_buffer(4), ctypes.c_char_p(character.encode())
        assert library.charrnn_token(ctypes.byref(text)) == token
        length = library.charrnn_character(token, written_bytes)
        assert written_bytes.raw[:length].decode() == character
    assert library.charrnn_character(tiny.vocabulary.size, written_bytes) == ERRORS["token"]


def test_a_buffer_that_is_too_small_holds_the_whole_characters_that_fit(library, tiny):
    state = np.zeros(2 * sum(tiny.step.units), np.float32)
    request = Request("ést-🏙".encode(), 7, 0, 50, Options(1, 0, 0))
    full = ctypes.create_string_buffer(201)
    length = library.charrnn_sample(pointer(state), ctypes.byref(request), full, 201)
    assert length == len(full.value) > 8
    for size in range(1, length + 1):
        guarded = ctypes.create_string_buffer(b"#" * 201)
        received = library.charrnn_sample(pointer(state), ctypes.byref(request), guarded, size)
        assert received == ERRORS["buffer"]
        assert full.value.startswith(guarded.value)
        assert len(guarded.value.decode()) >= 0
        assert guarded.raw[size:200] == b"#" * (200 - size)
    assert library.charrnn_sample(pointer(state), ctypes.byref(request), full, 0) == ERRORS["buffer"]
    request.max_length = 0
    assert library.charrnn_sample(pointer(state), ctypes.byref(request), full, 201) == ERRORS["option"]


def test_the_log_probability_of_a_line_is_the_sum_over_its_characters(library, tiny):
    total = ctypes.c_double()
    state = np.zeros(2 * sum(tiny.step.units), np.float32)
    assert library.charrnn_log_probability(pointer(state), b"dQ", ctypes.byref(total)) == ERRORS["character"]
    assert library.charrnn_log_probability(pointer(state), b"dries", ctypes.byref(total)) == 5
    scores = log_probabilities(tiny.step, [tiny.vocabulary.encode("dries")])[0]
    assert total.value == pytest.approx(scores.sum(), abs=2e-5)


# what cannot be exported


def test_a_precision_that_c_does_not_have_is_refused(tiny_one):
    with pytest.raises(InputError, match=r"^precision: expected fp32 or int8 for C, received 'fp16'$"):
        convert(tiny_one.weights, tiny_one.description, "fp16")


def test_the_character_that_ends_a_text_in_c_is_refused(tiny_one):
    characters = "\n\0" + tiny_one.vocabulary.characters[2:]
    description = replace(tiny_one.description, vocabulary=Vocabulary(characters))
    with pytest.raises(InputError, match=r"^vocabulary: C cannot hold the character U\+0000"):
        convert(tiny_one.weights, description)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tiny_one, precision, bad):
    bias = tiny_one.weights.projection_bias.copy()
    bias[1] = bad
    with pytest.raises(ModelFileError, match=r"received NaN or infinity in projection_bias"):
        convert(replace(tiny_one.weights, projection_bias=bias), tiny_one.description, precision)


def test_numbers_are_written_so_that_they_read_back_as_the_same_floats(tiny_two):
    listed = convert(tiny_two.weights, tiny_two.description)[WEIGHTS].decode()
    (line,) = (part for part in listed.split("\n\n") if part.startswith("static const float projection_bias"))
    numbers = [np.float32(word.rstrip("f")) for word in line.split("{")[1].split("}")[0].replace(",", " ").split()]
    assert (np.array(numbers)[:12] == tiny_two.weights.projection_bias).all()


def test_the_header_says_which_form_text_must_have(tiny_one):
    def form(rule):
        vocabulary = Vocabulary(tiny_one.vocabulary.characters, rule)
        header = convert(tiny_one.weights, replace(tiny_one.description, vocabulary=vocabulary))[HEADER].decode()
        return next(line for line in header.splitlines() if line.startswith("#define CHARRNN_TEXT_FORM"))

    assert form(TextRule()).endswith('"normal form NFC"')
    assert form(TextRule(None, lowercase=True)).endswith('"any normal form, small letters"')


def test_nothing_is_left_to_fill_in(sources):
    assert sorted(sources) == sorted([GOLDEN, HEADER, SOURCE, WEIGHTS, SAMPLER, "Makefile", "README.md", MANIFEST_NAME])
    assert [name for name, data in sources.items() if b"@" in data.replace(b"$@", b"")] == []


def test_without_a_compiler_the_message_says_what_to_install(tiny_one, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(EngineMissingError, match=r"^there is no C compiler here: expected cc, gcc, clang, or one that"):
        CStep(convert(tiny_one.weights, tiny_one.description))
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(
        EngineMissingError, match=r"^there is no C compiler no-such-compiler here, which the environment "
    ):
        CStep(convert(tiny_one.weights, tiny_one.description))
    with pytest.raises(EngineMissingError, match=r"^the C compiler ./absent cannot be started: No such file"):
        CStep(convert(tiny_one.weights, tiny_one.description), compiler=["./absent"])


def test_what_a_compiler_refuses_is_said_in_one_line(tiny_one, c_compiler):
    sources = {**convert(tiny_one.weights, tiny_one.description), SOURCE: b"int x = ;\n"}
    with pytest.raises(OperationError, match=r"^the C compiler \S+ failed: .*charrnn_model.c:1:\d+: error: expected"):
        CStep(sources)


def test_a_header_without_sizes_is_damaged(tiny_one, c_compiler):
    sources = {**convert(tiny_one.weights, tiny_one.description), HEADER: b"#define CHARRNN_VOCAB_SIZE 12\n"}
    with pytest.raises(ModelFileError, match=r"^charrnn_model.h is damaged: expected a definition of CHARRNN_UNITS, "):
        CStep(sources)


def test_the_header_can_be_used_from_c_plus_plus(tiny_one, c_compiler, need_compiler, tmp_path):
    need_compiler("g++", "-Wall", "-Wextra", "-Werror")
    folder = written(convert(tiny_one.weights, tiny_one.description), tmp_path)
    (folder / "use.cpp").write_text(
        f'#include "{HEADER}"\n'
        "int main() { charrnn_state state; charrnn_request request = CHARRNN_REQUEST; char line[CHARRNN_LINE_BYTES];\n"
        "  return charrnn_sample(&state, &request, line, sizeof line) < 0; }\n"
    )
    compile_c([c_compiler, "-c", "-std=c99", folder / SOURCE, "-o", folder / "model.o"])
    compile_c(["g++", "-Wall", "-Wextra", "-Werror", folder / "use.cpp", folder / "model.o", "-o", folder / "use"])
    subprocess.run([folder / "use"], check=True)
