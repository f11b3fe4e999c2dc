"""Nothing that tests start outlives pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.integration.server.backends import wait_for

pytestmark = pytest.mark.integration

STARTS_A_SERVER = """
import subprocess, sys, time
from pathlib import Path
from tests.integration.leftovers import will_be_ended, will_be_removed
folder = Path(sys.argv[1])
will_be_removed(folder)
server = subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600"], start_new_session=True, stdout=subprocess.DEVNULL)
will_be_ended(server)
print(server.pid, flush=True)
time.sleep(600)
"""


def test_servers_and_folders_of_a_killed_pytest_go_away(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    command = [sys.executable, "-c", STARTS_A_SERVER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as pytest_itself:
        assert pytest_itself.stdout is not None
        leader = psutil.Process(int(pytest_itself.stdout.readline()))
        wait_for(lambda: len(leader.children()) == 2, "the server and its child")
        every = [leader, *leader.children()]
        pytest_itself.kill()
    wait_for(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in every), "their end")
    wait_for(lambda: not folder.exists(), "the folder to go")
