"""`postgres adopt`: a cluster record that names a node, where there is none."""

from contextlib import closing
from dataclasses import dataclass, field, replace

from spokectl.journal import Underway
from spokectl.operations.context import Context, exclusive
from spokectl.operations.moves import Check, settle_unfinished
from spokectl.operations.postgres.console import Guards
from spokectl.operations.postgres.data_checks import adopt_checks, adopt_warnings, require
from spokectl.operations.postgres.guard import DivergentWal
from spokectl.operations.postgres.move import Move
from spokectl.operations.postgres.pair import Node, Pair, bring, hear, other_than
from spokectl.operations.postgres.tables import ADOPT, table
from spokectl.operations.steps import Taken, drive
from spokectl.result import Report, Result


@dataclass(frozen=True)
class AdoptRequest:
    """`reason` is kept in the record."""

    node: str
    reason: str = ADOPT


@dataclass(frozen=True)
class AdoptData:
    """`nodes`: what each has, as its guard said before; the chosen one comes first. `outcome`: planned, or adopted."""

    node: str
    other: str
    outcome: str
    nodes: list[Node]
    checks: list[Check]
    doubts: list[str]
    steps: list[Taken] = field(default_factory=list)
    divergent: DivergentWal | None = None


def look(context: Context, request: AdoptRequest, report: Report) -> AdoptData:
    """What each node has, for whoever chooses. A chosen node that is down is started: its guard must look at its data.

    Refused, with nothing changed, when there is a record, no data, or a primary elsewhere.
    """
    other = other_than(context, request.node)
    with exclusive(context.state, ADOPT), closing(Guards(context.runtime)) as guards:
        _settle_other_roles(context, report)
        pair = hear(context, guards)
        if pair.record is not None:
            # Without a record nobody knows how far a move had come that was broken off: the adoption takes its place.
            settle_unfinished(context, report)
            require(_seen(context, request.node, other, pair).checks)
        bring(context, guards, request.node, report)
        seen = _seen(context, request.node, other, hear(context, guards))
    require(seen.checks)
    return seen


def adopt(context: Context, request: AdoptRequest, report: Report) -> Result:
    """Writes the record, and returns when the node is primary and the other one its standby.

    Refused as by `look`. Incomplete (12) when the other one may not join: what only it has would be lost.
    """
    other = other_than(context, request.node)
    with exclusive(context.state, ADOPT):
        _settle_other_roles(context, report)
        with (
            closing(Move(context, other, request.node, 0, request.reason)) as move,
            context.journal.operation(ADOPT, services=[request.node], reason=request.reason),
        ):
            seen = _seen(context, request.node, other, hear(context, move.guards))
            require(seen.checks)
            steps = table(context.stack.name, ADOPT)
            taken = drive(steps, move, move.facts, Underway(context.state.underway_file), report)
    return Result(replace(seen, outcome="adopted", steps=taken, divergent=move.divergent))


def _settle_other_roles(context: Context, report: Report) -> None:
    """Ends a broken-off move that is not PostgreSQL's: its journal would be lost when the adoption's begins."""
    found = Underway(context.state.underway_file).unfinished()
    if found is not None and not found.operation.endswith(" postgres"):
        settle_unfinished(context, report)


def _seen(context: Context, node: str, other: str, pair: Pair) -> AdoptData:
    mine, theirs = pair.nodes[node], pair.nodes[other]
    checks = adopt_checks(context.stack.name, mine, theirs, pair)
    return AdoptData(node, other, "planned", [mine, theirs], checks, adopt_warnings(mine, theirs))
