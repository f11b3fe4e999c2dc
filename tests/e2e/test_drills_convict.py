"""A safeguard is taken away, and the drill that is there for it must say so: one that always holds proves nothing."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import COMMAND_TIMEOUT_S, ROOT, Tool, eventually, free_offset
from tests.e2e.postgres_pair import guard_of, observed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

_OBJECTIVE_MISSED = 11


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    tool = Tool(
        Path(f"/tmp/spokectl-e2e-{tmp_path_factory.getbasetemp().name}-convict"), "e2e-convict", free_offset(), "local"
    )
    try:
        yield tool
    finally:
        done = tool.run("down", "--volumes", "--yes")
        shutil.rmtree(tool.state, ignore_errors=True)
        assert done.returncode == 0, done.stderr.decode()


def convicted(done: "subprocess.CompletedProcess[bytes]") -> dict[str, Any]:
    """The one trial of a run that has missed its objective."""
    assert done.returncode == _OBJECTIVE_MISSED, (done.stdout.decode(), done.stderr.decode())
    (trial,) = json.loads(done.stdout)["data"]["trials"]
    assert trial["verdict"] == "missed"
    return dict(trial)


def missed_checks(trial: dict[str, Any]) -> set[str]:
    return {check["name"] for check in trial["checks"] if not check["ok"]}


def found(trial: dict[str, Any], figure: str) -> float:
    return next(float(each["found"]) for each in trial["measures"] if each["name"] == figure)


def test_without_a_fence_the_drill_of_a_frozen_primary_is_missed(tool: Tool) -> None:
    done = subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name("patched_tool.py"),
            "unfenced",
            "drill",
            "run",
            "postgres-freeze",
            "--json",
        ],
        capture_output=True,
        env=tool.environment | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        timeout=COMMAND_TIMEOUT_S,
    )
    assert "the old primary was killed before it could go on" in missed_checks(convicted(done))


def test_without_its_guard_the_drill_of_a_frozen_standby_is_missed(tool: Tool) -> None:
    """Frozen with the standby, it does not give that up. It goes on once the drill has healed what it broke."""
    guard = guard_of(tool, observed(tool)[1]["primary"])
    faults, over = tool.state / tool.stack / "faults.jsonl", threading.Event()

    def freeze_meanwhile() -> None:
        eventually(lambda: over.is_set() or " frozen" in _text(faults), "the standby is frozen", COMMAND_TIMEOUT_S)
        guard.suspend()
        eventually(lambda: over.is_set() or "healed" in _text(faults), "the standby is thawed", COMMAND_TIMEOUT_S)
        guard.resume()

    watcher = threading.Thread(target=freeze_meanwhile)
    watcher.start()
    try:
        done = tool.run("drill", "run", "postgres-standby-freeze", "--json")
    finally:
        over.set()
        watcher.join()
    trial = convicted(done)
    assert "the record says degraded" in missed_checks(trial)
    assert found(trial, "rto") > 10


def _text(path: Path) -> str:
    """Empty where there is no such file."""
    return path.read_text() if path.exists() else ""


def test_without_synchronous_replication_the_drill_of_a_diverged_primary_is_missed(tool: Tool) -> None:
    tool.ok("config", "set", "SPOKE_POSTGRES_SYNCHRONOUS=off")
    tool.up()
    trial = convicted(tool.run("drill", "run", "postgres-diverged", "--json"))
    assert "a commit waits for the standby" in missed_checks(trial)
    assert found(trial, "lost") > 0
