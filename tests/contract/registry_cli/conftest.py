"""A registry on a port of its own, in this process, and the tool as users start it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from tests.contract.registry_cli.memory import MemoryRegistry, application

DEADLINE_S = 120.0


@dataclass(frozen=True)
class Running:
    """A served registry: its address, and what it holds."""

    url: str
    memory: MemoryRegistry


@pytest.fixture
def registry() -> Iterator[Running]:
    memory = MemoryRegistry()
    server = uvicorn.Server(uvicorn.Config(application(memory), port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + DEADLINE_S
    while not server.started and time.monotonic() < deadline:
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Running(f"http://127.0.0.1:{port}", memory)
    server.should_exit = True
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


@dataclass(frozen=True)
class Tool:
    """`spokectl` in a folder of its own, without a terminal."""

    folder: Path
    url: str | None

    def __call__(self, *words: str, stdin: bytes | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "spokectl", *words],
            capture_output=True,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            timeout=DEADLINE_S,
            cwd=self.folder,
            env=self.environment(**environment),
        )

    def environment(self, **more: str) -> dict[str, str]:
        fixed = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "SPOKECTL_STATE_DIR": str(self.folder / "state")}
        return fixed | ({"SPOKECTL_URL": self.url} if self.url else {}) | more


@pytest.fixture
def tool(registry: Running, tmp_path: Path) -> Tool:
    return Tool(tmp_path, registry.url)
