"""Signals, waits that end early, and children that die with the guard."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_PR_SET_PDEATHSIG = 1
_KILL_AFTER_S = 10.0


class StopRequestedError(Exception):
    """SIGTERM or SIGINT has come: leave everything and shut down."""


class ProgramError(Exception):
    """One of PostgreSQL's programs failed; the text holds its last lines."""


def _load_prctl() -> Callable[[int, int], int] | None:
    if sys.platform != "linux":
        return None
    import ctypes  # only Linux needs it

    return ctypes.CDLL(None, use_errno=True).prctl


# Loaded at import: after the guard has dropped root's rights, the interpreter's folder may be out of reach.
_prctl = _load_prctl()


class Wakeups:
    """Turns signals into early ends of waits: TERM and INT ask for a stop, USR1 and CHLD only wake."""

    def __init__(self) -> None:
        self.stop_requested = False
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request_stop)
        for number in (signal.SIGUSR1, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

    def _request_stop(self, *_: object) -> None:
        self.stop_requested = True

    def wait(self, timeout_s: float) -> None:
        """Returns after the time or as soon as a signal has come."""
        ready, _, _ = select.select([self._reader], [], [], max(0.0, timeout_s))
        if ready:
            os.read(self._reader, 4096)


class Programs:
    """Runs programs with an environment without secrets, as children that do not outlive the guard."""

    def __init__(self, environ: Mapping[str, str], passfile: Path, wakeups: Wakeups, heartbeat: Callable[[], None]) -> None:
        kept = {name: value for name, value in environ.items() if not name.startswith(("SPOKE_", "PG"))}
        self._environ = {**kept, "LC_ALL": "C", "PGPASSFILE": str(passfile), "PGCONNECT_TIMEOUT": "3"}
        self._wakeups = wakeups
        self._heartbeat = heartbeat

    def spawn(
        self,
        argv: Sequence[str],
        *,
        stdin: int,
        stdout: int | None = None,
        stderr: int | None = None,
        death_signal: int = signal.SIGKILL,
    ) -> subprocess.Popen[bytes]:
        """Starts a program that gets `death_signal` when the guard dies (Linux)."""
        try:
            return subprocess.Popen(
                argv,
                env=self._environ,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                preexec_fn=_die_with_parent(death_signal),  # noqa: PLW1509 -- the guard has one thread
            )
        except FileNotFoundError as error:
            raise ProgramError(f"{argv[0]} is not on the PATH: PostgreSQL's programs must be") from error

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout_s: float | None = None) -> str:
        """Runs a program to its end and returns its output; raises ProgramError, or StopRequestedError when told to stop."""
        process = self.spawn(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output = bytearray()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            self._feed(process, stdin)
            for chunk in self._chunks(process, deadline, argv[0]):
                output += chunk
        finally:
            _end(process)
        text = output.decode(errors="replace")
        if process.returncode != 0:
            raise ProgramError(f"{Path(argv[0]).name} failed ({_describe(process.returncode)}): {_last_lines(text)}")
        return text

    def tail(self, argv: Sequence[str], keep_bytes: int = 8192) -> str:
        """Runs a program whatever its exit code and returns the end of its standard output."""
        process = self.spawn(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        kept = b""
        try:
            for chunk in self._chunks(process, None, argv[0]):
                kept = (kept + chunk)[-keep_bytes:]
        finally:
            _end(process)
        return kept.decode(errors="replace")

    @staticmethod
    def _feed(process: subprocess.Popen[bytes], text: str) -> None:
        # What the guard feeds is far smaller than a pipe's buffer, so this cannot block.
        assert process.stdin is not None  # noqa: S101 -- spawned with a pipe above
        try:
            process.stdin.write(text.encode())
            process.stdin.close()
        except BrokenPipeError:
            return

    def _chunks(self, process: subprocess.Popen[bytes], deadline: float | None, name: str) -> Iterator[bytes]:
        assert process.stdout is not None  # noqa: S101 -- spawned with a pipe above
        descriptor = process.stdout.fileno()
        next_beat = time.monotonic() + 1.0
        while True:
            if self._wakeups.stop_requested:
                raise StopRequestedError
            readable, _, _ = select.select([descriptor], [], [], 0.2)
            if readable:
                chunk = os.read(descriptor, 1 << 16)
                if not chunk:
                    return
                yield chunk
            now = time.monotonic()
            if deadline is not None and now > deadline:
                raise ProgramError(f"{Path(name).name} did not end in time")
            if now > next_beat:
                next_beat = now + 1.0
                self._heartbeat()


def _die_with_parent(death_signal: int) -> Callable[[], None] | None:
    if _prctl is None:
        return None
    prctl, parent = _prctl, os.getpid()

    def set_death_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, death_signal)
        # The parent may have died before the call; the kernel does not tell afterwards.
        if os.getppid() != parent:
            os._exit(1)

    return set_death_signal


def _end(process: subprocess.Popen[bytes]) -> None:
    """Waits for a program that has closed its output; one that must end early is terminated, then killed."""
    if process.stdout is not None:
        closed_itself = process.poll() is not None or _at_end(process)
        process.stdout.close()
        if not closed_itself:
            process.terminate()
    try:
        process.wait(_KILL_AFTER_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _at_end(process: subprocess.Popen[bytes]) -> bool:
    assert process.stdout is not None  # noqa: S101 -- the caller has looked
    readable, _, _ = select.select([process.stdout], [], [], 0)
    return bool(readable) and os.read(process.stdout.fileno(), 1) == b""


def _describe(returncode: int) -> str:
    return f"exit code {returncode}" if returncode >= 0 else f"signal {-returncode}"


def _last_lines(text: str, count: int = 3) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-count:]) or "it said nothing"


def processes_in(directory: Path) -> list[int]:
    """Returns the PostgreSQL processes of a data directory, as /proc shows them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text().strip() == "postgres" and _belongs_to(entry, directory):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _belongs_to(process: Path, directory: Path) -> bool:
    try:
        return (process / "cwd").readlink() == directory.resolve()
    except PermissionError:
        # Started with another group: only the postmaster's arguments, which all may read, tell.
        return os.fsencode(directory) in (process / "cmdline").read_bytes().split(b"\0")
