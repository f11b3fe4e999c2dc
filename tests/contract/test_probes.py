"""What a probe says of a server, against servers of the test's own that behave as real ones do at their worst."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from spokectl.clients.postgres import Credentials, PostgresUnavailable, observe_node
from spokectl.model import HealthProbe, Inspection, Kind, Port, RunState, Service
from spokectl.operations.health import observe_one

# AuthenticationOk, then ReadyForQuery. Source: https://www.postgresql.org/docs/current/protocol-message-formats.html
_WELCOME = b"R\0\0\0\x08\0\0\0\0" + b"Z\0\0\0\x05I"


@contextmanager
def frozen_postgres() -> Iterator[int]:
    """A server that lets a client in and is frozen before it answers the first query."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        with listener.accept()[0] as connection:
            startup = connection.recv(4096)
            if startup[4:8] == b"\x04\xd2\x16\x2f":  # SSLRequest
                connection.sendall(b"N")
                connection.recv(4096)
            connection.sendall(_WELCOME)
            over.wait(60)

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        server.join()
        listener.close()


@pytest.mark.timeout(30)
def test_a_postgres_that_is_frozen_after_it_let_the_client_in_is_given_up_in_time() -> None:
    with frozen_postgres() as port, pytest.raises(PostgresUnavailable, match=r"no answer within 0\.5 s"):
        observe_node("127.0.0.1", port, Credentials("u", "p", "d"), timeout_s=0.5)


def test_a_healthy_server_whose_supervisor_is_gone_says_so() -> None:
    class Fine(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """The test's output is its own."""

    with HTTPServer(("127.0.0.1", 0), Fine) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        ports = (Port("127.0.0.1", server.server_port, 80),)
        service = Service(
            "nginx", Kind.LOAD_BALANCER, "load-balancer", HealthProbe("http", 80, "/"), {}, "nginx", ports=ports
        )
        status = observe_one(service, Inspection("nginx", RunState.RUNNING, pid=1, detail="its supervisor is gone"))
        answering.join()
    assert (status.health, status.reason) == ("degraded", "its supervisor is gone")
