"""A real stack for a test: its own name, state folder and ports; taken down whatever happens, its logs kept on failure."""

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from spokectl.runtime.docker.engine import why_not_ready
from spokectl.stackfile import load_stack
from tests.ports import disjoint_offsets, in_turn, is_free
from tests.schema import checked

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "artifacts"
STACK_FILE = ROOT / "stack" / "ha-stack.yml"
STACK = load_stack("spoke", [STACK_FILE], shell={}, env_file={})
PORTS = sorted(port.published for service in STACK.services.values() for port in service.ports)
# What a fourth and a fifth Spoke publish.
MORE_PORTS = [8084, 8085, 9094, 9095]
# Generous: the machine may be five times slower than the one these tests were written on.
COMMAND_TIMEOUT_S = 300.0


class Tool:
    """Runs `spokectl` as a shell user would, against one stack in a state folder of its own."""

    def __init__(self, state: Path, stack: str, offset: int, runtime: str) -> None:
        self.state, self.stack, self.offset, self.runtime = state, stack, offset, runtime
        # Words before every command: how to get to where the stack's ports are, when that is not here.
        self.getting_there: Sequence[str] = ()

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPOKE_", "SPOKECTL_"))}
        # A stack of this name in containers, of somebody who runs the same tests, would be found, and taken down at the end.
        no_engine = {"DOCKER_HOST": f"unix://{self.state}/no-engine"} if self.runtime == "local" else {}
        return (
            kept
            | no_engine
            | {
                "SPOKECTL_STATE_DIR": str(self.state),
                "SPOKECTL_STACK": self.stack,
                "SPOKECTL_RUNTIME": self.runtime,
            }
        )

    def run(
        self,
        *words: str,
        cwd: Path | None = None,
        stdin: bytes | None = None,
        timeout_s: float = COMMAND_TIMEOUT_S,
        extra: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self.getting_there, sys.executable, "-m", "spokectl", *words],
            capture_output=True,
            input=stdin if stdin is not None else b"",
            env={**self.environment, **(extra or {})},
            cwd=cwd or ROOT,
            timeout=timeout_s,
        )

    def ok(self, *words: str, cwd: Path | None = None) -> str:
        """Runs a command that must succeed; gives its stdout."""
        done = self.run(*words, cwd=cwd)
        assert done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        return done.stdout.decode()

    def json(self, *words: str) -> Any:
        """The `data` of a command that must succeed."""
        return checked(self.ok(*words, "--json"))["data"]

    def up(self, *words: str) -> Any:
        return self.json("up", "--port-offset", str(self.offset), "--timeout", "4m", *words)

    def port(self, port: int) -> int:
        return port + self.offset

    def url(self, port: int = 8080) -> str:
        return f"http://127.0.0.1:{self.port(port)}"

    def up_in_first_roles(self) -> None:
        """`up`, and Redis's master where the stack file has it: Sentinels move it where all stands still for seconds."""
        self.up()
        if self.roles()["redis-master"] != "master":
            self.ok("switchover", "redis", "--to", "redis-master")

    def pids(self) -> dict[str, int | None]:
        return {row["service"]: row["pid"] for row in self.json("ps")}

    def left_running(self) -> list[str]:
        """What still runs of the stack: containers by name, or processes that have its state folder in hand."""
        if self.runtime == "docker":
            words = ["docker", "ps", "--filter", f"label=com.docker.compose.project={self.stack}", "--format", "{{.Names}}"]
            return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout.split()
        return [f"{process.pid} {process.name()}" for process in processes_of(self)]

    def roles(self) -> dict[str, str]:
        done = self.run("status", "--json")
        return {each["service"]: each["role"] for each in checked(done.stdout)["data"]["services"]}


def processes_of(tool: Tool) -> list[psutil.Process]:
    """Every live process that has the stack's state folder in its command line or is its working folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline()) + " " + process.cwd()
        except psutil.Error:
            continue
        if str(tool.state) in words and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def require_docker() -> None:
    """Skips, with the reason, where no engine answers or the stack's images are missing."""
    lacking = why_not_ready(service.image for service in STACK.services.values())
    if lacking:
        pytest.skip(f"{lacking}: make engine images")


_offsets = in_turn(disjoint_offsets([*PORTS, *MORE_PORTS]))


def free_offset() -> int:
    """An offset at which every port of the stack is free now; no other stack of these tests comes near it."""
    for offset in itertools.islice(_offsets, 100):
        if all(is_free(port + offset) for port in PORTS):
            return offset
    raise AssertionError("no free block of ports")


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def runtime(request: pytest.FixtureRequest) -> str:
    """For tests of what holds in both runtimes."""
    return str(request.param)


@pytest.fixture
def make_tool(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Callable[..., Tool]]:
    """Makes tools for stacks of this test; each stack is taken down with its data at the end."""
    made: list[Tool] = []

    def make(stack: str = "e2e", *, folder: str = "", runtime: str = "local") -> Tool:
        if runtime == "docker":
            require_docker()
        # A short path: sockets must fit below it, and root's unprivileged servers must be able to enter.
        state = made[0].state if made else Path(f"/tmp/spokectl-e2e-{os.getpid()}-{int(time.monotonic() * 1000)}{folder}")
        made.append(Tool(state, stack, free_offset(), runtime))
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
    print((folder / "status.txt").read_text())


def eventually(check: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Returns once `check` holds; fails with `what` after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def tool(stack: Tool, request: pytest.FixtureRequest) -> Iterator[Tool]:
    """The stack that a module's tests share, with all of it well."""
    stack.up()
    yield stack
    if request.node.stash.get(FAILED, False):
        keep_evidence(stack, ARTIFACTS / request.node.name)
