"""The PostgreSQL primary role is moved under writers: planned, forced, and with the tool killed at every step."""

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spokectl.operations.postgres.tables import FAILOVER_STEPS, NAME, SWITCHOVER_STEPS
from tests.e2e.clients import Writer
from tests.e2e.conftest import COMMAND_TIMEOUT_S, ROOT, Tool, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

NODES = ("postgres-primary", "postgres-replica")
_RESUMED_BY = (("switchover", "postgres"), ("failover", "postgres"), ("up",))
# Killed before a step, or after it but before the journal says so: every number of steps taken is met.
_KILLS = [
    (operation, step.id, ("began", "done")[number % 2])
    for operation, steps in (("switchover", SWITCHOVER_STEPS), ("failover", FAILOVER_STEPS))
    for number, step in enumerate(steps)
]


@contextlib.contextmanager
def writing(tool: Tool, *, none_refused: bool = True) -> Iterator[list[Writer]]:
    """Four writers; afterwards every acknowledged write is there, and none was refused."""
    before = len(present(tool))
    writers = [Writer(tool.url(), before * 10 + number) for number in range(4)]
    with contextlib.ExitStack() as stack:
        for writer in writers:
            writer.start()
            stack.callback(writer.stop)
        go_on(writers)
        yield writers
        go_on(writers)
    if none_refused:
        assert [refusal for writer in writers for refusal in writer.refused] == []
    assert {name for writer in writers for name in writer.acknowledged} <= present(tool)


def go_on(writers: list[Writer]) -> None:
    before = [len(writer.acknowledged) for writer in writers]
    eventually(lambda: all(len(w.acknowledged) > n + 5 for w, n in zip(writers, before, strict=True)), "writes go through")


def present(tool: Tool) -> set[str]:
    with urllib.request.urlopen(f"{tool.url()}/modules", timeout=60) as answer:
        return {each["name"] for each in json.load(answer)}


def roles(tool: Tool) -> tuple[str, str]:
    found = tool.roles()
    return found[NODES[0]], found[NODES[1]]


def answer_of(done: subprocess.CompletedProcess[bytes]) -> Any:
    return json.loads(done.stdout)


def well(tool: Tool) -> bool:
    return tool.run("status", "--json").returncode == 0


def test_a_switchover_moves_the_role_there_and_back_and_no_request_fails(
    runtime: str, make_tool: Callable[..., Tool]
) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    with writing(tool):
        moved = tool.json("switchover", "postgres")
        assert (moved["outcome"], moved["old"], moved["new"]) == ("moved", *NODES)
        assert all(check["ok"] for check in moved["checks"])
        assert roles(tool) == ("standby", "primary")
        assert well(tool)
        back = tool.json("switchover", "postgres", "--to", "postgres-primary")
        assert back["new"] == "postgres-primary"
        assert roles(tool) == ("primary", "standby")
    phases = [(event["operation"], event["phase"]) for event in events(tool) if event["operation"] == "switchover postgres"]
    assert phases == [("switchover postgres", "started"), ("switchover postgres", "done")] * 2
    # Neither needed a rewind or a copy: the old primary's data only had to be followed on.
    assert "pg_rewind" not in tool.ok("logs", *NODES)


@pytest.mark.parametrize("fault", ["kill", "pause", "stop"])
def test_a_lost_primary_is_replaced_and_comes_back_as_standby(
    fault: str, runtime: str, make_tool: Callable[..., Tool]
) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    with writing(tool):
        tool.ok(fault, "postgres-primary")
        moved = tool.json("failover", "postgres")
        assert (moved["outcome"], moved["new"], moved["bytes_at_risk"]) == ("moved", "postgres-replica", 0)
        assert len(moved["signs_of_death"]) == 2
        assert roles(tool) == ("standby", "primary")
        eventually(lambda: well(tool), "everything is well", timeout_s=120)


