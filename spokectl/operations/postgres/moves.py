"""`switchover postgres` and `failover postgres` as commands."""

from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spokectl.clients.postgres import PostgresUnavailable
from spokectl.clients.postgres_session import Position
from spokectl.errors import Failed, Refused, SpokectlError
from spokectl.journal import Underway, Unfinished
from spokectl.lsn import lsn_number
from spokectl.model import DOWN, Kind, RunState
from spokectl.operations.context import Context, open_context, require_node
from spokectl.operations.moves import Check, MoveData, MoveRequest, Operation, operate, planned, require
from spokectl.operations.postgres import switchover as switching
from spokectl.operations.postgres.console import Guards, GuardUnavailable
from spokectl.operations.postgres.move import Move, session
from spokectl.operations.postgres.preconditions import DEFAULT_LOSS_LIMIT_BYTES, Risk, failover_risk
from spokectl.operations.postgres.tables import FAILOVER, FAILOVER_STEPS, FENCED_PROMOTE, SWITCHOVER, table
from spokectl.operations.steps import Table, drive
from spokectl.result import Report, Result
from spokectl.settings import command_line

_LOSS_LIMIT = "SPOKE_POSTGRES_FAILOVER_LOSS_LIMIT_BYTES"
# Without a server's answer a guard that lives renews its word each second.
_STALE_WORD_S = 4.0
_ALIVE = frozenset({"running", "starting"})


def switchover(context: Context, request: MoveRequest, report: Report) -> Result:
    """Makes the standby primary and the primary its standby; no acknowledged write is lost and no request fails.

    Refused, with everything as it was, when a precondition does not hold. See `steps.drive` for how else it may end.
    """
    return operate(context, Operation(SWITCHOVER, _chosen, _checks, _switchover), request, report)


def failover(context: Context, request: MoveRequest, report: Report) -> Result:
    """Makes the standby primary in place of a primary that is lost; one that is well is switched over instead.

    Refused when the primary shows signs of life, or when acknowledged writes would be lost and that was not allowed.
    """
    return operate(context, Operation(FAILOVER, _chosen, _checks, _failover), request, report)


def hand_over(context: Context, report: Report) -> str:
    """Makes the standby primary, for a primary that is about to be restarted with other settings: it joins by itself then.

    Gives the reason why not, when it may not be or has been put back; the stack's lock is held by the caller.
    """
    if len(context.stack.of_kind(Kind.POSTGRES)) != 2:
        return "it has no standby"
    try:
        move = _chosen(context, MoveRequest(), SWITCHOVER)
    except SpokectlError as error:
        return error.message
    try:
        # Its limits differ until the old primary has been restarted too; the new one's are the higher ones here.
        bad = [each for each in switching.plan(context, move).checks if not each.ok and each.name != "same limits"]
        if bad:
            return "; ".join(f"{check.name}: {check.found}" for check in bad)
        move.open()
        whole = table(context.stack.name, SWITCHOVER)
        steps = tuple(step for step in whole.steps if not step.aftercare)
        with context.journal.operation(whole.operation, old=move.old.name, new=move.new.name, reason="changed settings"):
            drive(replace(whole, steps=steps), move, move.facts, Underway(context.state.underway_file), report)
    except (Refused, Failed) as error:
        return error.message
    finally:
        move.close()
    return ""


def open_pair(name: str, file: Path | None) -> Context:
    """The stack, which must have two PostgreSQL nodes. NotFound when it was never brought up."""
    context = open_context(name, file)
    if len(context.stack.of_kind(Kind.POSTGRES)) != 2:
        raise Refused("no_pair", "the primary role moves between two PostgreSQL nodes, and the stack file has not two")
    return context


def reopened(context: Context, found: Unfinished) -> tuple[Table[Move], Move]:
    """A move that was broken off, for its end."""
    facts = found.facts
    move = Move(context, str(facts["old"]), str(facts["new"]), int(facts["epoch"]), str(facts["reason"]))
    move.old_ran = bool(facts.get("old_ran", True))
    return table(context.stack.name, found.operation), move


