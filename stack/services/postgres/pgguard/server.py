"""PostgreSQL's server process: start, readiness without a connection, stop, and what a dead guard has left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pgguard.configuration import command_line
from pgguard.processes import processes_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgguard.processes import Programs, Wakeups
    from pgguard.settings import Settings

_STATUS_LINE = 7
_LEFTOVER_TIMEOUT_S = 10.0


class Server:
    """A running postmaster, child of this guard."""

    def __init__(self, settings: Settings, programs: Programs, extra: Sequence[str], *, as_standby: bool) -> None:
        self.started_as_standby = as_standby
        self._pid_file = settings.data_dir / "postmaster.pid"
        # SIGQUIT and not SIGKILL: the postmaster ends its children at once and cleans up, where a killed one would leave
        # backends that go on until they notice. Neither acknowledges another write.
        self._process = programs.spawn(
            ["postgres", *command_line(settings, extra)], death_signal=signal.SIGQUIT, stdin=subprocess.DEVNULL
        )
        self.pid = self._process.pid
        self._watcher = None if sys.platform == "linux" else _watch_parent(programs, self.pid)

    def exit_code(self) -> int | None:
        """Returns how the server ended, or None while it runs."""
        return self._process.poll()

    def readiness(self) -> str:
        """Returns `ready`, `starting`, `standby` (recovering, not yet consistent) or `stopping`, as postmaster.pid says."""
        lines = _pid_file_lines(self._pid_file)
        if len(lines) <= _STATUS_LINE or lines[0] != str(self.pid):
            return "starting"
        return lines[_STATUS_LINE].strip()

    def reload(self) -> None:
        self._process.send_signal(signal.SIGHUP)

    def request_stop(self, *, immediate: bool = False) -> None:
        """Asks for a fast shutdown (sessions end, a clean checkpoint is written), or for an immediate one."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)

    def stop(self, wakeups: Wakeups, heartbeat: Callable[[], None], *, immediate_after_s: float | None = None) -> int:
        """Stops the server and returns its exit code. Without `immediate_after_s` it waits as long as the server needs."""
        self.request_stop()
        started = time.monotonic()
        while self._process.poll() is None:
            wakeups.wait(0.05)
            heartbeat()
            if immediate_after_s is not None and time.monotonic() - started > immediate_after_s:
                self.request_stop(immediate=True)
                immediate_after_s = None
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.wait()
        return self._process.wait()


def _watch_parent(programs: Programs, pid: int) -> subprocess.Popen[bytes]:
    # Without Linux's parent-death signal a shell waits for the end of a pipe whose other end only the guard holds.
    script = 'read -r _; kill -QUIT "$1"'
    return programs.spawn(["/bin/sh", "-c", script, "sh", str(pid)], stdin=subprocess.PIPE)


def stop_leftovers(data_dir: Path, wakeups: Wakeups) -> list[int]:
    """Ends what a dead guard's server left in this data directory and returns the pids; nothing else can be decided before.

    The pid in postmaster.pid alone proves nothing: after a restart it may be anybody's.
    """
    found = _leftovers(data_dir)
    deadline = time.monotonic() + _LEFTOVER_TIMEOUT_S
    for pid in found:
        _signal(pid, signal.SIGQUIT)
    remaining = found
    while remaining and not wakeups.stop_requested:
        wakeups.wait(0.02)
        remaining = _leftovers(data_dir)
        if time.monotonic() > deadline:
            for pid in remaining:
                _signal(pid, signal.SIGKILL)
    return found


def remove_stale_locks(settings: Settings) -> None:
    """Removes the lock files of a server that is gone; call it only after stop_leftovers(), with the directory's lock held.

    PostgreSQL takes any living process with the pid in such a file for its owner. In a container, where pids begin anew at
    each start, that is often the case, and it would refuse to start.
    """
    (settings.data_dir / "postmaster.pid").unlink(missing_ok=True)
    if settings.socket_path is None:
        return
    lock = settings.socket_path.with_name(f"{settings.socket_path.name}.lock")
    if _pid_file_lines(lock)[1:2] == [str(settings.data_dir)]:
        lock.unlink()
        settings.socket_path.unlink(missing_ok=True)


def _leftovers(data_dir: Path) -> list[int]:
    if Path("/proc/self/cwd").exists():
        return processes_in(data_dir)
    lines = _pid_file_lines(data_dir / "postmaster.pid")
    if not lines or not lines[0].isdigit():
        return []
    shown = subprocess.run(["ps", "-o", "args=", "-p", lines[0]], capture_output=True, text=True, check=False)
    return [int(lines[0])] if "postgres" in shown.stdout and str(data_dir) in shown.stdout else []


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _pid_file_lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
