"""What must hold of a stack that runs: rules over what its servers say. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spokectl.facts import Follower, PostgresFacts, SentinelFacts, Slot
from spokectl.model import Kind, RunState
from spokectl.operations.balancer import ConfigurationTest
from spokectl.operations.doctor.findings import Finding, NotChecked, ok, problem, warning
from spokectl.operations.health import REPLAY_PAUSED, ServiceStatus
from spokectl.operations.lb import complaint
from spokectl.settings import command_line
from spokectl.units import human_bytes

_MUCH_LAG_BYTES = 64 << 20
_SILENT_S = 10.0


def judge_services(stack: str, statuses: Sequence[ServiceStatus]) -> Sequence[Finding]:
    """One finding for each service that is not well, what does not run first."""
    bad = sorted((each for each in statuses if not each.ok), key=lambda each: each.state is RunState.RUNNING)
    well = len(statuses) - len(bad)
    return [
        *(_service(stack, each, _why(each, statuses)) for each in bad),
        *([ok(f"{well} of {len(statuses)} are well")] if well else []),
    ]


_HOLDER = {Kind.POSTGRES: "primary", Kind.REDIS: "master", Kind.SPOKE: "instance"}
_WHY_NOBODY = {
    Kind.POSTGRES: "no primary takes writes: pushes fail until there is one",
    Kind.REDIS: "no master is there: versions are read from PostgreSQL, which is slower",
    Kind.SPOKE: "no Spoke is well: the registry does not answer as it should",
}
_WHY = {
    Kind.POSTGRES: "without a second node a loss of the first one loses service, and perhaps data",
    Kind.REDIS: "without a second node the cache is lost with the first one",
    Kind.SENTINEL: "fewer Sentinels may not be enough to replace a lost master",
    Kind.SPOKE: "the other Spokes carry its requests",
    Kind.LOAD_BALANCER: "clients have no way in",
    Kind.S3: "files of new versions cannot be stored, nor those read that are not cached",
    Kind.COLLECTOR: "metrics and traces are lost meanwhile",
    Kind.JOB: "what it prepares may be missing",
}


def _why(status: ServiceStatus, statuses: Sequence[ServiceStatus]) -> str:
    """Why it matters: more, where nobody else does what this service is there for."""
    peers = [each for each in statuses if each.kind is status.kind and each.role == _HOLDER.get(status.kind)]
    left = any(each.health in {"healthy", "degraded"} for each in peers)
    return _WHY[status.kind] if left else _WHY_NOBODY.get(status.kind, _WHY[status.kind])


def _service(stack: str, status: ServiceStatus, why: str) -> Finding:
    found = f"{status.service} is {status.health}: {status.reason or status.state}"
    if status.state is RunState.PAUSED:
        actions = [command_line(stack, f"unpause {status.service}")]
    elif status.state is RunState.STOPPED:
        actions = [command_line(stack, f"start {status.service}")]
    else:
        actions = [*status.remedies, command_line(stack, "up"), command_line(stack, f"logs --tail 50 {status.service}")]
    tell = warning if status.health == "degraded" else problem
    return tell(found, why, *actions)


@dataclass(frozen=True)
class Dependency:
    name: str
    status: str
    message: str = ""


def judge_dependencies(stack: str, seen: Mapping[str, Sequence[Dependency] | str]) -> Sequence[Finding]:
    """What each Spoke says of what it needs; a text in its place is why it says nothing."""
    found = []
    well: dict[str, list[str]] = {}
    for spoke, said in seen.items():
        if isinstance(said, str):
            logs = command_line(stack, f"logs --tail 50 {spoke}")
            found.append(problem(f"{spoke} does not say what it reaches: {said}", "its view is not known", logs))
            continue
        for each in said:
            if each.status == "healthy":
                well.setdefault(each.name, []).append(spoke)
            else:
                found.append(_dependency(stack, spoke, each))
    return [*found, *(ok(f"{name}: reached by {', '.join(spokes)}") for name, spokes in well.items())]


def _dependency(stack: str, spoke: str, each: Dependency) -> Finding:
    said = f"{spoke} sees its {each.name} as {each.status}" + (f": {each.message}" if each.message else "")
    why = "what answers this machine does not answer that Spoke, or neither"
    tell = warning if each.status == "degraded" else problem
    return tell(said, why, command_line(stack, "status"), command_line(stack, f"logs --grep {each.name} {spoke}"))


def judge_load_balancer(stack: str, tests: Sequence[ConfigurationTest]) -> Sequence[Finding]:
    """What `nginx -t` says in each load balancer of the configuration that a reload or a restart would load."""
    why = "NGINX goes on as it was, can take over no changed setting, and would not come back from a restart"
    return [
        ok(f"{each.service}: nginx -t finds nothing wrong")
        if each.ok
        else problem(
            f"{each.service}: nginx -t says: {complaint(each)}",
            why,
            command_line(stack, "lb test"),
            command_line(stack, "config list") + "  # one of them is in what it names",
            command_line(stack, f"logs --tail 50 {each.service}"),
        )
        for each in tests
    ]


def judge_sentinels(stack: str, statuses: Sequence[ServiceStatus]) -> Sequence[Finding]:
    """Whether enough Sentinels answer to agree on a lost master, and to elect who replaces it."""
    all_of_them = [each for each in statuses if each.kind is Kind.SENTINEL]
    facts = {each.service: each.facts for each in all_of_them if isinstance(each.facts, SentinelFacts)}
    if not all_of_them:
        raise NotChecked("the stack has no Sentinel")
    able = [name for name, each in facts.items() if not each.tilt]
    tilting = [name for name, each in facts.items() if each.tilt]
    quorum = max((each.quorum for each in facts.values()), default=1)
    known = max((each.sentinels for each in facts.values()), default=len(all_of_them))
    needed = max(quorum, known // 2 + 1)
    found = f"{len(able)} of {known} Sentinels can act, {needed} have to agree"
    start = command_line(stack, "up")
    if tilting:
        found += f"; in TILT, for 30 s after a jump of the clock: {', '.join(tilting)}"
        start = "wait 30 s, then: " + command_line(stack, "doctor")
    findings = []
    if len(able) < needed:
        findings.append(problem(found, "a lost master stays lost until they are back", start))
    elif len(able) < known or known > len(all_of_them):
        action = command_line(stack, "redis reset-sentinels") if known > len(all_of_them) else start
        findings.append(warning(found, "each Sentinel that is missing brings a lost quorum nearer", action))
    else:
        findings.append(ok(found))
    named = {each.master for each in all_of_them if each.facts is not None}
    if len(named) > 1:
        why = "clients that ask different Sentinels write to different masters"
        findings.append(problem(f"they name different masters: {', '.join(sorted(named))}", why, start))
    return findings


def judge_replication(stack: str, statuses: Sequence[ServiceStatus]) -> Sequence[Finding]:
    """PostgreSQL's primary, its standbys, and whether what is acknowledged is on one of them."""
    nodes = [(each.service, each.facts) for each in statuses if isinstance(each.facts, PostgresFacts)]
    primaries = [(name, facts) for name, facts in nodes if facts.role == "primary"]
    if not nodes:
        raise NotChecked("no PostgreSQL node answers")
    if len(primaries) != 1:
        names = " and ".join(name for name, _ in primaries)
        found = f"{names} both say that they are the primary" if primaries else "no node says that it is the primary"
        why = "writes go to two databases" if primaries else "nothing can be written"
        return [problem(found, why, command_line(stack, "postgres status"), command_line(stack, "failover postgres"))]
    [(name, primary)] = primaries
    look = command_line(stack, "postgres lag")
    findings = [_follower(name, each, look) for each in primary.followers]
    streams = any(each.state == "streaming" for each in primary.followers)
    if not streams and [each.service for each in statuses if each.kind is Kind.POSTGRES] == [name]:
        found = f"{name} is the only PostgreSQL node that the stack file describes"
        why = "what is written is on one node alone, and nothing takes its place when it is lost"
        findings.append(warning(found, why, "describe a standby beside it, as stack/ha-stack.yml does: docs/stack-file.md"))
    elif not streams:
        why = "what is written now is on one node alone"
        findings.append(problem(f"no standby streams from {name}", why, command_line(stack, "up")))
    elif not primary.commits_wait:
        why = "writes are acknowledged that no standby has; a loss of the primary loses them"
        again = command_line(stack, "config set SPOKE_POSTGRES_SYNCHRONOUS=on")
        findings.append(warning(f"{name} does not wait for a standby", why, look, again))
    paused = [node for node, facts in nodes if facts.replay_paused]
    resume = "exec {} -- psql -c 'SELECT pg_wal_replay_resume()'"
    findings += [
        warning(
            f"{node}: {REPLAY_PAUSED}",
            "a failover to it has to apply all of that first",
            command_line(stack, resume.format(node)),
        )
        for node in paused
    ]
    return findings


