"""The whole stack, the same in each runtime: what an operator does with it, and what must hold afterwards."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.clients import Reader, get, pull_all, push_all, require_one_of_each_role
from tests.e2e.conftest import Tool, eventually
from tests.e2e.protos import contents

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_real_modules_survive_a_lost_instance_and_a_restart_of_everything(
    runtime: str, make_tool: Callable[..., Tool], tmp_path: Path
) -> None:
    tool = make_tool(runtime=runtime)
    data = tool.up()
    assert {each["service"]: each["health"] for each in data["services"]} == {
        each["service"]: "left-out"
        if each["service"] == "otel-collector" and runtime == "local"
        else "done"
        if each["kind"] == "job"
        else "healthy"
        for each in data["services"]
    }
    require_one_of_each_role(tool)

    pushed = push_all(tool, tmp_path / "pushed")
    assert sum(len(contents(folder)) for folder in pushed.values()) >= 70
    reader = Reader(f"{tool.url()}/modules/{next(iter(pushed))}")
    reader.start()
    eventually(lambda: reader.answers > 20, "reads go through")
    before = reader.answers
    tool.ok("kill", "spoke-2")
    pull_all(tool, pushed, tmp_path / "with-one-lost")
    eventually(lambda: reader.answers > before + 50, "reads go on without spoke-2")
    reader.stop()
    assert reader.failures == []

    tool.ok("down")
    assert tool.left_running() == []
    tool.up()
    pull_all(tool, pushed, tmp_path / "after-restart")
    assert {each["name"] for each in json.loads(get(f"{tool.url()}/modules"))} == set(pushed)


def test_up_repairs_what_is_missing_and_touches_nothing_healthy(runtime: str, make_tool: Callable[..., Tool]) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    before = tool.pids()
    tool.ok("stop", "spoke-1", "redis-replica")
    tool.ok("kill", "nginx")
    tool.ok("pause", "redis-sentinel-2")
    done = tool.run("status", "--json")
    assert done.returncode == 10
    status = {each["service"]: each for each in json.loads(done.stdout)["data"]["services"]}
    assert {name for name, each in status.items() if each["health"] in {"down", "unhealthy"}} >= {
        "spoke-1",
        "redis-replica",
        "nginx",
        "redis-sentinel-2",
    }
    tool.up()
    after = tool.pids()
    changed = {name for name in before if before[name] != after[name] and name != "minio-init"}
    assert changed == {"spoke-1", "redis-replica", "nginx"}
    assert tool.run("status").returncode == 0

    # A second time nothing at all changes.
    tool.up()
    assert {n: p for n, p in tool.pids().items() if n != "minio-init"} == {
        n: p for n, p in after.items() if n != "minio-init"
    }


def test_a_server_that_dies_comes_back_by_itself(runtime: str, make_tool: Callable[..., Tool]) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    for service in ("spoke-3", "minio", "redis-sentinel-1", "nginx", "postgres-replica"):
        victim = tool.pids()[service]
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        eventually(lambda v=victim, s=service: tool.pids()[s] not in {None, v}, f"{service} is started again")  # type: ignore[misc]
    eventually(lambda: tool.run("status").returncode == 0, "everything is well again", timeout_s=180)
    require_one_of_each_role(tool)


def test_down_keeps_data_and_down_volumes_deletes_it(runtime: str, make_tool: Callable[..., Tool]) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    tool.ok("modules", "create", "here", "--description", "still")
    tool.ok("down")
    tool.up()
    assert tool.json("modules", "get", "here")["description"] == "still"
    tool.ok("down", "--volumes", "--yes")
    assert tool.left_running() == []
    tool.up()
    assert tool.json("modules", "list") == []


def test_the_number_of_spokes_follows_up(runtime: str, make_tool: Callable[..., Tool]) -> None:
    tool = make_tool(runtime=runtime)
    tool.up("--spokes", "5")
    seen: set[str] = set()

    def ask() -> bool:
        with urllib.request.urlopen(f"{tool.url()}/modules", timeout=30) as answer:
            seen.add(answer.headers["X-Spoke-Instance"])
        return seen == {f"spoke-{n}" for n in range(1, 6)}

    eventually(ask, "all five answer through the load balancer")
    tool.ok("up", "--spokes", "2")
    assert {name for name in tool.pids() if name.startswith("spoke-")} == {"spoke-1", "spoke-2"}
    seen.clear()
    for _ in range(20):
        ask()
    assert seen == {"spoke-1", "spoke-2"}


def test_single_services_are_operated(runtime: str, make_tool: Callable[..., Tool]) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    tool.ok("pause", "spoke-1")
    rows = {row["service"]: row for row in tool.json("ps")}
    assert rows["spoke-1"]["state"] == "paused"
    for _ in range(6):
        assert get(f"{tool.url()}/modules") == b"[]"
    tool.ok("unpause", "spoke-1")
    tool.ok("restart", "spoke-1")
    whom = (
        "exec",
        "postgres-primary",
        "--",
        "psql",
        "-Atc",
        "SELECT current_user, current_database(), count(*) FROM modules",
    )
    assert tool.ok(*whom).startswith("spoke|spoke|")
    assert tool.ok("exec", "redis-master", "--", "redis-cli", "PING") == "PONG\n"
    version = tool.ok("exec", "postgres-primary", "--", "psql", "--version")
    assert "PostgreSQL" in version
    sentinel = tool.ok(
        "exec",
        "redis-sentinel-1",
        "--",
        "redis-cli",
        "-p",
        str(26379 if runtime == "docker" else tool.port(26379)),
        "SENTINEL",
        "masters",
    )
    assert "spoke-redis" in sentinel
    assert tool.run("exec", "spoke-1", "--", "false").returncode == 1
    assert tool.run("exec", "spoke-1", "--", "no-such-program").returncode == 4
    assert tool.run("stop", "spoke-9").returncode == 4

    lines = [json.loads(line) for line in tool.ok("logs", "--json", "--tail", "200").splitlines()]
    assert len({line["service"] for line in lines}) >= 3
    times = [line["time"] for line in lines if line["time"]]
    assert times == sorted(times)
    assert "database system is ready" in tool.ok("logs", "postgres-primary", "--grep", "ready to accept|system is ready")
    follower = subprocess.Popen(
        [sys.executable, "-m", "spokectl", "logs", "-f", "spoke-1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=tool.environment,
    )
    try:
        assert follower.stdout is not None
        assert follower.stdout.readline().startswith("spoke-1")
    finally:
        follower.send_signal(signal.SIGINT)
        said = follower.communicate(timeout=60)[1]
    assert said == ""
    assert follower.returncode == 130

    before = tool.pids()
    reader = Reader(f"{tool.url()}/modules")
    reader.start()
    tool.ok("restart", "spoke-1", "spoke-2", "spoke-3")
    reader.stop()
    assert reader.answers > 0
    assert reader.failures == []
    assert {name for name, pid in tool.pids().items() if pid != before[name]} == {"spoke-1", "spoke-2", "spoke-3"}
