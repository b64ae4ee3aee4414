// Draw lines from a bundle under Node: npm install, then
//
//     node sample.mjs BUNDLE --count 10 --seed 7 --temperature 0.8 --prefix Am [--file model.int8.onnx]

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";

import * as ort from "onnxruntime-web";

import { Model } from "./charrnn.mjs";

const text = (standard) => ({ type: "string", default: standard });
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: text("10"),
    seed: text("0"),
    temperature: text("1"),
    "top-k": { type: "string" },
    "top-p": { type: "string" },
    prefix: text(""),
    file: text("model.onnx"),
  },
});
if (positionals.length !== 1) {
  console.error("expected the folder of a bundle: node sample.mjs BUNDLE");
  process.exit(2);
}

const [bundle] = positionals;
const number = (value) => (value === undefined ? undefined : Number(value));
const manifest = JSON.parse(await readFile(join(bundle, "manifest.json"), "utf8"));
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(await readFile(join(bundle, values.file)));
const model = new Model(ort, session, manifest);
const options = {
  prefix: values.prefix,
  temperature: Number(values.temperature),
  topK: number(values["top-k"]),
  topP: number(values["top-p"]),
};
for (let sample = 0; sample < Number(values.count); sample++) {
  console.log(await model.sample(BigInt(values.seed), sample, options));
}
