"""What a PostgreSQL node, a Redis node and a Sentinel say of themselves, once asked: plain facts, judged elsewhere."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Follower:
    """One connection that takes WAL from this node. Lags are behind the node's own position; a None is not known.

    The times are PostgreSQL's own: how long the last writes took to reach each stage, null when nothing was written lately.
    """

    name: str
    state: str
    sync_state: str
    sent_lsn: str | None
    write_lag_bytes: int | None
    flush_lag_bytes: int | None
    replay_lag_bytes: int | None
    write_lag_s: float | None
    flush_lag_s: float | None
    replay_lag_s: float | None
    silent_s: float | None
    """Since its last word; a standby speaks once a second."""

    @property
    def protects(self) -> bool:
        """Whether a commit that waits may count on it."""
        return self.state == "streaming" and self.sync_state in {"sync", "quorum"}


@dataclass(frozen=True)
class Slot:
    """`retained_bytes`: WAL kept for it. `safe_bytes`: what may be written before it is lost, None when unlimited."""

    name: str
    type: str
    active: bool
    restart_lsn: str | None
    retained_bytes: int | None
    wal_status: str | None
    safe_bytes: int | None


@dataclass(frozen=True)
class Receiver:
    """Where a standby takes its WAL from, and how long ago it last heard from there."""

    status: str
    sender: str
    slot: str
    silent_s: float | None


@dataclass(frozen=True)
class Sessions:
    """Client connections of one kind; `oldest_transaction_s` is None when none of them is in a transaction."""

    user: str
    database: str
    application: str
    client: str
    state: str
    count: int
    oldest_transaction_s: float | None


@dataclass(frozen=True)
class PostgresFacts:
    """`lsn`: written here (primary), received here (standby). `commits_wait`: none is acknowledged before a standby has it.

    `replay_age_s`: since the last transaction that a standby replayed was committed: an upper bound of its lag.
    `connections_allowed`: for everybody; `connections_reserved` of `connections_max` are kept for operators.
    `free_bytes`: the room on the disk of its data, in whole MiB; None where its guard has not said it.
    `replay_paused`: somebody told a standby to keep what it receives, and not to apply it.
    """

    role: str
    timeline: int | None
    lsn: str | None
    replay_lsn: str | None
    replay_lag_bytes: int | None
    replay_age_s: float | None
    server_started_at: datetime | None
    commits_wait: bool
    connections_used: int
    connections_max: int
    connections_reserved: int
    receiver: Receiver | None
    followers: tuple[Follower, ...]
    slots: tuple[Slot, ...]
    free_bytes: int | None = None
    replay_paused: bool = False

    @property
    def connections_allowed(self) -> int:
        return self.connections_max - self.connections_reserved


@dataclass(frozen=True)
class RedisReplica:
    """A replica as its master sees it; `service` is its address until it has been given its name."""

    service: str
    state: str
    offset: int
    lag_bytes: int
    silent_s: float


@dataclass(frozen=True)
class RedisFacts:
    """`offset`: how far the node's replication stream has come. `link`: a replica's, up or down, since `link_down_s`.

    `memory_limit_bytes` is None when there is no limit.
    """

    role: str
    offset: int
    link: str
    link_down_s: int | None
    replicas: tuple[RedisReplica, ...]
    memory_used_bytes: int
    memory_limit_bytes: int | None
    memory_policy: str
    evicted_keys: int
    keys: int
    hits: int
    misses: int
    clients: int
    uptime_s: int


@dataclass(frozen=True)
class SentinelFacts:
    """What a Sentinel knows of its master: `flags` as it writes them, `epoch` of the master's configuration.

    `sentinels` counts itself. In `tilt` it takes no decisions, because its clock jumped.
    """

    epoch: int
    quorum: int
    sentinels: int
    replicas: int
    flags: str
    failover: str
    tilt: bool
    uptime_s: int


Facts = PostgresFacts | RedisFacts | SentinelFacts
