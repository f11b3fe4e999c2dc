"""From what supervisord says of a process to what the runtime says of a service."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from spokectl.model import Inspection, Kind, RunState, Service
from spokectl.runtime.local.supervisor import Program, State, restarts_always

_ENOUGH_LOG_BYTES = 256 << 10
# supervisord's own words; its API forgets the exit code of a program that ended too quickly.
_EXITED = re.compile(
    r"(?:exited|stopped): (?P<name>\S+) \((?:exit status (?P<code>\d+)|(?P<signal>terminated by [^\s;)]+)[^;\n]*)[;)]"
)


@dataclass(frozen=True)
class Exit:
    """How a process ended last: by itself with a code, or by a signal."""

    code: int | None
    signal: str = ""

    def __str__(self) -> str:
        return self.signal or f"ended with exit code {self.code}"


def judge(
    service: Service,
    program: Program | None,
    *,
    is_frozen: Callable[[int], bool],
    last_exit: Exit | None = None,
    pausing_after: int | None = None,
) -> Inspection:
    """The state of a service that supervisord knows as `program`.

    `pausing_after` is the exit code that a launcher with restart: on-failure noted before its next try.
    """
    if program is None or (program.state is State.STOPPED and program.started_at_s == 0):
        return Inspection(service.name, RunState.ABSENT)
    if program.state in {State.RUNNING, State.STARTING, State.STOPPING}:
        return _with_process(service, program, is_frozen, pausing_after)
    started_at = datetime.fromtimestamp(program.started_at_s, UTC) if program.started_at_s else None
    ended = last_exit or Exit(program.exit_code if program.exit_code >= 0 else None)
    if program.state is State.BACKOFF:
        detail = f"{ended if last_exit else program.problem}; it is started again"
        return Inspection(service.name, RunState.RESTARTING, None, started_at, last_exit.code if last_exit else None, detail)
    if program.state is State.EXITED:
        return _exited(service, program, started_at)
    if program.state is State.STOPPED:
        killed = last_exit is not None and last_exit.signal.endswith("SIGKILL")
        return Inspection(service.name, RunState.STOPPED, None, started_at, ended.code, "killed" if killed else "")
    return Inspection(service.name, RunState.FAILED, None, started_at, ended.code, program.problem or str(ended))


def _with_process(
    service: Service, program: Program, is_frozen: Callable[[int], bool], pausing_after: int | None
) -> Inspection:
    started_at = datetime.fromtimestamp(program.started_at_s, UTC)
    state, detail, code = RunState.RUNNING, "", None
    if is_frozen(program.pid):
        state = RunState.PAUSED
    elif program.state is State.STOPPING:
        detail = "is being stopped"
    elif pausing_after is not None:
        state, code = RunState.RESTARTING, pausing_after
        detail = f"ended with exit code {code}; it is started again"
    return Inspection(service.name, state, program.pid, started_at, code, detail)


def _exited(service: Service, program: Program, started_at: datetime | None) -> Inspection:
    code = program.exit_code if program.exit_code >= 0 else None
    if restarts_always(service):
        how = "" if code is None else f"{Exit(code)}; "
        return Inspection(service.name, RunState.RESTARTING, None, started_at, code, f"{how}it is started again")
    if code == 0:
        done = RunState.DONE if service.kind is Kind.JOB else RunState.STOPPED
        return Inspection(service.name, done, None, started_at, code, "" if done is RunState.DONE else "ended by itself")
    return Inspection(service.name, RunState.FAILED, None, started_at, code, program.problem or "ended by a signal")


def exits_in(log: str) -> dict[str, Exit]:
    """The last exit of each service that supervisord's log tells of."""
    return {
        match["name"]: Exit(None if match["signal"] else int(match["code"]), match["signal"] or "")
        for match in _EXITED.finditer(log)
    }


def last_exits(log: Path) -> dict[str, Exit]:
    """The last exit of each service, from the end of supervisord's log."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _ENOUGH_LOG_BYTES))
            return exits_in(file.read().decode(errors="replace"))
    except OSError:
        return {}
