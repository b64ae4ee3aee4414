"""The commands of a device, a module each: its options, and the one call of the library behind it."""

from collections.abc import Mapping

SUMMARIES: Mapping[str, str] = {
    "sample": "Draw texts from a model.",
    "score": "How probable the model finds each line of a file: typos, odd names and strong passwords score high.",
    "complete": "The most probable lines that begin with a prefix, with their exact probabilities.",
    "verify": "Replay the model's golden transcript on this device, without TensorFlow.",
    "benchmark": "Measure every file of a bundle on this device: size, speed, memory, bits per character.",
    "info": "What the model is, what it was trained on, how good it is.",
}
"""The commands, in the order of a first visit, and what each is for."""
