"""`switchover redis` and `failover redis` as commands."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from spokectl.clients.redis import RedisNode, SentinelView
from spokectl.errors import Failed, Incomplete, Refused
from spokectl.journal import Underway, Unfinished
from spokectl.model import Kind, RunState
from spokectl.operations.context import Context, require_node, running_context
from spokectl.operations.moves import Check, MoveData, MoveRequest, Operation, operate, planned, require, typed_for
from spokectl.operations.redis.move import RedisMove
from spokectl.operations.redis.tables import FAILOVER, SWITCHOVER, table
from spokectl.operations.steps import Table, drive
from spokectl.result import Report, Result
from spokectl.settings import command_line

# SENTINEL FAILOVER … COORDINATED came with Valkey 9.0.
_COORDINATES_SINCE = 9
_MAX_LAG_BYTES = 1024 * 1024
# What SENTINEL REPLICAS says of a node that has never said itself whom it follows.
_NOT_HEARD = "?"


def switchover(context: Context, request: MoveRequest, report: Report) -> Result:
    """Makes the replica master and the master its replica; no acknowledged write is lost."""
    return operate(context, Operation(SWITCHOVER, _chosen, _checks, _switchover), request, report)


def failover(context: Context, request: MoveRequest, report: Report) -> Result:
    """Has the Sentinels act as soon as the master is known to be dead; one that is well is switched over instead.

    Where they were faster, the node that they have replaced is brought back.
    """
    return operate(context, Operation(FAILOVER, _chosen, _checks, _failover), request, report)


def hand_over(context: Context, report: Report) -> str:
    """Makes the replica master, for a master that is about to be restarted with other settings: it comes back as replica.

    Gives the reason why not, when it may not be or has been put back; the stack's lock is held by the caller.
    """
    if len(context.stack.of_kind(Kind.REDIS)) != 2 or not context.stack.of_kind(Kind.SENTINEL):
        return "it has no replica"
    try:
        move = _chosen(context, MoveRequest(), SWITCHOVER)
        bad = [check for check in _checks(context, move) if not check.ok]
        if bad:
            return "; ".join(f"{check.name}: {check.found}" for check in bad)
        variant = _variant(move.node(move.old))
        steps, journal = table(context.stack.name, variant), Underway(context.state.underway_file)
        with context.journal.operation(SWITCHOVER, old=move.old.name, new=move.new.name, reason="changed settings"):
            drive(steps, move, move.facts(variant), journal, report)
    except (Refused, Failed) as error:
        return error.message
    except Incomplete:
        pass  # the role has moved; what is not well yet is waited for after the restart
    return ""


def open_pair(name: str, file: Path | None) -> Context:
    """The stack, which must have two Redis nodes and Sentinels. NotFound when it does not run."""
    context = running_context(name, file)
    if len(context.stack.of_kind(Kind.REDIS)) != 2 or not context.stack.of_kind(Kind.SENTINEL):
        raise Refused("no_pair", "the master role moves between two Redis nodes by their Sentinels; the stack file differs")
    return context


def reopened(context: Context, found: Unfinished) -> tuple[Table[RedisMove], RedisMove]:
    """A move that was broken off, for its end."""
    move = RedisMove(context, str(found.facts["old"]), str(found.facts["new"]))
    return table(context.stack.name, str(found.facts["variant"])), move


def _chosen(context: Context, request: MoveRequest, operation: str) -> RedisMove:  # noqa: ARG001 - an operation's signature
    """The move from the master, as most Sentinels name it, to the other node."""
    names = [service.name for service in context.stack.of_kind(Kind.REDIS)]
    if request.to is not None:
        require_node(context.stack, Kind.REDIS, request.to)
    move = RedisMove(context, names[0], names[1])
    move.wait_until_idle()
    named = [move.named_by(view) for one in move.sentinels if (view := move.view(one)) is not None]
    master = next((name for name in names if named.count(name) * 2 > len(move.sentinels)), None)
    if master is None:
        raise Refused(
            "no_quorum",
            f"nothing was changed: no majority of the Sentinels names a master ({', '.join(named) or 'none answers'})",
            actions=[command_line(context.stack.name, "redis sentinels"), command_line(context.stack.name, "up")],
        )
    if request.to == master:
        look = command_line(context.stack.name, "redis sentinels")
        raise Refused("already_master", f"{master} is the master already", actions=[look])
    other = next(name for name in names if name != master)
    return RedisMove(context, master, other)


def switchover_checks(
    old: RedisNode | None,
    new: RedisNode | None,
    views: dict[str, SentinelView | None],
    named: dict[str, str],
    master: str,
    replica: str,
) -> list[Check]:
    """What must hold before a planned move. Pure."""
    silent = [name for name, view in views.items() if view is None]
    wrong = [name for name, word in named.items() if word != master]
    quorum = [f"{name}: {view.quorum_problem}" for name, view in views.items() if view and view.quorum_problem]
    busy = [name for name, view in views.items() if view and view.facts.failover]
    behind = old.facts.offset - new.facts.offset if old and new else None
    return [
        Check(
            "master answers", bool(old and old.role == "master"), old.role if old else "silent", "spokectl failover redis"
        ),
        Check(
            "replica follows",
            bool(new and new.role == "replica" and new.link == "connected"),
            f"{new.role}, link {new.link or '-'}" if new else f"{replica} does not answer",
            "spokectl redis status" if new else f"spokectl start {replica}",
        ),
        Check(
            "lag",
            behind is not None and behind <= _MAX_LAG_BYTES,
            "unknown" if behind is None else f"{max(0, behind)} bytes (at most {_MAX_LAG_BYTES})",
            "wait until the replica has caught up" if new else "",
        ),
        Check("Sentinels answer", not silent, ", ".join(silent) + " silent" if silent else "all do", "spokectl up"),
        Check("Sentinels agree", not wrong, ", ".join(wrong) + " name another" if wrong else f"on {master}", "spokectl up"),
        Check("quorum", not quorum, "; ".join(quorum) or "reached", "spokectl redis sentinels"),
        Check(
            "no failover under way",
            not busy,
            ", ".join(busy) + " is in one" if busy else "none",
            "wait until it has ended",
        ),
    ]


def _checks(context: Context, move: RedisMove) -> list[Check]:
    views = {one.name: move.view(one) for one in move.sentinels}
    named = {name: move.named_by(view) for name, view in views.items() if view}
    checks = switchover_checks(move.node(move.old), move.node(move.new), views, named, move.old.name, move.new.name)
    return typed_for(context.stack.name, checks)


def _variant(old: RedisNode | None) -> str:
    number, _, name = (old.version if old else "").partition(" ")
    major = number.partition(".")[0]
    able = name == "(Valkey)" and major.isdecimal() and int(major) >= _COORDINATES_SINCE
    return "coordinated" if able else "by hand"


def _switchover(context: Context, move: RedisMove, request: MoveRequest, report: Report) -> MoveData:
    checks = _checks(context, move)
    variant = _variant(move.node(move.old))
    steps = table(context.stack.name, variant)
    data = MoveData(SWITCHOVER, "planned", move.old.name, move.new.name, checks)
    if request.dry_run:
        return replace(data, plan=planned(steps))
    require(checks)
    taken = drive(
        steps, move, move.facts(variant), Underway(context.state.underway_file), report, timeout_s=request.timeout_s
    )
    return replace(data, outcome="moved", steps=taken, write_gap_s=move.gap_s)


def _failover(context: Context, move: RedisMove, request: MoveRequest, report: Report) -> MoveData:
    old = move.node(move.old)
    if old is not None and old.role == "master":
        other = context.runtime.inspect()[move.new.name].state
        if other is RunState.RUNNING:
            because = f"{move.old.name} is master and well: it is switched over"
            report("stack", "notice", because)
            return replace(_switchover(context, move, request, report), because=because)
        return _bring_back(context, move, other, request, report)
    signs = _signs_of_death(context, move)
    steps = table(context.stack.name, "lost")
    new = move.node(move.new)
    start = command_line(context.stack.name, f"start {move.new.name}")
    check = Check("replica answers", new is not None, new.role if new else "silent", start)
    data = MoveData(FAILOVER, "planned", move.old.name, move.new.name, [check], signs_of_death=signs)
    if request.dry_run:
        return replace(data, plan=planned(steps))
    if new is None:
        raise Refused(
            "no_replica",
            f"nothing was changed: {move.new.name} cannot take over: it does not answer",
            actions=[start, command_line(context.stack.name, "up")],
        )
    taken = drive(
        steps, move, move.facts("lost"), Underway(context.state.underway_file), report, timeout_s=request.timeout_s
    )
    return replace(data, outcome="moved", steps=taken, write_gap_s=move.gap_s)


def _bring_back(context: Context, move: RedisMove, state: RunState, request: MoveRequest, report: Report) -> MoveData:
    """The master is well and the other node is not there: it is started where the Sentinels have replaced it.

    Refused (`no_replica`) where it was not master before: then there is nothing to fail over, and nobody to do it to.
    """
    master, other = move.old, move.new
    wake = f"{'unpause' if state is RunState.PAUSED else 'start'} {other.name}"
    if request.to is not None or not was_replaced(move.told_of(other)):
        raise Refused(
            "no_replica",
            f"nothing was changed: {master.name} is master and well, and {other.name} cannot take over: it is {state}",
            actions=[command_line(context.stack.name, words) for words in (wake, "up")],
        )
    move = RedisMove(context, other.name, master.name)
    whole = table(context.stack.name, "lost")
    steps = replace(whole, steps=tuple(step for step in whole.steps if step.id != whole.point_of_no_return))
    signs = [f"{other.name} is {state}, {master.name} is master", f"{other.name} has not been its replica yet"]
    data = MoveData(FAILOVER, "planned", other.name, master.name, signs_of_death=signs)
    if request.dry_run:
        return replace(data, plan=planned(steps))
    taken = drive(
        steps, move, move.facts("lost"), Underway(context.state.underway_file), report, timeout_s=request.timeout_s
    )
    return replace(data, outcome="finished", steps=taken)


def was_replaced(told: Sequence[Mapping[str, str]]) -> bool:
    """Whether a node that is down was master when it went, by what the Sentinels have noted of it as a replica. Pure.

    They note whom a replica says it follows. One that went as a master has not come back to say so.
    """
    return bool(told) and all(each.get("master-host") == _NOT_HEARD for each in told)


def _signs_of_death(context: Context, move: RedisMove) -> list[str]:
    """Its silence, and what the runtime or the Sentinels say. Refused (`master_alive`) when there is only the first."""
    signs = [f"{move.old.name} does not answer as master"]
    state = context.runtime.inspect()[move.old.name].state
    if state is not RunState.RUNNING:
        return [*signs, f"the {context.runtime.name} runtime says that it is {state}"]
    missed = [one.name for one in move.sentinels if (view := move.view(one)) and "down" in view.facts.flags]
    if missed:
        return [*signs, f"{', '.join(missed)} miss it"]
    if (new := move.node(move.new)) is not None and new.link != "connected":
        return [*signs, f"{move.new.name} has lost its link to it"]
    raise Refused(
        "master_alive",
        f"nothing was changed: {move.old.name} is silent, but no Sentinel misses it and {move.new.name} is linked to it",
        actions=[
            command_line(context.stack.name, f"logs {move.old.name}"),
            command_line(context.stack.name, f"kill {move.old.name}"),
        ],
    )
