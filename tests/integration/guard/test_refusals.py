"""What the guard does not decide alone, and how an operator's word ends the refusal."""

from __future__ import annotations

import subprocess

import pytest

from tests.integration.guard.failovers import name_replica_and_promote
from tests.integration.guard.nodes import Node, Pair

pytestmark = pytest.mark.integration


def wipe(node: Node) -> None:
    node.stop()
    subprocess.run(["rm", "-rf", str(node.data)], check=True)
    node.start()


def test_a_primary_whose_data_is_gone_refuses_until_the_role_moves_then_copies(pair: Pair) -> None:
    wipe(pair.primary)
    status = pair.primary.wait_for_state("refused", code="primary-data-gone")
    assert status["command"] == "spokectl failover postgres"
    assert not pair.primary.data.exists()
    name_replica_and_promote(pair)
    pair.primary.wait_for_state("running", "standby")
    pair.primary.wait_until_streaming()
    assert pair.primary.sql("SELECT word FROM written") == "first"


def test_a_replica_whose_data_is_gone_copies_it_again(pair: Pair) -> None:
    wipe(pair.replica)
    pair.wait_until_whole()
    assert pair.replica.sql("SELECT word FROM written") == "first"


def test_data_without_a_record_is_refused_by_both_until_one_is_adopted(pair: Pair) -> None:
    for node in pair:
        node.stop()
    pair.record_path.unlink()
    pair.start()
    for node in pair:
        status = node.wait_for_state("refused", code="record-missing")
        assert status["command"] == f"spokectl postgres adopt {node.name}"
        assert not node.server_pids()
    done = pair.primary.ask_guard("adopt", "--by", "operator")
    assert done.returncode == 0, done.stderr
    pair.wait_until_whole()
    again = pair.primary.ask_guard("adopt")
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_data_of_another_cluster_is_refused_before_anything_else(pair: Pair) -> None:
    for node in pair:
        node.stop()
    pair.change_record(system_identifier="7000000000000000001")
    pair.start()
    for node in pair:
        node.wait_for_state("refused", code="foreign-data")
        assert not node.server_pids()


def test_data_of_another_major_version_is_refused_with_both_versions(pair: Pair) -> None:
    pair.replica.stop()
    (pair.replica.data / "PG_VERSION").write_text("16\n")
    pair.replica.start()
    status = pair.replica.wait_for_state("refused", code="other-version")
    assert "PostgreSQL 16" in status["message"]


def test_files_that_are_no_cluster_are_left_alone(fresh: Pair) -> None:
    fresh.primary.data.mkdir(parents=True)
    (fresh.primary.data / "diary.txt").write_text("mine")
    fresh.primary.start()
    fresh.primary.wait_for_state("refused", code="strange-data")
    assert (fresh.primary.data / "diary.txt").read_text() == "mine"
    assert not fresh.record_path.exists()
