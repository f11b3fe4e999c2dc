"""A real stack for a test: its own name, state folder and ports; taken down whatever happens, its logs kept on failure."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "artifacts"
# Generous: the machine may be five times slower than the one these tests were written on.
COMMAND_TIMEOUT_S = 300.0


class Tool:
    """Runs `spokectl` as a shell user would, against one stack in a state folder of its own."""

    def __init__(self, state: Path, stack: str, offset: int) -> None:
        self.state, self.stack, self.offset = state, stack, offset

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPOKE_", "SPOKECTL_"))}
        return kept | {"SPOKECTL_STATE_DIR": str(self.state), "SPOKECTL_STACK": self.stack}

    def run(self, *words: str, cwd: Path | None = None, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "spokectl", *words],
            capture_output=True,
            input=stdin if stdin is not None else b"",
            env=self.environment,
            cwd=cwd or ROOT,
            timeout=COMMAND_TIMEOUT_S,
        )

    def ok(self, *words: str, cwd: Path | None = None) -> str:
        """Runs a command that must succeed; gives its stdout."""
        done = self.run(*words, cwd=cwd)
        assert done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        return done.stdout.decode()

    def json(self, *words: str) -> Any:
        """The `data` of a command that must succeed."""
        return json.loads(self.ok(*words, "--json"))["data"]

    def up(self, *words: str) -> Any:
        return self.json("up", "--port-offset", str(self.offset), "--timeout", "4m", *words)

    def port(self, port: int) -> int:
        return port + self.offset

    def url(self, port: int = 8080) -> str:
        return f"http://127.0.0.1:{self.port(port)}"

    def pids(self) -> dict[str, int | None]:
        return {row["service"]: row["pid"] for row in self.json("ps")}

    def roles(self) -> dict[str, str]:
        done = self.run("status", "--json")
        return {each["service"]: each["role"] for each in json.loads(done.stdout)["data"]["services"]}


def free_offset(taken: int) -> int:
    """An offset at which every port of the stack is free now, below the range that outgoing connections take ports from."""
    for offset in range(200 + os.getpid() % 20 * 100 + taken, 6200, 300):
        if all(_free(port + offset) for port in (5432, 5433, 6379, 6380, 8080, 8081, 9000, 9091, 26379, 26381)):
            return offset
    raise AssertionError("no free block of ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.fixture
def make_tool(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Callable[..., Tool]]:
    """Makes tools for stacks of this test; each stack is taken down with its data at the end."""
    made: list[Tool] = []

    def make(stack: str = "e2e") -> Tool:
        # A short path: sockets must fit below it, and root's unprivileged servers must be able to enter.
        state = made[0].state if made else Path(f"/tmp/spokectl-e2e-{os.getpid()}-{int(time.monotonic() * 1000)}")
        made.append(Tool(state, stack, free_offset(40 * len(made))))
        return made[-1]

    yield make
    failed = request.node.stash.get(FAILED, False)
    for tool in made:
        if failed:
            keep_evidence(tool, ARTIFACTS / request.node.name / tool.stack)
        done = tool.run("down", "--volumes", "--yes")
        assert done.returncode == 0, done.stderr.decode()
    if made:
        shutil.rmtree(made[0].state, ignore_errors=True)


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


def keep_evidence(tool: Tool, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, words in {"status": ["status"], "ps": ["ps"], "logs": ["logs", "--tail", "2000"]}.items():
        done = tool.run(*words)
        (folder / f"{name}.txt").write_bytes(done.stdout + done.stderr)


def eventually(check: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Returns once `check` holds; fails with `what` after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)
