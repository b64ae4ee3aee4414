"""Programs that call a file of a bundle, in five languages, with the names of the model: a part of the model card.

Each always takes the most probable token; docs/random_stream.md says how to draw at random. Tests run the programs in
Python and JavaScript.
"""

import json
import re
from collections.abc import Callable, Mapping

from charrnn_runtime.bundle.manifest import Description

Snippet = Callable[[Description], str]


def snippets(description: Description) -> str:
    """Return a section of Markdown for each language."""
    return "\n\n".join(
        f"### {title}\n\n```{language}\n{program(language, description)}\n```"
        for language, (title, _) in _PROGRAMS.items()
    )


def program(language: str, description: Description) -> str:
    """Return the program in one language: python, js, kotlin, swift or cpp."""
    text = _PROGRAMS[language][1](description)
    # In running text a newline ends nothing: the lines that stop at token 0 are left out.
    return text if description.mode == "lines" else re.sub(r"\n[^\n]*== 0[^\n]*(\n +break)?(?=\n)", "", text)


def state_names(description: Description) -> dict[str, int]:
    """Return the name of each state and its number of units."""
    return {f"{kind}_{layer}": units for layer, units in enumerate(description.units) for kind in "hc"}


def _python(description: Description) -> str:
    return f"""import json

import numpy as np
import onnxruntime

characters = json.load(open("manifest.json", encoding="utf-8"))["vocabulary"]["characters"]
session = onnxruntime.InferenceSession("model.onnx")
sizes = {json.dumps(state_names(description))}
state = {{name: np.zeros((1, units), np.float32) for name, units in sizes.items()}}
names = ["logits", *(f"{{name}}_out" for name in state)]
token, text = 0, ""
while len(text) < {description.max_length}:
    logits, *after = session.run(names, {{"token": np.array([token], np.int32), **state}})
    state, token = dict(zip(state, after)), int(logits[0].argmax())
    if token == 0:
        break
    text += characters[token]
print(text)"""


def _javascript(description: Description) -> str:
    pairs = ", ".join(f"{name}: {units}" for name, units in state_names(description).items())
    return f"""import * as ort from "onnxruntime-web"; // manifest: manifest.json, parsed; bytes: model.onnx, fetched

export async function mostProbableLine(manifest, bytes) {{
  const characters = [...manifest.vocabulary.characters];
  const session = await ort.InferenceSession.create(bytes);
  const zeros = (units) => new ort.Tensor("float32", new Float32Array(units), [1, units]);
  let state = Object.fromEntries(Object.entries({{ {pairs} }}).map(([name, units]) => [name, zeros(units)]));
  let [token, text] = [0, ""];
  while ([...text].length < {description.max_length}) {{
    const out = await session.run({{ token: new ort.Tensor("int32", Int32Array.of(token), [1]), ...state }});
    state = Object.fromEntries(Object.keys(state).map((name) => [name, out[`${{name}}_out`]]));
    token = out.logits.data.indexOf(Math.max(...out.logits.data));
    if (token === 0) break;
    text += characters[token];
  }}
  return text;
}}"""


def _kotlin(description: Description) -> str:
    pairs = ", ".join(f'"{name}" to {units}' for name, units in state_names(description).items())
    return f"""import ai.onnxruntime.*  // com.microsoft.onnxruntime:onnxruntime-android
import java.nio.*

fun mostProbableLine(model: ByteArray, characters: List<String>): String {{  // characters: one code point each
    val env = OrtEnvironment.getEnvironment()
    fun floats(values: FloatArray) =
        OnnxTensor.createTensor(env, FloatBuffer.wrap(values), longArrayOf(1, values.size.toLong()))
    env.createSession(model).use {{ session ->
        var state = mapOf({pairs}).mapValues {{ FloatArray(it.value) }}
        var token = 0
        val text = StringBuilder()
        for (step in 0 until {description.max_length}) {{
            val fed = state.mapValues {{ floats(it.value) }} +
                ("token" to OnnxTensor.createTensor(env, IntBuffer.wrap(intArrayOf(token)), longArrayOf(1)))
            session.run(fed).use {{ out ->
                fun row(name: String) = (out.get(name).get().value as Array<FloatArray>)[0]
                val logits = row("logits")
                token = logits.indices.maxByOrNull {{ logits[it] }}!!
                state = state.mapValues {{ row(it.key + "_out") }}
            }}
            fed.values.forEach {{ it.close() }}
            if (token == 0) break
            text.append(characters[token])
        }}
        return text.toString()
    }}
}}"""