def test_a_primary_that_is_well_is_switched_over_by_failover(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    tool.up()
    before = tool.pids()
    moved = tool.json("failover", "postgres")
    assert moved["operation"] == "switchover postgres"
    assert roles(tool) == ("standby", "primary")
    # Nobody was killed: the guards are the ones from before.
    assert {name: tool.pids()[name] for name in NODES} == {name: before[name] for name in NODES}


def test_what_must_not_move_is_refused_and_nothing_is_changed(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    tool.up()
    plan = tool.json("switchover", "postgres", "--dry-run")
    assert plan["outcome"] == "planned"
    assert [step["step"] for step in plan["plan"] if step["point_of_no_return"]] == ["name"]
    for words, code, error in (
        (["switchover", "postgres", "--to", "postgres-primary"], 5, "already_primary"),
        (["switchover", "postgres", "--to", "nosuch"], 4, "unknown_node"),
        (["failover", "postgres", "--allow-data-loss"], 3, "confirmation_required"),
    ):
        done = tool.run(*words, "--json")
        assert (done.returncode, answer_of(done)["error"]["code"]) == (code, error), words
    tool.ok("stop", "postgres-replica")
    done = tool.run("switchover", "postgres", "--json")
    assert (done.returncode, answer_of(done)["error"]["code"]) == (5, "node_unavailable")
    assert tool.roles()["postgres-primary"] == "primary"
    done = tool.run("failover", "postgres", "--json")
    assert done.returncode == 5
    assert tool.roles()["postgres-primary"] == "primary"


def test_a_primary_that_only_does_not_answer_is_not_replaced(runtime: str, make_tool: Callable[..., Tool]) -> None:
    """Its guard lives and its standby receives from it: killed on the word of a silent port alone, it would be a mistake."""
    tool = make_tool(runtime=runtime)
    tool.up()

    def signal_server(name: str) -> None:
        script = f'kill -s {name} "$(head -n 1 "$PGDATA/postmaster.pid")"'
        tool.ok("exec", "postgres-primary", "--", "sh", "-c", script)

    signal_server("STOP")
    try:
        done = tool.run("failover", "postgres", "--json")
    finally:
        signal_server("CONT")
    error = answer_of(done)["error"]
    assert (done.returncode, error["code"]) == (5, "primary_alive")
    assert f"spokectl kill postgres-primary --stack {tool.stack}" in error["actions"]
    assert roles(tool) == ("primary", "standby")
    eventually(lambda: well(tool), "everything is well again")


def degrade(tool: Tool) -> None:
    """Four acknowledged writes at least are on the primary only, and then it is killed."""
    writer = Writer(tool.url(), 1)
    with contextlib.ExitStack() as stack:
        writer.start()
        stack.callback(writer.stop)
        go_on([writer])
        tool.ok("stop", "postgres-replica")
        eventually(lambda: not well(tool) and "degraded since" in tool.run("status").stdout.decode(), "it is degraded")
        go_on([writer])
    tool.ok("kill", "postgres-primary")


def test_a_degraded_primary_is_replaced_only_with_leave_to_lose_writes(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    tool.up()
    degrade(tool)
    tool.run("start", "postgres-replica", "--timeout", "5s")
    eventually(lambda: tool.roles()["postgres-replica"] == "standby", "the standby answers")
    done = tool.run("failover", "postgres", "--json")
    error = answer_of(done)["error"]
    assert (done.returncode, error["code"]) == (5, "data_loss")
    assert error["details"]["bytes"] > 0
    done = tool.run("failover", "postgres", "--allow-data-loss", "--yes", "--json")
    error = answer_of(done)["error"]
    # The old node holds writes that nobody else has: its guard waits for a person's word.
    assert (done.returncode, error["code"]) == (12, "failover_postgres_incomplete"), error
    assert any("reinit postgres-primary --discard" in action for action in error["actions"]), error
    assert tool.roles()["postgres-replica"] == "primary"


@pytest.mark.parametrize("number", range(3), ids=lambda number: " ".join(_RESUMED_BY[number]))
def test_killed_at_any_step_the_next_command_ends_it_with_one_primary_and_every_write(
    number: int, runtime: str, make_tool: Callable[..., Tool]
) -> None:
    """Each third of all kills is followed by another command, which tells what has become of the move."""
    tool = make_tool(runtime=runtime)
    tool.up()
    # While nobody ends what was broken off, writes are refused after the Spokes' retry budget.
    with writing(tool, none_refused=False) as writers:
        for operation, step, phase in _KILLS[number::3]:
            primary = NODES[roles(tool).index("primary")]
            if operation == "failover":
                tool.ok("kill", primary)
            killed = kill_at(tool, step, phase, operation, "postgres")
            assert killed.returncode == -9, (operation, step, phase, killed.stderr.decode())
            done = tool.run(*_RESUMED_BY[number], "--json")
            where = (operation, step, phase, done.stdout.decode(), done.stderr.decode())
            if (operation, *_RESUMED_BY[number]) == ("failover", "switchover", "postgres") and done.returncode != 0:
                # Put back, and the primary is as dead as it was before: a switchover cannot be.
                assert (done.returncode, answer_of(done)["error"]["code"]) == (5, "node_unavailable"), where
                assert roles(tool)[NODES.index(primary)] == "", where
                done = tool.run("failover", "postgres", "--json")
            assert done.returncode == 0, where
            assert sorted(roles(tool)) == ["primary", "standby"], where
            other = next(node for node in NODES if node != primary)
            told = f"finished: {other} has the role" if names_new(step, phase) else f"put back: {primary} has the role"
            ends = [each for each in events(tool) if each["operation"] == f"end {operation} postgres"]
            assert (ends[-1]["phase"], ends[-1]["message"]) == ("done", told), where
            if _RESUMED_BY[number] == ("up",):
                assert f"{NODES[roles(tool).index('primary')]} has the role" in told, where
            eventually(lambda: well(tool), f"all is well after {operation} {step} {phase}", timeout_s=120)
            assert not (tool.state / tool.stack / "underway.jsonl").exists(), where
            go_on(writers)


def names_new(step: str, phase: str) -> bool:
    """Whether the cluster record names the new primary after a kill there: it does once that step was done."""
    named = [each.id for each in SWITCHOVER_STEPS[SWITCHOVER_STEPS.index(NAME) + 1 :]]
    return step in named or (step, phase) == (NAME.id, "done")


def kill_at(tool: Tool, step: str, phase: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    script = Path(__file__).with_name("killed_tool.py")
    return subprocess.run(
        [sys.executable, script, step, phase, *words],
        capture_output=True,
        env=tool.environment | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        timeout=COMMAND_TIMEOUT_S,
    )


def events(tool: Tool) -> list[dict[str, Any]]:
    lines = (tool.state / tool.stack / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
