"""What others run the files with: onnx's reference evaluator, onnxruntime in JavaScript, TensorFlow's interpreter."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charrnn_runtime import load
from charrnn_runtime.bundle import golden as transcripts
from charrnn_runtime.bundle.open_step import open_model
from charrnn_runtime.core.signature import state_names
from charrnn_runtime.engines.tensors import scalars
from charrnn_runtime.sampling.draw import SamplingOptions

pytest.importorskip("onnx")
pytest.importorskip("tf2onnx")
pytest.importorskip("tensorflow")

from charrnn_export.bundle import export_bundle
from charrnn_export.snippets import program, snippets
from charrnn_export.targets import choose
from charrnn_export.writers import ExportSource

NAMES = ["model.onnx", "model.fp16.onnx", "model.int8.onnx"]
JAVASCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "javascript"


class OtherEngine:
    """A step that something else than the runtime's own engines computes."""

    def __init__(self, run, units, vocab_size):
        self._run, self.units, self.vocab_size = run, units, vocab_size
        self.names = [f"{kind}_{layer}" for layer in range(len(units)) for kind in "hc"]

    def __call__(self, token, state):
        outputs = self._run({"token": token.astype(np.int32), **dict(zip(self.names, state, strict=True))})
        return outputs["logits"], tuple(outputs[f"{name}_out"] for name in self.names)


@pytest.fixture(scope="session")
def onnx_files(tiny, tmp_path_factory):
    """A bundle of each tiny model with ONNX in every precision; not to be written to."""
    folder = tmp_path_factory.mktemp("onnx") / tiny.name
    source = ExportSource(tiny.weights, tiny.step, tiny.description, tiny.held_out)
    export_bundle(source, folder, choose(["onnx"], ["all"]), max_cost=1.0)
    return folder


def replay(file, run):
    loaded = open_model(file)
    description = loaded.description
    step = OtherEngine(run, description.units, description.vocabulary.size)
    return transcripts.replay(step, description.vocabulary, description.golden, stop_at_boundary=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_evaluator_of_onnx_says_the_golden_transcript(onnx_files, name):
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(onnx_files / name))
    outcome = replay(
        onnx_files / name,
        lambda fed: dict(zip(evaluator.output_names, evaluator.run(None, fed), strict=True)),
    )
    assert outcome.num_lines == outcome.total_lines == 9


def test_the_interpreter_of_tensorflow_says_the_golden_transcript(kept_bundle):
    import tensorflow as tf

    runner = tf.lite.Interpreter(model_path=str(kept_bundle / "model.tflite")).get_signature_runner("step")
    outcome = replay(kept_bundle / "model.tflite", lambda fed: runner(**fed))
    assert outcome.num_lines == outcome.total_lines == 9


@pytest.fixture(scope="session")
def javascript(need_node):
    """The example, where its package is installed."""
    need_node(JAVASCRIPT)
    return JAVASCRIPT