def _swift(description: Description) -> str:
    pairs = ", ".join(f'"{name}": {units}' for name, units in state_names(description).items())
    return f"""import OnnxRuntimeBindings  // the Swift package onnxruntime-swift-package-manager

func mostProbableLine(path: String, characters: [Unicode.Scalar]) throws -> String {{
    let session = try ORTSession(
        env: ORTEnv(loggingLevel: .warning), modelPath: path, sessionOptions: ORTSessionOptions())
    func tensor<T>(_ values: [T], _ type: ORTTensorElementDataType, _ shape: [NSNumber]) throws -> ORTValue {{
        let data = values.withUnsafeBytes {{ NSMutableData(bytes: $0.baseAddress, length: $0.count) }}
        return try ORTValue(tensorData: data, elementType: type, shape: shape)
    }}
    var state = try [{pairs}].mapValues {{ units in
        try tensor([Float](repeating: 0, count: units), .float, [1, units as NSNumber])
    }}
    let names = Set(["logits"] + state.keys.map {{ $0 + "_out" }})
    var token: Int32 = 0
    var text = String.UnicodeScalarView()
    while text.count < {description.max_length} {{
        var fed = state
        fed["token"] = try tensor([token], .int32, [1])
        let out = try session.run(withInputs: fed, outputNames: names, runOptions: nil)
        let data = try out["logits"]!.tensorData() as Data
        let logits = data.withUnsafeBytes {{ Array($0.bindMemory(to: Float.self)) }}
        token = Int32(logits.indices.max {{ logits[$0] < logits[$1] }}!)
        state = Dictionary(uniqueKeysWithValues: state.keys.map {{ ($0, out[$0 + "_out"]!) }})
        if token == 0 {{ break }}
        text.append(characters[Int(token)])
    }}
    return String(text)
}}"""


def _cpp(description: Description) -> str:
    names = state_names(description)
    units = ", ".join(map(str, names.values()))
    inputs = ", ".join(f'"{name}"' for name in ("token", *names))
    outputs = ", ".join(f'"{name}"' for name in ("logits", *(f"{name}_out" for name in names)))
    return f"""#include <onnxruntime_cxx_api.h>
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

std::string most_probable_line(Ort::Session& session, const std::vector<std::string>& characters) {{
    const char* inputs[] = {{{inputs}}};
    const char* outputs[] = {{{outputs}}};
    auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<std::vector<float>> state;
    for (int64_t units : {{{units}}}) state.emplace_back(units, 0.0f);
    int32_t token = 0;
    std::string text;
    for (int length = 0; length < {description.max_length}; length++) {{
        const int64_t one = 1;
        std::vector<Ort::Value> fed;
        fed.push_back(Ort::Value::CreateTensor<int32_t>(memory, &token, 1, &one, 1));
        for (auto& values : state) {{
            const int64_t shape[] = {{1, static_cast<int64_t>(values.size())}};
            fed.push_back(Ort::Value::CreateTensor<float>(memory, values.data(), values.size(), shape, 2));
        }}
        auto out = session.Run(Ort::RunOptions{{}}, inputs, fed.data(), fed.size(), outputs, fed.size());
        const float* logits = out[0].GetTensorData<float>();
        token = static_cast<int32_t>(std::max_element(logits, logits + characters.size()) - logits);
        for (size_t i = 0; i < state.size(); i++)
            std::copy_n(out[i + 1].GetTensorData<float>(), state[i].size(), state[i].begin());
        if (token == 0) break;
        text += characters[token]; // UTF-8
    }}
    return text;
}}"""


_PROGRAMS: Mapping[str, tuple[str, Snippet]] = {
    "python": ("Python", _python),
    "js": ("JavaScript", _javascript),
    "kotlin": ("Kotlin", _kotlin),
    "swift": ("Swift", _swift),
    "cpp": ("C++", _cpp),
}
"""Title and writer of each language, by its name in Markdown."""
