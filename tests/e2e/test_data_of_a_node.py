"""What the guards leave to a person: a node's data is copied anew, given up, or declared to be the right one."""

import json
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest

from spokectl.operations.postgres.tables import ADOPT_STEPS, NAME
from tests.e2e.clients import create
from tests.e2e.conftest import Tool, eventually
from tests.e2e.test_moving_the_primary import NODES, answer_of, degrade, kill_at, present, roles, well, writing

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


def code_of(done: subprocess.CompletedProcess[bytes]) -> tuple[int, str]:
    return done.returncode, str(answer_of(done)["error"]["code"])


def in_node(tool: Tool, node: str, script: str) -> str:
    return tool.ok("exec", node, "--", "sh", "-c", script)


def in_database(tool: Tool, node: str, sql: str) -> str:
    return tool.ok("exec", node, "--", "psql", "-XAtc", sql).strip()


def mark(tool: Tool, node: str) -> None:
    """Leaves a file in the node's data that no other node has."""
    in_node(tool, node, 'touch "$PGDATA/marked"')


def is_marked(tool: Tool, node: str) -> bool:
    return "marked" in in_node(tool, node, 'ls "$PGDATA"').split()


def remove_record(tool: Tool) -> None:
    in_node(tool, NODES[0], 'rm "$SPOKE_POSTGRES_CLUSTER_DIR/cluster.json"')


def test_a_standby_is_copied_anew_under_writes_and_none_is_refused(runtime: str, make_tool: Callable[..., Tool]) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    mark(tool, "postgres-replica")
    with writing(tool):
        copied = tool.json("postgres", "reinit", "postgres-replica")
        assert (copied["outcome"], copied["primary"], copied["mode"]) == ("copied", "postgres-primary", "synchronous")
        assert copied["divergent"] is None
        assert not is_marked(tool, "postgres-replica")
        eventually(lambda: well(tool), "everything is well", timeout_s=120)
    # One that is down is started for it.
    mark(tool, "postgres-replica")
    tool.ok("stop", "postgres-replica")
    planned = tool.json("postgres", "reinit", "postgres-replica", "--dry-run")
    assert planned["outcome"] == "planned"
    assert tool.pids()["postgres-replica"] is None
    tool.ok("postgres", "reinit", "postgres-replica")
    assert not is_marked(tool, "postgres-replica")
    assert roles(tool) == ("primary", "standby")


def test_writes_that_only_an_old_primary_has_are_given_up_by_a_persons_word_and_kept(
    runtime: str, make_tool: Callable[..., Tool]
) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    degrade(tool)
    tool.run("start", "postgres-replica", "--timeout", "5s")
    eventually(lambda: tool.roles()["postgres-replica"] == "standby", "the standby answers")
    failed_over = tool.run("failover", "postgres", "--allow-data-loss", "--yes", "--json")
    assert code_of(failed_over) == (12, "failover_postgres_incomplete")
    lost = answer_of(failed_over)["error"]["details"]["divergent"]
    assert (lost["node"], lost["timeline"], lost["kept_in"]) == ("postgres-primary", 1, None)
    assert lost["bytes"] > 0
    before = present(tool)

    again = ("postgres", "reinit", "postgres-primary")
    assert code_of(tool.run(*again, "--json")) == (5, "own_writes")
    assert code_of(tool.run(*again, "--discard", "--json")) == (3, "confirmation_required")
    assert tool.roles()["postgres-primary"] == ""
    shown = tool.run(*again, "--discard", "--yes")
    assert shown.returncode == 0, shown.stderr.decode()
    said = shown.stderr.decode()
    span = f"{lost['bytes']} bytes of WAL (timeline 1, {lost['from_lsn']} to {lost['to_lsn']})"
    assert f"Only postgres-primary has {span}." in said
    kept = said.partition(f"Only it had {span}: kept on it, in ")[2].split()[0].rstrip(".")
    assert f"first divergent position {lost['from_lsn']}" in in_node(tool, "postgres-primary", f"cat {kept}/README")

    assert roles(tool) == ("standby", "primary")
    eventually(lambda: well(tool), "everything is well", timeout_s=120)
    assert present(tool) == before
    told = [json.loads(line) for line in tool.ok("events", "--json").splitlines()]
    gave_up = [event for event in told if event["what"] == "gave up WAL"]
    assert [(event["target"], event["outcome"]) for event in gave_up] == [("postgres-primary", f"kept in {kept}")]
    assert f"{lost['bytes']} bytes" in gave_up[0]["why"]
    assert [span in event["why"] for event in told if event["what"] == "reinit postgres"] == [True]


