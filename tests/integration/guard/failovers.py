"""Moves of the primary role as an operator does them, for the tests of what the guards make of them."""

from __future__ import annotations

from tests.integration.guard.nodes import Pair, wait_for


def name_replica_and_promote(pair: Pair) -> None:
    """Names the replica primary in the record, then promotes it: the order of every failover."""
    epoch = str(pair.record()["epoch"])
    done = pair.replica.ask_guard("name-primary", pair.replica.name, "--expect-epoch", epoch, "--reason", "test")
    assert done.returncode == 0, done.stderr
    assert pair.replica.sql("SELECT pg_promote(true, 60)", user="spoke_operator") == "t"
    pair.replica.wait_for_state("running", "primary")
    # The guard of whichever node is primary makes the slot that the other one needs.
    wait_for("the slot", lambda: pair.replica.sql("SELECT slot_name FROM pg_replication_slots"))


def diverge(pair: Pair, mode: str = "asynchronous") -> None:
    """Has the primary write a row that the replica never gets, kills it, and makes the replica primary."""
    pair.replica.stop()
    pair.primary.sql("INSERT INTO written VALUES ('only here')")
    pair.primary.kill_everything()
    pair.change_record(mode=mode)
    pair.replica.start()
    pair.replica.wait_for_state("running", "standby")
    name_replica_and_promote(pair)
    pair.replica.sql("INSERT INTO written VALUES ('after')")
