"""The ledger of events: who did what to the stack, and how it ended. One JSON object a line, oldest first."""

import getpass
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spokectl.errors import SpokectlError


class Journal:
    """Appends events durably: an event is on disk when `record` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(self, operation: str, phase: str, **facts: object) -> None:
        event = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "operation": operation,
            "phase": phase,
            "actor": _actor(),
            "pid": os.getpid(),
        } | facts
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            # A crash or a full disk may have cut the line before short: this one shall not be lost with it.
            size = file.seek(0, os.SEEK_END)
            start = b"" if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n" else b"\n"
            file.write(start + json.dumps(event).encode() + b"\n")
            os.fsync(descriptor)

    @contextmanager
    def operation(self, name: str, **facts: object) -> Iterator[None]:
        """Records the start, and the end with how it ended, whatever ended it.

        For operations that must not fail because the ledger cannot be written: on a full disk `down` is what helps.
        """
        self._try(name, "started", **facts)
        try:
            yield
        except SpokectlError as error:
            self._try(name, "failed", code=error.code, message=error.message)
            raise
        except BaseException as error:
            self._try(name, "broken off", message=type(error).__name__)
            raise
        self._try(name, "done")

    def _try(self, operation: str, phase: str, **facts: object) -> None:
        with suppress(OSError):
            self.record(operation, phase, **facts)

    def read(self) -> list[dict[str, Any]]:
        """All events; a line cut short by a crash is left out."""
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        events = []
        for line in lines:
            try:
                events.append(json.loads(line))
            except ValueError:
                continue
        return events


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
