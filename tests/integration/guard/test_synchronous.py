"""Commits wait for the standby: what is acknowledged survives, and the record says when it would not."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.direct_writers import Writers, writing
from tests.integration.guard.failovers import is_answered, waiting_commit
from tests.integration.guard.nodes import Node, Pair, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration
SECOND = "INSERT INTO written VALUES ('second')"


def words(node: Node) -> set[str]:
    return set(node.sql("SELECT word FROM written").split("\n"))


def wait_for_writes(writers: Writers, node: Node, more: int = 30) -> None:
    goal = writers.count(node.name) + more
    wait_for(f"{more} more writes on {node.name}", lambda: writers.count(node.name) >= goal)


def replication(node: Node) -> dict[str, Any]:
    shown: dict[str, Any] = node.status()["replication"]
    return shown


@contextmanager
def frozen(node: Node, *, guard_alone: bool = False) -> Iterator[None]:
    """Freezes guard and server, as a paused container is."""
    pids = [node.guard.pid, *([] if guard_alone else node.server_pids())]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def locked_record(pair: Pair) -> Iterator[None]:
    """Holds the lock that every writer of the record takes."""
    descriptor = os.open(pair.record_path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def test_a_standby_that_is_gone_is_given_up_loudly_and_taken_back_when_it_has_everything(pair: Pair) -> None:
    pair.replica.stop()
    with waiting_commit(pair.primary, SECOND) as connection:
        record = pair.wait_for_mode("degraded")
        wait_for("end of the wait", lambda: is_answered(connection))
    assert (record["primary"], record["epoch"]) == ("postgres-primary", 1)
    status = pair.primary.wait_for_state("running", "primary", code="degraded")
    assert f"writes since {record['since_lsn']} are not on the standby" in status["message"]
    assert status["command"] == "spokectl start postgres-replica"
    assert (status["replication"]["since_lsn"], status["replication"]["standby"]) == (record["since_lsn"], None)
    lacking = f"SELECT pg_current_wal_lsn() > '{record['since_lsn']}'"
    assert pair.primary.sql(lacking) == "t"
    pair.replica.start()
    pair.wait_until_whole()
    assert pair.record()["since_lsn"] is None
    wait_for("a quiet status", lambda: pair.primary.status()["code"] == "")
    assert (replication(pair.primary)["commits_wait"], replication(pair.primary)["standby"]) == (True, "streaming")
    pair.primary.sql("INSERT INTO written VALUES ('third')")
    assert pair.replica.sql("SELECT pg_last_wal_receive_lsn() > '0/0'") == "t"


def test_a_frozen_standby_is_given_up_as_a_dead_one_is(pair: Pair) -> None:
    with frozen(pair.replica):
        assert pair.primary.sql(f"{SECOND} RETURNING word") == "second"
        assert pair.record()["mode"] == "degraded"
    pair.wait_until_whole()


def test_no_commit_is_let_go_while_the_record_cannot_say_so(pair: Pair) -> None:
    with locked_record(pair):
        pair.replica.stop()
        with waiting_commit(pair.primary, SECOND) as connection:
            wait_for("a refused change", lambda: "was not free" in pair.primary.log.read_text())
            assert not is_answered(connection)
            assert pair.primary.sql("SHOW synchronous_standby_names") == "ANY 1 (spoke_standby)"
            assert pair.record()["mode"] == "synchronous"
    pair.wait_for_mode("degraded")


def test_a_standby_that_must_never_be_given_up_is_waited_for(binaries: Path, root: Path, stopped_root: Path) -> None:
    subprocess.run(["cp", "-a", f"{stopped_root}/.", str(root)], check=True)
    pair = Pair(root, binaries, SPOKE_POSTGRES_DEGRADE_AFTER="never")
    try:
        pair.start()
        pair.wait_until_whole()
        pair.replica.stop()
        with waiting_commit(pair.primary, SECOND) as connection:
            # Longer than the default, after which it would have been given up.
            gone = pair.primary.sql("SELECT clock_timestamp() + interval '7 s'")
            wait_for("seven seconds", lambda: pair.primary.sql(f"SELECT clock_timestamp() > '{gone}'") == "t")
            assert not is_answered(connection)
            assert pair.record()["mode"] == "synchronous"
            pair.replica.start()
            wait_for("the answer", lambda: is_answered(connection))
        assert "second" in words(pair.primary)
    finally:
        pair.end()


def test_a_primary_restarted_without_its_standby_acknowledges_nothing_before_the_record_says_degraded(pair: Pair) -> None:
    for node in pair:
        node.kill_everything()
    pair.primary.start()
    pair.primary.wait_for_state("running", "primary")
    assert pair.primary.sql(f"{SECOND} RETURNING word") == "second"
    assert pair.record()["mode"] == "degraded"
    pair.replica.start()
    pair.wait_until_whole()


def test_a_promotion_by_hand_under_load_loses_nothing_and_ends_with_one_primary(pair: Pair) -> None:
    with writing(*pair.targets) as writers:
        wait_for_writes(writers, pair.primary)
        pair.replica.sql("SELECT pg_promote(true, 60)", user="spoke_operator")
        wait_for_writes(writers, pair.replica)
        pair.primary.wait_for_state("running", "standby")
        pair.wait_for_mode("synchronous")
        wait_for_writes(writers, pair.replica)
    record = pair.record()
    assert (record["primary"], record["epoch"]) == ("postgres-replica", 2)
    assert set(writers.acknowledged) <= words(pair.replica)
    assert pair.primary.sql("SELECT pg_is_in_recovery()") == "t"


def test_an_old_primary_frozen_during_the_promotion_acknowledges_nothing_when_it_thaws(pair: Pair) -> None:
    with writing(*pair.targets) as writers:
        wait_for_writes(writers, pair.primary)
        with frozen(pair.primary):
            pair.replica.sql("SELECT pg_promote(true, 60)", user="spoke_operator")
            wait_for_writes(writers, pair.replica)
        pair.primary.wait_for_state("running", "standby")
        pair.wait_for_mode("synchronous")
    assert set(writers.acknowledged) <= words(pair.replica)


def test_a_promoted_node_that_the_record_refuses_has_acknowledged_nothing(asynchronous_pair: Pair) -> None:
    pair = asynchronous_pair
    with writing(*pair.targets) as writers:
        wait_for_writes(writers, pair.primary)
        # Without waiting for it: the guard may end the server before it has answered.
        pair.replica.sql("SELECT pg_promote(false)", user="spoke_operator")
        wait_for("a refusal", lambda: "acknowledged writes could be lost" in pair.replica.log.read_text())
        pair.replica.wait_for_state("running", "standby")
        wait_for_writes(writers, pair.primary)
    assert writers.count(pair.replica.name) == 0
    assert set(writers.acknowledged) <= words(pair.primary)


def test_a_promotion_whose_guard_comes_too_late_is_undone_and_has_acknowledged_nothing(pair: Pair) -> None:
    with writing(*pair.targets) as writers:
        wait_for_writes(writers, pair.primary)
        with frozen(pair.replica, guard_alone=True):
            pair.replica.sql("SELECT pg_promote(true, 60)", user="spoke_operator")
            pair.wait_for_mode("degraded")
            wait_for_writes(writers, pair.primary)
        wait_for("a refusal", lambda: "acknowledged writes could be lost" in pair.replica.log.read_text())
        pair.wait_until_whole()
        wait_for_writes(writers, pair.primary)
    assert (pair.record()["primary"], pair.record()["epoch"]) == ("postgres-primary", 1)
    assert writers.count(pair.replica.name) == 0
    assert set(writers.acknowledged) <= words(pair.primary)


def test_killed_guards_lose_no_acknowledged_write_whichever_comes_back_first(pair: Pair) -> None:
    with writing(pair.primary.target) as writers:
        for killed, first in ((pair.primary, pair.primary), (pair.replica, pair.replica), (None, pair.replica)):
            wait_for_writes(writers, pair.primary)
            for node in pair if killed is None else (killed,):
                node.kill()
                wait_for(f"end of the server of {node.name}", lambda node=node: not node.server_pids())  # type: ignore[misc]
            first.start()
            if killed is None:
                pair.primary.start()
            pair.wait_until_whole()
        wait_for_writes(writers, pair.primary)
    assert set(writers.acknowledged) <= words(pair.primary)
    wait_for("the standby to have all", lambda: set(writers.acknowledged) <= words(pair.replica))


def test_switching_synchronous_replication_off_and_on_is_written_down_first(pair: Pair) -> None:
    for setting, mode in (("off", "asynchronous"), ("on", "synchronous")):
        for node in pair:
            node.stop()
            node.environ["SPOKE_POSTGRES_SYNCHRONOUS"] = setting
        pair.mode = mode
        pair.start()
        pair.wait_until_whole()
        wanted = "ANY 1 (spoke_standby)" if setting == "on" else ""
        wait_for("the setting", lambda wanted=wanted: pair.primary.sql("SHOW synchronous_standby_names") == wanted)  # type: ignore[misc]


def test_a_setting_that_takes_the_wait_away_behind_the_guard_is_found_and_said(pair: Pair) -> None:
    socket_login = ["psql", "-XAtqw", "-h", str(pair.primary.run_dir), "-p", str(pair.primary.port), "-U", "postgres"]
    for statement in ("ALTER SYSTEM SET synchronous_commit = 'local'", "SELECT pg_reload_conf()"):
        pair.primary.run_program(*socket_login, "-d", "postgres", "-c", statement)
    record = pair.wait_for_mode("degraded")
    assert "set elsewhere" in record["reason"]
    for statement in ("ALTER SYSTEM RESET synchronous_commit", "SELECT pg_reload_conf()"):
        pair.primary.run_program(*socket_login, "-d", "postgres", "-c", statement)
    pair.wait_for_mode("synchronous")


def test_an_argument_that_sets_what_only_the_guard_may_set_is_refused(fresh: Pair) -> None:
    fresh.primary.start("-c", "synchronous_standby_names=*")
    assert fresh.primary.guard.wait(60) == 2
    assert "use SPOKE_POSTGRES_SYNCHRONOUS" in fresh.primary.log.read_text()
