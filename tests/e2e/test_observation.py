"""A whole stack that loses servers, and what status, lag, outlook and events say of it meanwhile."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.clients import create
from tests.e2e.conftest import Tool, eventually

# Sentinels that vote for different ones try again after twice their time-out, and one in TILT does nothing for 30 s.
# Sentinels whose name server was silent for seconds trust nobody (TILT) for minutes.
WAIT_S = 300.0
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
STANDBY, PRIMARY = "postgres-replica", "postgres-primary"


def said(tool: Tool, *words: str) -> tuple[int, Any]:
    """The exit code and the data of a command that only looks."""
    done = tool.run(*words, "--json")
    return done.returncode, json.loads(done.stdout)["data"]


def outlook(tool: Tool, number: int) -> dict[str, Any]:
    found: dict[str, Any] = said(tool, "status")[1]["outlook"][number]
    return found


def events(tool: Tool) -> list[tuple[str, str, str]]:
    lines = [json.loads(line) for line in tool.ok("events", "--json").splitlines()]
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    return [(line["who"], line["what"], line["target"]) for line in lines]


def test_a_lost_standby_shows_in_lag_slots_outlook_and_events_and_is_gone_from_them_when_it_is_back(
    runtime: str, make_tool: Callable[..., Tool]
) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    eventually(lambda: said(tool, "status")[0] == 0, "everything is well")
    versions = {
        each["service"]: each["version"] for each in said(tool, "status")[1]["services"] if each["state"] == "running"
    }
    assert [service for service, version in versions.items() if not version] == []
    [row] = tool.json("postgres", "lag")
    assert (row["service"], row["state"], row["sync_state"], row["measured_by"]) == (STANDBY, "streaming", "quorum", PRIMARY)
    assert tool.json("postgres", "status")["record"]["mode"] == "synchronous"
    safe = outlook(tool, 0)
    assert (safe["service"], safe["takes_over"], safe["bytes_at_risk"]) == (PRIMARY, STANDBY, 0)
    text = tool.ok("status").splitlines()
    assert text[-2] == safe["sentence"]
    assert text[0].split() == ["API", tool.url().replace("127.0.0.1", "localhost")]
    applications = {each["application"] for each in tool.json("postgres", "connections")[0]["sessions"]}
    assert {"spoke-1", "spoke-2", "spoke-3", "spoke_guard"} <= {each.partition(",")[0] for each in applications}
    assert tool.ok("shell", "postgres", "--", "-Atc", "SELECT pg_is_in_recovery()") == "f\n"
    assert tool.ok("shell", "postgres", "--node", STANDBY, "--", "-Atc", "SELECT pg_is_in_recovery()") == "t\n"

    tool.ok("stop", STANDBY)
    code, [row] = said(tool, "postgres", "lag")
    assert (code, row["service"], row["flush_lag_bytes"], row["reason"]) == (10, STANDBY, None, "stopped by hand")
    assert outlook(tool, 0)["sentence"].startswith(f"if {PRIMARY} dies: nobody can take over ({STANDBY} is down)")
    eventually(lambda: said(tool, "postgres", "status")[1]["record"]["mode"] == "degraded", "the standby is given up")
    create(tool.url(), "unprotected")
    assert outlook(tool, 0)["bytes_at_risk"] > 0
    kept = {slot["slot"]: slot for slot in said(tool, "postgres", "slots")[1]}["replica_slot"]
    assert (kept["active"], kept["retained_bytes"] > 0) == (False, True)

    tool.ok("start", STANDBY)
    eventually(lambda: said(tool, "status")[0] == 0, "everything is well again")
    eventually(lambda: outlook(tool, 0)["bytes_at_risk"] == 0, "nothing is at risk")
    seen = events(tool)
    guard = f"guard of {PRIMARY}"
    stopped, gone = ("stop", STANDBY), (guard, "degraded", "cluster record")
    assert stopped in {(what, target) for _, what, target in seen}
    assert seen.index(gone) < len(seen) - seen[::-1].index((guard, "synchronous", "cluster record"))

    tool.ok("kill", PRIMARY)
    code, [lost, alone] = said(tool, "postgres", "lag")
    assert (code, lost["reason"], alone["measured_by"]) == (10, "killed", STANDBY)
    assert alone["replay_lag_bytes"] == 0
    now = outlook(tool, 0)
    assert now["sentence"].startswith(f"PostgreSQL has no primary now (the record names {PRIMARY}): {STANDBY} takes over")
    assert (now["takes_over"], now["bytes_at_risk"]) == (STANDBY, 0)
    nobody = tool.run("shell", "postgres", "--", "-c", "SELECT 1")
    assert nobody.returncode == 4
    assert b"no node says that it is the primary" in nobody.stderr


def test_a_lost_redis_master_is_followed_by_shell_outlook_and_events_and_sentinels_can_be_reset(
    runtime: str, make_tool: Callable[..., Tool]
) -> None:
    tool = make_tool(runtime=runtime)
    tool.up_in_first_roles()
    eventually(lambda: outlook(tool, 1)["takes_over"] == "redis-replica", "the replica would take over", WAIT_S)
    assert tool.ok("shell", "redis", "--", "SET", "seen", "here") == "OK\n"
    replica = ("shell", "redis", "--node", "redis-replica", "--", "GET", "seen")
    eventually(lambda: tool.ok(*replica) == "here\n", "the replica has it")
    tool.ok("kill", "redis-master")
    eventually(lambda: said(tool, "redis", "status")[1]["nodes"][1]["role"] == "master", "the replica is master", WAIT_S)
    eventually(lambda: outlook(tool, 1)["service"] == "redis-replica", "the outlook is about the new master", WAIT_S)
    assert outlook(tool, 1)["sentence"].startswith("if redis-replica dies: nobody takes over (no replica follows it)")
    assert tool.ok("shell", "redis", "--", "GET", "seen") == "here\n"
    code, sentinels = said(tool, "redis", "sentinels")
    assert code == 0
    [epoch] = {each["facts"]["epoch"] for each in sentinels}
    assert epoch > 0
    tool.ok("start", "redis-master")
    eventually(lambda: said(tool, "redis", "status")[0] == 0, "nodes and Sentinels agree", WAIT_S)
    # Killed once the first has been told to forget, it leaves Sentinels that find everybody again by themselves.
    words = [sys.executable, "-m", "spokectl", "redis", "reset-sentinels"]
    forgot = ("redis-sentinel-1", "+reset-master", "redis-replica")
    with subprocess.Popen(words, env=tool.environment, stderr=subprocess.DEVNULL) as broken_off:
        eventually(lambda: forgot in events(tool), "the first Sentinel has forgotten", WAIT_S)
        broken_off.kill()
    assert broken_off.returncode == -9
    eventually(lambda: said(tool, "redis", "status")[0] == 0, "nodes and Sentinels agree again", WAIT_S)
    done = tool.json("redis", "reset-sentinels", "--timeout", "4m")
    assert [each["service"] for each in done] == [f"redis-sentinel-{number}" for number in (1, 2, 3)]
    assert {each["facts"]["sentinels"] for each in said(tool, "redis", "sentinels")[1]} == {3}
    seen = events(tool)
    assert ("redis-sentinel-1", "+switch-master", "redis-replica") in seen
    assert ("redis-sentinel-2", "+reset-master", "redis-replica") in seen
    assert any(what == "redis reset-sentinels" for _, what, _ in seen)
