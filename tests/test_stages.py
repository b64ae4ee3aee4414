"""What a person sees of long work: on a terminal a line that is overwritten, in a log a line now and then."""

import io
import time
from collections.abc import Callable

import pytest

from charrnn.cli import stages
from charrnn.cli.stages import ConsoleStages, LiveLine, clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is a hundredth."""
    for name in ("FIRST_SECONDS", "SECONDS_BETWEEN_LINES", "_SECONDS_BETWEEN_UPDATES"):
        monkeypatch.setattr(stages, name, getattr(stages, name) / 100)


def wait_for(is_there: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not is_there():
        assert time.monotonic() < ends, "nothing was shown"
        time.sleep(0.005)


@pytest.mark.usefixtures("quick")
def test_a_log_gets_the_share_and_the_time_left_of_a_long_stage_again_and_again() -> None:
    log = io.StringIO()
    with ConsoleStages(LiveLine(log)).stage("reading names.txt", 200) as advance:
        advance(50)
        wait_for(lambda: log.getvalue().count("\n") >= 2)
    first, *_ = log.getvalue().splitlines()
    assert first == "reading names.txt  25%  0:00 left"
    assert "\x1b" not in log.getvalue()


@pytest.mark.usefixtures("quick")
def test_a_terminal_shows_one_line_that_is_taken_away_at_the_end() -> None:
    terminal = Terminal()
    shown = ConsoleStages(LiveLine(terminal))
    with shown.stage("converting"), shown.stage("comparing", 4):
        wait_for(lambda: "comparing  0%" in terminal.getvalue())
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[2K")


def test_a_short_stage_shows_nothing_unless_it_is_announced() -> None:
    log = io.StringIO()
    with ConsoleStages(LiveLine(log)).stage("reading"):
        pass
    assert log.getvalue() == ""
    with ConsoleStages(LiveLine(log), announces=True).stage("reading"):
        pass
    assert log.getvalue() == "reading\n"


def test_an_error_inside_a_stage_ends_it() -> None:
    shown = ConsoleStages(LiveLine(io.StringIO()))
    with pytest.raises(ValueError, match="inside"), shown.stage("reading"):
        raise ValueError("inside")
    assert shown._open == []


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (3661, "1:01:01")])
def test_a_duration_is_minutes_and_seconds(seconds: float, text: str) -> None:
    assert clock(seconds) == text
