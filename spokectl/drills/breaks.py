"""What drills do to a stack, each with how it is undone: killed, stopped, frozen, cut off services.

A fault that one runtime alone can do is asked for by its capability (`Drill.needs`).
"""

from collections.abc import Sequence
from contextlib import suppress

from spokectl.clients.redis import tell, text
from spokectl.clients.redis_answers import fields
from spokectl.drills.faults import Fault, Undo, undo_act
from spokectl.drills.shell import in_node
from spokectl.errors import Failed, Incomplete
from spokectl.model import DOWN, RunState
from spokectl.operations.balancer import ask_to_reload
from spokectl.operations.cache import asked
from spokectl.operations.context import Context, exclusive
from spokectl.operations.health import PROBE_TIMEOUT_S
from spokectl.operations.moves import settle_unfinished
from spokectl.operations.readiness import wait_until_ready
from spokectl.result import unheard
from spokectl.runtime.base import CutsNetwork, RemovesContainers, unsaid
from spokectl.wait import Deadline, wait_until

_CHILDREN_OF_INIT_DIE = """
for folder in /proc/[0-9]*; do
    if grep -q '^PPid:[[:space:]]*1$' "$folder/status"; then kill -KILL "${folder#/proc/}"; fi
done 2>/dev/null
"""


def killed(*services: str) -> Fault:
    """All processes end at once with SIGKILL; they stay down."""

    def inject(context: Context, deadline: Deadline) -> None:
        context.runtime.kill(services, deadline)
        _reached(context, services, DOWN, deadline)

    return Fault(f"{_named(services)} killed", Undo("start", services), inject)


def stopped(*services: str) -> Fault:
    """Stopped in good order, each within its grace period; they stay down."""

    def inject(context: Context, deadline: Deadline) -> None:
        context.runtime.stop(services, deadline)
        _reached(context, services, DOWN, deadline)

    return Fault(f"{_named(services)} stopped", Undo("start", services), inject)


def frozen(*services: str) -> Fault:
    """Processes stand still, and connections stay open and unanswered."""

    def inject(context: Context, deadline: Deadline) -> None:
        context.runtime.pause(services)
        _reached(context, services, {RunState.PAUSED}, deadline)

    return Fault(f"{_named(services)} frozen", Undo("unpause", services), inject)


def crashed(service: str) -> Fault:
    """Its server ends with SIGKILL, which the runtime has not asked for: it starts the server again by itself."""

    def inject(context: Context, deadline: Deadline) -> None:
        before = context.runtime.inspect()[service]
        # A container's first process is an init, which ends when the server that it waits for has; so may the script.
        script = _CHILDREN_OF_INIT_DIE if context.runtime.name == "docker" else 'kill -KILL "$1"'
        with suppress(Failed):
            in_node(context, service, script, str(before.pid))

        def blocker() -> str | None:
            seen = context.runtime.inspect()[service]
            again = seen.state is RunState.RUNNING and seen.started_at == before.started_at
            return "it runs as before" if again else None

        wait_until(blocker, deadline, what=f"{service} has crashed")

    return Fault(f"{service} crashed", Undo("start", (service,)), inject)


def cut_off(*services: str) -> Fault:
    """Nobody reaches them, and they reach nobody; their processes go on. For runtimes that cut networks."""

    def inject(context: Context, _: Deadline) -> None:
        _cutter(context).cut_network(services)

    return Fault(f"{_named(services)} cut off from the network", Undo("restore_network", services), inject)


def removed(*services: str) -> Fault:
    """Gone without a trace but for their volumes; they are made anew. For runtimes that run containers."""

    def inject(context: Context, deadline: Deadline) -> None:
        if not isinstance(context.runtime, RemovesContainers):
            raise TypeError(f"the runtime {context.runtime.name} has no containers: the drill must say that it needs them")
        context.runtime.remove(services)
        _reached(context, services, {RunState.ABSENT}, deadline)

    return Fault(f"{_named(services)} removed", Undo("make_anew", services), inject)


