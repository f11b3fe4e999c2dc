"""PostgreSQL's nodes as they are now: replication, slots, connections. Each asked by itself, all at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from spokectl.facts import PostgresFacts, Sessions
from spokectl.model import Kind
from spokectl.operations.context import Context, broken_off, running_context
from spokectl.operations.health import ServiceStatus, judged, observe, postgres_sessions
from spokectl.operations.outlook import Outlook, outlook
from spokectl.operations.postgres.guard import ClusterRecord, newest
from spokectl.operations.postgres.lag import lags
from spokectl.result import Result


@dataclass(frozen=True)
class PostgresStatus:
    """`record` is None when no guard could be asked for it."""

    nodes: list[ServiceStatus]
    record: ClusterRecord | None
    outlook: list[Outlook]


@dataclass(frozen=True)
class SlotRow:
    """A slot of one node; without a slot's name the node has none, or `reason` says why it is not known."""

    service: str
    slot: str
    type: str
    active: bool | None
    restart_lsn: str | None
    retained_bytes: int | None
    safe_bytes: int | None
    wal_status: str | None
    reason: str


@dataclass(frozen=True)
class Connections:
    """`allowed` for everybody; `reserved` more are kept for operators. All are None where the node does not answer."""

    service: str
    role: str
    used: int | None
    allowed: int | None
    reserved: int | None
    sessions: list[Sessions]
    reason: str


def status(name: str, file: Path | None) -> Result:
    """Every node with its role, positions and followers, the cluster record, and what a loss of the primary would mean."""
    context = running_context(name, file)
    nodes = _observe(context, guards=True)
    record = newest(node.record for node in nodes)
    return judged(name, PostgresStatus(nodes, record, outlook(name, nodes, record)), nodes, *broken_off(context))


def lag(name: str, file: Path | None) -> Result:
    """How far each standby is behind."""
    nodes = _observe(running_context(name, file))
    return judged(name, lags(nodes), nodes)


def slots(name: str, file: Path | None) -> Result:
    """Every replication slot, with the WAL that is kept for it."""
    nodes = _observe(running_context(name, file))
    return judged(name, [row for node in nodes for row in slot_rows(node)], nodes)


def connections(name: str, file: Path | None) -> Result:
    """How many connections each node has and allows, and whose they are."""
    context = running_context(name, file)
    nodes = observe(context, [each.name for each in context.stack.of_kind(Kind.POSTGRES)])
    with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
        answering = [node for node in nodes if node.facts]
        groups = pool.map(lambda node: postgres_sessions(context.stack.services[node.service]), answering)
        sessions = dict(zip([node.service for node in answering], groups, strict=True))
    return judged(name, [_connections_of(node, sessions.get(node.service, [])) for node in nodes], nodes)


def slot_rows(node: ServiceStatus) -> list[SlotRow]:
    """A row for each slot, and one that says so for a node without slots or without an answer. Pure."""
    if not isinstance(node.facts, PostgresFacts):
        return [SlotRow(node.service, "", "", None, None, None, None, None, node.reason)]
    return [
        SlotRow(
            node.service,
            slot.name,
            slot.type,
            slot.active,
            slot.restart_lsn,
            slot.retained_bytes,
            slot.safe_bytes,
            slot.wal_status,
            "" if slot.active else "nobody uses it: WAL piles up until it is used, dropped or lost",
        )
        for slot in node.facts.slots
    ] or [SlotRow(node.service, "", "", None, None, None, None, None, "")]


def _connections_of(node: ServiceStatus, sessions: list[Sessions]) -> Connections:
    facts = node.facts
    if not isinstance(facts, PostgresFacts):
        return Connections(node.service, node.role, None, None, None, [], node.reason)
    used, allowed, reserved = facts.connections_used, facts.connections_allowed, facts.connections_reserved
    return Connections(node.service, node.role, used, allowed, reserved, sessions, node.reason)


def _observe(context: Context, *, guards: bool = False) -> list[ServiceStatus]:
    return observe(context, [each.name for each in context.stack.of_kind(Kind.POSTGRES)], guards=guards)
