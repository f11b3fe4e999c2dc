"""Applying a changed description to a stack that runs: one service after the other, so that no request fails.

A Spoke that is asked to stop finishes its requests, and NGINX gives new ones to the others. PostgreSQL's standby comes
first, then takes over, and the old primary comes back with the change as its standby; so does Redis's replica. Where that
cannot be, the primary is restarted in its place, and writes wait that out within the Spokes' retry budget; without a master
Spokes do without their cache.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spokectl.errors import Refused
from spokectl.model import Kind, Service, Stack
from spokectl.operations.context import Context
from spokectl.operations.health import probe
from spokectl.operations.readiness import wait_until_ready
from spokectl.result import Report
from spokectl.runtime.base import Notice
from spokectl.settings import command_line
from spokectl.wait import Deadline

_ORDER = (Kind.COLLECTOR, Kind.JOB, Kind.S3, Kind.SENTINEL, Kind.REDIS, Kind.POSTGRES, Kind.SPOKE, Kind.LOAD_BALANCER)
_CREDENTIAL = re.compile(r"(PASSWORD|_KEY|_USER)\Z")
_LEADERS = frozenset({"primary", "master"})
# The guards' sessions, an operator's, this tool's, a migration's; PostgreSQL's own reserve of 3 and the guard's of 3.
CONNECTIONS_BESIDE_SPOKES = 16


def change_order(changed: Iterable[Service], roles: Mapping[str, str], *, fewer_connections: bool) -> list[str]:
    """In which order changed services are restarted: followers before leaders, the load balancer last. Pure.

    A standby must allow at least as many connections as its primary: with `fewer_connections` the primary goes first.
    """

    def key(service: Service) -> tuple[int, bool]:
        leads = roles.get(service.name) in _LEADERS
        return _ORDER.index(service.kind), leads != (fewer_connections and service.kind is Kind.POSTGRES)

    return [service.name for service in sorted(changed, key=key)]


def why_at_once(before: Stack, after: Stack) -> str:
    """Why the services cannot be restarted one by one; empty when they can. Pure.

    A node that has another address or password than its peers expect would never be well beside them.
    """
    for name in before.services.keys() & after.services.keys():
        old, new = before.services[name], after.services[name]
        if old.ports != new.ports:
            return "addresses have changed"
        secrets = {variable for variable in old.environment.keys() | new.environment.keys() if _CREDENTIAL.search(variable)}
        if any(old.environment.get(variable) != new.environment.get(variable) for variable in secrets):
            return "passwords have changed"
    return ""


def apply(context: Context, changed: Sequence[str], deadline: Deadline, notice: Notice, report: Report) -> None:
    """Restarts the services one by one; each, and its kind, answers again before the next one is touched."""
    if not changed:
        return
    services = context.stack.services
    roles = {name: probe(services[name]).role for name in changed}
    fewer_connections = _lowers_connections(context.stack)
    order = change_order([services[name] for name in changed], roles, fewer_connections=fewer_connections)
    for name in order:
        report(name, "changing")
        if roles[name] in _LEADERS and not (fewer_connections and services[name].kind is Kind.POSTGRES):
            _hand_over(context, roles[name], notice, report)
        context.runtime.bring_up([name], deadline, notice)
        left_out = context.runtime.left_out()
        kind = [each.name for each in context.stack.of_kind(services[name].kind) if each.name not in left_out]
        wait_until_ready(context, kind, deadline, report)


def _hand_over(context: Context, role: str, notice: Notice, report: Report) -> None:
    from spokectl.operations.postgres import moves as postgres
    from spokectl.operations.redis import moves as redis

    reason = postgres.hand_over(context, report) if role == "primary" else redis.hand_over(context, report)
    if reason:
        notice(f"the {role} is restarted in its place: {reason}")


@dataclass(frozen=True)
class Connections:
    """How many the pools of all Spokes may open, how many are needed besides, and what PostgreSQL allows, where it says."""

    wanted: int
    beside: int
    allowed: int | None

    @property
    def fit(self) -> bool:
        return self.allowed is None or self.wanted + self.beside <= self.allowed


def connections(stack: Stack) -> Connections:
    """As the stack describes it. Pure."""
    allowed = [_number(service, "SPOKE_POSTGRES_MAX_CONNECTIONS") for service in stack.of_kind(Kind.POSTGRES)]
    wanted = sum(_number(service, "SPOKE_POSTGRES_MAX_CONNS") or 0 for service in stack.of_kind(Kind.SPOKE))
    limit = min((each for each in allowed if each is not None), default=None)
    return Connections(wanted, CONNECTIONS_BESIDE_SPOKES, limit)


def require_enough_connections(stack: Stack) -> None:
    """Refused (`too_many_connections`) when the Spokes may open more connections than PostgreSQL allows. Pure."""
    found = connections(stack)
    wanted, limit = found.wanted, found.allowed
    if not found.fit:
        needed = wanted + CONNECTIONS_BESIDE_SPOKES
        raise Refused(
            "too_many_connections",
            f"the pools of the Spokes may open {wanted} connections and {CONNECTIONS_BESIDE_SPOKES} are needed beside them, "
            f"but PostgreSQL allows {limit} (SPOKE_POSTGRES_MAX_CONNECTIONS)",
            actions=[
                command_line(stack.name, f"config set SPOKE_POSTGRES_MAX_CONNECTIONS={needed}"),
                "then " + command_line(stack.name, f"up --spokes {len(stack.of_kind(Kind.SPOKE))}"),
                "or lower SPOKE_POSTGRES_MAX_CONNS",
            ],
            details={"wanted": wanted, "beside": CONNECTIONS_BESIDE_SPOKES, "allowed": limit},
        )


def _lowers_connections(stack: Stack) -> bool:
    """Whether some PostgreSQL node allows more connections now than it will."""
    from spokectl.operations.health import postgres_node

    for service in stack.of_kind(Kind.POSTGRES):
        node, wanted = postgres_node(service), _number(service, "SPOKE_POSTGRES_MAX_CONNECTIONS")
        if node is not None and wanted is not None and node.max_connections > wanted:
            return True
    return False


def _number(service: Service, variable: str) -> int | None:
    text = service.environment.get(variable, "")
    return int(text) if text.isascii() and text.isdecimal() else None
