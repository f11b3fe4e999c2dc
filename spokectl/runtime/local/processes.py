"""Processes as they are: whole trees, frozen and killed; and what a lost supervisor left behind, found by pid files."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

# A process is older than the pid file that it wrote. The two clocks differ by what the kernel rounds.
_CLOCK_SLACK_S = 2.0
_POLL_S = 0.005
_GONE = (psutil.NoSuchProcess, ProcessLookupError)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and is not reaped yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except _GONE:
        return False
    except psutil.AccessDenied:  # macOS shows nothing of another user's process but that it is there
        return True


def is_frozen(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except (*_GONE, psutil.AccessDenied):
        return False


def read_pid_file(path: Path) -> tuple[int, str] | None:
    """The process id and the launcher's digest; None when there is no such file or it cannot be understood."""
    try:
        words = path.read_text().split()
        return int(words[0]), words[1] if len(words) > 1 else ""
    except (OSError, ValueError, IndexError):
        return None


def root_of(pid_file: Path) -> psutil.Process | None:
    """The living process that wrote this pid file; never another one that was given the same id later."""
    content = read_pid_file(pid_file)
    if content is None:
        return None
    try:
        process = psutil.Process(content[0])
        older = process.create_time() <= pid_file.stat().st_mtime + _CLOCK_SLACK_S
        return process if older and process.status() != psutil.STATUS_ZOMBIE else None
    except (*_GONE, psutil.AccessDenied, OSError):
        return None


class Snapshot:
    """All processes of the machine at one moment, by parent and by process group."""

    def __init__(self) -> None:
        self._children: dict[int, list[psutil.Process]] = {}
        self._groups: dict[int, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            try:
                self._children.setdefault(process.ppid(), []).append(process)
                self._groups.setdefault(os.getpgid(process.pid), []).append(process)
            except (*_GONE, psutil.AccessDenied, PermissionError):
                continue

    def tree(self, root: psutil.Process) -> list[psutil.Process]:
        """The root and all its descendants, parents before children."""
        found = [root]
        for process in found:
            found += [child for child in self._children.get(process.pid, []) if child not in found]
        return found

    def of_service(self, pid_file: Path, pid: int = 0) -> list[psutil.Process]:
        """Every process that came from the one that wrote the pid file, the root first; `pid` is the root where it is known.

        Where the root is dead its process group still has its children: supervisord gave each service a group of its own.
        """
        root = _process(pid) if pid else root_of(pid_file)
        found = self.tree(root) if root else []
        content = read_pid_file(pid_file)
        if content is not None and _is_of_this_boot(pid_file):
            leader = content[0]
            # A process that has the id now, and is not ours, got it later: then the group is its own.
            if (root and root.pid == leader) or not is_alive(leader):
                found += [process for process in self._groups.get(leader, []) if process not in found]
        return living(found)


def freeze(roots: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Stops whole trees, parents first, until nothing in them runs any more; returns what it froze."""
    roots = list(roots)
    frozen: list[psutil.Process] = []
    while True:
        snapshot = Snapshot()
        found = [process for root in roots for process in snapshot.tree(root)]
        fresh = [process for process in found if process not in frozen]
        if not fresh:
            return frozen
        for process in fresh:
            send(process, signal.SIGSTOP)
        frozen += fresh


def thaw(those: Iterable[psutil.Process]) -> None:
    """Lets processes go on, children before parents: none is asked before it can answer."""
    for process in reversed(list(those)):
        send(process, signal.SIGCONT)


def send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except _GONE:
        return


def wait_for_end(those: Iterable[psutil.Process], *, within_s: float) -> list[psutil.Process]:
    """Waits until the processes have ended; gives those that have not in time."""
    left = living(those)
    deadline = time.monotonic() + within_s
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = living(left)
    return left


def kill(those: Iterable[psutil.Process], *, within_s: float = 10.0) -> None:
    """Kills the processes and returns when they are gone, or at the deadline: one in the kernel's hands may take longer."""
    doomed = list(those)
    for process in doomed:
        send(process, signal.SIGKILL)
    wait_for_end(doomed, within_s=within_s)


def living(those: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of the processes that run still; a zombie does not."""
    found = []
    for process in those:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except _GONE:
            continue
    return found


def _is_of_this_boot(pid_file: Path) -> bool:
    try:
        return pid_file.stat().st_mtime > psutil.boot_time()
    except OSError:
        return False


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except _GONE:
        return None
