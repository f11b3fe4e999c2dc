"""Drills on a real stack: those that CI runs hold in each runtime, and a script can act on how a run ends."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from spokectl.drills.catalog import all_drills
from spokectl.drills.drill import Need
from tests.e2e.conftest import Tool, eventually
from tests.e2e.test_drills_heal import broken
from tests.e2e.test_moves_disturbed import begin

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

CANNOT = {"local": {Need.NETWORK, Need.ENGINE, Need.COLLECTOR}, "docker": {Need.NATIVE}}
# How long clients wait says nothing on a machine that does other things too; what fails, is lost or is stale does.
ANY_TIME = "rto=5m,read_gap=5m,client_gap=5m,postgres_gap=5m,redis_gap=5m"
RUN_TIMEOUT_S = 1500.0


def drilled(tool: Tool, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code of `drill run` and its envelope."""
    done = tool.run("drill", "run", *words, "--json", timeout_s=RUN_TIMEOUT_S)
    return done.returncode, json.loads(done.stdout)


def test_the_six_tests_of_the_readme_and_those_of_ci_hold(make_tool: Callable[..., Tool], runtime: str) -> None:
    tool = make_tool("e2e-drills", runtime=runtime)
    tool.up()
    code, said = drilled(tool, "--seed-tests", "--ci", "--objective", ANY_TIME)
    assert said["data"], said["error"]
    trials = {each["drill"]: each for each in said["data"]["trials"]}
    bad = {name: (each["verdict"], each["why"], failing(each)) for name, each in trials.items() if each["verdict"] != "held"}
    wanted = {each.name: each for each in all_drills().values() if each.seed_test or each.in_ci}
    skipped = {name for name, each in wanted.items() if each.needs & CANNOT[runtime]}
    assert {name for name, (verdict, _, _) in bad.items() if verdict == "skipped"} == skipped
    assert set(bad) == skipped, bad
    assert (code, said["status"], said["error"]) == (0, "ok", None)
    assert set(trials) == set(wanted)
    assert sorted(wanted[name].seed_test or 0 for name in list(trials)[:6]) == [1, 2, 3, 4, 5, 6]
    assert not skipped.intersection(name for name, each in wanted.items() if each.seed_test)
    assert all(each["checks"] and each["measures"] for name, each in trials.items() if name not in skipped)


def failing(trial: dict[str, Any]) -> list[dict[str, Any]]:
    """Its checks and figures that do not hold."""
    return [each for each in trial["checks"] if not each["ok"]] + [
        each
        for each in trial["measures"]
        if each["bound"] is not None and (each["found"] is None or each["found"] > each["bound"])
    ]


def test_a_script_can_act_on_how_a_run_ends(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool("e2e-drills-end")
    tool.up()
    assert ended(drilled(tool)) == (2, "error", "no_drill")
    code, said = drilled(tool, "postgres-kil")
    assert ended((code, said)) == (4, "error", "unknown_drill")
    assert "postgres-kill" in said["error"]["message"]

    code, said = drilled(tool, "postgres-kill", "--objective", "rto=1ms")
    assert (code, said["error"]["code"]) == (11, "objective_missed")
    assert "rto was" in said["error"]["message"]
    assert "at most 0.001s was promised" in said["error"]["message"]
    [trial] = said["data"]["trials"]
    assert trial["verdict"] == "missed"
    assert [each["bound"] for each in trial["measures"] if each["name"] == "rto"] == [0.001]

    tool.ok("stop", "spoke-1")
    assert ended(drilled(tool, "spoke-kill")) == (5, "error", "not_well")
    tool.ok("start", "spoke-1")
    tool.up()

    process = begin(tool, "drill", "run", "spoke-kill", "--objective", ANY_TIME)
    eventually(lambda: any("killed" in each for each in broken(tool)), "a Spoke is killed")
    assert ended(drilled(tool, "spoke-kill")) == (5, "error", "locked")
    answer, _ = process.communicate(timeout=RUN_TIMEOUT_S)
    assert process.returncode == 0, answer


def ended(run: tuple[int, dict[str, Any]]) -> tuple[int, str, str]:
    code, said = run
    return code, said["status"], said["error"]["code"]