def configuration_lost(sentinel: str) -> Fault:
    """The Sentinel is killed, and what it has learnt is gone: it comes back with what the stack file says."""

    def inject(context: Context, deadline: Deadline) -> None:
        # It stands still first: it would write the file anew before it is killed.
        in_node(context, sentinel, 'kill -STOP "$1" && rm "$SPOKE_SENTINEL_DATA_DIR/sentinel.conf"', _pid(context, sentinel))
        context.runtime.kill([sentinel], deadline)
        _reached(context, [sentinel], DOWN, deadline)

    return Fault(f"{sentinel} killed, and its configuration lost", Undo("kill_and_start", (sentinel,)), inject)


def one_backend_less(balancer: str) -> Fault:
    """The load balancer takes over a list of backends without the first one, by a reload."""

    def inject(context: Context, deadline: Deadline) -> None:
        ask_to_reload(context, balancer, deadline, "SPOKE_BACKENDS=${SPOKE_BACKENDS#* }; export SPOKE_BACKENDS; ")

    return Fault(f"{balancer} reloaded, without its first backend", Undo("reload", (balancer,)), inject)


@undo_act("start")
def _start(context: Context, undo: Undo, deadline: Deadline) -> None:
    context.runtime.start(undo.services, deadline)
    wait_until_ready(context, list(undo.services), deadline, unheard)


@undo_act("kill_and_start")
def _kill_and_start(context: Context, undo: Undo, deadline: Deadline) -> None:
    # Of a fault that was broken off it may be left standing still, which no runtime sees that did not do it.
    context.runtime.kill(undo.services, deadline)
    _start(context, undo, deadline)


@undo_act("make_anew")
def _make_anew(context: Context, undo: Undo, deadline: Deadline) -> None:
    # One by one, in the order given: who comes first has the first choice of an address.
    for name in undo.services:
        context.runtime.bring_up([name], deadline, unsaid)
    wait_until_ready(context, list(undo.services), deadline, unheard)


@undo_act("reload")
def _reload(context: Context, undo: Undo, deadline: Deadline) -> None:
    for name in undo.services:
        ask_to_reload(context, name, deadline)


@undo_act("unpause")
def _unpause(context: Context, undo: Undo, _: Deadline) -> None:
    seen = context.runtime.inspect()
    # An operation may have killed what stood still, and started it anew.
    context.runtime.unpause([name for name in undo.services if seen[name].state is RunState.PAUSED])


@undo_act("end_move")
def _end_move(context: Context, _: Undo, __: Deadline) -> None:
    """Ends a move of a role that was broken off. That the old node has not joined yet is for whoever heals that node."""
    with suppress(Incomplete), exclusive(context.state, "drill heal"):
        settle_unfinished(context, unheard)


@undo_act("restore_network")
def _restore_network(context: Context, undo: Undo, _: Deadline) -> None:
    _cutter(context).restore_network(undo.services)


def _pid(context: Context, sentinel: str) -> str:
    """The number of its process, as it is where the process runs."""
    info = asked(context, sentinel, lambda host, port, _: tell(host, port, None, "INFO", timeout_s=PROBE_TIMEOUT_S))
    return fields(text(info))["process_id"]


def _cutter(context: Context) -> CutsNetwork:
    if not isinstance(context.runtime, CutsNetwork):
        raise TypeError(f"the runtime {context.runtime.name} cuts no network: the drill must say that it needs it")
    return context.runtime


def _reached(
    context: Context, services: Sequence[str], states: frozenset[RunState] | set[RunState], deadline: Deadline
) -> None:
    def blocker() -> str | None:
        seen = context.runtime.inspect()
        late = [f"{name} is {seen[name].state}" for name in services if seen[name].state not in states]
        return ", ".join(late) or None

    wait_until(blocker, deadline, what="the fault has happened")


def _named(services: Sequence[str]) -> str:
    return ", ".join(services)
