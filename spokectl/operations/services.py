"""Single services: start, stop, restart, kill, pause, unpause, and commands run in them."""

import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from spokectl.errors import NotFound, Refused
from spokectl.journal import Underway
from spokectl.model import DOWN, TAKEN_OVER_BY_RELOAD, Inspection, Kind, RunState, Stack
from spokectl.operations.balancer import take_over_changes
from spokectl.operations.context import Context, exclusive, open_context, services_of, what_ends
from spokectl.operations.health import WHO_AGREE, observe
from spokectl.operations.readiness import wait_until_ready
from spokectl.operations.secret_settings import require_own_secrets
from spokectl.result import Report, Result
from spokectl.runtime.base import NO_PROGRAM, Invocation, Runtime
from spokectl.settings import command_line
from spokectl.wait import Deadline, wait_until

# A process that is started anew listens where the settings say now.
_APPLY_SETTINGS = frozenset({"start", "restart"})
_ORDERLY = frozenset({"start", "stop", "restart"})
_STARTING = frozenset({"start", "restart", "unpause"})
_KILLED_BY = 128  # plus the signal's number
_NOT_RUN = (126, 127)
_PROGRAM_CHECK_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Action:
    """What is done to services, and the states that show that it happened; without any, services answer when it has."""

    name: str
    act: Callable[[Runtime, Sequence[str], Deadline], None]
    reached: frozenset[RunState] = frozenset()


_START = Action("start", lambda runtime, names, deadline: runtime.start(names, deadline))
_STOP = Action("stop", lambda runtime, names, deadline: runtime.stop(names, deadline), DOWN)
ACTIONS = {
    "start": [_START],
    "stop": [_STOP],
    "restart": [_STOP, _START],
    "kill": [Action("kill", lambda runtime, names, deadline: runtime.kill(names, deadline), DOWN)],
    "pause": [Action("pause", lambda runtime, names, _: runtime.pause(names), frozenset({RunState.PAUSED}))],
    "unpause": [Action("unpause", lambda runtime, names, _: runtime.unpause(names))],
}


def act(name: str, file: Path | None, action: str, services: list[str], timeout_s: float, report: Report) -> Result:
    """Does `action` to the services and returns when each has reached its state; started ones also answer.

    Peers (services of one kind) that run are restarted one after the other, each once the one before answers, and at last
    all are well beside each other; those that do not run are started before them, together.

    OutcomeUnknown (`timeout`) when one has not within `timeout_s`: what was asked to stop goes on stopping. Failed when it
    is clear that one never will.
    """
    context = _running(name, file)
    chosen = services_of(context.stack, services)
    deadline = Deadline(timeout_s)
    with exclusive(context.state, action), context.journal.operation(action, services=chosen) as ending:
        _require_no_move_between(context, action, chosen)
        if action in _APPLY_SETTINGS:
            require_own_secrets(context.stack, chosen, context.runtime.has_data)
        if action == "restart":
            # Refused before anything has stopped, where nothing could be started afterwards.
            context.runtime.start([], deadline)
        turns = rounds(context.stack, chosen, _running_now(context, chosen)) if action == "restart" else [chosen]
        for names in turns:
            for step in ACTIONS[action]:
                step.act(context.runtime, names, deadline)
                ending.changes_begun()
                if step.reached:
                    _wait_for_states(context.runtime, step, names, deadline)
                else:
                    wait_until_ready(context, names, deadline, report)
        if len(turns) > 1:
            # One database alone need not be whole to count as ready: the pair, which was asked for, is.
            wait_until_ready(context, chosen, deadline, report)
        if action in _STARTING:
            _wait_until_agreed(context, chosen, deadline, report)
        if action in _STARTING and any(context.stack.services[each].kind in TAKEN_OVER_BY_RELOAD for each in chosen):
            # A container starts with the variables that it was made with.
            take_over_changes(context, deadline)
    states = context.runtime.inspect()
    return Result([{"service": each, "state": states[each].state, "detail": states[each].detail} for each in chosen])


