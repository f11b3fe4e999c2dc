"""What `scale` and `lb` refuse, and what `scale --dry-run` says, from the shell: on a stack of tiny servers."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from spokectl.operations import last_known
from spokectl.settings import StackRecord
from tests.contract.runtime.tiny import TinyStack, service, tiny_stack
from tests.ports import free_ports

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def ports() -> list[int]:
    """Those of two servers. A third one would get the first one's and two, which nobody else is given either."""
    found = free_ports(6)
    first = next(each for each in found if each + 2 in found)
    return [first, next(each for each in found if each not in {first, first + 2})]


@pytest.fixture
def stack(tmp_path: Path, ports: list[int]) -> Iterator[TinyStack]:
    """Two of them, in the form in which more can be made."""
    services = {}
    for number, port in enumerate(ports, 1):
        services[f"app-{number}"] = service(port) | {"ports": [f"127.0.0.1:${{APP_{number}_PORT:-{port}}}:8080"]}
    with tiny_stack("local", tmp_path, services) as stack:
        stack.up(*services)
        stack.state.write_record(StackRecord("local", str(stack.stack.files[0]), ""))
        last_known.keep_applied(stack.state, stack.stack)
        yield stack


def spokectl(stack: TinyStack, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the envelope."""
    done = subprocess.run(
        [sys.executable, "-m", "spokectl", *words, "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        env={
            "PATH": os.environ["PATH"],
            "SPOKECTL_STATE_DIR": str(stack.state.folder.parent),
            "SPOKECTL_STACK": stack.name,
        },
    )
    return done.returncode, json.loads(done.stdout)


def kept(stack: TinyStack) -> dict[str, str]:
    files = (stack.state.override_file, stack.state.env_file, stack.state.record_file, stack.state.last_known_file)
    return {file.name: file.read_text() for file in files if file.exists()}


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(stack: TinyStack, ports: list[int]) -> None:
    before, processes = kept(stack), stack.runtime.inspect()
    code, answer = spokectl(stack, "scale", "3", "--dry-run")
    data = answer["data"]
    assert (code, answer["status"], data["outcome"]) == (0, "ok", "planned"), answer
    assert (data["before"], data["after"]) == (["app-1", "app-2"], ["app-1", "app-2", "app-3"])
    assert (data["added"], data["removed"]) == (["app-3"], [])
    assert [point["url"] for point in data["endpoints"]] == [f"http://localhost:{ports[0] + 2}"]
    assert data["plan"] == ["start app-3, and wait until each is ready"]
    code, answer = spokectl(stack, "scale", "2", "--dry-run")
    assert (code, answer["data"]["plan"]) == (0, [])
    assert (kept(stack), stack.runtime.inspect()) == (before, processes)


def test_what_cannot_be_is_refused_and_nothing_is_changed(stack: TinyStack, ports: list[int]) -> None:
    before, processes = kept(stack), stack.runtime.inspect()

    def refused(*words: str) -> str:
        code, answer = spokectl(stack, *words)
        assert (code, answer["data"]) == (5, None), answer
        return str(answer["error"]["code"])

    # These servers answer no health check, so none is left whom NGINX could ask.
    assert refused("scale", "1") == refused("scale", "1", "--dry-run") == "nobody_left"
    with FileLock(stack.state.lock_file, mode=0o600):
        assert refused("scale", "3") == "locked"
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", ports[0] + 2))
        taken.listen()
        assert refused("scale", "3") == refused("scale", "3", "--dry-run") == "port_taken"
    assert (kept(stack), stack.runtime.inspect()) == (before, processes)
    stack.services["app-2"]["environment"]["NEW"] = "1"
    assert stack.stack.services["app-2"].environment["NEW"] == "1"
    assert refused("scale", "3") == "changes_pending"
    stack.state.record_file.unlink()


def test_who_is_not_ready_is_not_taken_for_done_by_the_next_one_either(stack: TinyStack) -> None:
    """These servers answer no health check, so a third one is never ready."""
    for _ in range(2):
        code, answer = spokectl(stack, "scale", "3", "--timeout", "4s")
        assert (code, answer["error"]["code"]) == (6, "timeout"), answer
        assert "app-3" in answer["error"]["message"]


@pytest.mark.parametrize("words", [["lb", "status"], ["lb", "test"], ["lb", "reload"]])
def test_a_stack_without_a_load_balancer_has_none_to_ask(stack: TinyStack, words: list[str]) -> None:
    code, answer = spokectl(stack, *words)
    assert (code, answer["error"]["code"]) == (5, "no_load_balancer")


def test_nothing_is_scaled_where_nothing_runs(stack: TinyStack) -> None:
    assert spokectl(stack, "down")[0] == 0
    for words in (["scale", "3"], ["scale", "3", "--dry-run"], ["lb", "status"], ["lb", "reload"]):
        code, answer = spokectl(stack, *words)
        assert (code, answer["error"]["code"]) == (4, "not_running")
