"""What must hold before the primary role moves, and what would be lost. Pure: what was measured in, judgements out.

The list is the union of what repmgr's, Patroni's and CloudNativePG's switchovers check, as far as it can differ here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spokectl.clients.postgres_session import Position, Sender
from spokectl.operations.moves import Check

# As pg_auto_failover's promote_wal_log_threshold.
MAX_LAG_BYTES = 16 * 1024 * 1024
# As Patroni's maximum_lag_on_failover.
DEFAULT_LOSS_LIMIT_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Measured:
    """What a switchover looks at. `mode` is the record's; `sender` is None when no standby streams.

    `full`: the nodes that have no room on their disks: such a primary cannot stop cleanly, such a standby takes no writes.
    `silent`: the nodes whose guard lives and does nothing, which would neither stop a server nor bring it back.
    """

    old: str
    new: str
    recorded_primary: str
    mode: str
    wants_synchronous: bool
    old_position: Position
    new_position: Position
    sender: Sender | None
    old_limits: Mapping[str, int]
    new_limits: Mapping[str, int]
    silent: Sequence[str] = ()
    full: Sequence[str] = ()


def switchover_checks(seen: Measured) -> list[Check]:
    """All of them, each judged by itself."""
    old, new = seen.old_position, seen.new_position
    different = [name for name, value in seen.old_limits.items() if seen.new_limits.get(name, 0) != value]
    lag = seen.sender.replay_lag_bytes if seen.sender else None
    return [
        Check(
            "one primary",
            not old.in_recovery and new.in_recovery and seen.recorded_primary == seen.old,
            f"{seen.old} is {_role(old)}, {seen.new} is {_role(new)}, the record names {seen.recorded_primary}",
            "spokectl status",
        ),
        Check(
            "same cluster",
            old.system_identifier == new.system_identifier,
            f"system identifiers {old.system_identifier} and {new.system_identifier}",
            f"spokectl postgres reinit {seen.new} --discard",
        ),
        Check(
            "guards act",
            not seen.silent,
            "both do" if not seen.silent else f"the guard of {' and of '.join(seen.silent)} says nothing",
            f"spokectl restart {' '.join(seen.silent)}" if seen.silent else "",
        ),
        Check(
            "room on the disks",
            not seen.full,
            _room(seen),
            f"spokectl kill {seen.old}" if list(seen.full) == [seen.old] else "make room there",
        ),
        Check(
            "standby streams",
            seen.sender is not None and new.receiving,
            "it does"
            if seen.sender is not None and new.receiving
            else f"{seen.old} has no standby that streams"
            if seen.sender is None
            else f"{seen.new} receives nothing",
            f"spokectl start {seen.new}",
        ),
        Check(
            "protection",
            _protected(seen),
            f"the record says {seen.mode}" + (", but no commit waits for the standby" if _waits_for_nobody(seen) else ""),
            f"spokectl start {seen.new}",
        ),
        Check(
            "lag",
            lag is not None and lag <= MAX_LAG_BYTES,
            "unknown" if lag is None else f"{lag} bytes to replay (at most {MAX_LAG_BYTES})",
            "wait until the standby has caught up",
        ),
        Check(
            "replay runs",
            not new.replay_paused,
            "paused" if new.replay_paused else "it does",
            f"spokectl exec {seen.new} -- psql -U postgres -c 'SELECT pg_wal_replay_resume()'",
        ),
        Check(
            "no base backup",
            old.base_backups == 0,
            f"{old.base_backups} under way",
            "wait until it has ended: the primary cannot stop before",
        ),
        Check(
            "same limits",
            not different,
            "equal on both"
            if not different
            else ", ".join(f"{name}: {seen.old_limits[name]} and {seen.new_limits.get(name)}" for name in different),
            "spokectl up",
        ),
    ]


def switchover_warnings(seen: Measured) -> list[str]:
    """What does not forbid a switchover, but somebody will notice it."""
    old = seen.old_position
    said = []
    if old.long_transactions:
        said.append(f"{old.long_transactions} transactions that have run for over 30 s are broken off")
    if old.prepared_transactions:
        said.append(f"{old.prepared_transactions} prepared transactions go on waiting on the new primary")
    return said


@dataclass(frozen=True)
class Risk:
    """What a failover may lose. `bytes_` is None where it cannot be known, and a lower bound where `at_least`."""

    bytes_: int | None
    at_least: bool
    refused: str
    """Why it is not done without being told to lose writes; empty where nothing stands in the way."""

    @property
    def sentence(self) -> str:
        if self.bytes_ is None:
            return "an unknown number of bytes"
        return f"{'at least ' if self.at_least else ''}{self.bytes_} bytes"


def failover_risk(record: Mapping[str, object], last_known: int | None, received: int | None, limit_bytes: int) -> Risk:
    """What is lost when the standby becomes primary without the old one.

    `last_known`: where the lost primary's WAL ended when it was last seen; `received`: what the standby has. With a record
    that says synchronous the standby has every acknowledged write; a difference was never acknowledged.
    """
    mode = record["mode"]
    if mode == "synchronous":
        return Risk(0, at_least=False, refused="")
    known = None if last_known is None or received is None else max(0, last_known - received)
    if mode == "degraded":
        since = f" {record['since_lsn']}" if record.get("since_lsn") else ""
        risk = Risk(known, at_least=True, refused="")
        return Risk(
            known,
            True,
            f"replication has been degraded since {record['time']}: acknowledged writes after{since or ' that'} are on "
            f"{record['primary']} only ({risk.sentence} of WAL)",
        )
    if known is None or known > limit_bytes:
        risk = Risk(known, at_least=True, refused="")
        return Risk(known, True, f"replication is asynchronous, and {risk.sentence} would be lost (limit: {limit_bytes})")
    return Risk(known, at_least=True, refused="")


def _waits_for_nobody(seen: Measured) -> bool:
    return seen.mode == "synchronous" and seen.sender is not None and not seen.sender.synchronous


def _protected(seen: Measured) -> bool:
    return seen.mode == ("synchronous" if seen.wants_synchronous else "asynchronous") and not _waits_for_nobody(seen)


def _room(seen: Measured) -> str:
    if not seen.full:
        return "there is some"
    way_out = f", or kill {seen.old} and fail over" if list(seen.full) == [seen.old] else ""
    return f"none left for {' and '.join(seen.full)}: make some{way_out}"


def _role(position: Position) -> str:
    return "standby" if position.in_recovery else "primary"
