"""The terminal while something on it is drawn again and again."""

import os
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STDERR = 2
_LOCAL_FLAGS = 3  # of the list that `tcgetattr` gives


@contextmanager
def without_echo() -> Iterator[None]:
    """Keys that are pressed meanwhile do not show on stderr's terminal: Enter would push what is drawn out of its place.

    They are kept for the shell. Afterwards the terminal is as before, also after Ctrl-C and SIGTERM. Only the terminal's
    foreground may change it: in the background (`spokectl up &`) the system would stop this process.
    """
    try:
        before = termios.tcgetattr(_STDERR) if os.tcgetpgrp(_STDERR) == os.getpgrp() else None
    except (OSError, termios.error):
        before = None
    if before is None:
        yield
        return
    silent = [*before]
    silent[_LOCAL_FLAGS] &= ~termios.ECHO
    ended_by = signal.signal(signal.SIGTERM, _end)
    try:
        termios.tcsetattr(_STDERR, termios.TCSANOW, silent)
        yield
    finally:
        termios.tcsetattr(_STDERR, termios.TCSANOW, before)
        signal.signal(signal.SIGTERM, ended_by)


def _end(number: int, _: FrameType | None) -> None:
    """Ends the process as the signal would, but by way of everything that is to be put back."""
    sys.exit(128 + number)
