"""What the server says and does while PostgreSQL is away, slow or waiting."""

from __future__ import annotations

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.integration.server.backends import HOST, PostgresNode, Spoke, wait_for
from tests.integration.server.fixtures import Stack

pytestmark = pytest.mark.integration

Pair = tuple[PostgresNode, PostgresNode, Spoke]


def test_an_instance_that_nobody_asks_for_anything_is_ready_again_after_a_failover(pair: Pair) -> None:
    primary, standby, spoke = pair
    primary.stop(signal.SIGKILL)
    standby.sql("SELECT pg_promote()")
    spoke.wait_until_ready()


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
        assert max(took_s for _, took_s in answers) < 5
        spoke.stop()


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
