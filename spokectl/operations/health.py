"""The true state of every service: what the runtime sees, and what the server itself answers."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from spokectl.errors import Degraded, ExitCode
from spokectl.model import Health, Inspection, Kind, Port, RunState, Service
from spokectl.operations.context import Context
from spokectl.operations.postgres.guard import guard_word
from spokectl.printable import shortened
from spokectl.result import Result
from spokectl.settings import command_line

PROBE_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class ServiceStatus:
    """One service as observed. `health` is healthy, unhealthy, starting, done, left-out or down; `reason` says why."""

    service: str
    kind: Kind
    state: RunState
    health: str
    role: str
    reason: str
    version: str
    pid: int | None
    started_at: datetime | None
    ports: tuple[Port, ...]

    @property
    def ok(self) -> bool:
        return self.health in {"healthy", "done", "left-out"}


def load_probes() -> None:
    """Imports the clients that probes need, so that it need not be done later, when the servers want the processor."""
    import spokectl.clients.postgres
    import spokectl.clients.probe
    import spokectl.clients.redis  # noqa: F401 - importing is all


def probe(service: Service, *, timeout_s: float = PROBE_TIMEOUT_S) -> Health:
    """Asks the server over its published port, by its own protocol. It never raises: no answer is an answer."""
    return _PROBES[service.health.protocol](service, timeout_s)


def observe(context: Context, names: Iterable[str]) -> list[ServiceStatus]:
    """Asks all named services at once. PostgreSQL's guard is asked for the reason where its server does not answer."""
    inspections, left_out = context.runtime.inspect(), context.runtime.left_out()

    def look(name: str) -> ServiceStatus:
        status = observe_one(context.stack.services[name], inspections.get(name), left_out.get(name))
        if status.kind is Kind.POSTGRES and status.health == "unhealthy" and status.state is RunState.RUNNING:
            return replace(status, reason=guard_word(context.runtime, name).reason or status.reason)
        return status

    wanted = list(names)
    with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
        return list(pool.map(look, wanted))


def judged(stack: str, data: object, statuses: Iterable[ServiceStatus], warnings: tuple[str, ...] = ()) -> Result:
    """The result of a look at the stack: degraded (10) with every reason when some service is not well."""
    bad = [status for status in statuses if not status.ok]
    if not bad:
        return Result(data, warnings)
    reasons = "; ".join(f"{status.service}: {shortened(status.reason or status.health, 100)}" for status in bad)
    error = Degraded(
        "degraded",
        f"not everything is well: {reasons}",
        details={status.service: status.reason or status.health for status in bad},
        actions=[command_line(stack, "up"), *(command_line(stack, f"logs {status.service}") for status in bad[:1])],
    )
    return Result(data, warnings, ExitCode.DEGRADED, error)


def observe_one(service: Service, inspection: Inspection | None, left_out: str | None = None) -> ServiceStatus:
    """The service as the runtime sees it and, where it runs, as its server answers. `left_out`: why it does not run here."""
    seen = inspection or Inspection(service.name, RunState.ABSENT)
    if left_out is not None:
        return _status(service, seen, "left-out", reason=left_out)
    if seen.state is RunState.DONE:
        return _status(service, seen, "done")
    if seen.state in {RunState.RESTARTING, RunState.FAILED}:
        return _status(service, seen, "unhealthy", reason=seen.detail or str(seen.state))
    if seen.state is not RunState.RUNNING:
        reason = seen.detail or {RunState.PAUSED: "paused", RunState.ABSENT: "not started"}.get(
            seen.state, "stopped by hand"
        )
        return _status(service, seen, "down", reason=reason)
    answer = probe(service)
    health = "healthy" if answer.ok else "unhealthy"
    return _status(service, seen, health, answer.role, answer.reason or seen.detail, answer.version)


def _status(
    service: Service, seen: Inspection, health: str, role: str = "", reason: str = "", version: str = ""
) -> ServiceStatus:
    return ServiceStatus(
        service.name, service.kind, seen.state, health, role, reason, version, seen.pid, seen.started_at, service.ports
    )


