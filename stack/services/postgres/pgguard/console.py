"""A conversation with whoever moves the primary role: one JSON request a line on stdin, one JSON answer a line on stdout.

A move asks many things within a fraction of a second, and starting a program for each (in a container, for a tenth of a
second) would be most of the time for which writes stand still. The console ends with its stdin, so with its caller.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pgguard.control import Control, ControlError
from pgguard.processes import ProgramError
from pgguard.record import RecordError, render

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO


def converse(control: Control, requests: TextIO, answers: TextIO) -> None:
    """Answers each request with {"ok": RESULT} or {"error": TEXT}, until there are no more."""
    for line in requests:
        answers.write(json.dumps(_answer(control, line), ensure_ascii=True) + "\n")
        answers.flush()


def _answer(control: Control, line: str) -> dict[str, Any]:
    try:
        request = json.loads(line)
        act = _COMMANDS[request.pop("command")]
        return {"ok": act(control, **request)}
    except (ControlError, RecordError, ProgramError, OSError) as error:
        return {"error": str(error)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"error": f"not a request of the console: {type(error).__name__}: {error}"}


def _name_primary(control: Control, *, node: str, expected_epoch: int, by: str, reason: str) -> dict[str, Any]:
    return render(control.name_primary(node, expected_epoch, by, reason))


def _adopt(control: Control, *, by: str, reason: str) -> dict[str, Any]:
    return render(control.adopt(by, reason))


_COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {
    "status": Control.status,
    "demote": Control.demote,
    "rejoin": Control.rejoin,
    "begin-reinit": Control.begin_reinit,
    "adopt": _adopt,
    "name-primary": _name_primary,
}
