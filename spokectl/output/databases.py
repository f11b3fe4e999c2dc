"""How a person reads PostgreSQL's and Redis's own facts: a table each, the exact numbers stay in --json."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spokectl.facts import PostgresFacts, RedisFacts, SentinelFacts, Sessions
from spokectl.operations.health import ServiceStatus
from spokectl.operations.outlook import Outlook
from spokectl.operations.postgres.guard import ClusterRecord
from spokectl.operations.postgres.lag import Lag, lags
from spokectl.output.streams import print_table, print_text
from spokectl.printable import printable
from spokectl.units import human_bytes, human_seconds

if TYPE_CHECKING:  # `status` needs none of these
    from spokectl.operations.postgres.observe import Connections, PostgresStatus, SlotRow
    from spokectl.operations.redis.observe import RedisStatus


def print_postgres(nodes: Sequence[ServiceStatus]) -> None:
    """One line a node: position, how far behind, whether commits wait for it, connections, what its slots keep."""
    by_service = {lag.service: lag for lag in lags(nodes)}
    print_table(
        ["POSTGRESQL", "ROLE", "TIMELINE", "LSN", "WRITE LAG", "FLUSH LAG", "REPLAY LAG", "SYNC", "CONNECTIONS", "SLOTS"],
        [_postgres_row(node, by_service.get(node.service)) for node in nodes],
    )


def _postgres_row(node: ServiceStatus, lag: Lag | None) -> list[object]:
    facts = node.facts
    if not isinstance(facts, PostgresFacts):
        return [node.service, node.role or node.health, *[None] * 8]
    slots = ", ".join(f"{slot.name} {_slot_state(slot.active)} {_size(slot.retained_bytes)}" for slot in facts.slots)
    waits = "commits wait" if facts.commits_wait else "commits do not wait"
    behind = _behind(lag) if lag else [None, None, None]
    used = f"{facts.connections_used}/{facts.connections_allowed}"
    return [node.service, facts.role, facts.timeline, facts.lsn, *behind, lag.sync_state if lag else waits, used, slots]


def _slot_state(active: bool) -> str:
    return "keeps" if active else "unused, keeps"


def print_postgres_status(status: "PostgresStatus") -> None:
    print_postgres(status.nodes)
    sys.stdout.write("\n")
    print_record(status.record)
    print_outlook(status.outlook)


def print_record(record: ClusterRecord | None) -> None:
    if record is None:
        sys.stdout.write("cluster record: none that a guard could be asked for\n")
        return
    since = f" since {record.since_lsn}" if record.since_lsn else ""
    text = (
        f"cluster record: {record.primary} is primary, {record.mode}{since}, epoch {record.epoch}; "
        f"changed by {record.changed_by} at {record.time}: {record.reason}"
    )
    sys.stdout.write(printable(text) + "\n")


def print_outlook(found: Sequence[Outlook]) -> None:
    for each in found:
        print_text(each.sentence)


def print_lags(rows: Sequence[Lag]) -> None:
    print_table(
        ["STANDBY", "STATE", "SYNC", "WRITE LAG", "FLUSH LAG", "REPLAY LAG", "MEASURED BY", "REASON"],
        [[row.service, row.state, row.sync_state, *_behind(row), row.measured_by, row.reason] for row in rows],
    )


def _behind(lag: Lag) -> list[str]:
    return [
        _lag(lag.write_lag_bytes, lag.write_lag_s),
        _lag(lag.flush_lag_bytes, lag.flush_lag_s),
        _lag(lag.replay_lag_bytes, lag.replay_lag_s),
    ]


def _lag(count: int | None, seconds: float | None) -> str:
    parts = [human_bytes(count)] if count is not None else []
    return ", ".join(parts + ([human_seconds(seconds)] if seconds is not None else []))


def print_slots(rows: "Sequence[SlotRow]") -> None:
    print_table(
        ["NODE", "SLOT", "TYPE", "ACTIVE", "RESTART LSN", "RETAINED WAL", "LOST AFTER", "WAL STATUS", "REASON"],
        [
            [
                row.service,
                row.slot,
                row.type,
                {True: "yes", False: "no", None: ""}[row.active],
                row.restart_lsn,
                _size(row.retained_bytes),
                _size(row.safe_bytes),
                row.wal_status,
                row.reason,
            ]
            for row in rows
        ],
    )


def print_connections(nodes: "Sequence[Connections]") -> None:
    print_table(
        ["NODE", "ROLE", "USED", "ALLOWED", "RESERVED", "REASON"],
        [[node.service, node.role, node.used, node.allowed, node.reserved, node.reason] for node in nodes],
    )
    groups = [(node.service, group) for node in nodes for group in node.sessions]
    if groups:
        sys.stdout.write("\n")
        print_table(
            ["NODE", "USER", "DATABASE", "APPLICATION", "CLIENT", "STATE", "COUNT", "OLDEST TRANSACTION"],
            [
                [name, each.user, each.database, each.application, each.client, each.state, each.count, _age(each)]
                for name, each in groups
            ],
        )


def print_redis(nodes: Sequence[ServiceStatus]) -> None:
    """One line a node: how far its replication has come, and what it holds."""
    behind = {each.service: each.lag_bytes for node in nodes for each in getattr(node.facts, "replicas", ())}
    print_table(
        ["REDIS", "ROLE", "OFFSET", "BEHIND", "LINK", "MEMORY", "EVICTED", "KEYS", "CLIENTS"],
        [_redis_row(node, behind.get(node.service)) for node in nodes],
    )


def _redis_row(node: ServiceStatus, behind: int | None) -> list[object]:
    facts = node.facts
    if not isinstance(facts, RedisFacts):
        return [node.service, node.role or node.health, *[None] * 7]
    link = f"{facts.link} for {human_seconds(facts.link_down_s)}" if facts.link_down_s is not None else facts.link
    held = [_memory(facts), facts.evicted_keys, facts.keys, facts.clients]
    return [node.service, node.role, facts.offset, _size(behind), link, *held]


def print_sentinels(sentinels: Sequence[ServiceStatus]) -> None:
    print_table(
        ["SENTINEL", "MASTER", "CAN ACT", "EPOCH", "QUORUM", "SENTINELS", "REPLICAS", "FLAGS", "REASON"],
        [_sentinel_row(each) for each in sentinels],
    )


def _sentinel_row(each: ServiceStatus) -> list[object]:
    facts = each.facts
    if not isinstance(facts, SentinelFacts):
        return [each.service, each.master or each.health, *[None] * 6, each.reason]
    flags = ", ".join([facts.flags, *([facts.failover] if facts.failover else []), *(["tilt"] if facts.tilt else [])])
    known = [facts.epoch, facts.quorum, facts.sentinels, facts.replicas, flags]
    return [each.service, each.master, "yes" if each.ok and not facts.tilt else "no", *known, each.reason]


def print_redis_status(status: "RedisStatus") -> None:
    print_redis(status.nodes)
    sys.stdout.write("\n")
    print_sentinels(status.sentinels)
    sys.stdout.write("\n")
    print_outlook(status.outlook)


def print_redis_info(nodes: Sequence[ServiceStatus]) -> None:
    print_table(
        ["NODE", "ROLE", "MEMORY", "POLICY", "EVICTED", "KEYS", "HITS", "MISSES", "CLIENTS", "UP", "REASON"],
        [_info_row(node) for node in nodes],
    )


def _info_row(node: ServiceStatus) -> list[object]:
    facts = node.facts
    if not isinstance(facts, RedisFacts):
        return [node.service, node.role or node.health, *[None] * 8, node.reason]
    counts = [facts.evicted_keys, facts.keys, facts.hits, facts.misses, facts.clients]
    up = human_seconds(facts.uptime_s)
    return [node.service, node.role, _memory(facts), facts.memory_policy, *counts, up, node.reason]


def _memory(facts: RedisFacts) -> str:
    limit = human_bytes(facts.memory_limit_bytes) if facts.memory_limit_bytes else "no limit"
    return f"{human_bytes(facts.memory_used_bytes)}/{limit}"


def _size(count: int | None) -> str:
    return "" if count is None else human_bytes(count)


def _age(group: Sessions) -> str:
    return "" if group.oldest_transaction_s is None else human_seconds(group.oldest_transaction_s)
