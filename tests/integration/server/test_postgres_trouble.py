"""What the server says and does while PostgreSQL is away, slow or waiting."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import psycopg
import pytest

from tests.integration.server.backends import HOST, PASSWORD, PostgresNode, Spoke, spoke_environment, wait_for
from tests.integration.server.fixtures import Stack
from tests.ports import free_ports

pytestmark = pytest.mark.integration

Pair = tuple[PostgresNode, PostgresNode, Spoke]


def test_an_instance_that_nobody_asks_for_anything_is_ready_again_after_a_failover(pair: Pair) -> None:
    primary, standby, spoke = pair
    primary.stop(signal.SIGKILL)
    standby.sql("SELECT pg_promote()")
    spoke.wait_until_ready()


def sessions(node: PostgresNode, spoke: Spoke) -> dict[int, str]:
    """The instance's sessions on a node, and the last statement of each."""
    return dict(node.sql("SELECT pid, query FROM pg_stat_activity WHERE application_name = %s", spoke.name))


def wait_for_heir(standby: PostgresNode, spoke: Spoke) -> set[int]:
    """The sessions that wait on the standby: one that watches it, one for writes and one for reads."""

    def waiting() -> set[int]:
        spoke.health("ready")  # nobody else asks it for anything that would show the loss
        found = sessions(standby, spoke)
        return set(found) if len(found) >= 3 else set()

    return set(wait_for(waiting, "sessions on the standby"))


def test_the_first_write_after_a_promotion_has_a_session_that_was_there_before(pair: Pair) -> None:
    primary, standby, spoke = pair
    primary.stop(signal.SIGKILL)
    before = wait_for_heir(standby, spoke)
    standby.sql("SELECT pg_promote()")
    assert httpx.post(f"{spoke.url}/modules", json={"name": "m"}, timeout=30).status_code == 201
    wrote = {pid for pid, query in sessions(standby, spoke).items() if query == "COMMIT"}
    assert wrote & before, (before, sessions(standby, spoke))


def test_a_primary_that_comes_back_itself_is_found_and_the_standby_is_left_alone(pair: Pair) -> None:
    primary, standby, spoke = pair
    primary.stop(signal.SIGKILL)
    wait_for_heir(standby, spoke)
    primary.start()
    spoke.wait_until_ready()
    assert httpx.post(f"{spoke.url}/modules", json={"name": "m"}, timeout=30).status_code == 201
    wait_for(lambda: not sessions(standby, spoke), "the sessions on the standby to end")


def test_a_standby_is_followed_while_the_old_primary_hangs(pair: Pair) -> None:
    primary, standby, spoke = pair
    assert primary.process is not None
    server = psutil.Process(primary.process.pid)
    # Sessions have processes of their own, which would go on by themselves.
    frozen = [server, *server.children(recursive=True)]
    for process in frozen:
        process.suspend()
    try:
        wait_for_heir(standby, spoke)
        standby.sql("SELECT pg_promote()")
        spoke.wait_until_ready()
        assert httpx.post(f"{spoke.url}/modules", json={"name": "m"}, timeout=30).status_code == 201
    finally:
        for process in frozen:
            process.resume()


def test_a_missing_primary_is_one_short_line_that_is_not_repeated(pair: Pair) -> None:
    primary, standby, spoke = pair
    primary.stop(signal.SIGKILL)
    wait_for(lambda: spoke.health("ready").status_code == 503, "the loss to be noticed")
    expected = (
        f"no PostgreSQL primary answers (127.0.0.1:{primary.port}: connection refused; 127.0.0.1:{standby.port}: standby)"
    )

    def message() -> str:
        return str(spoke.health("ready").json()["dependencies"]["database"].get("message"))

    wait_for(lambda: message() == expected, expected)
    write = httpx.post(f"{spoke.url}/modules", json={"name": "m"}, headers=received_s_ago(14), timeout=30)
    assert (write.status_code, write.json()["error"]) == (503, expected)
    # By then it has looked a dozen times.
    assert spoke.log.count("no PostgreSQL primary") == 1, spoke.log


def received_s_ago(seconds: float) -> dict[str, str]:
    return {"X-Spoke-Received": f"{time.time() - seconds:.3f}"}


def test_a_write_given_up_while_it_waits_for_the_standby_stays_invisible(pair: Pair) -> None:
    primary, standby, spoke = pair
    assert httpx.post(f"{spoke.url}/modules", json={"name": "before"}, timeout=30).status_code == 201
    standby.stop(signal.SIGINT)
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.sql("SELECT pg_reload_conf()")
    wait_for(lambda: primary.sql("SHOW synchronous_standby_names") == [("*",)], "the setting to count")
    given_up = httpx.post(f"{spoke.url}/modules", json={"name": "unprotected"}, headers=received_s_ago(13.5), timeout=30)
    assert given_up.status_code == 503
    # Cancelling the wait would make PostgreSQL show what no standby has; a failover would take it away again.
    for _ in range(20):
        assert primary.sql("SELECT count(*) FROM modules WHERE name = 'unprotected'") == [(0,)]
        time.sleep(0.02)
    primary.sql("ALTER SYSTEM RESET synchronous_standby_names")
    primary.sql("SELECT pg_reload_conf()")
    again = httpx.post(f"{spoke.url}/modules", json={"name": "unprotected"}, timeout=30)
    assert again.status_code == 201


