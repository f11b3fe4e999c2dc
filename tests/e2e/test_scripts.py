"""The tool in the hands of a shell user: scripts that know nothing of it but exit codes and JSON."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Tool

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

SCRIPTS = Path(__file__).parent / "scripts"
IN_ORDER = ["up-and-push.sh", "caches.sh", "fail-over.sh", "take-down.sh"]
SCRIPT_TIMEOUT_S = 900.0


def test_scripts_bring_a_stack_up_use_it_fail_over_and_take_it_down(
    runtime: str, make_tool: Callable[..., Tool], tmp_path: Path
) -> None:
    if shutil.which("jq") is None:
        pytest.skip("there is no jq here: on Debian `make jq` as root installs it")
    assert {each.name for each in SCRIPTS.iterdir()} == {*IN_ORDER, "common.sh"}
    tool = make_tool("e2e-scripts", runtime=runtime)
    command = tmp_path / "bin" / "spokectl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m spokectl "$@"\n')
    command.chmod(0o755)
    files = tmp_path / "files"
    files.mkdir()
    environment = tool.environment | {"PATH": f"{command.parent}:{tool.environment['PATH']}"}
    for script in IN_ORDER:
        done = subprocess.run(
            [SCRIPTS / script, str(tool.offset), files],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=environment,
            timeout=SCRIPT_TIMEOUT_S,
        )
        assert done.returncode == 0, f"{script}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert tool.left_running() == []
