"""From a server's answer to facts, from facts to the rows that a person reads."""

import json
from dataclasses import replace
from typing import Any

import pytest

from spokectl.clients.postgres_answers import facts, sessions
from spokectl.clients.redis_answers import fields, redis_facts, sentinel_facts, version
from spokectl.facts import Follower, Sessions
from spokectl.model import Kind
from spokectl.operations.endpoints import Endpoint
from spokectl.operations.health import disk_is_full
from spokectl.operations.observe import StatusData
from spokectl.operations.outlook import outlook
from spokectl.operations.postgres.lag import Lag, lags
from spokectl.operations.postgres.observe import PostgresStatus, slot_rows
from spokectl.output import databases
from spokectl.output.stack import print_status
from tests.unit.statuses import (
    PRIMARY,
    RECORD,
    SLOT,
    STANDBY,
    STREAMING,
    down,
    master,
    primary,
    replica,
    sentinel,
    service,
    standby,
)

DOCUMENT: dict[str, Any] = {
    "timeline": 2,
    "lsn": "0/304E1C0",
    "replay_lsn": None,
    "replay_lag_bytes": None,
    "replay_age_s": None,
    "replay_paused": False,
    "free_mib": None,
    "started_at": "2026-11-25T03:03:09.133473+00:00",
    "commits_wait": True,
    "connections_used": 8,
    "connections_max": 200,
    "connections_reserved": 6,
    "receiver": None,
    "followers": [
        {
            "name": "spoke_standby",
            "state": "streaming",
            "sync_state": "quorum",
            "sent_lsn": "0/304E1C0",
            "write_lag_bytes": -8,
            "flush_lag_bytes": 16,
            "replay_lag_bytes": 24,
            "write_lag_s": None,
            "flush_lag_s": 0.25,
            "replay_lag_s": 0.5,
            "silent_s": -0.001,
        }
    ],
    "slots": None,
}


def test_a_primary_s_answer_becomes_facts_and_no_lag_is_below_zero() -> None:
    found = facts(b"f", json.dumps(DOCUMENT).encode())
    assert (found.role, found.timeline, found.lsn, found.connections_allowed) == ("primary", 2, "0/304E1C0", 194)
    follower = Follower("spoke_standby", "streaming", "quorum", "0/304E1C0", 0, 16, 24, None, 0.25, 0.5, 0)
    assert (found.followers, found.slots, found.receiver) == ((follower,), (), None)


def test_the_room_that_the_guard_tells_of_is_known_in_bytes_and_short_of_two_segments_the_disk_is_full() -> None:
    told = facts(b"f", json.dumps(DOCUMENT | {"free_mib": 31}).encode())
    assert told.free_bytes == 31 << 20
    assert disk_is_full(told.free_bytes)
    assert not disk_is_full(32 << 20)
    assert not disk_is_full(facts(b"f", json.dumps(DOCUMENT).encode()).free_bytes)


def test_a_standby_s_answer_names_its_sender() -> None:
    receiver = {"status": "streaming", "sender": "127.0.0.1:5432", "slot": None, "silent_s": 0.5}
    found = facts(b"t", json.dumps(DOCUMENT | {"receiver": receiver, "followers": None, "replay_age_s": 3.5}).encode())
    assert found.receiver is not None
    assert (found.role, found.receiver.sender, found.receiver.slot, found.replay_age_s) == (
        "standby",
        "127.0.0.1:5432",
        "",
        3.5,
    )


def test_sessions_are_read_with_the_age_of_their_oldest_transaction() -> None:
    rows = [
        [b"spoke", b"spoke", b"spoke-1", b"127.0.0.1", b"active", b"2", b"1.5"],
        [b"a", b"", b"", b"local", b"", b"1", b""],
    ]
    assert sessions(rows) == [
        Sessions("spoke", "spoke", "spoke-1", "127.0.0.1", "active", 2, 1.5),
        Sessions("a", "", "", "local", "", 1, None),
    ]


INFO = """# Server\r
redis_version:7.0.15\r
uptime_in_seconds:90\r
# Memory\r
used_memory:1048576\r
maxmemory:0\r
maxmemory_policy:noeviction\r
evicted_keys:3\r
role:master\r
connected_slaves:1\r
slave0:ip=10.0.0.2,port=6380,state=online,offset=990,lag=1\r
master_repl_offset:1000\r
db0:keys=7,expires=0,avg_ttl=0\r
"""


def test_info_of_a_master_says_how_far_each_replica_is_behind() -> None:
    found = redis_facts(fields(INFO))
    [seen] = found.replicas
    assert (found.role, found.offset, found.memory_limit_bytes, found.evicted_keys, found.keys) == (
        "master",
        1000,
        None,
        3,
        7,
    )
    assert (seen.service, seen.state, seen.lag_bytes, seen.silent_s) == ("10.0.0.2:6380", "online", 10, 1)


def test_info_of_a_replica_says_since_when_its_link_is_down() -> None:
    info = "role:slave\nslave_repl_offset:5\nmaster_link_status:down\nmaster_link_down_since_seconds:12\nconnected_slaves:0"
    found = redis_facts(fields(info))
    assert (found.role, found.offset, found.link, found.link_down_s, found.replicas) == ("replica", 5, "down", 12, ())


@pytest.mark.parametrize(
    ("info", "expected"), [(INFO, "7.0.15"), ("redis_version:7.2.4\nvalkey_version:9.1.2", "9.1.2 (Valkey)"), ("", "")]
)
def test_a_valkey_says_so_with_its_own_version(info: str, expected: str) -> None:
    assert version(fields(info)) == expected


