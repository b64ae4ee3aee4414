"""What a terminal gets to see: nothing that moves its cursor; and a pipe gets the text as it is."""

import json
import os
import pty
import select
import signal
import subprocess
import sys

import pytest

from charrnn_runtime.core.escape import escaped

CONTROLS = "\x00\x07\x1b[2J\x7f\x9b\u2028\u202e\u2066"
HARMLESS = "👩\u200d👩\u200d👧 e\u0301 שלום 東京 नि\u200c \u200e"


def test_letters_emoji_and_marks_of_every_script_are_shown_as_they_are():
    assert escaped(HARMLESS) == HARMLESS


@pytest.mark.parametrize("character", sorted(set(CONTROLS) - set("[2J")), ids=ascii)
def test_a_character_that_controls_a_terminal_is_shown_by_its_code(character):
    assert escaped(f"a{character}b") == f"a{character.encode('unicode_escape').decode()}b"


def in_terminal(words, keys=b""):
    """Run the command in a terminal of its own, press keys once it asks for some; return what it shows and its code."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "charrnn_runtime", *map(str, words)])
    shown = b""
    while select.select([descriptor], [], [], 60)[0]:
        try:
            data = os.read(descriptor, 65536)
        except OSError:  # Linux says so when the other side has ended
            break
        if not data:
            break
        shown += data
        if keys and b"Ctrl-D ends" in shown:
            os.write(descriptor, keys)
            keys = b""
    else:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(descriptor)
    return shown.decode(), os.waitstatus_to_exitcode(status)


@pytest.fixture
def hostile(tmp_path):
    path = tmp_path / "lines.txt"
    # Among plain lines: a file that is full of control characters is refused as binary.
    path.write_bytes(("dries\x1b[2J\u202e\nA\x07den\n" + "Aden\n" * 20).encode())
    return path


def test_scored_lines_with_control_characters_are_escaped_on_a_terminal_and_raw_in_a_pipe(
    runtime_command, bundle, hostile
):
    words = ("score", bundle, hostile, "--unknown", "skip")
    shown, code = in_terminal(words)
    assert code == 0
    assert "dries\\x1b[2J\\u202e" in shown
    assert "A\\x07den" in shown
    assert "\tA\\x07den" in shown  # columns stay columns
    assert "\x1b" not in shown
    piped = runtime_command(*words).stdout
    assert "dries\x1b[2J\u202e\n" in piped
    assert "A\x07den\n" in piped


def test_typing_in_a_terminal_shows_completions_after_every_key_and_enter_prints_the_line(bundle):
    shown, code = in_terminal(("complete", bundle, "--interactive", "-n", 3), b"drxi\r\x04")
    assert code == 0
    assert "> dri" in shown
    assert "unknown character 'x'" in shown
    assert "next: " in shown
    assert "\x1b[Jdri\r\n" in shown


def test_without_a_terminal_there_is_nothing_to_type_in(runtime_command, bundle):
    done = runtime_command("complete", bundle, "--interactive", stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "expected a terminal to type in" in done.stderr


def test_json_in_a_terminal_escapes_by_itself(bundle, tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text(json.dumps("A\x1b[2Jden") + "\n")
    shown, code = in_terminal(("score", bundle, path, "--unknown", "skip"))
    assert code == 0
    assert '"A\\u001b[2Jden"' in shown
