"""Single services: start, stop, restart, kill, pause, unpause, and commands run in them."""

import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spokectl.errors import NotFound
from spokectl.model import Inspection, RunState
from spokectl.operations.context import Context, exclusive, open_context, services_of
from spokectl.operations.readiness import wait_until_ready
from spokectl.result import Report, Result
from spokectl.runtime.base import Runtime
from spokectl.settings import command_line
from spokectl.wait import Deadline, wait_until

_KILLED_BY = 128  # plus the signal's number


@dataclass(frozen=True)
class Action:
    """What is done to services, and the states that show that it happened; without any, services answer when it has."""

    name: str
    act: Callable[[Runtime, Sequence[str]], None]
    reached: frozenset[RunState] = frozenset()


_DOWN = frozenset({RunState.STOPPED, RunState.ABSENT, RunState.DONE, RunState.FAILED})
_START = Action("start", lambda runtime, names: runtime.start(names))
_STOP = Action("stop", lambda runtime, names: runtime.stop(names), _DOWN)
ACTIONS = {
    "start": [_START],
    "stop": [_STOP],
    "restart": [_STOP, _START],
    "kill": [Action("kill", lambda runtime, names: runtime.kill(names), _DOWN)],
    "pause": [Action("pause", lambda runtime, names: runtime.pause(names), frozenset({RunState.PAUSED}))],
    "unpause": [Action("unpause", lambda runtime, names: runtime.unpause(names))],
}


def act(name: str, file: Path | None, action: str, services: list[str], timeout_s: float, report: Report) -> Result:
    """Does `action` to the services and returns when each has reached its state; started ones also answer.

    OutcomeUnknown (`timeout`) when one has not within `timeout_s`; Failed when it is clear that one never will.
    """
    context = _running(name, file)
    chosen = services_of(context.stack, services)
    deadline = Deadline(timeout_s)
    with exclusive(context.state, action), context.journal.operation(action, services=chosen):
        for step in ACTIONS[action]:
            step.act(context.runtime, chosen)
            if step.reached:
                _wait_for_states(context.runtime, step, chosen, deadline)
            else:
                wait_until_ready(context, chosen, deadline, report)
    states = context.runtime.inspect()
    return Result([{"service": each, "state": states[each].state} for each in chosen])


def _wait_for_states(runtime: Runtime, action: Action, services: list[str], deadline: Deadline) -> None:
    def blocker() -> str | None:
        seen = runtime.inspect()
        late = [f"{name} is {seen[name].state}" for name in services if seen[name].state not in action.reached]
        return ", ".join(late) or None

    wait_until(blocker, deadline, what=action.name)


def execute(name: str, file: Path | None, service: str, argv: Sequence[str]) -> int:
    """Runs `argv` in the service with this process's own streams; gives its exit code as a shell would."""
    context = _running(name, file)
    services_of(context.stack, [service])
    invocation = context.runtime.invocation(service, argv)
    try:
        with _interrupts_left_to_the_command():
            done = subprocess.run(invocation.argv, env=invocation.environment, cwd=invocation.folder, check=False)
    except FileNotFoundError:
        raise NotFound("no_such_program", f"{service} has no program {argv[0]!r}") from None
    return done.returncode if done.returncode >= 0 else _KILLED_BY - done.returncode


@contextmanager
def _interrupts_left_to_the_command() -> Iterator[None]:
    """A terminal's Ctrl-C reaches the command as well, and it decides: psql gives up a query and goes on."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _running(name: str, file: Path | None) -> Context:
    context = open_context(name, file)
    states: dict[str, Inspection] = context.runtime.inspect()
    if all(seen.state is RunState.ABSENT for seen in states.values()):
        raise NotFound("not_running", f"the stack {name} is not running", actions=[command_line(name, "up")])
    return context