def _chosen(context: Context, request: MoveRequest, operation: str) -> Move:
    """The move from the record's primary to the other node."""
    names = [service.name for service in context.stack.of_kind(Kind.POSTGRES)]
    if request.to is not None:
        require_node(context.stack, Kind.POSTGRES, request.to)
    with ExitStack() as opened:
        guards = opened.enter_context(closing(Guards(context.runtime)))
        record = _record(context, guards, names)
        primary = str(record["primary"])
        if primary not in names:
            raise Refused("unknown_primary", f"the cluster record names {primary}, which the stack file does not have")
        if request.to == primary:
            raise Refused(
                "already_primary",
                f"{primary} is the primary already",
                actions=[command_line(context.stack.name, "postgres status")],
            )
        other = next(one for one in names if one != primary)
        opened.pop_all()  # from here on the move closes them
        return Move(context, primary, other, int(record["epoch"]), operation, guards)


def _record(context: Context, guards: Guards, nodes: list[str]) -> dict[str, Any]:
    try:
        return guards.record(nodes)
    except Failed as error:
        up = command_line(context.stack.name, "up")
        raise Refused("no_guard", f"nothing was changed: {error.message}", actions=[up]) from error


def _checks(context: Context, move: Move) -> list[Check]:
    return switching.plan(context, move).checks


def _switchover(context: Context, move: Move, request: MoveRequest, report: Report) -> MoveData:
    plan = switching.plan(context, move)
    steps = table(context.stack.name, SWITCHOVER)
    if request.dry_run:
        return MoveData(steps.operation, "planned", move.old.name, move.new.name, plan.checks, planned(steps))
    require(plan.checks)
    for warning in plan.warnings:
        report("stack", "notice", warning)
    move.open()
    taken = drive(steps, move, move.facts, Underway(context.state.underway_file), report, timeout_s=request.timeout_s)
    return MoveData(steps.operation, "moved", move.old.name, move.new.name, plan.checks, [], taken, write_gap_s=move.gap_s)


def _failover(context: Context, move: Move, request: MoveRequest, report: Report) -> MoveData:
    position = _answer(move)
    if position is not None and not position.in_recovery:
        because = f"{move.old.name} is primary and well: it is switched over"
        report("stack", "notice", because)
        return replace(_switchover(context, move, request, report), because=because)
    if position is not None:
        return _finish_named(context, move, request, report)
    signs = _signs_of_death(context, move)
    risks = [_risk(move)]
    steps = table(context.stack.name, FAILOVER)
    data = MoveData(
        steps.operation, "planned", move.old.name, move.new.name, bytes_at_risk=risks[0].bytes_, signs_of_death=signs
    )
    if request.dry_run:
        check = Check("data loss", not risks[0].refused, risks[0].refused or risks[0].sentence, "--allow-data-loss")
        return replace(data, checks=[check], plan=planned(steps))

    def allow(risk: Risk) -> None:
        if risk.refused and not request.allow_data_loss:
            raise _would_lose(context.stack.name, move.old.name, risk)

    def judge_again() -> None:
        # While it was put down the old primary may have acknowledged more, and may have ceased to wait for its standby.
        risks.append(_risk(move))
        allow(risks[-1])

    allow(risks[0])
    move.judge_again = judge_again
    move.old_ran = context.runtime.inspect()[move.old.name].state not in DOWN
    for sign in signs:
        report("stack", "notice", sign)
    taken = drive(steps, move, move.facts, Underway(context.state.underway_file), report, timeout_s=request.timeout_s)
    if risks[-1].bytes_ != 0:
        report(
            "stack", "notice", f"acknowledged writes may be lost: {risks[-1].sentence} of WAL were not on {move.new.name}"
        )
    return replace(
        data,
        outcome="moved",
        bytes_at_risk=risks[-1].bytes_,
        steps=taken,
        write_gap_s=move.gap_s,
        divergent=move.divergent,
    )


def _would_lose(stack: str, old: str, risk: Risk) -> Refused:
    return Refused(
        "data_loss",
        f"nothing was changed: {risk.refused}",
        actions=[command_line(stack, f"start {old}"), command_line(stack, "failover postgres --allow-data-loss")],
        details={"bytes": risk.bytes_, "at_least": risk.at_least},
    )


