"""A kill in the middle of initdb, base backup or rewind is seen and done again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.guard.failovers import diverge, name_replica_and_promote, waiting_commit
from tests.integration.guard.nodes import Node, Pair, wait_for

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


def kill_when_there_is(node: Node, path: Path) -> None:
    wait_for(str(path), path.exists)
    node.kill()


def test_an_interrupted_initdb_is_done_again(fresh: Pair) -> None:
    unfinished = fresh.primary.data.with_name("data.new")
    fresh.primary.start()
    kill_when_there_is(fresh.primary, unfinished)
    assert fresh.record()["system_identifier"] is None
    assert not fresh.primary.data.exists()
    fresh.start()
    fresh.wait_until_whole()
    assert not unfinished.exists()


def test_a_claim_interrupted_after_initdb_is_completed_with_the_same_data(pair: Pair) -> None:
    identifier = pair.record()["system_identifier"]
    for node in pair:
        node.stop()
    pair.change_record(system_identifier=None)
    pair.start()
    pair.wait_until_whole()
    assert pair.record()["system_identifier"] == identifier
    assert pair.primary.sql("SELECT word FROM written") == "first"


def test_an_interrupted_base_backup_is_done_again(fresh: Pair) -> None:
    unfinished = fresh.replica.data.with_name("data.new")
    fresh.start()
    kill_when_there_is(fresh.replica, unfinished)
    assert not fresh.replica.data.exists()
    fresh.replica.start()
    fresh.wait_until_whole()
    assert not unfinished.exists()


def test_an_interrupted_rewind_ends_in_a_base_backup(pair: Pair) -> None:
    diverge(pair)
    mark = pair.primary.data.with_name("data.rewinding")
    pair.primary.start()
    kill_when_there_is(pair.primary, mark)
    assert mark.exists()
    pair.primary.start()
    pair.primary.wait_for_state("running", "standby")
    pair.primary.wait_until_streaming()
    assert "a rewind was interrupted: copying from postgres-replica" in pair.primary.log.read_text()
    assert not mark.exists()
    assert list(pair.primary.data.parent.glob("data.divergent-*/0000*"))


def rejoin_with_another_pg_rewind(pair: Pair, script: str) -> None:
    shims = pair.root / "shims"
    shims.mkdir()
    (shims / "pg_rewind").write_text("#!/bin/sh\n" + script)
    (shims / "pg_rewind").chmod(0o755)
    pair.primary.environ["PATH"] = f"{shims}:{pair.primary.environ['PATH']}"
    pair.primary.start()
    pair.primary.wait_for_state("running", "standby")
    pair.primary.wait_until_streaming()


def test_a_rewind_that_fails_ends_in_a_base_backup(pair: Pair) -> None:
    diverge(pair)
    rejoin_with_another_pg_rewind(pair, "echo pg_rewind: error: no luck >&2\nexit 1\n")
    assert "pg_rewind failed (exit code 1): pg_rewind: error: no luck" in pair.primary.log.read_text()


def test_a_rewind_that_finds_nothing_to_do_ends_in_a_base_backup(pair: Pair) -> None:
    """It was done again and again, and with each round one more folder of saved WAL replaced an older one."""
    diverge(pair)
    rejoin_with_another_pg_rewind(pair, "echo pg_rewind: no rewind required >&2\n")
    assert "pg_rewind has changed nothing" in pair.primary.log.read_text()


def test_an_old_primary_that_was_stopped_while_it_recovered_from_a_crash_is_rewound(pair: Pair) -> None:
    # Much to replay, so that there is time for a stop in the middle of it.
    pair.primary.sql(
        "CREATE TABLE much AS SELECT g, md5(g::text) FROM generate_series(1, 300000) AS g; CREATE INDEX ON much (md5)"
    )
    pair.replica.stop()
    with waiting_commit(pair.primary, "INSERT INTO written VALUES ('only here')"):
        pair.primary.kill_everything()
    pair.primary.environ["SPOKE_POSTGRES_DEGRADE_AFTER"] = "never"
    for _ in range(5):
        stop_while_it_starts(pair.primary)
        if pair.primary.control_state() == "shut down in recovery":
            break
        pair.primary.start()
        pair.primary.wait_for_state("running", "primary")
        pair.primary.kill_everything()
    assert pair.primary.control_state() == "shut down in recovery"
    pair.replica.start()
    pair.replica.wait_for_state("running", "standby")
    name_replica_and_promote(pair)
    pair.primary.start()
    pair.primary.wait_for_state("running", "standby")
    pair.primary.wait_until_streaming()
    log = pair.primary.log.read_text()
    assert "rewound to" in log
    assert "pg_rewind has changed nothing" not in log
    assert pair.primary.sql("SELECT word FROM written") == "first"


def stop_while_it_starts(node: Node) -> None:
    """Stops guard and server in good order while the server replays its WAL after a crash."""
    node.start()
    wait_for("a guard", lambda: node.is_mine(node.status()))
    wait_for("a server", lambda: node.control_state() == "in crash recovery" or node.status().get("role") == "primary")
    assert node.stop() == 0
