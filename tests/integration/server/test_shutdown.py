"""Stopping an instance hurts nobody."""

from __future__ import annotations

import signal
import socket
import threading
import time

import httpx
import psycopg
import pytest

from spoke_server.server import LINGER_S
from tests.integration.server.backends import HOST, PASSWORD, Spoke, wait_for
from tests.integration.server.fixtures import PROTO, Stack
from tests.integration.server.load import load
from tests.ports import free_ports

pytestmark = pytest.mark.integration


def test_a_stop_under_load_fails_no_request(stack: Stack, api: httpx.Client, module: str) -> None:
    spoke = stack.spoke().start()
    client = spoke.client()
    refused = threading.Event()

    def act(name: str) -> None:
        if refused.is_set():
            time.sleep(0.005)
            return
        try:
            if name.startswith("c0"):
                body = {"version": name, "files": [{"path": "a.proto", "content": PROTO}]}
                client.post(f"/modules/{module}/versions", json=body).raise_for_status()
            else:
                client.get(f"/modules/{module}").raise_for_status()
        except httpx.ConnectError:
            # Nobody listens any more: the request was never taken, a load balancer sends it elsewhere.
            refused.set()

    with load(act) as outcome:
        outcome.wait_for_more(50)
        spoke.send(signal.SIGTERM)
        wait_for(lambda: spoke.health("ready").status_code == 503 or refused.is_set(), "the instance to be not ready")
        assert spoke.process is not None
        assert spoke.process.wait(60) == 0
    client.close()
    assert outcome.failed == []
    stored = {each["version"] for each in api.get(f"/modules/{module}/versions").json()}
    assert not refused.is_set() or stored <= {name for name in outcome.succeeded if name.startswith("c0")}
    assert '"msg": "stopped"' in spoke.log


def test_a_request_under_way_is_answered_before_the_end(stack: Stack, module: str) -> None:
    spoke = stack.spoke().start()
    answers: list[httpx.Response] = []
    request = threading.Thread(
        target=lambda: answers.append(httpx.patch(f"{spoke.url}/modules/{module}", json={"description": "x"}, timeout=60))
    )
    address = f"host={HOST} port={stack.postgres.port} user=spoke password={PASSWORD} dbname=postgres"
    with psycopg.connect(address) as holder:
        holder.execute("SELECT 1 FROM modules WHERE name = %s FOR UPDATE", (module,))
        request.start()
        blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        wait_for(lambda: stack.postgres.sql(blocked) == [(1,)], "the write to wait")
        spoke.send(signal.SIGTERM)
        wait_for(lambda: is_refused(spoke), "nobody to listen any more")
        assert answers == []
    request.join(60)
    assert answers[0].status_code == 200
    assert spoke.process is not None
    assert spoke.process.wait(60) == 0


def is_refused(spoke: Spoke) -> bool:
    """Whether nobody takes new connections on its port."""
    with socket.socket() as another:
        return another.connect_ex(("127.0.0.1", spoke.port)) != 0


def test_a_client_that_connected_before_the_end_and_asks_late_is_answered(stack: Stack, module: str) -> None:
    spoke = stack.spoke(SPOKE_DRAIN_DELAY="0").start()
    with socket.create_connection(("127.0.0.1", spoke.port), timeout=60) as late:
        spoke.send(signal.SIGTERM)
        wait_for(lambda: is_refused(spoke), "nobody to listen any more")
        time.sleep(2 * LINGER_S)  # that it is late is the point
        late.sendall(f"GET /modules/{module} HTTP/1.1\r\nHost: spoke\r\n\r\n".encode())
        assert late.recv(64).startswith(b"HTTP/1.1 200 ")
    assert spoke.process is not None
    assert spoke.process.wait(60) == 0


def test_a_collector_that_is_not_there_does_not_delay_the_end(stack: Stack, module: str) -> None:
    silent = {"SPOKE_OTEL_ENABLED": "true", "SPOKE_OTEL_ENDPOINT": f"127.0.0.1:{free_ports(1)[0]}"}
    spoke = stack.spoke(SPOKE_DRAIN_DELAY="0", SPOKE_OTEL_TRACE_RATIO="1", **silent).start()
    for _ in range(20):
        httpx.get(f"{spoke.url}/modules/{module}", timeout=30)
    started_s = time.monotonic()
    assert spoke.stop() == 0
    assert time.monotonic() - started_s < 4
    assert "opentelemetry" not in spoke.log


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SPOKE_PORT", "eighty", "SPOKE_PORT: expected a whole number from 0 to 65535, got 'eighty'"),
        ("SPOKE_RETRY_BUDGET", "15", "SPOKE_RETRY_BUDGET: expected a duration such as 300ms, 15s or 1m30s, got '15'"),
        ("SPOKE_POSTGRES_URL", "nonsense=1=2", "SPOKE_POSTGRES_URL"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_in_one_line(stack: Stack, variable: str, value: str, words: str) -> None:
    spoke = stack.spoke(**{variable: value}).begin()
    assert spoke.process is not None
    assert spoke.process.wait(60) == 2
    assert words in spoke.log
    assert len(spoke.log.splitlines()) == 1


def test_a_taken_port_is_named(stack: Stack, three_spokes: list[Spoke]) -> None:
    spoke = stack.spoke(SPOKE_PORT=str(three_spokes[0].port)).begin()
    assert spoke.process is not None
    assert spoke.process.wait(60) == 1
    assert f"cannot listen on 127.0.0.1:{three_spokes[0].port}: Address already in use" in spoke.log
