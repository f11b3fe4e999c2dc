"""What is written down: the ledger of events (who did what to the stack, and how it ended), and the journal of the one
operation that is under way. One JSON object a line, oldest first.
"""

import getpass
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spokectl.errors import ConfirmationRequired, NotFound, Refused, SpokectlError, UsageError

# Errors of operations that have changed nothing; where something may have been changed before, the operation has failed.
_REFUSALS = (ConfirmationRequired, NotFound, Refused, UsageError)


class Ending(dict[str, object]):
    """What is said of an operation at its end, and whether it has changed anything by then."""

    changed = False

    def changes_begun(self) -> None:
        """From here on something has been changed: an operation that is refused later has failed."""
        self.changed = True


class Journal:
    """Appends events durably: an event is on disk when `record` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(self, operation: str, phase: str, **facts: object) -> None:
        event = {
            "time": _now(),
            "operation": operation,
            "phase": phase,
            "actor": _actor(),
            "pid": os.getpid(),
        } | facts
        append_line(self._path, event)

    @contextmanager
    def operation(self, name: str, **facts: object) -> Iterator[Ending]:
        """Records the start, and the end with how it ended, whatever ended it. What is put into the dict is said at the end,
        also of one that has failed or was refused; `refused` is one that had not said before that its changes have begun.

        For operations that must not fail because the ledger cannot be written: on a full disk `down` is what helps.
        """
        self._try(name, "started", **facts)
        ending = Ending()
        try:
            yield ending
        except SpokectlError as error:
            phase = "refused" if isinstance(error, _REFUSALS) and not ending.changed else "failed"
            self._try(name, phase, **(ending | {"code": error.code, "message": error.message}))
            raise
        except BaseException as error:
            self._try(name, "broken off", message=type(error).__name__)
            raise
        self._try(name, "done", **ending)

    def _try(self, operation: str, phase: str, **facts: object) -> None:
        with suppress(OSError):
            self.record(operation, phase, **facts)

    def read(self) -> list[dict[str, Any]]:
        """All events; a line cut short by a crash is left out."""
        return read_lines(self._path)

    def follow(self, pause: Callable[[], None]) -> Iterator[dict[str, Any]]:
        """All events, then each that is appended, until the caller stops; `pause` comes before each further look."""
        position, rest = 0, b""
        while True:
            with suppress(FileNotFoundError), self._path.open("rb") as file:
                file.seek(position)
                fresh = file.read()
                position += len(fresh)
                *lines, rest = (rest + fresh).split(b"\n")
                yield from _parsed(lines)
            pause()


@dataclass(frozen=True)
class Unfinished:
    """An operation that began and did not end. `facts` are its own; `begun` are the steps that may have been taken."""

    operation: str
    facts: dict[str, Any]
    begun: tuple[str, ...]


class Underway:
    """The journal of an operation that moves a role: what it is about to do is on disk before it does it.

    There is at most one, because operations take the stack's lock. The file is gone when none is under way.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def unfinished(self) -> Unfinished | None:
        """None when none is. Refused (`journal_damaged`) for a file that no crash leaves behind: it cannot be guessed what
        has been done.
        """
        lines = read_lines(self._path)
        if not lines:
            return None  # not even its first line is whole: nothing had been done
        try:
            facts = {str(name): value for name, value in lines[0]["facts"].items()}
            steps = {str(line["step"]): line["phase"] != "undone" for line in lines[1:]}
            return Unfinished(str(lines[0]["operation"]), facts, tuple(name for name, taken in steps.items() if taken))
        except (KeyError, TypeError, AttributeError) as error:
            raise self.damaged("is damaged") from error

    def damaged(self, how: str) -> Refused:
        """The refusal of a command that would have to end what is under way, and cannot read what that was."""
        return Refused(
            "journal_damaged",
            f"what was under way cannot be ended: {self._path}, which says what it was, {how}",
            actions=["see what is: spokectl status", f"then remove it: rm {self._path}"],
        )

    def begin(self, operation: str, facts: Mapping[str, object]) -> None:
        self._path.unlink(missing_ok=True)
        append_line(self._path, {"time": _now(), "operation": operation, "facts": dict(facts)})

    def note(self, step: str, phase: str) -> None:
        """`phase` is began, done, failed or undone."""
        append_line(self._path, {"time": _now(), "step": step, "phase": phase})

    def end(self) -> None:
        self._path.unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def append_line(path: Path, line: Mapping[str, object]) -> None:
    """Adds one line; it, and the file itself, are on disk when this returns. OSError when it cannot all be written."""
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        # A crash or a full disk may have cut the line before short: this one shall not be lost with it.
        size = file.seek(0, os.SEEK_END)
        start = b"" if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n" else b"\n"
        rest = memoryview(start + json.dumps(line).encode() + b"\n")
        # On a disk that is nearly full a part may be written, without an error.
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(descriptor)
    if is_new:
        _make_durable(path.parent)


def _make_durable(folder: Path) -> None:
    """A file must outlive a power cut too, not only what is in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> list[dict[str, Any]]:
    try:
        return list(_parsed(path.read_bytes().splitlines()))
    except FileNotFoundError:
        return []


def _parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
