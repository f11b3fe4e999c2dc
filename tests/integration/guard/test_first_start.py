"""The first start of both nodes."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.integration.guard.nodes import PASSWORDS, Pair, wait_for

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration
NASTY = "p'a\"s\\s:$%@/# {}é;--`"


def row_arrives(pair: Pair, word: str) -> None:
    pair.primary.sql(f"CREATE TABLE IF NOT EXISTS written (word text); INSERT INTO written VALUES ('{word}')")

    def arrived() -> bool:
        try:
            return word in pair.replica.sql("SELECT word FROM written").split()
        except RuntimeError:
            return False

    wait_for(f"row {word} on the replica", arrived)


def test_both_nodes_started_at_once_become_a_replicating_pair(fresh: Pair) -> None:
    fresh.start()
    fresh.wait_until_whole()
    row_arrives(fresh, "second")
    record = fresh.record()
    assert (record["format"], record["epoch"], record["primary"], record["mode"]) == (
        1,
        1,
        "postgres-primary",
        "synchronous",
    )
    assert record["system_identifier"] == fresh.replica.status()["system_identifier"]
    assert fresh.primary.sql("SELECT slot_name, active FROM pg_replication_slots") == "replica_slot|t"
    assert fresh.primary.sql("SELECT application_name FROM pg_stat_replication", user="spoke_operator") == "spoke_standby"
    assert fresh.primary.sql("SHOW server_encoding; SHOW data_checksums; SHOW wal_level").split() == [
        "UTF8",
        "on",
        "replica",
    ]
    assert {path.name for path in fresh.primary.data.parent.iterdir()} == {"data", "data.lock", "run"}


def test_roles_have_the_rights_that_they_need_and_no_more(shared: Pair) -> None:
    sql = shared.primary.sql
    assert sql("SELECT rolname FROM pg_roles WHERE rolsuper") == "postgres"
    assert sql("SELECT pg_has_role('spoke', 'pg_monitor', 'USAGE')") == "t"
    rights = "SELECT has_function_privilege('spoke_operator', oid, 'EXECUTE') FROM pg_proc WHERE proname = 'pg_promote'"
    assert sql(rights) == "t"
    sql("CHECKPOINT", user="spoke_operator")
    with pytest.raises(RuntimeError, match="permission denied"):
        sql("SELECT pg_promote()")
    with pytest.raises(RuntimeError, match="password authentication failed"):
        sql("SELECT 1", password="wrong")
    with pytest.raises(RuntimeError, match="rejects connection"):
        sql("SELECT 1", user="postgres", password="")


def test_the_socket_asks_for_no_password_and_is_open_to_the_servers_user_only(shared: Pair) -> None:
    socket = shared.primary.run_dir / f".s.PGSQL.{shared.primary.port}"
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    argv = [
        "psql",
        "-h",
        str(shared.primary.run_dir),
        "-p",
        str(shared.primary.port),
        "-U",
        "spoke",
        "-d",
        "spoke",
        "-Atwc",
        "SELECT 1",
    ]
    done = subprocess.run(argv, env=shared.primary.environ, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_no_password_is_seen_in_arguments_logs_or_shared_files(shared: Pair) -> None:
    seen = ["\0".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    seen += [node.log.read_text() for node in shared]
    seen += [path.read_text() for path in (shared.root / "cluster").iterdir()]
    text = "\n".join(seen)
    assert not [secret for secret in PASSWORDS.values() if secret in text]


def test_the_servers_environment_holds_no_password(shared: Pair) -> None:
    environ = psutil.Process(shared.primary.postmaster_pid()).environ()
    assert not [name for name in environ if name.startswith("SPOKE_")]


def test_passwords_with_special_characters_work_everywhere(binaries: Path, root: Path) -> None:
    pair = Pair(root, binaries, **dict.fromkeys(PASSWORDS, NASTY))
    try:
        pair.start()
        pair.wait_until_whole()
        row_arrives(pair, "nasty")
        pair.primary.sql("CHECKPOINT", user="spoke_operator")
        assert NASTY not in "".join(node.log.read_text() for node in pair)
    finally:
        pair.end()


def test_a_folder_too_deep_for_a_socket_costs_only_the_socket(binaries: Path, root: Path) -> None:
    deep = root / ("d" * 80)
    pair = Pair(deep, binaries)
    try:
        pair.start()
        pair.wait_until_whole()
        row_arrives(pair, "deep")
    finally:
        pair.end()


def test_a_replica_that_comes_first_waits_for_the_primary(fresh: Pair) -> None:
    fresh.replica.start()
    fresh.replica.wait_for_state("waiting", code="record-pending")
    fresh.primary.start()
    fresh.wait_until_whole()


def test_extra_arguments_reach_the_server(fresh: Pair) -> None:
    fresh.primary.start("-c", "work_mem=8MB")
    fresh.primary.wait_for_state("running", "primary")
    assert fresh.primary.sql("SHOW work_mem") == "8MB"


def test_a_stop_while_it_waits_ends_the_guard_at_once(fresh: Pair) -> None:
    fresh.replica.start()
    fresh.replica.wait_for_state("waiting")
    assert fresh.replica.stop(timeout_s=10) == 0
    assert fresh.replica.status()["state"] == "stopped"


def test_a_taken_port_ends_the_guard_so_that_its_supervisor_sees_it(fresh: Pair) -> None:
    fresh.primary.environ["SPOKE_POSTGRES_PORT"] = str(fresh.replica.port)
    fresh.replica.environ["SPOKE_POSTGRES_FIRST_ROLE"] = "primary"
    fresh.replica.environ["SPOKE_POSTGRES_CLUSTER_DIR"] = str(fresh.root / "other")
    fresh.replica.start()
    wait_for("a listener", lambda: f"port {fresh.replica.port}" in fresh.replica.tail())
    fresh.primary.start()
    assert fresh.primary.guard.wait(60) == 1
    assert (fresh.primary.status()["state"], fresh.primary.status()["code"]) == ("failed", "server-ended")
    assert "Address already in use" in fresh.primary.tail()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be refused for being root")
def test_root_without_another_user_to_run_as_is_told_what_to_set(fresh: Pair) -> None:
    del fresh.primary.environ["SPOKE_RUN_AS"]
    fresh.primary.start()
    assert fresh.primary.guard.wait(60) == 2
    assert "SPOKE_RUN_AS" in fresh.primary.tail()
