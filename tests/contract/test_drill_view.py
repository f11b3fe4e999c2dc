"""The live view of drills on a real terminal: drawn in place, ended trials above it, and all as before afterwards."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract.test_live_view import echoes

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]

# One trial that ends, and one that goes on until a line comes on stdin; moments come from another thread.
SHOWING = """
import fcntl, sys, termios, threading, time
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
from spokectl.drills.catalog import all_drills
from spokectl.drills.evidence import Mark, Moment
from spokectl.drills.workload import Snapshot
from spokectl.output.drills import watched
from tests.unit.drills.made_up import trial
drill = all_drills()["postgres-kill"]
with watched(2, silent=False) as watcher:
    for number in (1, 2):
        began_s = time.time()
        watcher.begins(drill, number, lambda: Snapshot(7, 1, {"api": began_s}))
        moment = Moment(began_s, Mark.FAULT, "postgres-primary killed")
        thread = threading.Thread(target=watcher.moment, args=(moment,))
        thread.start()
        thread.join()
        if number == 1:
            watcher.ended(trial())
    sys.stdin.readline()
print("done", flush=True)
"""


@contextmanager
def showing(**environment: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A process that shows the view on the terminal that is given, whose foreground it is."""
    terminal, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SHOWING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "TERM": "xterm",
            "COLUMNS": "80",
            "LINES": "24",
            "PYTHONPATH": str(ROOT),
            **environment,
        },
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            yield process, terminal
        finally:
            process.kill()
            os.close(terminal)


def read_until(terminal: int, wanted: str, shown: str = "") -> str:
    """What comes on the terminal, up to a text."""
    end = time.monotonic() + 120
    while wanted not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        assert ready, shown
        shown += os.read(terminal, 65536).decode()
    return shown


def test_the_trial_under_way_is_drawn_in_place_below_those_that_have_ended() -> None:
    with showing() as (process, terminal):
        shown = read_until(terminal, "2 of 2  postgres-kill (2)")
        assert not echoes(terminal)
        assert "✓ postgres-kill: held in 9 s: rto 1.90 s, lost 0" in shown
        read_until(terminal, "\x1b[1A")  # up, to draw over what is there
        output, _ = process.communicate("\n", timeout=120)
        assert (output, process.returncode) == ("done\n", 0)
        assert echoes(terminal)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_terminal_is_as_before_after_a_signal(number: signal.Signals) -> None:
    with showing() as (process, terminal):
        shown = read_until(terminal, "no write for")
        process.send_signal(number)
        process.communicate(timeout=120)
        assert echoes(terminal)
        assert "\x1b[?25l" in shown
        read_until(terminal, "\x1b[?25h")  # the cursor shows again


def test_without_colour_there_is_none() -> None:
    with showing(NO_COLOR="1") as (process, terminal):
        shown = read_until(terminal, "no write for")
        process.communicate("\n", timeout=120)
        assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", shown)
        assert "✓ postgres-kill: held" in shown


def test_a_terminal_that_can_do_nothing_gets_a_line_a_moment() -> None:
    with showing(TERM="dumb") as (process, terminal):
        shown = read_until(terminal, "postgres-kill: held")
        shown = read_until(terminal, "fault: postgres-primary killed", shown)
        process.communicate("\n", timeout=120)
        assert "\x1b" not in shown
