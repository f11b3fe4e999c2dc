"""The live view on a real terminal: what it does to the terminal while it shows, and that all is as before afterwards."""

import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.timeout(120)

# Shows the view until a line comes on stdin, as long as an operation goes on.
SHOWING = """
import fcntl, os, sys, termios
from spokectl.output.stack import progress
if sys.argv[1:] == ["foreground"]:
    fcntl.ioctl(2, termios.TIOCSCTTY, 0)
with progress(["one"], silent=False) as report:
    report("one", "starting")
    os.write(1, b"shown\\n")  # the view draws what is printed
    sys.stdin.readline()
print("done", flush=True)
"""


@contextmanager
def showing(*, foreground: bool = True) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A process that shows the view on the terminal that is given, whose foreground it is."""
    terminal, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SHOWING, *(["foreground"] if foreground else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={"PATH": os.environ["PATH"], "TERM": "xterm"},
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "shown\n"
            yield process, terminal
        finally:
            process.kill()
            os.close(terminal)


def echoes(terminal: int) -> bool:
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)


def test_keys_do_not_show_while_the_view_does_and_do_again_afterwards() -> None:
    with showing() as (process, terminal):
        assert not echoes(terminal)
        output, _ = process.communicate("\n", timeout=60)
        assert (output, process.returncode) == ("done\n", 0)
        assert echoes(terminal)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_the_terminal_is_as_before_after_a_signal(number: signal.Signals, code: int) -> None:
    with showing() as (process, terminal):
        process.send_signal(number)
        assert process.wait(60) == code
        assert echoes(terminal)
        assert b"\x1b[?25h" in os.read(terminal, 65536)  # the cursor shows again


def test_a_terminal_of_somebody_else_is_left_alone() -> None:
    with showing(foreground=False) as (process, terminal):
        assert echoes(terminal)
        assert process.communicate("\n", timeout=60)[0] == "done\n"