def test_reads_end_at_their_deadline_however_many_wait(stack: Stack) -> None:
    with socket.create_server((HOST, 0)) as silent:
        # The kernel takes connections, nobody answers on them.
        address = f"postgresql://spoke@{HOST}:{silent.getsockname()[1]}/postgres"
        spoke = stack.spoke(SPOKE_POSTGRES_URL=address, SPOKE_POSTGRES_TIMEOUT="3s").begin().wait_until_alive()

        def read(_: int) -> tuple[int, float]:
            started_s = time.monotonic()
            answer = httpx.get(f"{spoke.url}/modules", timeout=60)
            return answer.status_code, time.monotonic() - started_s

        with ThreadPoolExecutor(12) as threads:
            answers = list(threads.map(read, range(12)))
        assert {status for status, _ in answers} == {503}
        # One after the other they would take 36 s.
        assert max(took_s for _, took_s in answers) < 18
        spoke.stop()


def test_a_primary_without_a_connection_to_spare_is_named_and_not_given_up(stack: Stack) -> None:
    node = PostgresNode(stack.folder, stack.binaries, f"small-{free_ports(1)[0]}")
    node.initialise()
    with (node.data / "postgresql.conf").open("a") as configuration:
        configuration.write("max_connections = 15\n")
    node.start()
    environment = {**spoke_environment(node, store=stack.store), "SPOKE_POSTGRES_MAX_CONNS": "20"}
    spoke, late = (stack.spoke_with(environment) for _ in range(2))
    held: list[psycopg.Connection] = []
    try:
        spoke.start()
        assert f"SPOKE_POSTGRES_MAX_CONNS is 20, and 127.0.0.1:{node.port} gives 12 connections" in spoke.log
        assert httpx.post(f"{spoke.url}/modules", json={"name": "m"}, timeout=30).status_code == 201
        address = f"host={HOST} port={node.port} user=spoke password={PASSWORD} dbname=postgres"
        with contextlib.suppress(psycopg.OperationalError):
            while len(held) < 15:
                held.append(psycopg.connect(address))
        late.begin().wait_until_alive()
        full = f"127.0.0.1:{node.port}: sorry, too many clients already (lower SPOKE_POSTGRES_MAX_CONNS or"

        def reason() -> str:
            return str(late.health("ready").json()["dependencies"]["database"].get("message"))

        wait_for(lambda: full in reason(), "the reason to be told")
        assert full in late.log
        # One write waits for a lock with the only connection for writes, another one for that connection.
        held[0].execute("SELECT 1 FROM modules WHERE name = 'm' FOR UPDATE")
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(httpx.patch, f"{spoke.url}/modules/m", json={"description": "1"}, timeout=60)
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            wait_for(lambda: held[1].execute(waiting).fetchone() == (1,), "the write to wait for the lock")
            url = f"{spoke.url}/modules/m"
            second = httpx.patch(url, json={"description": "2"}, headers=received_s_ago(13), timeout=60)
            assert second.status_code == 503
            wait_for(lambda: "PostgreSQL gives no further connection" in spoke.log, "the look at the nodes to be told")
            assert spoke.health("ready").status_code == 200
            held[0].rollback()
            assert first.result().status_code == 200
        assert "lost the PostgreSQL primary" not in spoke.log
        for connection in held:
            connection.close()
        late.wait_until_ready()
    finally:
        for connection in held:
            connection.close()
        spoke.stop()
        late.stop()
        node.stop(signal.SIGINT)


def test_a_write_whose_client_has_gone_is_not_applied_later(pair: Pair) -> None:
    """The load balancer hangs up after a while and asks another instance; what it left must not undo what came after."""
    primary, standby, spoke = pair
    with spoke.client() as client:
        assert client.post("/modules", json={"name": "m", "description": "first"}).status_code == 201
        flushed = "SELECT pg_current_wal_lsn() = replay_lsn FROM pg_stat_replication"
        wait_for(lambda: primary.sql(flushed) == [(True,)], "the standby to have everything")
        primary.stop(signal.SIGKILL)
        with pytest.raises(httpx.ReadTimeout):
            httpx.patch(f"{spoke.url}/modules/m", json={"description": "given up"}, timeout=1)
        standby.sql("SELECT pg_promote()")
        spoke.wait_until_ready()
        # Writes are taken in their order: what still waited would have been applied before this one is answered.
        assert client.post("/modules", json={"name": "after"}).status_code == 201
        assert client.get("/modules/m").json()["description"] == "first"
    assert "Traceback" not in spoke.log
