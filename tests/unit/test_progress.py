"""What an operation shows while it runs: on a real terminal, which a pty is, and elsewhere."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

# Each step is a report; what the operation itself prints afterwards follows.
SCRIPT = """
import sys
from spokectl.output.stack import progress
with progress(["nginx", "spoke-1"], silent="silent" in sys.argv) as report:
    report("minio", "waiting")
    report("nginx", "starting")
    report("stack", "notice", "read \\x1b[31mthis")
    report("nginx", "healthy", "load-balancer")
    report("spoke-1", "unhealthy")
print("over", file=sys.stderr)
"""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(*arguments: str, columns: int = 80, **environment: str) -> str:
    """All that reaches a terminal of this width on stderr."""
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        env = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | environment
        child = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *arguments], stderr=theirs, stdout=subprocess.DEVNULL, env=env
        )
        os.close(theirs)
        shown = bytearray()
        # Linux ends the reading of a terminal that nobody holds any more with an error, macOS with nothing.
        with suppress(OSError):
            while chunk := os.read(ours, 4096):
                shown += chunk
        assert child.wait(timeout=60) == 0
    finally:
        os.close(ours)
    return shown.decode()


def in_a_pipe(*arguments: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=True)
    return done.stderr.splitlines()


def test_a_terminal_shows_a_table_that_is_redrawn_and_leaves_no_trace() -> None:
    shown = on_terminal()
    plain = _CONTROL.sub("", shown)
    assert re.search(r"✓ +nginx +healthy +load-balancer", plain)
    assert re.search(r"✗ +spoke-1 +unhealthy", plain)
    assert re.search(r"minio +waiting", plain)
    # Drawn over itself, and gone in the end; the cursor is back.
    assert "\x1b[1A" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
    last = shown.rindex("over")
    assert shown.rindex("\x1b[2K") < last
    assert "healthy" not in shown[shown.rindex("\x1b[?25h") : last]


def test_a_notice_stays_above_the_table_and_steers_no_terminal() -> None:
    shown = on_terminal()
    assert "read \\x1b[31mthis" in _CONTROL.sub("", shown)
    assert "\x1b[31mthis" not in shown


@pytest.mark.parametrize("columns", [1, 20, 300])
def test_a_terminal_may_be_of_any_width(columns: int) -> None:
    assert "over" in on_terminal(columns=columns)


def test_a_terminal_without_colours_gets_none() -> None:
    assert "\x1b[32m" in on_terminal()
    plain = on_terminal(NO_COLOR="1")
    assert "\x1b[32m" not in plain
    assert re.search(r"✓ +nginx", _CONTROL.sub("", plain))


def test_silence_is_silent_everywhere() -> None:
    assert on_terminal("silent").split() == ["over"]
    assert in_a_pipe("silent") == ["over"]


def test_in_a_pipe_each_change_is_one_plain_line() -> None:
    lines = [line.partition("s  ")[2] or line for line in in_a_pipe()]
    assert lines == [
        "nginx: starting",
        "read \\x1b[31mthis",
        "nginx: healthy (load-balancer)",
        "spoke-1: unhealthy",
        "over",
    ]
