// A bundle in JavaScript: the texts that the Python runtime draws, in a browser or under Node.
//
// docs/random_stream.md is the rule that this file follows. `ort` is the module onnxruntime-web (or onnxruntime-node),
// so that a page can load it from wherever it likes.

const BOUNDARY = 0;
const WORD = (1n << 64n) - 1n;

// Philox4x64-10: the multipliers, and what is added to the key from round to round.
const MULTIPLIERS = [0xd2e7470ee14c6c93n, 0xca5a826395121157n];
const KEY_STEPS = [0x9e3779b97f4a7c15n, 0xbb67ae8584caa73bn];

/** The four 64-bit words of a block of a sample's random stream; seed, sample and block are BigInt. */
export function philox(seed, sample, block) {
  let [a, b, c, d] = [(block + 1n) & WORD, 0n, 0n, 0n];
  let [key0, key1] = [seed, sample];
  for (let round = 0; round < 10; round++) {
    const [left, right] = [MULTIPLIERS[0] * a, MULTIPLIERS[1] * c];
    [a, b, c, d] = [(right >> 64n) ^ b ^ key0, right & WORD, (left >> 64n) ^ d ^ key1, left & WORD];
    key0 = (key0 + KEY_STEPS[0]) & WORD;
    key1 = (key1 + KEY_STEPS[1]) & WORD;
  }
  return [a, b, c, d];
}

/** The uniforms in [0, 1) of a sample, one a drawn token. */
export function* uniforms(seed, sample) {
  for (let block = 0n; ; block++) {
    for (const word of philox(BigInt(seed), BigInt(sample), block)) yield Number(word >> 11n) * 2 ** -53;
  }
}

/** The token that a uniform draws from logits; topK and topP may be left out. */
export function draw(logits, uniform, { temperature = 1, topK, topP } = {}) {
  const highest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!Number.isFinite(highest)) throw new Error("the model's logits are not finite; verify the file");
  if (temperature === 0) return logits.indexOf(highest);
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  // A stable sort: of equals the lower token first.
  const order = [...weights.keys()].sort((a, b) => weights[b] - weights[a]);
  if (topK !== undefined) for (const token of order.slice(topK)) weights[token] = 0;
  if (topP !== undefined) {
    const share = topP * weights.reduce((a, b) => a + b);
    let before = 0;
    for (const token of order) {
      const weight = weights[token];
      if (before >= share) weights[token] = 0;
      before += weight;
    }
  }
  const total = weights.reduce((a, b) => a + b);
  let [running, last] = [0, 0];
  for (const [token, weight] of weights.entries()) {
    const before = running;
    running += weight;
    if (running > uniform * total) return token;
    if (running > before) last = token;
  }
  return last; // uniform * total was rounded up to the total, which this token reaches
}

export class Model {
  /** What `session` runs and `manifest` (manifest.json, parsed) describes. */
  constructor(ort, session, manifest) {
    Object.assign(this, { ort, session });
    this.characters = [...manifest.vocabulary.characters]; // by code point: token i is character i
    this.rule = manifest.vocabulary;
    this.units = manifest.model.units;
    this.maxLength = manifest.model.max_length;
    this.endsAtBoundary = manifest.model.mode === "lines";
  }

  /** The tokens of a text; throws where a character is not in the vocabulary. */
  encode(text) {
    let prepared = this.rule.normal_form ? text.normalize(this.rule.normal_form) : text;
    if (this.rule.lowercase) prepared = prepared.toLowerCase();
    return [...prepared].map((character) => {
      const token = this.characters.indexOf(character);
      if (token < 0) throw new Error(`the model does not know the character ${JSON.stringify(character)}`);
      return token;
    });
  }

  /** The states before the first token, by the names of the step's inputs. */
  start() {
    const zeros = (units) => new this.ort.Tensor("float32", new Float32Array(units), [1, units]);
    const names = this.units.flatMap((units, layer) => ["h", "c"].map((kind) => [`${kind}_${layer}`, zeros(units)]));
    return Object.fromEntries(names);
  }

  /** Feed a token; the logits of the next one, and the states behind it. */
  async step(token, states) {
    const fed = new this.ort.Tensor("int32", Int32Array.of(token), [1]);
    const outputs = await this.session.run({ token: fed, ...states });
    const after = Object.keys(states).map((name) => [name, outputs[`${name}_out`]]);
    return [Array.from(outputs.logits.data), Object.fromEntries(after)];
  }

  /** Sample number `sample` of a seed, as text. */
  async sample(seed, sample, { prefix = "", ...drawing } = {}) {
    const text = this.encode(prefix);
    let [logits, states] = await this.step(BOUNDARY, this.start());
    for (const token of text) [logits, states] = await this.step(token, states);
    for (const uniform of uniforms(seed, sample)) {
      if (text.length >= this.maxLength) break;
      const token = draw(logits, uniform, drawing);
      if (token === BOUNDARY && this.endsAtBoundary) break;
      text.push(token);
      [logits, states] = await this.step(token, states);
    }
    return text.map((token) => this.characters[token]).join("");
  }
}
