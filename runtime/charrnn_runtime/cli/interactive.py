"""Completion while typing in a terminal: the screen and the keys of a `Session`.

The screen is on stderr; a line that is entered goes to stdout. Needs a system with termios.
"""

import codecs
import contextlib
import os
import sys
from collections.abc import Iterator

from charrnn_runtime.core.escape import escaped
from charrnn_runtime.errors import InputError, OperationError
from charrnn_runtime.session import Session

_BUDGET = 2000
"""The most rows to feed after a key, so that typing stays fluent."""

_HELP = "Tab takes the first line, Enter prints, Ctrl-U empties, Ctrl-D ends"
_ENTER, _TAB, _DELETE, _EMPTY, _END = "\r\n", "\t", "\x7f\x08", "\x15", "\x04"


def complete_while_typing(session: Session, num_completions: int) -> None:
    """Read keys until Ctrl-D, and show the most probable lines after each.

    Args:
        session: The line to start from.
        num_completions: How many lines are shown.

    Raises:
        OperationError: This system cannot read single keys.
    """
    message = _HELP
    with _keys() as keys, contextlib.closing(_Screen()) as screen:
        while True:
            lines = [one.text for one in session.complete(num_completions, budget=_BUDGET)]
            screen.draw(session, lines, message)
            key = next(keys, _END)
            if key in _END:
                return
            try:
                message = _HELP
                _press(session, key, lines, screen)
            except InputError as error:
                message = str(error)


def _press(session: Session, key: str, lines: list[str], screen: "_Screen") -> None:
    if key in _ENTER:
        entered = session.text
        session.change_to("")
        screen.clear()
        print(escaped(entered) if sys.stdout.isatty() else entered, flush=True)
    elif key == _TAB:
        session.change_to(lines[0] if lines else session.text)
    elif key in _DELETE:
        session.delete()
    elif key == _EMPTY:
        session.change_to("")
    elif key.isprintable() or key == "\u200d":
        session.type(key)


class _Screen:
    """Some lines at the cursor, redrawn in place."""

    def draw(self, session: Session, lines: list[str], message: str) -> None:
        """Show the text, its completions and the next characters, with the cursor after the text."""
        following = "  ".join(
            f"{'(end)' if character == chr(10) else escaped(character)} {probability:.0%}"
            for character, probability in session.next_characters()
        )
        # The width of a terminal that was never given a size is 0.
        width = (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1
        below = [escaped(line)[:width] for line in [*lines, "next: " + following, message]]
        self.clear()
        text = f"> {escaped(session.text)}"
        sys.stderr.write("\r\n".join([text, *below]) + f"\x1b[{len(below)}A\r{text}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Clear the screen from the line of the cursor down."""
        sys.stderr.write("\r\x1b[J")
        sys.stderr.flush()

    close = clear


@contextlib.contextmanager
def _keys() -> Iterator[Iterator[str]]:
    """Yield keys as they are pressed, one character each; restore the terminal at the end."""
    try:
        import termios
        import tty
    except ImportError as error:
        raise OperationError("typing live needs a Unix terminal; leave --interactive out") from error
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield _characters(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _characters(descriptor: int) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while data := os.read(descriptor, 1024):
        # Arrow keys and the like send one escape sequence; they have no meaning here.
        if not data.startswith(b"\x1b"):
            yield from decoder.decode(data)
