"""Stops, kills and restarts in every order: the same data in the same roles."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys

import pytest

from tests.integration.guard.nodes import Node, Pair, wait_for

pytestmark = pytest.mark.integration


def words(node: Node) -> list[str]:
    return node.sql("SELECT word FROM written ORDER BY word").split()


def test_a_pair_stopped_and_started_in_every_order_is_whole_again(pair: Pair) -> None:
    primary, replica = pair.primary, pair.replica
    for stops in ((primary, replica), (replica, primary)):
        for starts in ((primary, replica), (replica, primary)):
            assert [node.stop() for node in stops] == [0, 0]
            assert [node.server_pids() for node in stops] == [[], []]
            assert [node.status()["state"] for node in stops] == ["stopped", "stopped"]
            starts[0].start()
            starts[0].wait_for_state("running", "primary" if starts[0] is primary else "standby")
            starts[1].start()
            pair.wait_until_whole()
            assert words(primary) == words(replica) == ["first"]
    assert pair.record()["epoch"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux's parent-death signal")
def test_a_killed_guard_takes_its_server_with_it(pair: Pair) -> None:
    for node in pair:
        node.kill()
        wait_for(f"end of the server of {node.name}", lambda node=node: not node.server_pids(), 20)  # type: ignore[misc]
    pair.start()
    pair.wait_until_whole()
    assert words(pair.replica) == ["first"]


def test_a_killed_postmaster_ends_the_guard_and_the_next_one_recovers(pair: Pair) -> None:
    for node in pair:
        os.kill(node.postmaster_pid(), signal.SIGKILL)
        assert node.guard.wait(60) == 1
        assert node.status()["code"] == "server-ended"
        node.start()
    pair.wait_until_whole()
    assert words(pair.replica) == ["first"]


def test_everything_killed_at_once_comes_back_with_every_acknowledged_row(pair: Pair) -> None:
    pair.primary.sql("INSERT INTO written VALUES ('second')")
    for node in pair:
        node.kill_everything()
    pair.start()
    pair.wait_until_whole()
    assert words(pair.primary) == ["first", "second"]


def test_a_server_that_a_dead_guard_left_behind_is_stopped_first(pair: Pair) -> None:
    node = pair.primary
    assert node.stop() == 0
    pid_file = node.data / "postmaster.pid"
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    with node.log.open("ab") as log:
        orphan = subprocess.Popen(
            ["postgres", "-D", str(node.data)], env=node.environ, cwd="/", user=user, stdout=log, stderr=log
        )
    try:
        wait_for("a leftover server", lambda: pid_file.exists() and "ready" in pid_file.read_text())
        node.start()
        pair.wait_until_whole()
        assert orphan.wait(20) is not None
        assert "a dead guard had left running" in node.log.read_text()
    finally:
        orphan.kill()
        orphan.wait()


def test_a_second_guard_of_one_data_directory_waits_for_the_first(pair: Pair) -> None:
    first = pair.primary.guard
    pair.primary.start()
    second = pair.primary.guard
    try:
        wait_for("a waiting guard", lambda: "another guard has" in pair.primary.log.read_text())
        assert pair.primary.sql("SELECT 1") == "1"
        second.terminate()
        assert second.wait(20) == 0
    finally:
        first.terminate()
        first.wait(60)


def test_a_file_that_names_a_foreign_process_as_the_server_hurts_nobody(pair: Pair) -> None:
    node = pair.primary
    assert node.stop() == 0
    stale = f"{os.getpid()}\n{node.data}\n0\n{node.port}\n{node.run_dir}\n\n\nready\n"
    for path in (node.data / "postmaster.pid", node.run_dir / f".s.PGSQL.{node.port}.lock"):
        path.write_text(stale)
    node.start()
    pair.wait_until_whole()


def test_a_broken_record_changes_nothing_while_running_and_is_refused_at_start(pair: Pair) -> None:
    good = pair.record_path.read_text()
    pair.record_path.write_text("{half")
    pair.primary.wait_for_state("running", "primary", code="record-unreadable")
    pair.primary.stop()
    pair.primary.start()
    pair.primary.wait_for_state("refused", code="record-unreadable")
    assert not pair.primary.server_pids()
    pair.record_path.write_text(good)
    pair.wait_until_whole()