def test_a_sentinel_counts_itself_among_the_sentinels_it_knows() -> None:
    words = [
        "name",
        "m",
        "flags",
        "master,s_down",
        "config-epoch",
        "4",
        "num-other-sentinels",
        "2",
        "num-slaves",
        "1",
        "quorum",
        "2",
    ]
    found = sentinel_facts(words, {"sentinel_tilt": "1", "uptime_in_seconds": "60"})
    assert (found.epoch, found.sentinels, found.replicas, found.quorum) == (4, 3, 1, 2)
    assert (found.flags, found.tilt, found.uptime_s) == ("master,s_down", True, 60)


def test_the_primary_measures_the_lag_of_its_standby_by_the_standby_s_name() -> None:
    follower = replace(STREAMING, flush_lag_bytes=16)
    [row] = lags([primary(replace(PRIMARY, followers=(follower,))), standby()])
    assert (row.service, row.measured_by, row.sync_state) == ("postgres-replica", "postgres-primary", "quorum")
    assert (row.flush_lag_bytes, row.replay_lag_s) == (16, 0.003)


def test_a_standby_that_is_not_connected_is_measured_against_the_primary_s_position() -> None:
    lost = replace(STANDBY, receiver=None, lsn="0/3000000", replay_lsn="0/2FFFFF0", replay_age_s=9.5)
    [row] = lags([primary(replace(PRIMARY, followers=())), standby(lost, "unhealthy", "it receives no WAL from a primary")])
    assert (row.state, row.flush_lag_bytes, row.replay_lag_bytes, row.replay_lag_s) == ("not receiving", 256, 272, 9.5)
    assert row.reason == "it receives no WAL from a primary"


def test_a_standby_alone_measures_what_it_has_not_replayed() -> None:
    alone = replace(STANDBY, receiver=None, replay_lag_bytes=64, replay_age_s=20.0)
    gone, row = lags([down("postgres-primary"), standby(alone)])
    assert gone == Lag("postgres-primary", "down", "", "", None, None, None, None, None, None, "stopped by hand")
    assert (row.measured_by, row.flush_lag_bytes, row.replay_lag_bytes, row.replay_lag_s) == (
        "postgres-replica",
        None,
        64,
        20.0,
    )


def test_a_base_backup_beside_the_standby_is_a_row_of_its_own() -> None:
    backup = replace(STREAMING, name="pg_basebackup", state="backup")
    rows = lags([primary(replace(PRIMARY, followers=(backup, STREAMING))), standby()])
    assert [(row.service, row.state) for row in rows] == [("pg_basebackup", "backup"), ("postgres-replica", "streaming")]


def test_a_slot_that_nobody_uses_is_pointed_at_and_a_silent_node_is_a_row() -> None:
    unused = primary(replace(PRIMARY, slots=(replace(SLOT, active=False, retained_bytes=4096),)))
    [row] = slot_rows(unused)
    assert (row.slot, row.active, row.retained_bytes) == ("replica_slot", False, 4096)
    assert "nobody uses it" in row.reason
    assert [row.reason for row in slot_rows(down("postgres-replica"))] == ["stopped by hand"]


def test_the_status_is_one_screen_that_ends_with_what_would_happen(capsys: pytest.CaptureFixture[str]) -> None:
    services = [
        service("spoke-1", Kind.SPOKE, "instance"),
        primary(),
        down("postgres-replica"),
        master(),
        replica(),
        sentinel(1),
    ]
    points = [
        Endpoint("PostgreSQL", "postgres-primary", "postgresql://localhost:5432", "primary"),
        Endpoint("PostgreSQL", "", "postgresql://localhost:5432,localhost:5433/spoke", "primary"),
        Endpoint("Redis", "redis-replica", "redis://localhost:6380", "replica"),
        Endpoint("Redis", "redis-master", "redis://localhost:6379", "master"),
    ]
    print_status(StatusData("spoke", "local", services, None, points, outlook("spoke", services, RECORD)))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert lines[:2] == [
        "PostgreSQL  postgresql://localhost:5432,localhost:5433/spoke",
        "Redis       redis://localhost:6379",
    ]
    tables = [line.split()[0] for line in lines if line.split(" ")[0].isupper()]
    assert tables == ["SERVICE", "POSTGRESQL", "REDIS", "SENTINEL"]
    assert lines[-2].startswith("if postgres-primary dies: nobody can take over (postgres-replica is down)")
    assert lines[-1].startswith("if redis-master dies: the Sentinels make redis-replica the master")


def test_a_status_of_some_services_shows_only_these(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(StatusData("spoke", "local", [service("spoke-1", Kind.SPOKE, "instance")], None, [], []))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["SERVICE", "spoke-1"]


def test_every_database_table_has_a_row_for_a_server_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [primary(), down("postgres-replica")]
    databases.print_postgres_status(PostgresStatus(nodes, RECORD, []))
    databases.print_lags(lags(nodes))
    databases.print_redis([master(), down("redis-replica", Kind.REDIS)])
    databases.print_redis_info([master(), down("redis-replica", Kind.REDIS, "no answer")])
    databases.print_sentinels([sentinel(1), down("redis-sentinel-2", Kind.SENTINEL, "no answer")])
    out = capsys.readouterr().out
    assert "cluster record: postgres-primary is primary, synchronous, epoch 1; changed by postgres-primary at 2026" in out
    assert [line.split()[1] for line in out.splitlines() if line.startswith("postgres-replica")] == ["down", "down"]
    assert out.count("redis-replica  down") == 2
    assert "redis-sentinel-2  down" in out
    assert out.count("no answer") == 2
    assert "1.0 MiB/48.0 MiB" in out
