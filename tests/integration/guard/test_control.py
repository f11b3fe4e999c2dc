"""What operations ask of a guard beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.guard.failovers import name_replica_and_promote
from tests.integration.guard.nodes import Node, Pair, wait_for

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


def test_a_console_answers_one_request_a_line_and_ends_with_its_input(shared: Pair) -> None:
    requests = ['{"command": "status"}', "no JSON", '{"command": "erase"}', '{"command": "status", "colour": 1}']
    requests.append('{"command": "name-primary", "node": "n", "expected_epoch": 99, "by": "b", "reason": "r"}')
    done = shared.primary.ask_guard("console", stdin="".join(f"{line}\n" for line in requests))
    assert done.returncode == 0, done.stderr
    first, *others = [json.loads(line) for line in done.stdout.splitlines()]
    assert first["ok"]["record"]["primary"] == "postgres-primary"
    assert [list(answer) for answer in others] == [["error"]] * 4
    assert "expected 99" in others[-1]["error"]
    assert asked(shared.primary, "status")["record"] == first["ok"]["record"]


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


def test_a_standby_that_the_record_names_is_not_opened_by_rejoin(pair: Pair) -> None:
    """On the old primary's timeline nobody would see that it lacks the last of what that one wrote."""
    pair.primary.stop()
    asked(pair.replica, "name-primary", "postgres-replica", "--expect-epoch", "1")
    pair.replica.wait_for_state("running", "standby", code="move-unfinished")
    for demoted in (False, True):
        if demoted:
            asked(pair.replica, "demote")
        refused = pair.replica.ask_guard("rejoin")
        assert refused.returncode == 1
        assert "type: spokectl failover postgres" in refused.stderr
        pair.replica.wait_for_state("running", "standby", code="move-unfinished")
    assert pair.replica.sql("SELECT pg_promote(true, 60)", user="spoke_operator") == "t"
    assert pair.replica.wait_for_state("running", "primary")["timeline"] == 2


def test_a_held_node_is_freed_by_the_restart_that_its_guard_names(pair: Pair) -> None:
    assert asked(pair.primary, "demote")["command"] == "spokectl restart postgres-primary"
    name_replica_and_promote(pair)
    pair.primary.stop()
    pair.primary.start()
    pair.primary.wait_for_state("running", "standby")
    pair.primary.wait_until_streaming()
    # It has been a standby since: what was its own once says nothing any more.
    pair.replica.stop()
    asked(pair.primary, "name-primary", "postgres-primary", "--expect-epoch", "2")
    assert pair.primary.ask_guard("rejoin").returncode == 1
    assert pair.primary.sql("SELECT pg_is_in_recovery()") == "t"


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


def test_a_proof_in_another_form_is_shown_as_a_failure_and_asked_for_again(pair: Pair) -> None:
    shims = pair.root / "shims"
    shims.mkdir()
    pair.primary.environ["PATH"] = f"{shims}:{pair.primary.environ['PATH']}"
    pair.primary.stop()
    pair.primary.start()
    pair.wait_until_whole()
    (shims / "pg_controldata").write_text("#!/bin/sh\necho pg_control: all is well\n")
    (shims / "pg_controldata").chmod(0o755)
    failed = pair.primary.ask_guard("demote")
    assert failed.returncode == 1
    assert "pg_controldata says what cannot be understood" in failed.stderr
    (shims / "pg_controldata").unlink()
    assert pair.primary.wait_for_state("held")["control"]["state"] == "shut down"


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


def test_a_copy_is_begun_by_a_conversation_and_the_status_says_when_it_is_in_place(pair: Pair) -> None:
    inode = pair.replica.data.stat().st_ino
    done = pair.replica.ask_guard("console", stdin='{"command": "begin-reinit", "discard": false}\n')
    request = json.loads(done.stdout)["ok"]["request"]
    wait_for("a copy", lambda: pair.replica.status().get("copied") == request)
    pair.wait_until_whole()
    assert pair.replica.data.stat().st_ino != inode


def test_data_that_cannot_be_read_is_copied_anew_only_when_it_may_be_discarded(pair: Pair) -> None:
    control = pair.replica.data / "global" / "pg_control"
    pair.replica.stop()
    # The system identifier stays, all that follows is nonsense.
    control.write_bytes(control.read_bytes()[:8] + bytes(8184))
    pair.replica.start()
    pair.replica.wait_for_state("failed")
    refused = pair.replica.ask_guard("reinit")
    assert refused.returncode == 1
    assert "the guard failed" in refused.stderr
    wait_for("an answer", lambda: pair.replica.ask_guard("reinit", "--discard").returncode == 0)
    pair.wait_until_whole()


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
