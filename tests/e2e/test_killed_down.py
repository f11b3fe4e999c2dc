"""`down` may be killed at any moment: the next `up` brings everything back, and the next `down` ends everything."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import psutil
import pytest

from tests.e2e.clients import require_one_of_each_role
from tests.e2e.conftest import COMMAND_TIMEOUT_S, Tool, processes_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


def roots(tool: Tool) -> dict[str, int]:
    """The process of each service and of the supervisor."""
    found = {name: pid for name, pid in tool.pids().items() if pid}
    (supervisor,) = [each.pid for each in processes_of(tool) if "supervisord" in " ".join(each.cmdline())]
    return found | {"the supervisor": supervisor}


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill_down_once(tool: Tool, reached: Callable[[], bool]) -> bool:
    """Starts `down` and kills it as soon as `reached` holds; gives whether it was still at work then."""
    words = [sys.executable, "-m", "spokectl", "down"]
    down = subprocess.Popen(words, stderr=subprocess.DEVNULL, env=tool.environment, cwd="/")
    end = time.monotonic() + COMMAND_TIMEOUT_S
    while not reached() and down.poll() is None:
        assert time.monotonic() < end, "down neither got there nor ended"
        time.sleep(0.002)
    at_work = down.poll() is None
    down.kill()
    down.wait()
    return at_work


def require_all_back(tool: Tool) -> None:
    done = tool.run("up", "--json", "--timeout", "4m")
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    require_one_of_each_role(tool)
    assert tool.json("modules", "get", "kept")["description"] == "survives"


def test_up_brings_everything_back_after_kill_9_of_down_in_any_phase(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    tool.up()
    tool.ok("modules", "create", "kept", "--description", "survives")
    begun = tool.state / tool.stack / "lock.holder"
    services = ("spoke-1", "nginx", "redis-master", "minio", "postgres-replica", "postgres-primary", "the supervisor")
    cut_short = 0
    for phase in ("begun", *services):
        before = roots(tool)
        cut_short += kill_down_once(tool, begun.exists if phase == "begun" else partial(has_ended, before[phase]))
        require_all_back(tool)
        if phase != "begun":
            assert tool.pids().get(phase) != before[phase]
    # A kill that comes when all is over proves nothing.
    assert cut_short >= 4
    tool.ok("down")
    assert processes_of(tool) == []


def test_down_ends_everything_after_kill_9_of_down(make_tool: Callable[..., Tool]) -> None:
    tool = make_tool()
    tool.up()
    before = roots(tool)
    kill_down_once(tool, lambda: has_ended(before["spoke-2"]))
    tool.ok("down")
    assert [name for name, pid in before.items() if not has_ended(pid)] == []
    assert [process for process in processes_of(tool) if process.pid != os.getpid()] == []
