"""A drill that dies leaves nothing broken: the next command heals first, and Ctrl-C heals at once."""

import json
import os
import signal
from collections.abc import Callable

import pytest

from tests.e2e.conftest import COMMAND_TIMEOUT_S, Tool, eventually
from tests.e2e.test_moves_disturbed import begin

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def broken(tool: Tool) -> list[str]:
    """What the journal says that a drill has broken, and not healed."""
    path = tool.state / tool.stack / "faults.jsonl"
    left: dict[int, str] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        entry = json.loads(line)
        if entry.get("healed"):
            left.pop(entry["number"], None)
        else:
            left[entry["number"]] = entry["sentence"]
    return list(left.values())


def drills_modules(tool: Tool) -> list[str]:
    return [each["name"] for each in tool.json("modules", "list") if each["name"].startswith("drill-")]


def test_a_drill_that_is_killed_is_healed_by_the_next_command_and_one_that_is_interrupted_by_itself(
    make_tool: Callable[..., Tool], runtime: str
) -> None:
    tool = make_tool("e2e-heal", runtime=runtime)
    tool.up()
    for number in (signal.SIGKILL, signal.SIGINT):
        process = begin(tool, "drill", "run", "spoke-kill")
        eventually(lambda: any("killed" in each for each in broken(tool)), "a Spoke is killed")
        # Another command, meanwhile, heals nothing: the drill is alive, and does it itself.
        assert b"healing" not in tool.run("ps").stderr
        os.killpg(process.pid, number)
        process.communicate(timeout=COMMAND_TIMEOUT_S)
        if number is signal.SIGKILL:
            assert "what the clients of a drill wrote" in broken(tool)
            done = tool.run("status")
            assert b"healing: what the clients of a drill wrote" in done.stderr
        else:
            assert process.returncode == 130
        assert broken(tool) == []
        assert drills_modules(tool) == []
        eventually(lambda: tool.run("status").returncode == 0, "all is well again")
    assert json.loads(tool.run("drill", "heal", "--json").stdout)["data"] == []
