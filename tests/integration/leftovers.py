"""Ends the servers that tests started when pytest itself ends without doing so, however it ends.

Tests end their servers by themselves. A kill -9 of pytest, or a fixture that fails half-way, would leave them, so each
server's process group is told to a reaper, which lives until the pipe to pytest closes.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

_reaper: subprocess.Popen[bytes] | None = None


def will_be_ended(process: subprocess.Popen[bytes]) -> None:
    """Has a process that was started as a session leader end with pytest, with its whole group."""
    _tell(f"process {process.pid} {psutil.Process(process.pid).create_time()}")


def will_be_removed(folder: Path) -> None:
    """Has a folder removed when pytest ends."""
    _tell(f"folder {folder}")


def _tell(line: str) -> None:
    global _reaper  # noqa: PLW0603 - one for the whole of pytest
    if _reaper is None:
        _reaper = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, start_new_session=True)
        atexit.register(_dismiss, _reaper)
    assert _reaper.stdin is not None
    _reaper.stdin.write(line.encode() + b"\n")
    _reaper.stdin.flush()


def _dismiss(reaper: subprocess.Popen[bytes]) -> None:
    reaper.communicate(timeout=60)


def _end(pid: int, created: float) -> None:
    # A process that has ended may have left others in its group; another one that has its number now must not suffer.
    with suppress(psutil.NoSuchProcess):
        if psutil.Process(pid).create_time() != created:
            return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def main() -> None:
    told = [line.split(maxsplit=1) for line in sys.stdin.read().splitlines()]
    for kind, what in told:
        if kind == "process":
            pid, created = what.split()
            _end(int(pid), float(created))
    for kind, what in told:
        if kind == "folder":
            shutil.rmtree(what, ignore_errors=True)


if __name__ == "__main__":
    main()
