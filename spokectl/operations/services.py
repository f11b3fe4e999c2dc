"""Single services: start, stop, restart, kill, pause, unpause, and commands run in them."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spokectl.errors import NotFound, OutcomeUnknown
from spokectl.model import Inspection, RunState
from spokectl.operations.context import Context, exclusive, open_context, services_of
from spokectl.operations.health import observe_one
from spokectl.result import Report, Result
from spokectl.runtime.base import Runtime
from spokectl.wait import Deadline, wait_until

COMMAND_NOT_FOUND = 127


@dataclass(frozen=True)
class Action:
    """What is done to services, and the states that show that it happened."""

    name: str
    act: Callable[[Runtime, Sequence[str]], None]
    reached: frozenset[RunState]


_RUNNING = frozenset({RunState.RUNNING, RunState.DONE})
_DOWN = frozenset({RunState.STOPPED, RunState.ABSENT, RunState.DONE, RunState.FAILED})
ACTIONS = {
    "start": Action("start", lambda runtime, names: runtime.start(names), _RUNNING),
    "stop": Action("stop", lambda runtime, names: runtime.stop(names), _DOWN),
    "kill": Action("kill", lambda runtime, names: runtime.kill(names), _DOWN),
    "pause": Action("pause", lambda runtime, names: runtime.pause(names), frozenset({RunState.PAUSED})),
    "unpause": Action("unpause", lambda runtime, names: runtime.unpause(names), _RUNNING),
}


def act(name: str, file: Path | None, action: str, services: list[str], timeout_s: float, report: Report) -> Result:
    """Does `action` to the services and returns when each has reached its state; started ones also answer.

    OutcomeUnknown (`timeout`) when one has not within `timeout_s`.
    """
    context = _running(name, file)
    chosen = services_of(context.stack, services)
    deadline = Deadline(timeout_s)
    with exclusive(context.state, action), context.journal.operation(action, services=chosen):
        steps = ["stop", "start"] if action == "restart" else [action]
        for step in steps:
            _do(context, ACTIONS[step], chosen, deadline)
        if steps[-1] in {"start", "unpause"}:
            _wait_for_answers(context, chosen, deadline, report)
    states = context.runtime.inspect()
    return Result([{"service": each, "state": states[each].state} for each in chosen])


def _do(context: Context, action: Action, services: list[str], deadline: Deadline) -> None:
    action.act(context.runtime, services)

    def blocker() -> str | None:
        seen = context.runtime.inspect()
        late = [f"{name} is {seen[name].state}" for name in services if seen[name].state not in action.reached]
        return ", ".join(late) or None

    wait_until(blocker, deadline, what=action.name)


def _wait_for_answers(context: Context, services: list[str], deadline: Deadline, report: Report) -> None:
    waiting = list(services)
    while waiting:
        seen = context.runtime.inspect()
        for name in list(waiting):
            status = observe_one(context.stack.services[name], seen.get(name), None)
            if status.ok:
                waiting.remove(name)
                report(name, status.health, status.role)
            elif deadline.passed:
                raise OutcomeUnknown(
                    "timeout",
                    f"{name} runs but is not well after {deadline.timeout_s:g} s: {status.reason}",
                    retryable=True,
                    actions=[f"spokectl logs {name}", "spokectl status"],
                )


def execute(name: str, file: Path | None, service: str, argv: Sequence[str]) -> int:
    """Runs `argv` in the service with this process's own streams; gives its exit code (127: no such program)."""
    context = _running(name, file)
    services_of(context.stack, [service])
    invocation = context.runtime.invocation(service, argv)
    try:
        return subprocess.run(invocation.argv, env=invocation.environment, cwd=invocation.folder, check=False).returncode
    except FileNotFoundError:
        raise NotFound("no_such_program", f"{service} has no program {argv[0]!r}") from None


def _running(name: str, file: Path | None) -> Context:
    context = open_context(name, file)
    states: dict[str, Inspection] = context.runtime.inspect()
    if all(seen.state is RunState.ABSENT for seen in states.values()):
        raise NotFound("not_running", f"the stack {name} is not running", actions=["spokectl up"])
    return context
