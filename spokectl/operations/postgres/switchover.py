"""What `switchover postgres` measures before it begins."""

from dataclasses import dataclass

from spokectl.clients.postgres import PostgresUnavailable
from spokectl.errors import Refused
from spokectl.model import RunState
from spokectl.operations.context import Context
from spokectl.operations.health import disk_is_full, wants_synchronous
from spokectl.operations.moves import Check, typed_for
from spokectl.operations.postgres.console import GuardUnavailable
from spokectl.operations.postgres.move import Move, session
from spokectl.operations.postgres.preconditions import Measured, switchover_checks, switchover_warnings
from spokectl.settings import command_line


@dataclass(frozen=True)
class Plan:
    """A switchover that could be done now, or why it cannot: its measured preconditions, and what will be noticed."""

    checks: list[Check]
    warnings: list[str]


def plan(context: Context, move: Move) -> Plan:
    """Measures everything that a switchover wants to hold. Refused when a node does not answer at all."""
    record = move.record()
    try:
        guards = {node.name: move.guards.status(node.name) for node in (move.old, move.new)}
        with session(move.old) as old, session(move.new) as new:
            seen = Measured(
                old=move.old.name,
                new=move.new.name,
                recorded_primary=str(record["primary"]),
                mode=str(record["mode"]),
                wants_synchronous=wants_synchronous(move.old),
                old_position=old.position(),
                new_position=new.position(),
                sender=old.sender(),
                old_limits=old.limits(),
                new_limits=new.limits(),
                silent=[node for node, said in guards.items() if not said["guard_alive"]],
                full=[node for node, said in guards.items() if disk_is_full(said["status"].get("free_bytes"))],
            )
    except (PostgresUnavailable, GuardUnavailable) as error:
        raise _unavailable(context, move, error) from error
    return Plan(typed_for(context.stack.name, switchover_checks(seen)), switchover_warnings(seen))


def _unavailable(context: Context, move: Move, error: Exception) -> Refused:
    """Names the node that is not there, and what brings it back."""
    seen = context.runtime.inspect()
    away = {
        node.name: seen[node.name].state for node in (move.old, move.new) if seen[node.name].state is not RunState.RUNNING
    }
    said = "; ".join(f"{name} is {state}" for name, state in away.items()) or f"not both nodes answer: {error}"
    words = [f"{'unpause' if state is RunState.PAUSED else 'start'} {name}" for name, state in away.items()]
    words = words or ["postgres status", "up"]
    if move.old.name in away and move.new.name not in away:
        words.append("failover postgres")
    actions = [command_line(context.stack.name, each) for each in words]
    return Refused("node_unavailable", f"nothing was changed: {said}", actions=actions)
