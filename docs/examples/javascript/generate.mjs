// Lines from model.generate.onnx in one call, under Node: npm install, then
//
//     node generate.mjs BUNDLE [COUNT] [SEED] [TEMPERATURE]
//
// The uniforms are those of `charrnn sample`, so the lines are too; Math.random does as well.

import { readFile } from "node:fs/promises";

import * as ort from "onnxruntime-web";

import { uniforms } from "./charrnn.mjs";

const [bundle, count = "10", seed = "0", temperature = "1"] = process.argv.slice(2);
const manifest = JSON.parse(await readFile(`${bundle}/manifest.json`, "utf8"));
const characters = [...manifest.vocabulary.characters]; // by code point
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(await readFile(`${bundle}/model.generate.onnx`));

const rows = Number(count);
const steps = manifest.model.max_length;
const chance = new Float64Array(rows * steps);
for (let row = 0; row < rows; row++) {
  const stream = uniforms(BigInt(seed), BigInt(row));
  for (let step = 0; step < steps; step++) chance[row * steps + step] = stream.next().value;
}
const real = (value) => new ort.Tensor("float64", [Number(value)], []);
const inputs = {
  token: new ort.Tensor("int32", new Int32Array(rows), [rows]), // 0, the start of a line
  uniforms: new ort.Tensor("float64", chance, [rows, steps]),
  temperature: real(temperature),
  top_k: new ort.Tensor("int32", [0], []), // off
  top_p: real(1), // off
};
manifest.model.units.forEach((units, layer) => {
  for (const name of [`h_${layer}`, `c_${layer}`]) {
    inputs[name] = new ort.Tensor("float32", new Float32Array(rows * units), [rows, units]);
  }
});

const { tokens } = await session.run(inputs);
for (let row = 0; row < rows; row++) {
  const drawn = [...tokens.data.slice(row * steps, (row + 1) * steps)];
  const end = drawn.indexOf(0);
  console.log(drawn.slice(0, end < 0 ? steps : end).map((token) => characters[token]).join(""));
}
