"""From what the Docker engine says of a container to what the runtime says of a service. Pure."""

import signal
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from spokectl.model import Inspection, Kind, RunState, Service

_NEVER = "0001-01-01T00:00:00Z"
# How a container ends that was asked to: SIGTERM, SIGKILL, SIGQUIT and SIGINT, as exit codes.
_ENDED_BY_SIGNAL = frozenset({143, 137, 131, 130})

_KILLED = 128 + signal.SIGKILL


def judge(service: Service, state: Mapping[str, Any] | None) -> Inspection:
    """The state of a service whose container's `State` is given; None when there is no container."""
    if state is None or state["Status"] == "created":
        problem = str((state or {}).get("Error") or "")
        return Inspection(service.name, RunState.FAILED if problem else RunState.ABSENT, detail=problem)
    started_at, code = moment(state["StartedAt"]), int(state["ExitCode"])
    status = state["Status"]
    if status in {"running", "paused"}:
        return Inspection(service.name, RunState(status), int(state["Pid"]) or None, started_at)
    if status == "restarting":
        detail = f"{_how_it_ended(state)}; it is started again"
        return Inspection(service.name, RunState.RESTARTING, None, started_at, code, detail)
    if status in {"exited", "dead"}:
        return _ended(service, state, started_at, code)
    return Inspection(service.name, RunState.STOPPED, None, started_at, code, f"the engine says {status}")


def _ended(service: Service, state: Mapping[str, Any], started_at: datetime | None, code: int) -> Inspection:
    if service.kind is Kind.JOB and code == 0:
        return Inspection(service.name, RunState.DONE, None, started_at, code)
    comes_back = service.restart in {"always", "unless-stopped"}
    if comes_back or code == 0 or code in _ENDED_BY_SIGNAL:
        # With these policies only a stop by hand leaves a container down.
        by_itself = "" if comes_back or code else "ended by itself"
        detail = str(state.get("Error") or "") or ("killed" if code == _KILLED else by_itself)
        return Inspection(service.name, RunState.STOPPED, None, started_at, code, detail)
    return Inspection(service.name, RunState.FAILED, None, started_at, code, _how_it_ended(state))


def _how_it_ended(state: Mapping[str, Any]) -> str:
    if state.get("OOMKilled"):
        return "the kernel killed it: it used more memory than its limit"
    return str(state.get("Error") or "") or f"ended with exit code {state['ExitCode']}"


def moment(text: str) -> datetime | None:
    """The engine's time, which has nine digits of a second; None for its word for never."""
    if text == _NEVER:
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6].ljust(6, '0')}").replace(tzinfo=UTC)


def is_being_stopped(container: Mapping[str, Any], signals: Iterable[tuple[str, datetime]]) -> bool:
    """Whether a running container was sent its stop signal, or SIGKILL, since it was started."""
    ends = {_number(str(container["Config"].get("StopSignal") or "SIGTERM")), signal.SIGKILL}
    started = moment(container["State"]["StartedAt"])
    return started is not None and any(_number(sent) in ends and at > started for sent, at in signals)


def _number(name: str) -> int:
    """`SIGQUIT`, `QUIT` or `3` as a number; 0 for what is none."""
    if name.isdecimal():
        return int(name)
    try:
        return signal.Signals[f"SIG{name.removeprefix('SIG')}"].value
    except KeyError:
        return 0
