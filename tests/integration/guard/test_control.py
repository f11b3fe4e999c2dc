"""What operations ask of a guard beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.guard.failovers import name_replica_and_promote
from tests.integration.guard.nodes import Node, Pair

pytestmark = pytest.mark.integration


def asked(node: Node, *arguments: str) -> dict[str, Any]:
    done = node.ask_guard(*arguments)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_status_shows_node_peer_and_record(shared: Pair) -> None:
    answer = asked(shared.primary, "status")
    assert answer["guard_alive"] is True
    assert (answer["status"]["role"], answer["peer"]["role"]) == ("primary", "standby")
    assert answer["record"]["primary"] == "postgres-primary"
    assert answer["status"]["server_pid"] == shared.primary.postmaster_pid()


def test_a_demoted_primary_is_down_with_proof_and_comes_back_by_rejoin(pair: Pair) -> None:
    answer = asked(pair.primary, "demote")
    assert answer["control"]["state"] == "shut down"
    assert answer["control"]["timeline"] == 1
    assert "/" in answer["control"]["checkpoint_lsn"]
    assert not pair.primary.server_pids()
    assert pair.primary.guard.poll() is None
    assert asked(pair.primary, "rejoin")["role"] == "primary"
    pair.wait_until_whole()
    server = pair.primary.postmaster_pid()
    assert asked(pair.primary, "rejoin")["server_pid"] == server


def test_a_demoted_primary_whose_guard_restarts_stays_read_only_until_rejoin(pair: Pair) -> None:
    asked(pair.primary, "demote")
    pair.primary.stop()
    pair.primary.start()
    pair.primary.wait_for_state("running", "standby", code="move-unfinished")
    with pytest.raises(RuntimeError, match="read-only transaction"):
        pair.primary.sql("INSERT INTO written VALUES ('second')")
    assert asked(pair.primary, "rejoin")["role"] == "primary"
    pair.wait_until_whole()
    assert pair.primary.sql("INSERT INTO written VALUES ('second') RETURNING word") == "second"


def test_a_switchover_moves_the_role_and_back_without_a_rewind(pair: Pair) -> None:
    asked(pair.primary, "demote")
    name_replica_and_promote(pair)
    assert asked(pair.primary, "rejoin")["role"] == "standby"
    pair.primary.wait_until_streaming()
    assert "rewound" not in pair.primary.log.read_text()
    asked(pair.replica, "demote")
    asked(pair.primary, "name-primary", "postgres-primary", "--expect-epoch", "2")
    assert pair.primary.sql("SELECT pg_promote(true, 60)", user="spoke_operator") == "t"
    assert asked(pair.replica, "rejoin")["role"] == "standby"
    pair.wait_until_whole()
    assert pair.record()["epoch"] == 3


def test_a_demoted_standby_is_down_with_proof_and_comes_back(pair: Pair) -> None:
    assert asked(pair.replica, "demote")["control"]["state"] == "shut down in recovery"
    assert asked(pair.replica, "rejoin")["role"] == "standby"
    pair.wait_until_whole()


def test_a_standby_is_copied_anew_when_asked_and_a_primary_is_not(pair: Pair) -> None:
    inode = pair.replica.data.stat().st_ino
    assert asked(pair.replica, "reinit")["role"] == "standby"
    pair.wait_until_whole()
    assert pair.replica.data.stat().st_ino != inode
    refused = pair.primary.ask_guard("reinit", "--discard")
    assert refused.returncode == 1
    assert "nothing to copy from" in refused.stderr


def test_a_guard_that_is_not_running_is_said_to_be_so(pair: Pair) -> None:
    pair.primary.stop()
    done = pair.primary.ask_guard("demote")
    assert done.returncode == 1
    assert "is not running" in done.stderr


def test_a_record_at_another_epoch_is_not_changed(shared: Pair) -> None:
    done = shared.primary.ask_guard("name-primary", "postgres-replica", "--expect-epoch", "7")
    assert done.returncode == 1
    assert "epoch 1, expected 7" in done.stderr
    assert shared.record()["epoch"] == 1


@pytest.mark.parametrize("arguments", [("promote",), ("demote", "--timeout", "soon"), ("name-primary",), ()])
def test_what_it_does_not_understand_is_answered_with_the_usage(shared: Pair, arguments: tuple[str, ...]) -> None:
    done = shared.primary.ask_guard(*arguments)
    assert done.returncode == 2
    assert "usage: guard.py run" in done.stderr