def _wait_until_agreed(context: Context, chosen: Iterable[str], deadline: Deadline, report: Report) -> None:
    """Redis nodes and Sentinels that are back say what the others say: a master that was replaced learns it later."""
    back = [name for name in chosen if context.stack.services[name].kind in WHO_AGREE]
    if not back:
        return
    first = observe(context, back)
    if all(each.ok for each in first):
        return

    def blocker() -> str | None:
        wrong = [each for each in observe(context, back) if each.health == "unhealthy"]
        return "; ".join(f"{each.service}: {each.reason or each.health}" for each in wrong) or None

    status = command_line(context.stack.name, "redis status")
    wait_until(blocker, deadline, what="Redis nodes and Sentinels agree", actions=[status])
    for each in observe(context, back):
        report(each.service, each.health, each.role)


def rounds(stack: Stack, services: Iterable[str], running: Collection[str]) -> list[list[str]]:
    """Who is restarted together: one running service of each kind, so that its peers go on meanwhile. Pure.

    All that do not run come first, together: none of them serves anybody, and each may need the others to be well.
    """
    # Of each kind: those that are down, then one after the other of those that run.
    turns: dict[Kind, list[list[str]]] = {}
    for name in services:
        down, *others = turns.get(stack.services[name].kind, [[]])
        turns[stack.services[name].kind] = [down, *others, [name]] if name in running else [[*down, name], *others]
    ordered = ([turn for turn in of_kind if turn] for of_kind in turns.values())
    return [[name for turn in together for name in turn] for together in zip_longest(*ordered, fillvalue=[])]


def _running_now(context: Context, chosen: Iterable[str]) -> list[str]:
    """What is frozen, or between two tries, serves its peers no more than what is down."""
    seen = context.runtime.inspect()
    return [name for name in chosen if seen[name].state is RunState.RUNNING]


def _require_no_move_between(context: Context, action: str, chosen: Sequence[str]) -> None:
    """Refused (`move_unfinished`) for a node between which a role was moving when that was broken off.

    Its end finds out for itself how far it came, and starts and stops what is left to do. What breaks things on purpose,
    and what thaws, is let through.
    """
    found = Underway(context.state.underway_file).unfinished()
    if found is None or action not in _ORDERLY:
        return
    caught = [name for name in chosen if name in (found.facts.get("old"), found.facts.get("new"))]
    if caught:
        raise Refused(
            "move_unfinished",
            f"nothing was changed: {found.operation} was broken off, and {', '.join(caught)} may be half way in it",
            actions=what_ends(context.stack.name, found.operation),
        )


def _wait_for_states(runtime: Runtime, action: Action, services: list[str], deadline: Deadline) -> None:
    def blocker() -> str | None:
        seen = runtime.inspect()
        late = [f"{name} is {seen[name].state}" for name in services if seen[name].state not in action.reached]
        return ", ".join(late) or None

    wait_until(blocker, deadline, what=action.name)


def execute(name: str, file: Path | None, service: str, argv: Sequence[str]) -> int:
    """Runs `argv` in the service with this process's own streams; gives its exit code as a shell would.

    NotFound (`no_such_program`) when the service has no such program, or a file that cannot be run.
    """
    context = _running(name, file)
    services_of(context.stack, [service])
    invocation = context.runtime.invocation(service, argv, terminal=sys.stdin.isatty() and sys.stdout.isatty())
    try:
        with _interrupts_left_to_the_command():
            done = subprocess.run(invocation.argv, env=invocation.environment, cwd=invocation.folder, check=False)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        raise _no_program(service, argv[0]) from None
    if done.returncode in _NOT_RUN and _is_missing(invocation):
        raise _no_program(service, argv[0])
    return done.returncode if done.returncode >= 0 else _KILLED_BY - done.returncode


def _is_missing(invocation: Invocation) -> bool:
    """Whether it was the program itself that is not there: a script may end with the same code for one that it calls."""
    if not invocation.program_check:
        return False
    check = replace(invocation, argv=invocation.program_check)
    try:
        return check.run(_PROGRAM_CHECK_TIMEOUT_S).returncode == NO_PROGRAM
    except subprocess.TimeoutExpired:
        return False


def _no_program(service: str, program: str) -> NotFound:
    return NotFound("no_such_program", f"{service} has no program {program!r} that can be run")


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
