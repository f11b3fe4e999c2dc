"""Moves of the primary role as an operator does them, for the tests of what the guards make of them."""

from __future__ import annotations

import select
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from tests.integration.guard.nodes import Node, Pair, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg


def name_replica_and_promote(pair: Pair) -> None:
    """Names the replica primary in the record, then promotes it: the order of every failover."""
    epoch = str(pair.record()["epoch"])
    done = pair.replica.ask_guard("name-primary", pair.replica.name, "--expect-epoch", epoch, "--reason", "test")
    assert done.returncode == 0, done.stderr
    assert pair.replica.sql("SELECT pg_promote(true, 60)", user="spoke_operator") == "t"
    pair.replica.wait_for_state("running", "primary")
    # The guard of whichever node is primary makes the slot that the other one needs.
    wait_for("the slot", lambda: pair.replica.sql("SELECT slot_name FROM pg_replication_slots"))


def diverge(pair: Pair, mode: str = "synchronous") -> None:
    """Has the primary write a row that the replica never gets, kills it, and makes the replica primary.

    In which mode the row was written is what the old primary goes by: only a synchronous one was not acknowledged.
    """
    insert = "INSERT INTO written VALUES ('only here')"
    pair.replica.stop()
    if mode == "synchronous":
        with waiting_commit(pair.primary, insert):
            pair.primary.kill_everything()
    else:
        pair.wait_for_mode(mode)
        pair.primary.sql(insert)
        pair.primary.kill_everything()
    pair.replica.start()
    pair.replica.wait_for_state("running", "standby")
    name_replica_and_promote(pair)
    pair.replica.sql("INSERT INTO written VALUES ('after')")


@contextmanager
def waiting_commit(node: Node, statement: str) -> Iterator[psycopg.Connection[Any]]:
    """Sends a statement whose commit waits for the standby, and gives its connection once it does."""
    with closing(node.connect()) as connection:
        connection.pgconn.send_query(statement.encode())
        waits = "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND wait_event = 'SyncRep'"
        wait_for("commit that waits", lambda: node.sql(waits.format(connection.info.backend_pid)) == "1")
        yield connection


def is_answered(connection: psycopg.Connection[Any]) -> bool:
    """Whether the statement sent has been answered, with success or by the loss of the connection."""
    if select.select([connection.fileno()], [], [], 0)[0]:
        connection.pgconn.consume_input()
    return not connection.pgconn.is_busy()
