"""The default stack in containers, on the ports of the text, for tests that type commands into a shell."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spokectl.model import Kind
from tests.e2e.conftest import ARTIFACTS, COMMAND_TIMEOUT_S, FAILED, PORTS, STACK, STACK_FILE, eventually, require_docker

FOLDER = STACK_FILE.parent
# The containers of every service that goes on running.
CONTAINERS = sorted(service.container_name for service in STACK.services.values() if service.kind is not Kind.JOB)


class Shell:
    """Types commands into bash, in the folder of the stack file."""

    def __init__(self, state: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPOKE", "COMPOSE_"))}
        self.environment = kept | {"SPOKECTL_STATE_DIR": str(state), "SPOKECTL_RUNTIME": "docker"}

    def run(self, command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-c", command],
            cwd=FOLDER,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )

    def __call__(self, command: str) -> str:
        """What the command prints; it must end with 0."""
        done = self.run(command)
        assert done.returncode == 0, f"$ {command}\nexit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def shows(self, command: str, expected: str, timeout_s: float = 120.0) -> None:
        """Repeats the command until its output holds what is expected, as a person who waits would."""
        said: list[str] = []

        def seen() -> bool:
            said.append(self.run(command).stdout)
            return expected in said[-1]

        end = time.monotonic() + timeout_s
        while not seen():
            assert time.monotonic() < end, f"$ {command}\nshows no {expected!r} within {timeout_s} s:\n{said[-1]}"
            time.sleep(0.5)

    def state(self, container: str, field: str) -> str:
        """A field of the container's state, as `docker inspect` shows it."""
        return self(f"docker inspect {container} --format='{{{{.State.{field}}}}}'").strip()

    def wait_until_all_are_healthy(self) -> None:
        """Returns once every container of the stack file is healthy by its own check."""

        def healthy() -> bool:
            shown = self(
                "docker ps --filter label=com.docker.compose.project=spoke --filter health=healthy --format '{{.Names}}'"
            )
            return set(CONTAINERS) <= set(shown.split())

        eventually(healthy, "every service is healthy", timeout_s=300)


def compose_up(shell: Shell) -> None:
    shell("docker-compose -f ha-stack.yml up --build --detach")


def spokectl_up(shell: Shell) -> None:
    shell(f"{sys.executable} -m spokectl up --build")


@contextlib.contextmanager
def stack_in_containers(start: Callable[[Shell], None], state: Path, node: pytest.Item) -> Iterator[Shell]:
    """A shell beside a stack that `start` brings up; taken down with its data, its logs kept when the test fails."""
    require_docker()
    require_free_ports()
    shell = Shell(state)
    try:
        try:
            start(shell)
        except BaseException:
            keep_evidence(shell, ARTIFACTS / node.name)
            raise
        yield shell
        if node.stash.get(FAILED, False):
            keep_evidence(shell, ARTIFACTS / node.name)
    finally:
        shell("docker-compose -f ha-stack.yml down -v --remove-orphans")


def require_free_ports() -> None:
    taken = []
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                taken.append(port)
    assert not taken, f"the text's own ports are needed, and something listens on {taken}"


def keep_evidence(shell: Shell, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    commands = {"ps": "docker-compose -f ha-stack.yml ps -a", "logs": "docker-compose -f ha-stack.yml logs -t"}
    for name, command in commands.items():
        (folder / f"{name}.txt").write_text(shell.run(command).stdout)
