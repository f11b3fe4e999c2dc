"""`postgres reinit`: a standby's data replaced by a fresh copy of the primary's."""

import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from spokectl.clients.postgres import PostgresUnavailable
from spokectl.errors import Incomplete, OutcomeUnknown, Refused, SpokectlError
from spokectl.operations.context import Context, exclusive
from spokectl.operations.health import wants_synchronous
from spokectl.operations.moves import Check, after, settle_unfinished
from spokectl.operations.postgres.console import Guards
from spokectl.operations.postgres.copying import Copy, unheard
from spokectl.operations.postgres.data_checks import node_checks, require, source_checks
from spokectl.operations.postgres.guard import DivergentWal
from spokectl.operations.postgres.move import session
from spokectl.operations.postgres.pair import Pair, bring, hear, other_than
from spokectl.result import Report, Result
from spokectl.settings import command_line
from spokectl.wait import Deadline, wait_until

OPERATION = "reinit postgres"
_PROTECTED_WITHIN_S = 60.0


@dataclass(frozen=True)
class ReinitRequest:
    """`discard`: also what only this node has may go. `timeout_s` is for the copy."""

    node: str
    discard: bool = False
    timeout_s: float = 600.0


@dataclass(frozen=True)
class ReinitData:
    """`outcome`: planned, or copied. `guard`: what the node's guard says against joining, if anything.

    `divergent`: what only this node has; once copied, what it had and where that is kept. `mode`: the record's, then.
    """

    node: str
    primary: str
    outcome: str
    guard: str
    checks: list[Check] = field(default_factory=list)
    divergent: DivergentWal | None = None
    copied_bytes: int | None = None
    seconds: float | None = None
    mode: str = ""


def plan(context: Context, request: ReinitRequest) -> ReinitData:
    """What would be done now, and what stands against it; nothing is changed."""
    other_than(context, request.node)
    with closing(Guards(context.runtime)) as guards:
        return _seen(context, request, hear(context, guards))


def look(context: Context, request: ReinitRequest, report: Report) -> ReinitData:
    """What will be done and lost. A node that is down is started for that: its guard must look at its data.

    Refused, with nothing changed, when it may not be done.
    """
    other_than(context, request.node)
    with exclusive(context.state, OPERATION), closing(Guards(context.runtime)) as guards:
        settled = settle_unfinished(context, report)
        with after(settled):
            pair = hear(context, guards)
            require(source_checks(context.stack.name, request.node, pair, _problem_of_primary(context, pair)))
            bring(context, guards, request.node, report)
            seen = _seen(context, request, hear(context, guards))
            require(seen.checks)
    return seen


def reinit(context: Context, request: ReinitRequest, agreed: ReinitData, report: Report) -> Result:
    """Replaces the data of a node by a copy of the primary's; returns when it streams and is synchronous where it shall be.

    `agreed`: what `look` has found; Refused (`changed_meanwhile`) when more would be lost now. See `Copy.run` for how
    else it may end. Incomplete (12) when the node streams, but commits do not wait for it yet.
    """
    node, stack = request.node, context.stack.name
    began = time.monotonic()
    with exclusive(context.state, OPERATION), closing(Guards(context.runtime)) as guards:
        settled = settle_unfinished(context, report)
        lost = agreed.divergent.sentence if agreed.divergent else None
        asked = {"services": [node], "discard": request.discard, "lost": lost}
        with context.journal.operation(OPERATION, **asked) as ending, after(settled):
            pair = hear(context, guards)
            had = pair.nodes[node].divergent
            seen = _seen(context, request, pair)
            require(seen.checks)
            if (seen.guard, seen.divergent) != (agreed.guard, agreed.divergent):
                again = command_line(stack, f"postgres reinit {node}{' --discard' if request.discard else ''}")
                found = seen.guard or "its guard does not refuse any more"
                raise Refused("changed_meanwhile", f"nothing was changed: meanwhile {found}", actions=[again])
            copy = Copy(context, guards, node, seen.primary, discard=request.discard, report=report)
            try:
                copy.run(Deadline(request.timeout_s))
            except SpokectlError:
                # A guard that decides against the copy has not begun it.
                if copy.bytes is not None:
                    ending.changes_begun()
                raise
            ending.changes_begun()
            report(node, "protecting")
            mode = _protected(context, guards, node)
            has = _heard_of(context, guards, node).nodes[node].divergent
            report(node, "done")
    return Result(
        replace(
            seen,
            outcome="copied",
            divergent=has if has != had else None,
            copied_bytes=copy.bytes,
            seconds=round(time.monotonic() - began, 1),
            mode=mode,
        )
    )


def _seen(context: Context, request: ReinitRequest, pair: Pair) -> ReinitData:
    stack, node = context.stack.name, pair.nodes[request.node]
    checks = source_checks(stack, node.name, pair, _problem_of_primary(context, pair))
    if all(check.ok for check in checks):
        checks += node_checks(stack, node, pair.primary, discard=request.discard)
    guard = node.message if node.state == "refused" else ""
    return ReinitData(node.name, pair.primary, "planned", guard, checks, node.divergent if guard else None)


def _problem_of_primary(context: Context, pair: Pair) -> str:
    service = context.stack.services.get(pair.primary)
    if service is None:
        return f"the cluster record names {pair.primary or 'nobody'}"
    try:
        with session(service) as primary:
            return f"{pair.primary} is a standby still" if primary.position().in_recovery else ""
    except PostgresUnavailable as error:
        return f"{pair.primary}: {error}"


def _heard_of(context: Context, guards: Guards, node: str) -> Pair:
    """Both guards' words once the copy is in place. OutcomeUnknown when neither can be asked."""
    try:
        return hear(context, guards)
    except Refused as error:
        doubt = f"{node} is copied and streamed; whether commits wait for it is not known"
        raise unheard(context.stack.name, error, doubt) from error


def _protected(context: Context, guards: Guards, node: str) -> str:
    """The record's mode, once it is what the stack wants."""
    wanted = wants_synchronous(context.stack.services[node])
    record: dict[str, Any] = {}

    def blocker() -> str | None:
        record.update(_heard_of(context, guards, node).record or {})
        done = not wanted or record.get("mode") == "synchronous"
        return None if done else f"the record says {record.get('mode')}"

    try:
        wait_until(blocker, Deadline(_PROTECTED_WITHIN_S), what="synchronous replication", interval_s=0.1)
    except OutcomeUnknown as error:
        if error.code != "timeout":
            raise
        raise Incomplete(
            "reinit_postgres_incomplete",
            f"{node} is copied and streams, but commits do not wait for it yet: {error.message}",
            actions=[command_line(context.stack.name, "postgres status")],
        ) from error
    return str(record.get("mode", ""))