def node(folder, *words):
    return subprocess.run(["node", *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("name", NAMES)
def test_onnxruntime_web_draws_the_golden_samples(javascript, onnx_files, name):
    golden = open_model(onnx_files / name).description.golden
    received = node(javascript, "sample.mjs", onnx_files, "--file", name, "--seed", golden.seed, "--count", 8)
    assert (received.returncode, received.stderr) == (0, "")
    assert received.stdout.split("\n")[:-1] == list(golden.samples)


@pytest.mark.parametrize(
    "options", [{"temperature": 0.7}, {"top_k": 3}, {"top_p": 0.6}, {"temperature": 0, "prefix": "A"}]
)
def test_onnxruntime_web_follows_the_drawing_rule(javascript, tiny, kept_bundle, options, margins):
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    received = node(javascript, "sample.mjs", kept_bundle, "--seed", 3, "--count", 20, *words)
    names, prefix = received.stdout.split("\n")[:-1], options.get("prefix", "")
    expected = load(kept_bundle).sample(20, seed=3, **options)
    drawing = SamplingOptions(**{name: options[name] for name in options if name != "prefix"})
    margins.assert_same_texts(names, expected, tiny.step, tiny.vocabulary, seed=3, prefix=prefix, options=drawing)


def test_javascript_has_the_random_stream(javascript, tmp_path):
    script = tmp_path / "stream.mjs"
    script.write_text(
        f"import {{ philox, uniforms }} from {json.dumps(str(javascript / 'charrnn.mjs'))};\n"
        "const taken = [];\n"
        "for (const uniform of uniforms(2n ** 64n - 1n, 3n)) if (taken.push(uniform) === 9) break;\n"
        "console.log(JSON.stringify([philox(7n, 0n, 0n).map((word) => word.toString(16)), taken]));\n"
    )
    words, taken = json.loads(node(tmp_path, script).stdout)
    assert words == ["df4034b829e9fba4", "4b9d10cdf8e64087", "6b8b857e506aac98", "67c7c945b1ba6e52"]
    stream = np.random.Generator(np.random.Philox(key=np.array([2**64 - 1, 3], np.uint64)))
    assert taken == stream.random(9).tolist()


def test_javascript_refuses_a_character_it_does_not_know(javascript, kept_bundle):
    received = node(javascript, "sample.mjs", kept_bundle, "--prefix", "ß")
    assert received.returncode != 0
    assert 'does not know the character "ß"' in received.stderr


def greedy(bundle):
    return load(bundle).sample(1, temperature=0)[0]


def test_the_python_of_the_model_card_says_what_the_runtime_says(kept_bundle):
    code = program("python", load(kept_bundle).description)
    received = subprocess.run([sys.executable, "-c", code], cwd=kept_bundle, capture_output=True, text=True)
    assert received.stdout == f"{greedy(kept_bundle)}\n"


def test_the_javascript_of_the_model_card_says_what_the_runtime_says(javascript, kept_bundle, tmp_path):
    (tmp_path / "node_modules").symlink_to(javascript / "node_modules")
    (tmp_path / "card.mjs").write_text(program("js", load(kept_bundle).description))
    (tmp_path / "run.mjs").write_text(
        'import { readFileSync } from "node:fs";\nimport { mostProbableLine } from "./card.mjs";\n'
        f"const read = (name) => readFileSync(`{kept_bundle}/${{name}}`);\n"
        'console.log(await mostProbableLine(JSON.parse(read("manifest.json")), read("model.onnx")));\n'
    )
    assert node(tmp_path, "run.mjs").stdout == f"{greedy(kept_bundle)}\n"


def test_a_card_has_a_program_in_five_languages_and_a_text_has_no_end(tiny_two):
    description = tiny_two.description
    card = snippets(description)
    for language in ("python", "js", "kotlin", "swift", "cpp"):
        assert f"```{language}\n{program(language, description)}\n```" in card
        for name, units in {"h_0": 16, "c_0": 16, "h_1": 12, "c_1": 12}.items():
            assert name in program(language, description)
            assert str(units) in program(language, description)
        assert "break" in program(language, description)
        assert "break" not in program(language, replace(description, mode="text"))


@pytest.fixture(scope="session")
def with_loop(golden):
    """The kept bundle that was exported with --generate; not to be written to."""
    return golden / "loop"


def test_the_loop_says_the_golden_samples_in_onnxruntime_web(javascript, with_loop):
    transcript = open_model(with_loop / "model.onnx").description.golden
    received = node(javascript, "generate.mjs", with_loop, 8, transcript.seed)
    assert (received.returncode, received.stderr) == (0, "")
    assert received.stdout.split("\n")[:-1] == list(transcript.samples)
    assert node(javascript, "generate.mjs", with_loop, 2, 0, 0).stdout == f"{transcript.greedy}\n" * 2


def said_by_a_loop(path, run, real):
    description = open_model(path.with_name("model.onnx")).description

    class Loop:
        units = description.units

        def __call__(self, token, state, uniforms, options):
            states = dict(zip(state_names(len(self.units)), state, strict=True))
            outputs = run({"token": token, **states, "uniforms": uniforms.astype(real), **scalars(options, real)})
            return outputs["tokens"], ()

    return transcripts.replay_generator(Loop(), description.vocabulary, description.golden, stop_at_boundary=True)


def test_the_loop_says_the_golden_transcript_in_the_reference_evaluator_of_onnx(with_loop):
    from onnx.reference import ReferenceEvaluator

    path = with_loop / "model.generate.onnx"
    evaluator = ReferenceEvaluator(str(path))
    names = evaluator.output_names
    assert said_by_a_loop(path, lambda fed: dict(zip(names, evaluator.run(None, fed), strict=True)), np.float64) == 9


def test_the_loop_says_the_golden_transcript_in_the_interpreter_of_tensorflow(with_loop):
    import tensorflow as tf

    path = with_loop / "model.tflite"
    runner = tf.lite.Interpreter(model_path=str(path)).get_signature_runner("generate")
    assert said_by_a_loop(path, lambda fed: runner(**fed), np.float32) == 9
