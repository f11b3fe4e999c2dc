"""A move of PostgreSQL's primary role that is interrupted, asked for twice at once, or would lose writes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from tests.direct_writers import writing
from tests.e2e.conftest import COMMAND_TIMEOUT_S, ROOT, Tool, eventually
from tests.e2e.postgres_pair import connect, guard_of, observed, outside, postgres_pair, rows, wait_until_whole

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def stack() -> Iterator[Tool]:
    with postgres_pair("local", "disturbed") as tool:
        yield tool


def begin(tool: Tool, *words: str) -> "subprocess.Popen[bytes]":
    """Starts spokectl in a process group of its own, as a shell does."""
    return subprocess.Popen(
        [sys.executable, "-m", "spokectl", *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=tool.environment,
        cwd=ROOT,
        process_group=0,
    )


def wait_for_step(tool: Tool, step: str) -> None:
    """Returns once the journal says that the step has begun; looks often, because a step is short."""
    journal, end = tool.state / tool.stack / "underway.jsonl", time.monotonic() + 60
    while True:
        with contextlib.suppress(FileNotFoundError):
            if f'"step": "{step}", "phase": "began"' in journal.read_text():
                return
        assert time.monotonic() < end, f"{step} does not begin"
        time.sleep(0.002)


def answer_of(process: "subprocess.Popen[bytes]") -> tuple[int, Any]:
    output = process.communicate(timeout=COMMAND_TIMEOUT_S)[0]
    return process.returncode, json.loads(output)["error"] if output else None


@pytest.mark.parametrize(
    ("number", "times", "step"),
    [
        (signal.SIGINT, 1, "stop"),
        (signal.SIGINT, 1, "promote"),
        (signal.SIGINT, 2, "stop"),
        (signal.SIGTERM, 1, "stop"),
        (signal.SIGHUP, 1, "promote"),
    ],
)
def test_a_switchover_broken_off_by_a_signal_is_put_back_or_can_be_finished(
    number: signal.Signals, times: int, step: str, tool: Tool
) -> None:
    """As a terminal sends it: to every process of the command."""
    nodes = observed(tool)[1]
    with writing(*(outside(tool, node) for node in nodes.values()), each=1) as writers:
        eventually(lambda: writers.count(nodes["primary"]) > 5, "writes go through")
        process = begin(tool, "switchover", "postgres")
        wait_for_step(tool, step)
        for _ in range(times):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            time.sleep(0.05 * (times - 1))
        code, error = answer_of(process)
        where = (code, error)
        if number == signal.SIGINT and times == 1:
            # Put back, past the point of no return, or too late; never in doubt, for the guards are still there.
            assert code in {0, 130} or (code, error["code"]) in {
                (6, "unfinished"),
                (12, "switchover_postgres_incomplete"),
            }, where
            if code == 130:
                assert observed(tool)[1] == nodes, where
        else:
            assert code in {0, 6, 12, 130, -number}, where
        tool.up()
        wait_until_whole(tool, observed(tool)[1]["primary"])
        assert not (tool.state / tool.stack / "underway.jsonl").exists()
    assert set(writers.acknowledged) <= rows(tool, observed(tool)[1]["primary"])


def test_of_two_operations_at_once_one_is_refused_naming_the_other(tool: Tool) -> None:
    nodes = observed(tool)[1]
    tool.ok("kill", nodes["primary"])
    first = begin(tool, "failover", "postgres")
    holder = tool.state / tool.stack / "lock.holder"
    eventually(lambda: holder.exists() and f"process {first.pid}," in holder.read_text(), "the first has the lock")
    # Frozen, it keeps the lock for as long as the others may take to start.
    first.send_signal(signal.SIGSTOP)
    try:
        for words in (["failover", "postgres"], ["switchover", "postgres"], ["up"], ["start", nodes["primary"]]):
            done = tool.run(*words, "--json")
            error = json.loads(done.stdout)["error"]
            assert (done.returncode, error["code"]) == (5, "locked"), words
            assert f"failover postgres, process {first.pid}," in error["message"]
    finally:
        first.send_signal(signal.SIGCONT)
    assert answer_of(first)[0] == 0
    wait_until_whole(tool, nodes["standby"])


@pytest.mark.parametrize("role", ["primary", "standby"])
def test_a_switchover_with_a_frozen_guard_is_refused_before_anything_stands_still(role: str, tool: Tool) -> None:
    nodes = observed(tool)[1]
    guard, said = (
        guard_of(tool, nodes[role]),
        tool.state / tool.stack / "volumes" / "postgres-cluster" / f"{nodes[role]}.json",
    )
    guard.suspend()
    try:
        eventually(lambda: time.time() - said.stat().st_mtime > 6, "the guard has been silent for a while")
        done = tool.run("switchover", "postgres", "--json")
    finally:
        guard.resume()
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (5, "precondition_failed")
    assert f"the guard of {nodes[role]} says nothing" in error["message"]
    assert f"spokectl restart {nodes[role]} --stack {tool.stack}" in error["actions"]
    wait_until_whole(tool, nodes["primary"])


def _asked(tool: Tool, _: str) -> int:
    return (tool.state / tool.stack / "events.jsonl").read_text().count('"operation": "reinit postgres", "phase": "started"')


def _copying(tool: Tool, node: str) -> bool:
    return any((tool.state / tool.stack / "volumes" / f"{node}-data").glob("*.new"))


def _in_place(tool: Tool, node: str) -> str:
    return str(json.loads((tool.state / tool.stack / "volumes" / "postgres-cluster" / f"{node}.json").read_text())["copied"])


@pytest.mark.parametrize("changed", [_asked, _copying, _in_place])
def test_a_copy_goes_on_when_the_command_is_killed_and_typed_again_it_is_made(
    changed: Callable[[Tool, str], object], tool: Tool
) -> None:
    nodes = observed(tool)[1]
    before = changed(tool, nodes["standby"])
    with writing(outside(tool, nodes["primary"]), each=1) as writers:
        process = begin(tool, "postgres", "reinit", nodes["standby"])
        end = time.monotonic() + COMMAND_TIMEOUT_S
        while changed(tool, nodes["standby"]) == before and process.poll() is None:
            assert time.monotonic() < end, "the copy does not come so far"
        process.kill()
        assert answer_of(process)[0] == -signal.SIGKILL
        again = tool.json("postgres", "reinit", nodes["standby"])
        assert (again["outcome"], again["primary"]) == ("copied", nodes["primary"])
        wait_until_whole(tool, nodes["primary"])
    eventually(lambda: set(writers.acknowledged) <= rows(tool, nodes["standby"]), "every acknowledged write is in the copy")


def test_a_failover_that_would_lose_writes_is_refused_and_loses_no_more_than_it_says() -> None:
    """Replication is asynchronous, and the standby's receiver is frozen."""
    with postgres_pair("local", "lagging", SPOKE_POSTGRES_SYNCHRONOUS="off") as tool:
        old, new = "postgres-primary", "postgres-replica"
        eventually(lambda: observed(tool)[0] == 0, "all is well")
        (receiver,) = [
            each for each in guard_of(tool, new).children(recursive=True) if "walreceiver" in " ".join(each.cmdline())
        ]
        receiver.suspend()
        try:
            with connect(tool, old) as connection:
                connection.execute(
                    "INSERT INTO written SELECT 'lost ' || n || repeat('x', 900) FROM generate_series(1, 3000) AS n"
                )
                (end,) = connection.execute("SELECT pg_current_wal_lsn()").fetchone() or ("",)
            with connect(tool, new) as connection:
                (received,) = connection.execute("SELECT pg_last_wal_receive_lsn()").fetchone() or ("",)
                (lag_bytes,) = connection.execute("SELECT pg_wal_lsn_diff(%s, %s)", (end, received)).fetchone() or (0,)
            status = tool.state / tool.stack / "volumes" / "postgres-cluster" / f"{old}.json"
            eventually(lambda: json.loads(status.read_text())["lsn"] == end, "the guard has seen the last write")
            tool.ok("kill", old)
            done = tool.run("failover", "postgres", "--json")
            error = json.loads(done.stdout)["error"]
            assert (done.returncode, error["code"], error["details"]["bytes"]) == (5, "data_loss", lag_bytes)
            assert "replication is asynchronous" in error["message"]
            assert observed(tool)[1].get("primary") is None
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                receiver.resume()
        # What it had in its socket is there now: it says anew how much that is, and loses no more.
        moved = tool.json("failover", "postgres", "--allow-data-loss", "--yes")
        assert moved["bytes_at_risk"] <= lag_bytes
        wait_until_whole(tool, new)
        if moved["bytes_at_risk"] > 0:
            assert not any(word.startswith("lost") for word in rows(tool, new))
            assert list((tool.state / tool.stack / "volumes").glob(f"{old}-data/data.divergent-*/0*"))
