"""Files that say that something runs, where nothing does: what a crash of the machine, or a `kill -9`, leaves behind."""

import errno
import socket
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from spokectl.runtime.local import processes
from spokectl.runtime.local.places import Places
from spokectl.settings import StackState

_PROBE_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Stale:
    path: Path
    what: str


def stale_files(state: StackState, running: Collection[str]) -> list[Stale]:
    """Pid files without their process, and sockets that nobody listens at. `running`: services whose files change now.

    PostgreSQL's own files in its data directory are none of them: the server looks after these itself, and only it can.
    """
    places = Places(state)
    return [*_pid_files(places, running), *_sockets(places, running), *_half_written(state)]


def _pid_files(places: Places, running: Collection[str]) -> Iterator[Stale]:
    if places.supervisor_pid.exists() and processes.root_of(places.supervisor_pid) is None:
        yield Stale(places.supervisor_pid, "names a supervisor that is gone")
    if not places.pid_files.is_dir():
        return
    snapshot = processes.Snapshot()
    for path in sorted(places.pid_files.iterdir()):
        if path.suffix != ".failed" and path.name not in running and not snapshot.of_service(path):
            yield Stale(path, f"names a process of {path.name} that is gone")


def _sockets(places: Places, running: Collection[str]) -> Iterator[Stale]:
    if not places.run.is_dir():
        return
    for path in sorted(places.run.rglob("*")):
        service = path.relative_to(places.run).parts[0]
        if service not in running and stat.S_ISSOCK(path.lstat().st_mode) and not _listens(path):
            yield Stale(path, "is a socket that nobody listens at")


def _listens(path: Path) -> bool:
    """Whether somebody does; only a plain refusal says that nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.errno != errno.ECONNREFUSED
    return True


def _half_written(state: StackState) -> Iterator[Stale]:
    """What a command that was killed, or met a full disk, was about to put in another file's place."""
    for path in sorted(state.folder.glob("*.new")):
        yield Stale(path, "was being written when a command was killed")
    for path in sorted(state.folder.glob(".writable-*")):
        pid = path.name.rpartition("-")[2]
        if not (pid.isdecimal() and processes.is_alive(int(pid))):
            yield Stale(path, "is left of a command that was killed")
