"""When a move of the primary role counts the Spokes as following: what they say of the database, and of nothing else."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spokectl.errors import OutcomeUnknown
from spokectl.model import HealthProbe, Inspection, Kind, Port, RunState, Service, Stack
from spokectl.operations.context import Context
from spokectl.operations.postgres import move as moving
from spokectl.operations.postgres.move import Move
from spokectl.settings import StackState
from spokectl.wait import Deadline
from tests.unit.test_readiness import SeenRuntime

pytestmark = pytest.mark.timeout(120)

NODES = ("postgres-primary", "postgres-replica")
WELL: dict[str, object] = {"status": "healthy"}
WITHOUT_STORE: dict[str, object] = {
    "status": "degraded",
    "dependencies": {"database": WELL, "storage": {"status": "unhealthy"}},
}
WITHOUT_PRIMARY: dict[str, object] = {
    "status": "unhealthy",
    "dependencies": {"database": {"status": "unhealthy", "message": "it is read-only"}, "storage": WELL},
}


@contextmanager
def spoke(document: dict[str, object] | None) -> Iterator[int]:
    """A Spoke that says so of its health; None: one that lets everybody in and never answers."""
    hangs = threading.Event()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if document is None:
                hangs.wait(60)
                return
            self.send_response(503 if document["status"] == "unhealthy" else 200)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_: object) -> None:
            """The test's output is its own."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield server.server_port
        finally:
            hangs.set()
            server.shutdown()
            serving.join()


def wait_until_followed(tmp_path: Path, *spokes: dict[str, object] | None, timeout_s: float = 60.0) -> None:
    with ExitStack() as running:
        services = {name: Service(name, Kind.POSTGRES, "", HealthProbe("postgres", 5432), {}, name) for name in NODES}
        for number, document in enumerate(spokes, start=1):
            ports = (Port("127.0.0.1", running.enter_context(spoke(document)), 8080),)
            name = f"spoke-{number}"
            services[name] = Service(name, Kind.SPOKE, "", HealthProbe("http", 8080, "/health/ready"), {}, name, ports)
        seen = {name: Inspection(name, RunState.RUNNING, pid=1) for name in services}
        context = Context(
            Stack("second", (tmp_path / "stack.yml",), services, (), {}), StackState("second", tmp_path), SeenRuntime([seen])
        )
        with closing(Move(context, *NODES, 1, "test")) as move:
            move.wait_until_followed(Deadline(timeout_s))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "_SPOKE_TIMEOUT_S", 0.3)


def test_one_that_lacks_something_else_follows_and_one_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    wait_until_followed(tmp_path, WELL, WITHOUT_STORE, None)


def test_one_without_a_primary_is_waited_for_and_named(tmp_path: Path) -> None:
    with pytest.raises(OutcomeUnknown, match="spoke-2: database unhealthy: it is read-only"):
        wait_until_followed(tmp_path, WELL, WITHOUT_PRIMARY, timeout_s=0.5)


def test_where_none_answers_nobody_is_known_to_follow(tmp_path: Path) -> None:
    with pytest.raises(OutcomeUnknown, match="spoke-1: "):
        wait_until_followed(tmp_path, None, timeout_s=0.5)


def test_a_stack_without_spokes_has_nobody_to_wait_for(tmp_path: Path) -> None:
    wait_until_followed(tmp_path, timeout_s=0.5)
