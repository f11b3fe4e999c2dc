"""The true state of every service: what the runtime sees, and what the server itself answers."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from spokectl.errors import Degraded, ExitCode
from spokectl.facts import Facts, RedisFacts, Sessions
from spokectl.model import Health, Inspection, Kind, Port, RunState, Service, Stack
from spokectl.operations.context import Context
from spokectl.operations.postgres.guard import ClusterRecord, GuardWord, guard_word
from spokectl.operations.redis.agreement import View, disagreements, names_by_address
from spokectl.printable import shortened
from spokectl.result import Result
from spokectl.runtime.base import Runtime, served_ports
from spokectl.settings import command_line, for_stack
from spokectl.units import human_bytes

if TYPE_CHECKING:
    from spokectl.clients.postgres import Credentials, PostgresNode

PROBE_TIMEOUT_S = 3.0
# Two segments of WAL: where the next one cannot be made, PostgreSQL ends.
_DISK_FULL_BYTES = 32 << 20
_TILT = "TILT: its clock jumped or it stood still, so it decides nothing for 30 s"
_ASK_GUARD = ("unhealthy", "degraded")
REPLAY_PAUSED = "its replay is paused: reads from it grow old; SELECT pg_wal_replay_resume() lets it go on"
WHO_AGREE = frozenset({Kind.REDIS, Kind.SENTINEL})
"""They are judged together: who is master is a matter between them."""


@dataclass(frozen=True)
class ServiceStatus:
    """One service as observed. `health` is healthy, degraded, unhealthy, done, left-out or down; `reason` says why.

    Degraded: it does its work, but without the protection that it should have. `master` is the service that a Redis replica
    follows or a Sentinel names; an address where that is none of the stack. `facts` is what a database said besides,
    `record` the cluster record, where a PostgreSQL node's guard was asked; `remedies` are commands that it names.
    """

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
    master: str = ""
    facts: Facts | None = None
    record: ClusterRecord | None = None
    remedies: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.health in {"healthy", "done", "left-out"}


_CLIENTS = {"postgres": "postgres", "redis": "redis", "sentinel": "redis", "s3": "probe", "http": "probe"}


def load_probes(protocols: Iterable[str] = tuple(_CLIENTS)) -> None:
    """Imports the clients that probes need, and no others.

    Before the servers want the processor, and by one thread: several that import at once wait for each other.
    """
    for client in sorted({_CLIENTS[each] for each in protocols if each in _CLIENTS}):
        import_module(f"spokectl.clients.{client}")


def probe(service: Service, *, timeout_s: float = PROBE_TIMEOUT_S) -> Health:
    """Asks the server over its published port, by its own protocol. It never raises: no answer is an answer."""
    try:
        return _PROBES[service.health.protocol](service, timeout_s)
    except KeyError as error:
        return Health(service.name, ok=False, reason=f"the stack file gives it no {error.args[0]}")


def observe(context: Context, names: Iterable[str], *, guards: bool = False) -> list[ServiceStatus]:
    """Asks all named services at once. PostgreSQL's guard is asked for the reason where its server is not well.

    With `guards` every guard is asked. A guard takes longer than its server: it is a program that starts in the service.

    Redis nodes and Sentinels are compared with each other, whichever of them are named.
    """
    inspections, left_out = context.runtime.inspect(), context.runtime.left_out()

    def look(name: str) -> ServiceStatus:
        service = context.stack.services[name]
        seen = observe_one(service, inspections.get(name), left_out.get(name))
        status = replace(seen, ports=served_ports(service, left_out))
        if status.kind is not Kind.POSTGRES or status.state is not RunState.RUNNING:
            return with_last_words(context.runtime, status)
        unwell = status.health in _ASK_GUARD
        word = guard_word(context.runtime, name) if unwell or guards else GuardWord()
        if unwell and word.reason:
            remedies = tuple(for_stack(context.stack.name, each) for each in word.actions)
            return replace(status, reason=word.reason, record=word.record, remedies=remedies)
        return with_last_words(context.runtime, replace(status, record=word.record))

    wanted = list(names)
    asked = [*wanted, *_asked_besides(context.stack, wanted)]
    running = [name for name in asked if name in inspections and inspections[name].state is RunState.RUNNING]
    load_probes(context.stack.services[name].health.protocol for name in running)
    with ThreadPoolExecutor(max_workers=max(1, len(asked))) as pool:
        return agreed(context.stack, list(pool.map(look, asked)))[: len(wanted)]


def with_last_words(runtime: Runtime, status: ServiceStatus) -> ServiceStatus:
    """The same status; of a server that should answer and does not, the reason ends with the last line of its log."""
    if status.health != "unhealthy" or status.role:
        return status
    lines = list(runtime.logs([status.service], since=None, tail=1, follow=False))
    return replace(status, reason=f"{status.reason}; its log ends: {_message(lines[-1].text)}") if lines else status


def _message(line: str) -> str:
    """A line of a log without what surrounds the message in a line of JSON, cut where it is long."""
    try:
        document = json.loads(line)
    except ValueError:
        document = None
    said = document.get("msg") if isinstance(document, dict) else None
    return shortened(str(said or line.strip()), 200)


def _asked_besides(stack: Stack, wanted: Sequence[str]) -> list[str]:
    if not any(stack.services[name].kind in WHO_AGREE for name in wanted):
        return []
    return [service.name for service in stack.services.values() if service.kind in WHO_AGREE and service.name not in wanted]


def agreed(stack: Stack, statuses: Sequence[ServiceStatus]) -> list[ServiceStatus]:
    """The same statuses; a Redis node or Sentinel that is well by itself is unhealthy where the others contradict it."""
    names = names_by_address(stack.services.values())
    named = [
        replace(status, master=names.get(status.master, status.master), facts=_with_names(status.facts, names))
        for status in statuses
    ]
    wrong = disagreements(View(each.service, each.kind, each.role, each.master) for each in named if each.kind in WHO_AGREE)
    return [
        replace(each, health="unhealthy", reason=wrong[each.service])
        if each.health == "healthy" and each.service in wrong
        else each
        for each in named
    ]


def _with_names(facts: Facts | None, names: Mapping[str, str]) -> Facts | None:
    if not isinstance(facts, RedisFacts):
        return facts
    known = [replace(each, service=names.get(each.service, each.service)) for each in facts.replicas]
    return replace(facts, replicas=tuple(known))


def judged(
    stack: str, data: object, statuses: Iterable[ServiceStatus], warnings: tuple[str, ...] = (), ends: Sequence[str] = ()
) -> Result:
    """The result of a look at the stack: degraded (10) with every reason when some service is not well.

    `ends`: the commands that end a move which was broken off: until then a node's own start is refused.
    """
    # What does not run comes first: it is why others are not well.
    bad = sorted((each for each in statuses if not each.ok), key=lambda each: each.state is RunState.RUNNING)
    if not bad:
        return Result(data, warnings)
    named: dict[str, list[str]] = {}
    for status in bad:
        named.setdefault(shortened(status.reason or status.health, 140), []).append(status.service)
    reasons = "; ".join(f"{', '.join(services)}: {reason}" for reason, services in named.items())
    paused = [command_line(stack, f"unpause {each.service}") for each in bad if each.state is RunState.PAUSED]
    named_by_guards = [] if ends else [remedy for each in bad for remedy in each.remedies]
    error = Degraded(
        "degraded",
        f"not everything is well: {reasons}",
        details={status.service: status.reason or status.health for status in bad},
        actions=[
            *paused,
            *dict.fromkeys(named_by_guards),
            *(ends or [command_line(stack, "up")]),
            *(command_line(stack, f"logs {status.service}") for status in bad[:1]),
        ],
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
    # A server that answers may still be without its supervisor, or about to be stopped.
    health = "unhealthy" if not answer.ok else "degraded" if answer.degraded or seen.detail else "healthy"
    status = _status(service, seen, health, answer.role, answer.reason or seen.detail, answer.version or seen.version)
    return replace(status, master=answer.master, facts=answer.facts)


def _status(
    service: Service, seen: Inspection, health: str, role: str = "", reason: str = "", version: str = ""
) -> ServiceStatus:
    return ServiceStatus(
        service.name, service.kind, seen.state, health, role, reason, version, seen.pid, seen.started_at, service.ports
    )


def postgres_node(service: Service, timeout_s: float = PROBE_TIMEOUT_S) -> "PostgresNode | None":
    """What the node says of itself; None when it does not answer."""
    from spokectl.clients.postgres import PostgresUnavailable

    try:
        return _ask_postgres(service, timeout_s)
    except PostgresUnavailable:
        return None


def postgres_sessions(service: Service, timeout_s: float = PROBE_TIMEOUT_S) -> list[Sessions]:
    """Who is connected to the node; nobody when it does not answer."""
    from spokectl.clients.postgres import PostgresUnavailable, observe_sessions

    try:
        return observe_sessions(*service.address(service.health.port), operator_credentials(service), timeout_s=timeout_s)
    except PostgresUnavailable:
        return []


def _ask_postgres(service: Service, timeout_s: float) -> "PostgresNode":
    from spokectl.clients.postgres import observe_node

    return observe_node(*service.address(service.health.port), operator_credentials(service), timeout_s=timeout_s)


def operator_credentials(service: Service) -> "Credentials":
    """With what this tool, and not an application, logs in."""
    return _credentials(service, "SPOKE_POSTGRES_OPERATOR")


def application_credentials(service: Service) -> "Credentials":
    """With what an application, such as a Spoke, logs in."""
    return _credentials(service, "SPOKE_POSTGRES")


def _credentials(service: Service, prefix: str) -> "Credentials":
    from spokectl.clients.postgres import Credentials

    environment = service.environment
    return Credentials(
        environment[f"{prefix}_USER"], environment[f"{prefix}_PASSWORD"], environment["SPOKE_POSTGRES_DATABASE"]
    )


def _probe_postgres(service: Service, timeout_s: float) -> Health:
    from spokectl.clients.postgres import PostgresUnavailable

    try:
        node = _ask_postgres(service, timeout_s)
    except PostgresUnavailable as error:
        return Health(service.name, ok=False, reason=str(error))
    said = Health(service.name, ok=True, role=node.role, version=node.version, facts=node.facts)
    if disk_is_full(node.facts.free_bytes):
        return replace(said, ok=False, reason=f"its disk is full: {human_bytes(node.facts.free_bytes or 0)} free")
    if node.in_recovery and not node.streaming:
        return replace(said, ok=False, reason="it receives no WAL from a primary")
    if node.in_recovery:
        return replace(said, reason=REPLAY_PAUSED, degraded=True) if node.facts.replay_paused else said
    reason = _lacking_protection(node) if wants_synchronous(service) else ""
    if reason:
        return replace(said, reason=reason, degraded=True)
    return replace(said, reason="" if node.standbys else "no standby streams from it")


def disk_is_full(free_bytes: int | None) -> bool:
    """Whether a PostgreSQL node is about to fail writes, and could not stop cleanly, for want of room. Unknown is no."""
    return free_bytes is not None and free_bytes < _DISK_FULL_BYTES


def wants_synchronous(service: Service) -> bool:
    """Whether the stack wants commits to wait for a standby."""
    return service.environment.get("SPOKE_POSTGRES_SYNCHRONOUS", "on").lower() not in ("off", "false", "no", "0")


def _lacking_protection(node: "PostgresNode") -> str:
    """What a primary lacks of the protection that the setting promises."""
    if not node.commits_wait:
        return "degraded: writes are acknowledged that are not on a standby"
    return "" if node.standbys else "no standby streams from it, and writes wait for one"


def _probe_redis(service: Service, timeout_s: float) -> Health:
    from spokectl.clients.redis import RedisUnavailable, observe_redis

    password = service.environment.get("SPOKE_REDIS_PASSWORD", "")
    try:
        node = observe_redis(*service.address(service.health.port), password, timeout_s=timeout_s)
    except RedisUnavailable as error:
        return Health(service.name, ok=False, reason=str(error))
    said = Health(service.name, ok=True, role=node.role, version=node.version, master=node.master, facts=node.facts)
    if node.role == "replica":
        lost = node.link != "connected"
        return replace(said, ok=False, reason=f"its link to {node.master} is in state {node.link}") if lost else said
    return replace(said, ok=node.role == "master", reason="" if node.replicas else "no replica is connected to it")


def _probe_sentinel(service: Service, timeout_s: float) -> Health:
    from spokectl.clients.redis import RedisUnavailable, observe_sentinel

    master_name = service.environment.get("SPOKE_REDIS_MASTER_NAME", "")
    try:
        view = observe_sentinel(*service.address(service.health.port), master_name, timeout_s=timeout_s)
    except RedisUnavailable as error:
        return Health(service.name, ok=False, reason=str(error))
    problem = view.quorum_problem
    # It comes back by itself, so nobody waits for it; until then a lost master stays lost.
    reason = problem or (_TILT if view.facts.tilt else "")
    return Health(service.name, not problem, "sentinel", reason, view.version, master=view.master, facts=view.facts)


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


@dataclass(frozen=True)
class SpokeWord:
    """Whether a Spoke answers, and whether it can write: one without a cache or a store can. `reason` says why not."""

    answers: bool
    writes: bool
    reason: str


def spoke_writes(service: Service, timeout_s: float = PROBE_TIMEOUT_S) -> SpokeWord:
    """Asks a Spoke whether it has a primary. It never raises."""
    from spokectl.clients.probe import NoAnswer, get

    try:
        answer = get(*service.address(service.health.port), service.health.path or "/", timeout_s=timeout_s)
    except NoAnswer as error:
        return SpokeWord(answers=False, writes=False, reason=str(error))
    health = _spoke_health(service.name, answer.status, answer.body)
    return SpokeWord(answers=True, writes=answer.status == 200, reason=health.reason)


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
