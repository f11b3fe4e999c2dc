"""How far PostgreSQL's standbys are behind. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from spokectl.facts import Follower, PostgresFacts
from spokectl.operations.health import ServiceStatus
from spokectl.operations.outlook import lsn_distance

_BASE_BACKUP = "pg_basebackup"


@dataclass(frozen=True)
class Lag:
    """How far a standby is behind. Bytes and seconds are the primary's measure where one answers (`measured_by`).

    A standby alone knows only how much of what it received is not replayed yet, and how old the last of it is.
    """

    service: str
    state: str
    sync_state: str
    measured_by: str
    write_lag_bytes: int | None
    flush_lag_bytes: int | None
    replay_lag_bytes: int | None
    write_lag_s: float | None
    flush_lag_s: float | None
    replay_lag_s: float | None
    reason: str


def lags(nodes: Sequence[ServiceStatus]) -> list[Lag]:
    """A row for every follower of a primary, and for every other node that is not a primary. Pure."""
    primary = next((node for node in nodes if node.role == "primary"), None)
    standbys = [node for node in nodes if node.role != "primary"]
    facts = primary.facts if primary else None
    found = []
    if primary is not None and isinstance(facts, PostgresFacts):
        for follower in facts.followers:
            whose = _whose(follower, facts.followers, standbys)
            standbys = [node for node in standbys if node is not whose]
            found.append(
                Lag(
                    whose.service if whose else follower.name,
                    follower.state,
                    follower.sync_state,
                    primary.service,
                    follower.write_lag_bytes,
                    follower.flush_lag_bytes,
                    follower.replay_lag_bytes,
                    follower.write_lag_s,
                    follower.flush_lag_s,
                    follower.replay_lag_s,
                    whose.reason if whose else "",
                )
            )
    return found + [_lag_of_its_own(node, facts if isinstance(facts, PostgresFacts) else None) for node in standbys]


def _whose(follower: Follower, followers: Sequence[Follower], standbys: Sequence[ServiceStatus]) -> ServiceStatus | None:
    """The node behind a connection: every standby calls itself the same, so with one standby it is that one's."""
    receiving = [node for node in standbys if isinstance(node.facts, PostgresFacts) and node.facts.receiver]
    of_standbys = [each for each in followers if each.name != _BASE_BACKUP]
    return receiving[0] if len(receiving) == 1 and of_standbys == [follower] else None


def _lag_of_its_own(node: ServiceStatus, primary: PostgresFacts | None) -> Lag:
    """Of a standby that no primary knows of; of a node that does not answer only the reason is known."""
    facts = node.facts
    if not isinstance(facts, PostgresFacts):
        return Lag(node.service, node.health, "", "", None, None, None, None, None, None, node.reason)
    state = facts.receiver.status if facts.receiver else "not receiving"
    received = lsn_distance(primary.lsn, facts.lsn) if primary else None
    replayed = lsn_distance(primary.lsn, facts.replay_lsn) if primary else facts.replay_lag_bytes
    reason = node.reason
    return Lag(node.service, state, "", node.service, received, received, replayed, None, None, facts.replay_age_s, reason)