def _finish_named(context: Context, named: Move, request: MoveRequest, report: Report) -> MoveData:
    """The record's primary is still a standby: somebody named it and did not come to promote it."""
    steps = table(context.stack.name, FAILOVER)
    steps = replace(steps, steps=FAILOVER_STEPS[FAILOVER_STEPS.index(FENCED_PROMOTE) :])
    data = MoveData(steps.operation, "planned", named.new.name, named.old.name)
    if request.dry_run:
        return replace(data, plan=planned(steps))
    report("stack", "notice", f"the record names {data.new}, which is not promoted yet")
    with closing(Move(context, data.old, data.new, named.epoch - 1, named.reason)) as move:
        taken = drive(steps, move, move.facts, Underway(context.state.underway_file), report, timeout_s=request.timeout_s)
    return replace(data, outcome="finished", steps=taken, divergent=move.divergent)


def _answer(move: Move) -> Position | None:
    """What the record's primary says, asked more than once where it runs: one silence is no sign of death."""
    runs = move.context.runtime.inspect()[move.old.name].state is RunState.RUNNING
    for _ in range(3 if runs else 1):
        try:
            with session(move.old, 1.0) as old:
                return old.position()
        except PostgresUnavailable:
            continue
    return None


def _signs_of_death(context: Context, move: Move) -> list[str]:
    """Two that do not depend on each other: its silence, and what the runtime, its guard or its standby says.

    Refused (`primary_alive`) when there is only the first.
    """
    signs = [f"{move.old.name} does not answer on its port"]
    seen = context.runtime.inspect()[move.old.name]
    if seen.state is not RunState.RUNNING:
        return [*signs, f"the {context.runtime.name} runtime says that it is {seen.state}"]
    try:
        word = dict(move.guards.status(move.new.name)["peer"] or {})
    except GuardUnavailable as error:
        raise _nobody_takes_over(move, error) from error
    state = str(word.get("state") or "unknown")
    age_s = _age_s(str(word.get("time") or ""))
    if age_s > _STALE_WORD_S:
        return [*signs, f"its guard has said nothing for {age_s:.0f} s"]
    if state not in _ALIVE:
        return [*signs, f"its guard says: {state} {word.get('message') or ''}".rstrip()]
    if not _receives(move):
        return [*signs, f"{move.new.name} receives nothing from it"]
    raise Refused(
        "primary_alive",
        f"nothing was changed: {move.old.name} does not answer, but its guard says that it is {state} and "
        f"{move.new.name} receives WAL from it",
        actions=[
            command_line(context.stack.name, f"logs {move.old.name}"),
            command_line(context.stack.name, f"kill {move.old.name}"),
        ],
    )


def _receives(move: Move) -> bool:
    try:
        return move.server().position().receiving
    except (PostgresUnavailable, SpokectlError):
        return False


def _risk(move: Move) -> Risk:
    """Refused (`no_standby`) when there is nobody who could take over."""
    try:
        position = move.server().position()
        found = move.guards.status(move.new.name)
    except (PostgresUnavailable, SpokectlError) as error:
        raise _nobody_takes_over(move, error) from error
    if not position.in_recovery:
        # Its guard would have put it down at once, were it alive: a new one does, and waits for the record's primary.
        remedies = ("postgres status", f"restart {move.new.name}", f"start {move.old.name}")
        raise Refused(
            "two_primaries",
            f"nothing was changed: {move.new.name} takes writes as a primary, but the record names {move.old.name}",
            actions=[command_line(move.context.stack.name, words) for words in remedies],
        )
    record = found["record"] or {}
    last = (found["peer"] or {}).get("lsn")
    limit = move.old.environment.get(_LOSS_LIMIT, "")
    limit_bytes = int(limit) if limit.isascii() and limit.isdecimal() else DEFAULT_LOSS_LIMIT_BYTES
    # One that has started without a primary has received nothing yet, and has all that it replays.
    has = max((each for each in (position.received, position.replayed) if each is not None), default=None)
    return failover_risk(record, lsn_number(str(last)) if last else None, has, limit_bytes)


def _nobody_takes_over(move: Move, error: Exception) -> Refused:
    return Refused(
        "no_standby",
        f"nothing was changed: {move.new.name} cannot take over: {error}",
        actions=[command_line(move.context.stack.name, words) for words in (f"start {move.new.name}", "up")],
    )


def _age_s(time: str) -> float:
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
    except ValueError:
        return float("inf")
