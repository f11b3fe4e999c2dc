"""The engine, or the machine, is restarted: what comes back by itself, and what is still there."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import Tool, eventually
from tests.e2e.engine import Machine, machine_with_the_images

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(2400)]

# Of a kind that can spare them. Not a Sentinel: this machine has no name server, and the other Sentinels would stand still
# while they look its name up (docs/docker.md).
STOPPED, KILLED = "spoke-3", "spoke-2"
BACK_WITHIN_S = 300.0
_WRITER = """
import sys
from tests.e2e.clients import create
step = 0
while True:
    step += 1
    try:
        create(sys.argv[1], f"{sys.argv[2]}-{step}")
    except OSError:
        continue
    print(f"{sys.argv[2]}-{step}", flush=True)
"""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = machine_with_the_images()
    # Everything that asks an engine asks this one.
    monkeypatch.setenv("DOCKER_HOST", made.address)
    try:
        yield made
    finally:
        made.close()


def begin_to_write(tool: Tool, name: str) -> "subprocess.Popen[str]":
    """Creates modules on the machine's side, one after the other, and prints the name of each that was acknowledged."""
    words = [*tool.getting_there, sys.executable, "-c", _WRITER, tool.url(), name]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=tool.environment)


def test_after_a_restart_of_the_engine_all_but_what_was_stopped_by_hand_is_back_with_one_primary_and_all_data(
    machine: Machine, make_tool: Callable[..., Tool]
) -> None:
    tool = make_tool(runtime="docker")
    tool.getting_there = machine.getting_there
    tool.up()
    tool.ok("stop", STOPPED)
    tool.ok("kill", KILLED)
    acknowledged: set[str] = set()

    for name, end in {"stopped": machine.stop, "lost-power": machine.lose_power}.items():
        with begin_to_write(tool, name) as writer:
            assert writer.stdout is not None
            acknowledged |= {writer.stdout.readline().strip() for _ in range(10)}
            end()
            writer.kill()
            acknowledged |= {line.strip() for line in writer.stdout if line.endswith("\n")}
        machine.start()
        tool.getting_there = machine.getting_there

        def health() -> dict[str, str]:
            services = json.loads(tool.run("status", "--json").stdout)["data"]["services"]
            return {each["service"]: each["health"] for each in services}

        def others_are_well() -> bool:
            return all(said in {"healthy", "done"} for each, said in health().items() if each not in {STOPPED, KILLED})

        eventually(others_are_well, f"everything else is well again: {name}", BACK_WITHIN_S)
        assert {health()[each] for each in (STOPPED, KILLED)} == {"down"}
        roles = tool.roles()
        assert {roles["postgres-primary"], roles["postgres-replica"]} == {"primary", "standby"}
        assert {roles["redis-master"], roles["redis-replica"]} == {"master", "replica"}
        present = {each["name"] for each in tool.json("modules", "list")}
        assert {each for each in acknowledged if each} <= present

    tool.up()
    assert tool.run("status").returncode == 0
