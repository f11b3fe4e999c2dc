"""An old primary comes back after the role has moved; a role is moved by hand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.integration.guard.failovers import diverge, name_replica_and_promote
from tests.integration.guard.nodes import Node, Pair, wait_for

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


def saved_wal(node: Node) -> list[Path]:
    return list(node.data.parent.glob("data.divergent-*/0000*"))


def words_are(node: Node, words: list[str]) -> None:
    wait_for(f"{words} on {node.name}", lambda: node.sql("SELECT word FROM written ORDER BY word").split("\n") == words)


def wait_until_swapped(pair: Pair) -> None:
    pair.replica.wait_for_state("running", "primary")
    pair.primary.wait_for_state("running", "standby")
    pair.primary.wait_until_streaming()


def test_an_old_primary_that_was_stopped_cleanly_follows_without_a_rewind(pair: Pair) -> None:
    pair.primary.stop()
    name_replica_and_promote(pair)
    pair.replica.sql("INSERT INTO written VALUES ('second')")
    pair.primary.start()
    wait_until_swapped(pair)
    words_are(pair.primary, ["first", "second"])
    assert not saved_wal(pair.primary)
    assert "rewound" not in pair.primary.log.read_text()
    assert pair.primary.sql("SELECT count(*) FROM pg_replication_slots") == "0"


@pytest.mark.parametrize("kind", ["asynchronous_pair", "pair"])
def test_an_old_primary_that_has_diverged_is_rewound_and_its_wal_kept(kind: str, request: pytest.FixtureRequest) -> None:
    pair: Pair = request.getfixturevalue(kind)
    diverge(pair, pair.mode)
    pair.primary.start()
    wait_until_swapped(pair)
    words_are(pair.primary, ["after", "first"])
    assert saved_wal(pair.primary)
    assert re.search(r"the data here holds \d+ bytes of WAL after 0/", pair.primary.log.read_text())
    assert not pair.primary.data.with_name("data.rewinding").exists()
    # And the other way round: what was rewound is a full node.
    assert pair.primary.sql("SHOW primary_slot_name; SHOW cluster_name").split() == ["replica_slot", "postgres-primary"]


def test_an_old_primary_with_unprotected_writes_refuses_until_they_are_discarded(pair: Pair) -> None:
    diverge(pair, "degraded")
    pair.primary.start()
    status = pair.primary.wait_for_state("refused", code="diverged-unprotected")
    assert re.search(r"holds \d+ bytes of WAL", status["message"])
    assert status["command"] == "spokectl postgres reinit postgres-primary --discard"
    assert not pair.primary.server_pids()
    refused = pair.primary.ask_guard("reinit")
    assert refused.returncode == 1
    assert "--discard" in refused.stderr
    assert not saved_wal(pair.primary)
    told = status["divergent"]
    assert (told["timeline"], told["kept_in"], told["epoch"]) == (1, None, pair.record()["epoch"])
    assert told["bytes"] > 0
    done = pair.primary.ask_guard("reinit", "--discard")
    assert done.returncode == 0, done.stderr
    wait_until_swapped(pair)
    # Discarded, but not gone.
    kept = pair.primary.status()["divergent"]
    assert kept == {**told, "kept_in": kept["kept_in"]}
    assert kept["kept_in"] in [str(path.parent) for path in saved_wal(pair.primary)]
    assert f"{told['bytes']} bytes of WAL that only this node had (timeline 1, " in pair.primary.log.read_text()
    words_are(pair.primary, ["after", "first"])


def test_an_old_primary_waits_without_a_server_while_the_new_one_is_down(pair: Pair) -> None:
    diverge(pair)
    pair.replica.stop()
    pair.primary.start()
    pair.primary.wait_for_state("waiting", code="peer-pending")
    assert not pair.primary.server_pids()
    pair.replica.start()
    wait_until_swapped(pair)


def test_a_running_primary_that_the_record_no_longer_names_stops_and_joins(pair: Pair) -> None:
    record = pair.record()
    pair.change_record(
        primary="postgres-replica",
        epoch=2,
        moved_from={"primary": "postgres-primary", "mode": "synchronous", "since_lsn": None},
    )
    pair.primary.wait_for_state("waiting", code="peer-pending")
    assert not pair.primary.server_pids()
    assert pair.replica.sql("SELECT pg_promote(true, 60)", user="spoke_operator") == "t"
    wait_until_swapped(pair)
    assert record["epoch"] == 1


def test_a_promotion_by_hand_of_a_synchronous_copy_ends_in_one_primary(pair: Pair) -> None:
    pair.replica.sql("SELECT pg_promote(true, 60)", user="spoke_operator")
    wait_until_swapped(pair)
    record = pair.wait_for_mode("synchronous")
    assert (record["primary"], record["epoch"]) == ("postgres-replica", 2)
    assert (record["moved_from"]["primary"], record["moved_from"]["mode"]) == ("postgres-primary", "synchronous")
    assert record["changed_by"] == "postgres-replica"
    assert "the record now names this node (epoch 2)" in pair.replica.log.read_text()


def test_a_promotion_by_hand_of_an_asynchronous_copy_is_undone(asynchronous_pair: Pair) -> None:
    pair = asynchronous_pair
    pair.replica.sql("SELECT pg_promote(true, 60)", user="spoke_operator")
    wait_for("a rewind", lambda: "rewound to" in pair.replica.log.read_text())
    assert "acknowledged writes could be lost" in pair.replica.log.read_text()
    pair.wait_until_whole()
    assert pair.primary.sql("INSERT INTO written VALUES ('second') RETURNING word") == "second"
    words_are(pair.replica, ["first", "second"])
    assert (pair.record()["primary"], pair.record()["epoch"]) == ("postgres-primary", 1)