def _follower(primary: str, each: Follower, look: str) -> Finding:
    lag = each.replay_lag_bytes or 0
    found = f"{each.name} of {primary}: {each.state}, {each.sync_state}, {human_bytes(lag)} behind"
    if each.state != "streaming":
        return warning(found, "it does not follow yet, and protects nothing", look)
    if lag > _MUCH_LAG_BYTES:
        return warning(found, "reads from it are old, and a failover to it takes longer", look)
    if each.silent_s is not None and each.silent_s > _SILENT_S:
        return warning(f"{found}, silent for {each.silent_s:.0f} s", "it speaks once a second when it is well", look)
    return ok(found)


def judge_slots(stack: str, statuses: Sequence[ServiceStatus]) -> Sequence[Finding]:
    """The WAL that each node keeps for others."""
    facts = [(each.service, each.facts) for each in statuses if isinstance(each.facts, PostgresFacts)]
    if not facts:
        raise NotChecked("no PostgreSQL node answers")
    found = [_slot(stack, name, slot, on_primary=each.role == "primary") for name, each in facts for slot in each.slots]
    return found or [ok("no node keeps WAL for another one")]


def _slot(stack: str, node: str, slot: Slot, *, on_primary: bool) -> Finding:
    kept = "nothing" if slot.retained_bytes is None else human_bytes(slot.retained_bytes)
    found = f"{slot.name} on {node} keeps {kept} of WAL" + ("" if slot.active else ", and nobody uses it")
    look = command_line(stack, "postgres slots")
    if slot.wal_status == "lost":
        why = "what its standby needs next is deleted: it cannot catch up and has to be copied anew"
        return problem(
            f"{found}; it is lost", why, command_line(stack, "postgres status"), command_line(stack, "postgres reinit NODE")
        )
    if slot.wal_status == "unreserved":
        return problem(f"{found}; the next checkpoint deletes some", "its standby is about to lose what it needs", look)
    if slot.safe_bytes is not None and slot.retained_bytes is not None and slot.safe_bytes < slot.retained_bytes:
        return warning(f"{found}, more than half of the limit", "beyond it the standby has to be copied anew", look)
    if on_primary and not slot.active:
        return warning(found, "WAL stays on the disk until its standby comes back", command_line(stack, "up"), look)
    return ok(found)