def _probe_postgres(service: Service, timeout_s: float) -> Health:
    from spokectl.clients.postgres import Credentials, PostgresUnavailable, observe_node

    environment = service.environment
    credentials = Credentials(
        environment["SPOKE_POSTGRES_OPERATOR_USER"],
        environment["SPOKE_POSTGRES_OPERATOR_PASSWORD"],
        environment["SPOKE_POSTGRES_DATABASE"],
    )
    try:
        node = observe_node(*service.address(service.health.port), credentials, timeout_s=timeout_s)
    except PostgresUnavailable as error:
        return Health(service.name, ok=False, reason=str(error))
    if node.in_recovery and not node.streaming:
        return Health(service.name, False, node.role, "it receives no WAL from a primary", node.version)
    reason = "" if node.in_recovery or node.standbys else "no standby streams from it"
    return Health(service.name, True, node.role, reason, node.version)


def _probe_redis(service: Service, timeout_s: float) -> Health:
    from spokectl.clients.redis import RedisUnavailable, observe_redis

    password = service.environment.get("SPOKE_REDIS_PASSWORD", "")
    try:
        node = observe_redis(*service.address(service.health.port), password, timeout_s=timeout_s)
    except RedisUnavailable as error:
        return Health(service.name, ok=False, reason=str(error))
    if node.role == "replica" and node.link != "connected":
        return Health(service.name, False, node.role, f"its link to {node.master} is in state {node.link}", node.version)
    reason = "" if node.role == "replica" or node.replicas else "no replica is connected to it"
    return Health(service.name, node.role in {"master", "replica"}, node.role, reason, node.version)


def _probe_sentinel(service: Service, timeout_s: float) -> Health:
    from spokectl.clients.redis import RedisUnavailable, observe_sentinel

    master_name = service.environment.get("SPOKE_REDIS_MASTER_NAME", "")
    try:
        view = observe_sentinel(*service.address(service.health.port), master_name, timeout_s=timeout_s)
    except RedisUnavailable as error:
        return Health(service.name, ok=False, reason=str(error))
    return Health(service.name, not view.quorum_problem, "sentinel", view.quorum_problem, view.version)


def _probe_http(service: Service, timeout_s: float) -> Health:
    from spokectl.clients.probe import NoAnswer, get

    try:
        answer = get(*service.address(service.health.port), service.health.path or "/", timeout_s=timeout_s)
    except NoAnswer as error:
        return Health(service.name, ok=False, reason=str(error))
    role = service.first_role
    if service.kind is Kind.SPOKE:
        return _spoke_health(service.name, answer.status, answer.body)
    ok = answer.status == 200
    version = answer.server.partition("/")[2]
    return Health(service.name, ok, role, "" if ok else f"it answers {answer.status}", version)


def _spoke_health(name: str, status: int, body: bytes) -> Health:
    """Reads the Spoke's own words: reference is the health JSON of docs/registry-api.md."""
    try:
        document = json.loads(body)
        word, version = str(document["status"]), str(document.get("version", ""))
        dependencies = document.get("dependencies") or {}
        reasons = [
            f"{dependency} {facts.get('status')}" + (f": {facts['message']}" if facts.get("message") else "")
            for dependency, facts in dependencies.items()
            if facts.get("status") != "healthy"
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return Health(name, False, "instance", f"its health answer ({status}) cannot be understood")
    ok = status == 200 and word == "healthy"
    return Health(name, ok, "instance", "" if ok else "; ".join(reasons) or f"it says {word}", version)


def _probe_s3(service: Service, timeout_s: float) -> Health:
    """Any answer below 500 to an unsigned request: an S3 store refuses it, and so shows that it works."""
    from spokectl.clients.probe import NoAnswer, get

    try:
        answer = get(*service.address(service.health.port), "/", timeout_s=timeout_s)
    except NoAnswer as error:
        return Health(service.name, ok=False, reason=str(error))
    ok = answer.status < 500
    return Health(service.name, ok, service.first_role, "" if ok else f"it answers {answer.status}")


def _probe_job(service: Service, timeout_s: float) -> Health:  # noqa: ARG001 - a probe's signature
    return Health(service.name, ok=False, role="job", reason="still running")


_PROBES: dict[str, Callable[[Service, float], Health]] = {
    "postgres": _probe_postgres,
    "redis": _probe_redis,
    "sentinel": _probe_sentinel,
    "s3": _probe_s3,
    "http": _probe_http,
    "job": _probe_job,
}
