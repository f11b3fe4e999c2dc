"""What an operation gives back, and the one JSON envelope that every command speaks.

Source of the envelope's idea: `result.py` of pipx and the machine contract of lstk; the shape is this project's own.
"""

import json
import math
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from spokectl.errors import ExitCode, SpokectlError

SCHEMA_VERSION = 1
_PARTIAL = frozenset({ExitCode.DEGRADED, ExitCode.OBJECTIVE_MISSED, ExitCode.INCOMPLETE})


@dataclass(frozen=True)
class Result:
    """`data` is a dataclass, a list or a dict of JSON values; `error` says why `exit_code` is not 0, when it is not."""

    data: Any
    warnings: tuple[str, ...] = ()
    exit_code: ExitCode = ExitCode.OK
    error: SpokectlError | None = None

    @property
    def status(self) -> str:
        """ok, partial (done, but look at it) or error: derived from the exit code, never set."""
        if self.exit_code is ExitCode.OK:
            return "ok"
        return "partial" if self.exit_code in _PARTIAL else "error"


class Report(Protocol):
    """Takes what an operation has to say while it runs; it never answers."""

    def __call__(self, subject: str, state: str, detail: str = "") -> None: ...


def unheard(subject: str, state: str, detail: str = "") -> None:
    """The report where nobody listens: what came of it is looked at afterwards."""


def envelope(command: str, result: Result) -> dict[str, Any]:
    """The JSON object of a command: all keys are always there."""
    return {
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "status": result.status,
        "data": plain(result.data),
        "warnings": list(result.warnings),
        "error": _error(result.error),
    }


def error_envelope(command: str, error: SpokectlError) -> dict[str, Any]:
    return envelope(command, Result(None, exit_code=error.exit_code, error=error))


def dumps(value: Any) -> str:
    """One line of JSON, ASCII only: no terminal, locale or log can spoil it."""
    return json.dumps(plain(value), ensure_ascii=True, separators=(",", ":"))


def plain(value: Any) -> Any:
    """The value as JSON types: dataclasses become objects, times RFC 3339, paths and enums texts, NaN and infinity null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(item) for name, item in asdict(value).items()}
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it, though Python would write one
    return value


def _error(error: SpokectlError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {
        "code": error.code,
        "message": error.message,
        "retryable": error.retryable,
        "details": plain(error.details),
        "actions": list(error.actions),
    }
