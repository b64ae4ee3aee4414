"""docs/random_stream.md is true: its numbers are what the runtime draws, and Philox as it describes it gives them."""

import re
from pathlib import Path

import numpy as np

from charrnn_runtime import load
from charrnn_runtime.sampling.draw import SamplingOptions, draw
from charrnn_runtime.sampling.random_stream import uniform_stream

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "random_stream.md").read_text(encoding="utf-8")
MASK = 2**64 - 1


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first row begins with some words."""
    table = PAGE[PAGE.index(f"| {heading}") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def philox(counter: int, key: tuple[int, int]) -> list[int]:
    """Philox4x64-10 in whole numbers, from the paper."""
    x, (k0, k1) = [counter, 0, 0, 0], key
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
        x = [(second >> 64) ^ x[1] ^ k0, second & MASK, (first >> 64) ^ x[3] ^ k1, first & MASK]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return x


def test_the_words_on_the_page_are_those_of_philox() -> None:
    for seed, sample, words in rows("seed | sample | words"):
        assert [f"{word:016x}" for word in philox(1, (int(seed), int(sample)))] == words.split()


def test_the_uniforms_on_the_page_are_those_of_philox_and_of_the_runtime() -> None:
    for seed, sample, uniforms in rows("seed | sample | first four"):
        expected = [float(word) for word in uniforms.split()]
        key = (int(seed), int(sample))
        assert [(word >> 11) * 2.0**-53 for word in philox(1, key)] == expected
        stream = uniform_stream(*key)
        received = [next(stream) for _ in range(600)]
        assert received[:4] == expected
        assert received == [(word >> 11) * 2.0**-53 for block in range(1, 151) for word in philox(block, key)]


def test_the_tokens_on_the_page_are_drawn() -> None:
    [written] = re.findall(r"For the logits ([-0-9., ]+) of", PAGE)
    logits = np.array([[float(word) for word in written.split(",")]], np.float32)
    header = PAGE[PAGE.index("| temperature | top_k | top_p | banned") :].splitlines()[0]
    uniforms = [float(cell) for cell in header.strip("|").split("|")[4:]]
    for temperature, top_k, top_p, banned, *tokens in rows("temperature | top_k | top_p | banned"):
        options = SamplingOptions(
            float(temperature),
            int(top_k) if top_k else None,
            float(top_p) if top_p else None,
            (int(banned),) if banned else (),
        )
        received = draw(logits.repeat(len(uniforms), axis=0), np.array(uniforms), options)
        assert received.tolist() == [int(token) for token in tokens]


def test_the_texts_on_the_page_are_drawn() -> None:
    model = load(ROOT / "tests" / "golden" / "one_layer")
    for prefix, temperature, top_k, top_p, texts in rows("prefix | temperature"):
        received = model.sample(
            3,
            prefix,
            temperature=float(temperature),
            top_k=int(top_k) if top_k else None,
            top_p=float(top_p) if top_p else None,
            seed=7,
        )
        assert received == re.findall("`(.*?)`", texts)
