"""What a registry's clients do meanwhile: push, pull and read, holding every answer against what it must be."""

import json
import threading
import urllib.request
from pathlib import Path

from tests.e2e.conftest import Tool
from tests.e2e.protos import contents, lay_out, modules


def require_one_of_each_role(tool: Tool) -> None:
    """PostgreSQL's roles as the stack file names them, since only an operator moves them, and one Redis master.

    Either Redis node may be it: where everything stands still for two seconds, the Sentinels move it.
    """
    roles = tool.roles()
    assert (roles["postgres-primary"], roles["postgres-replica"]) == ("primary", "standby")
    assert {roles["redis-master"], roles["redis-replica"]} == {"master", "replica"}


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        body: bytes = answer.read()
        return body


def push_all(tool: Tool, folder: Path) -> dict[str, Path]:
    """Pushes every module of tests/e2e/protos.py as version v1.0.0; gives the folder of each."""
    pushed = {}
    for name, files in modules().items():
        pushed[name] = lay_out(files, folder / name)
        tool.ok("modules", "create", name, "--description", f"protos of {name}")
        tool.ok("versions", "push", name, "v1.0.0", str(pushed[name]))
    return pushed


def pull_all(tool: Tool, pushed: dict[str, Path], folder: Path) -> None:
    """Pulls each module through the load balancer and holds every byte against what was pushed."""
    for name, source in pushed.items():
        target = folder / name
        tool.ok("versions", "pull", name, "v1.0.0", str(target))
        assert contents(target) == contents(source), name


class Reader(threading.Thread):
    """Reads a module through the load balancer, again and again, and keeps every failure."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.answers, self.failures = url, 0, list[str]()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                json.loads(get(self.url))
                self.answers += 1
            except Exception as error:  # noqa: BLE001 - every kind of failure is what this test looks for
                self.failures.append(repr(error))

    def stop(self) -> None:
        self._over.set()
        self.join(timeout=90)


class Writer(threading.Thread):
    """Creates one module after the other through the load balancer; keeps what was acknowledged and what was not."""

    def __init__(self, url: str, number: int) -> None:
        super().__init__(daemon=True)
        self._url, self._number = url, number
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self._over = threading.Event()

    def run(self) -> None:
        step = 0
        while not self._over.is_set():
            step += 1
            name = f"written-{self._number}-{step}"
            try:
                create(self._url, name)
                self.acknowledged.append(name)
            except OSError as error:
                self.refused.append(f"{name}: {error}")

    def stop(self) -> None:
        self._over.set()
        self.join(timeout=90)


def create(url: str, name: str) -> None:
    body = json.dumps({"name": name, "description": name}).encode()
    request = urllib.request.Request(f"{url}/modules", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 201
