"""What the doctor says of a real stack that is well, and of one that is not; and that a report of it has no secret."""

import json
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import STACK, Tool, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
STANDBY = "postgres-replica"
MACHINES_OWN = {"disk", "memory", "file-limits", "clock"}
SECRETS = [name for name in STACK.settings if "PASSWORD" in name or "SECRET" in name]


def doctor(tool: Tool, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and every check by its name."""
    done = tool.run("doctor", "--json", *words)
    data = json.loads(done.stdout)["data"]
    return done.returncode, {each["check"]: each for each in data["checks"]}


def found(check: dict[str, Any]) -> str:
    return "\n".join(finding["found"] for finding in check["findings"] if finding["verdict"] != "ok")


def require_all_well(tool: Tool) -> None:
    """Returns once every check is ok: what has just started may have a moment's lag. How much room and time a machine of
    tests has is its own affair.
    """
    left: dict[str, Any] = {}

    def is_well() -> bool:
        nonlocal left
        code, checks = doctor(tool)
        problems = {name for name, check in checks.items() if check["verdict"] == "problem"}
        assert code == (10 if problems else 0)
        left = {name: check for name, check in checks.items() if check["verdict"] != "ok" and name not in MACHINES_OWN}
        return not left

    try:
        eventually(is_well, "every check is ok")
    except AssertionError as late:
        raise AssertionError(f"{late}; {left}") from late


def test_a_healthy_stack_is_ok_and_each_thing_that_is_broken_is_found_and_named(
    runtime: str, make_tool: Callable[..., Tool]
) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    require_all_well(tool)

    tool.ok("stop", STANDBY)
    port = tool.port(5433)
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        code, checks = doctor(tool)
    assert code == 10
    assert f"{STANDBY} is down: stopped by hand" in found(checks["services"])
    assert checks["services"]["findings"][0]["actions"] == [f"spokectl start {STANDBY} --stack e2e"]
    assert "no standby streams from postgres-primary" in found(checks["replication"])
    assert "nobody uses it" in found(checks["slots"])
    assert f"{port} ({STANDBY}) is held by " in found(checks["ports"])

    tool.ok("start", STANDBY)
    require_all_well(tool)


def test_fix_removes_a_stale_pid_file_and_heals_what_a_drill_left_and_touches_nothing_else(
    make_tool: Callable[..., Tool],
) -> None:
    tool = make_tool()
    tool.up()
    before = tool.pids()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder = tool.state / tool.stack
    stale = folder / "pids" / "spoke-9"
    stale.write_text(f"{ended.pid} digest\n")
    tool.ok("pause", "nginx")
    undo = {"act": "unpause", "services": ["nginx"], "values": {}}
    (folder / "faults.jsonl").write_text(json.dumps({"number": 1, "sentence": "nginx is paused", "undo": undo}) + "\n")

    code, checks = doctor(tool)
    assert code == 10
    assert str(stale) in found(checks["stale-files"])
    assert "a drill has died and left: nginx is paused" in found(checks["leftovers"])
    assert "nginx is down" in found(checks["services"])
    assert (stale.exists(), (folder / "faults.jsonl").exists()) == (True, True)

    done = tool.run("doctor", "--fix", "--json")
    answer = json.loads(done.stdout)
    assert (answer["error"] or {"details": {}})["details"].keys() <= MACHINES_OWN, answer["error"]
    fixed = answer["data"]["fixed"]
    assert any(str(stale) in each for each in fixed)
    assert any("nginx is paused" in each for each in fixed)
    assert (stale.exists(), (folder / "faults.jsonl").exists()) == (False, False)
    assert tool.pids() == before


def test_a_report_of_a_stack_has_no_secret_in_any_file(runtime: str, make_tool: Callable[..., Tool], tmp_path: Path) -> None:
    tool = make_tool(runtime=runtime)
    for number, name in enumerate(SECRETS):
        done = tool.run("config", "set", f"{name}=-", stdin=f"canary-{number}".encode())
        assert done.returncode == 0, done.stderr
    tool.up()
    tool.ok("kill", "spoke-2")
    done = tool.run("report", "-o", str(tmp_path / "r.tar.gz"), "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)["data"]
    with tarfile.open(tmp_path / "r.tar.gz") as archive:
        archive.extractall(tmp_path / "out", filter="data")
    files = {path.name: path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert [name for name, text in files.items() if "canary" in text] == []
    assert "canary" not in done.stdout.decode() + done.stderr.decode()
    assert (data["missing"], files["errors.txt"]) == ([], "")
    listed = "containers.json" if runtime == "docker" else "processes.json"
    wanted = {"versions.json", "doctor.json", "status.json", "settings.json", "events.jsonl", "spoke-1.log", "ha-stack.yml"}
    assert files.keys() >= wanted | {listed}
    assert json.loads(files["status.json"])["error"]["code"] == "degraded"
    assert "spoke-1" in files[listed]
    assert files["postgres-primary.log"]