def test_a_failover_says_what_only_the_old_primary_had(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    tool.up()
    tool.ok("config", "set", "SPOKE_POSTGRES_DEGRADE_AFTER=10m")
    tool.up()
    primary, standby = sorted(NODES, key=lambda node: tool.roles()[node])
    # Its commits wait for a standby that is down: they are written here, and nobody is told so.
    tool.ok("stop", standby)
    waiting = threading.Thread(target=tool.run, args=("exec", primary, "--", "psql", "-c", "CREATE TABLE unacknowledged ()"))
    waiting.start()
    commits_wait = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'psql'"
    eventually(lambda: in_database(tool, primary, commits_wait) == "1", "a commit waits")
    tool.ok("kill", primary)
    waiting.join(timeout=60)
    tool.run("start", standby, "--timeout", "5s")
    eventually(lambda: tool.roles()[standby] == "standby", "the standby answers")
    moved = tool.json("failover", "postgres")
    lost = moved["divergent"]
    assert (lost["node"], lost["bytes"] > 0) == (primary, True)
    assert lost["from_lsn"] in in_node(tool, primary, f"cat {lost['kept_in']}/README")
    assert in_database(tool, standby, "SELECT count(*) FROM pg_class WHERE relname = 'unacknowledged'") == "0"


def test_what_must_not_be_copied_over_is_refused_and_nothing_is_changed(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    tool.up()
    before = tool.pids()
    reinit = ("postgres", "reinit")
    assert code_of(tool.run(*reinit, "postgres-primary", "--discard", "--yes", "--json")) == (5, "is_primary")
    assert code_of(tool.run(*reinit, "nosuch", "--json")) == (4, "unknown_node")
    assert code_of(tool.run("postgres", "adopt", "postgres-replica", "--yes", "--json")) == (5, "record_exists")
    assert code_of(tool.run("postgres", "adopt", "nosuch", "--yes", "--json")) == (4, "unknown_node")
    assert tool.pids() == before
    tool.ok("pause", "postgres-replica")
    assert code_of(tool.run(*reinit, "postgres-replica", "--json")) == (5, "paused")
    tool.ok("unpause", "postgres-replica")
    tool.ok("stop", "postgres-primary")
    assert code_of(tool.run(*reinit, "postgres-replica", "--json")) == (5, "primary_unavailable")
    # Nobody has to hunt for a primary that is down: it was not started either.
    assert code_of(tool.run(*reinit, "postgres-primary", "--json")) == (5, "is_primary")
    assert tool.pids()["postgres-primary"] is None


@pytest.mark.parametrize("chosen", NODES)
def test_where_the_record_is_gone_a_person_says_who_is_primary(
    chosen: str, runtime: str, make_tool: Callable[..., Tool]
) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    create(tool.url(), "before")
    remove_record(tool)
    assert code_of(tool.run("postgres", "adopt", "postgres-replica", "--yes", "--json")) == (5, "other_primary")
    tool.ok("kill", *NODES)
    refused = tool.run("start", *NODES, "--json")
    assert code_of(refused) == (1, "postgres_refused")
    assert any("postgres adopt" in action for action in answer_of(refused)["error"]["actions"])
    assert code_of(tool.run("postgres", "adopt", chosen, "--json")) == (3, "confirmation_required")
    adopted: dict[str, Any] = tool.json("postgres", "adopt", chosen, "--yes", "--reason", "the record was lost")
    assert [node["name"] for node in adopted["nodes"]] == [chosen, next(node for node in NODES if node != chosen)]
    assert all(node["timeline"] == 1 and "/" in node["lsn"] for node in adopted["nodes"])
    assert len({node["system_identifier"] for node in adopted["nodes"]}) == 1
    assert tool.roles()[chosen] == "primary"
    eventually(lambda: well(tool), "everything is well", timeout_s=120)
    assert sorted(roles(tool)) == ["primary", "standby"]
    create(tool.url(), "after")
    assert present(tool) == {"before", "after"}
    record = json.loads(in_node(tool, chosen, 'cat "$SPOKE_POSTGRES_CLUSTER_DIR/cluster.json"'))
    assert record["primary"] == chosen


def test_an_adoption_that_was_broken_off_anywhere_is_ended_by_the_next_up(
    runtime: str, make_tool: Callable[..., Tool]
) -> None:
    """Each half of all places in one of the runtimes: the steps are the same ones."""
    tool = make_tool(runtime=runtime)
    tool.up()
    places = [(step.id, phase) for step in ADOPT_STEPS for phase in ("began", "done")]
    for step, phase in places[("local", "docker").index(runtime) :: 2]:
        where = f"killed at {step} {phase}"
        chosen = next(node for node in NODES if tool.roles()[node] == "standby")
        remove_record(tool)
        tool.ok("kill", *NODES)
        tool.run("start", *NODES)
        killed = kill_at(tool, step, phase, "postgres", "adopt", chosen, "--yes")
        assert killed.returncode == -9, (where, killed.stderr.decode())
        if (step, phase) == (NAME.id, "began"):
            # Nothing had been written yet, so nobody has chosen.
            assert code_of(tool.run("up", "--json")) == (1, "postgres_refused"), where
            tool.ok("postgres", "adopt", chosen, "--yes")
        else:
            refused = tool.run("stop", chosen, "--json")
            assert code_of(refused) == (5, "move_unfinished"), where
            tool.up()
        assert tool.roles()[chosen] == "primary", where
        assert not (tool.state / tool.stack / "underway.jsonl").exists(), where
        eventually(lambda: well(tool), f"everything is well after {where}", timeout_s=120)
