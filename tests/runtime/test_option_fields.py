"""An options dataclass: what its fields say, what it refuses, and how it is made from a command line."""

from dataclasses import dataclass
from typing import Any

import pytest

from charrnn_runtime.core.option_fields import (
    FLAG,
    TEXT,
    Legal,
    build,
    check_options,
    number,
    one_of,
    option,
    options_of,
    whole,
)
from charrnn_runtime.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Oven:
    """Options of an oven."""

    degrees: int = option(180, meaning="Degrees Celsius", legal=whole(30, 300), usual="160 to 220")
    minutes: float | None = option(
        None, meaning="How long", legal=number("above 0", lambda value: value > 0), default_in_words="till it is brown"
    )
    limit: float | None = option(
        1.0, meaning="Most kilograms", legal=number("above 0", lambda value: value > 0), allows_none=True
    )
    heat: str = option("both", meaning="Where it is warm", legal=one_of("top", "both"), flags=("--heat", "-w"))
    fan: bool = option(False, meaning="Whether the fan runs", legal=FLAG)
    dish: str = option("", meaning="What is baked", legal=TEXT, is_positional=True, metavar="DISH")
    made_up: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_options(self)


@pytest.mark.parametrize(
    ("legal", "said", "right", "wrong"),
    [
        (whole(1), "a whole number of 1 or more", [1, 10**9], [0, 1.0, True, None, "1"]),
        (whole(0, 5), "a whole number from 0 to 5", [0, 5], [-1, 6]),
        (
            number("from 0 to 1", lambda value: 0 <= value <= 1, "a share"),
            "a share from 0 to 1",
            [0, 0.5, 1],
            [1.5, float("nan"), True, None, "0"],
        ),
        (number("above 0", lambda value: value > 0), "a number above 0", [0.1], [0, float("inf")]),
        (one_of("nfc", "none"), "'nfc' or 'none'", ["nfc", "none"], ["nfd", None]),
        (FLAG, "True or False", [True, False], [1, "yes", None]),
    ],
)
def test_legal_values_say_what_they_are_and_know_each_other(
    legal: Legal, said: str, right: list[Any], wrong: list[Any]
) -> None:
    assert str(legal) == said
    assert [value for value in right if not legal.accepts(value)] == []
    assert [value for value in wrong if legal.accepts(value)] == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"degrees": 20},
            "degrees: expected a whole number from 30 to 300 (160 to 220 is usual), received 20; correct",
        ),
        ({"degrees": None}, "degrees: expected a whole number from 30 to 300 (160 to 220 is usual), received None"),
        ({"minutes": 0.0}, "minutes: expected a number above 0, received 0.0"),
        ({"limit": -1.0}, "limit: expected a number above 0, or None, received -1.0"),
        ({"heat": "left"}, "heat: expected 'top' or 'both', received 'left'"),
    ],
)
def test_an_illegal_value_is_refused_by_name_with_what_is_legal_and_usual(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Oven(**values)
    assert message in str(caught.value)


def test_none_is_legal_where_the_default_is_none_or_the_option_allows_it() -> None:
    assert Oven(minutes=None, limit=None) == Oven(limit=None)


def test_options_come_in_the_order_of_the_fields_or_as_named() -> None:
    assert [one.name for one in options_of(Oven)] == ["degrees", "minutes", "limit", "heat", "fan", "dish"]
    assert [one.name for one in options_of(Oven, "fan", "degrees")] == ["fan", "degrees"]


def test_help_gives_meaning_range_usual_values_and_default() -> None:
    shown = {one.name: (one.spellings, one.help) for one in options_of(Oven)}
    assert shown == {
        "degrees": (("--degrees",), "Degrees Celsius; from 30 to 300; 160 to 220 is usual  [default: 180]"),
        "minutes": (("--minutes",), "How long; above 0  [default: till it is brown]"),
        "limit": (("--limit",), "Most kilograms; above 0  [default: 1.0]"),
        "heat": (("--heat", "-w"), "Where it is warm  [default: both]"),
        "fan": (("--fan",), "Whether the fan runs"),
        "dish": ((), "What is baked"),
    }


def test_a_dataclass_takes_its_own_options_from_a_command_line_and_leaves_the_others() -> None:
    words = {"degrees": 200, "minutes": 5.0, "limit": 2.0, "heat": "top", "fan": True, "dish": "pie", "seed": 7}
    assert build(Oven, words) == Oven(degrees=200, minutes=5.0, limit=2.0, heat="top", fan=True, dish="pie")
