"""What would happen if a primary or a master died now. Pure: what the servers said goes in, sentences come out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spokectl.facts import Follower, PostgresFacts, RedisFacts, SentinelFacts
from spokectl.lsn import lsn_number
from spokectl.model import Kind
from spokectl.operations.health import ServiceStatus
from spokectl.operations.postgres.guard import ClusterRecord
from spokectl.settings import command_line
from spokectl.units import human_bytes


@dataclass(frozen=True)
class Outlook:
    """`sentence` for a person. `takes_over` is empty when nobody can, or when there is nothing to take over.

    `bytes_at_risk`: at most so much that was acknowledged would be lost; None when it is not known.
    """

    service: str
    sentence: str
    takes_over: str = ""
    bytes_at_risk: int | None = None


def outlook(stack: str, statuses: Iterable[ServiceStatus], record: ClusterRecord | None) -> list[Outlook]:
    """One for PostgreSQL and one for Redis, where the stack has them. `record`: the cluster record, where it is known.

    `stack`: its name, for what the sentences tell to type.
    """
    everybody = list(statuses)
    databases = [each for each in everybody if each.kind is Kind.POSTGRES]
    caches = [each for each in everybody if each.kind is Kind.REDIS]
    sentinels = [each for each in everybody if each.kind is Kind.SENTINEL]
    takes_over = command_line(stack, "failover postgres")
    found = [_of_postgres(databases, record, takes_over)] if databases else []
    return found + ([_of_redis(caches, sentinels)] if caches else [])


def _of_postgres(nodes: Sequence[ServiceStatus], record: ClusterRecord | None, command: str) -> Outlook:
    primaries = [each for each in nodes if each.role == "primary"]
    if not primaries:
        return _without_primary(nodes, record, command)
    if len(primaries) > 1:
        names = " and ".join(each.service for each in primaries)
        return Outlook("", f"{names} both say primary: their guards settle it within a second, or say why not")
    primary = primaries[0]
    lost = f"if {primary.service} dies"
    standby = next((each for each in nodes if each.role == "standby"), None)
    if standby is None:
        others = (
            ", ".join(f"{each.service} is {each.health}" for each in nodes if each is not primary) or "it has no standby"
        )
        alone = _alone(primary, record)
        said = "" if alone is None else f"; {alone} bytes ({human_bytes(alone)}) of acknowledged writes are on it only"
        return Outlook(
            primary.service, f"{lost}: nobody can take over ({others}), writes fail until it is back{said}", "", alone
        )
    risk = _acknowledged_alone(primary, standby, record)
    words = {
        0: "no acknowledged write is at risk",
        None: "how much of what was acknowledged is at risk is not known",
    }.get(risk, f"at most {risk} bytes ({human_bytes(risk or 0)}) of acknowledged writes are at risk")
    # A promotion ends the pause; a planned move asks for the end before.
    paused = isinstance(standby.facts, PostgresFacts) and standby.facts.replay_paused
    first = "; its replay is paused: what it has not applied comes first, and a switchover is refused" if paused else ""
    return Outlook(
        primary.service,
        f"{lost}: {standby.service} takes over at `{command}`, {words}{first}",
        standby.service,
        risk,
    )


def _alone(primary: ServiceStatus, record: ClusterRecord | None) -> int | None:
    """What was written since the record says that the standby may lack writes; None while it does not say so."""
    if record is None or record.since_lsn is None or not isinstance(primary.facts, PostgresFacts):
        return None
    return lsn_distance(primary.facts.lsn, record.since_lsn)


def _without_primary(nodes: Sequence[ServiceStatus], record: ClusterRecord | None, command: str) -> Outlook:
    lost = record.primary if record else ""
    now = f"PostgreSQL has no primary now{f' (the record names {lost})' if lost else ''}"
    standby = next((each for each in nodes if each.role == "standby"), None)
    if lost and any(each.service == lost and each.role == "standby" for each in nodes):
        return Outlook(lost, f"{now}, which is a standby still: `{command}` finishes the move", lost)
    if standby is None:
        return Outlook(lost, f"{now}, and nobody can take over")
    if record is not None and record.mode == "synchronous":
        words, risk = "no acknowledged write is at risk", 0
    else:
        mode = f"was {record.mode}" if record else "is not known"
        words = f"but acknowledged writes may be missing there, since replication {mode}"
        risk = None
    return Outlook(lost, f"{now}: {standby.service} takes over at `{command}`, {words}", standby.service, risk)


def _acknowledged_alone(primary: ServiceStatus, standby: ServiceStatus, record: ClusterRecord | None) -> int | None:
    """The WAL that was acknowledged, or may have been, and that the standby does not have on disk.

    While commits wait for a standby that streams it is none, unless the record does not say so yet: then the standby is
    still catching up with what was acknowledged before.
    """
    facts, other = primary.facts, standby.facts
    if not isinstance(facts, PostgresFacts) or not isinstance(other, PostgresFacts):
        return None
    follower = _follower(facts)
    protected = facts.commits_wait and (record is None or record.mode == "synchronous")
    if protected and (record is not None or (follower is not None and follower.protects)):
        return 0
    if follower is not None and follower.flush_lag_bytes is not None:
        return follower.flush_lag_bytes
    return lsn_distance(facts.lsn, other.lsn)


def _follower(facts: PostgresFacts) -> Follower | None:
    return next((each for each in facts.followers if each.state == "streaming"), None)


def lsn_distance(ahead: str | None, behind: str | None) -> int | None:
    """The bytes of WAL from one position to a later one, 0 when it is not later; None when either is not known."""
    if ahead is None or behind is None:
        return None
    return max(0, lsn_number(ahead) - lsn_number(behind))


def _of_redis(nodes: Sequence[ServiceStatus], sentinels: Sequence[ServiceStatus]) -> Outlook:
    masters = [each for each in nodes if each.role == "master"]
    if len(masters) != 1:
        words = " and ".join(each.service for each in masters) + " both say master" if masters else "Redis has no master now"
        can_act = any(each.role and not each.reason.startswith("NOQUORUM") for each in sentinels)
        if not any(each.role for each in nodes):
            ends = "nobody settles it (no node answers)"
        elif can_act:
            ends = "the Sentinels settle it"
        else:
            ends = f"nobody settles it ({_why_unable(sentinels)})"
        meanwhile = "Spokes may use either, and believe nothing that PostgreSQL does not confirm"
        return Outlook("", f"{words}: {ends}; {meanwhile if masters else 'Spokes do without a cache until then'}")
    master = masters[0]
    lost = f"if {master.service} dies"
    replica = next((each for each in nodes if each.role == "replica" and each.health == "healthy"), None)
    able = [each for each in sentinels if each.ok and each.master == master.service and not _in_tilt(each)]
    if replica is None or not able:
        why = "no replica follows it" if replica is None else _why_unable(sentinels)
        return Outlook(master.service, f"{lost}: nobody takes over ({why}); Spokes do without a cache until it is back")
    risk = _offset_behind(master, replica)
    said = "an unknown part" if risk is None else f"at most {risk} bytes"
    sentence = f"{lost}: the Sentinels make {replica.service} the master by themselves, {said} of the cache at risk"
    return Outlook(master.service, sentence, replica.service, risk)


def _in_tilt(sentinel: ServiceStatus) -> bool:
    return isinstance(sentinel.facts, SentinelFacts) and sentinel.facts.tilt


def _why_unable(sentinels: Sequence[ServiceStatus]) -> str:
    answering = sum(bool(each.role) for each in sentinels)
    reasons = sorted({each.reason for each in sentinels if each.role and each.reason})
    return f"{answering} of {len(sentinels)} Sentinels answer" + (f": {reasons[0]}" if reasons else "")


def _offset_behind(master: ServiceStatus, replica: ServiceStatus) -> int | None:
    if not isinstance(master.facts, RedisFacts):
        return None
    return next((each.lag_bytes for each in master.facts.replicas if each.service == replica.service), None)
