"""The tool in the hands of a shell user: scripts that know nothing of it but exit codes and JSON."""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Tool
from tests.e2e.protos import modules

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

SCRIPTS = Path(__file__).parent / "scripts"
IN_ORDER = ["up-and-push.sh", "caches.sh", "fail-over.sh", "take-down.sh"]
SCRIPT_TIMEOUT_S = 900.0


def a_shell_s_environment(tool: Tool, folder: Path) -> dict[str, str]:
    """In which `spokectl` is the one that is tested."""
    command = folder / "bin" / "spokectl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m spokectl "$@"\n')
    command.chmod(0o755)
    return tool.environment | {"PATH": f"{command.parent}:{tool.environment['PATH']}"}


def test_what_the_readme_does_with_real_modules_ends_twice_in_equal_bytes(
    make_tool: Callable[..., Tool], tmp_path: Path
) -> None:
    chapter = (ROOT / "README.md").read_text().partition("### Real modules, through everything\n")[2]
    script = chapter.split("```")[1].replace("/tmp/", f"{tmp_path}/")
    packages = tmp_path / ".venv/lib/python3/site-packages"
    packages.parent.mkdir(parents=True)
    packages.symlink_to(sysconfig.get_path("purelib"))
    tool = make_tool("e2e-readme")
    tool.up()
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=a_shell_s_environment(tool, tmp_path),
        cwd=tmp_path,
        timeout=SCRIPT_TIMEOUT_S,
    )
    assert (done.returncode, done.stdout.splitlines().count("equal")) == (0, 2), f"{done.stdout}\n{done.stderr}"
    pushed = {file.name for module in modules().values() for file in module.values()}
    assert {file.name for file in (tmp_path / "again").rglob("*.proto")} >= pushed


def test_scripts_bring_a_stack_up_use_it_fail_over_and_take_it_down(
    runtime: str, make_tool: Callable[..., Tool], tmp_path: Path
) -> None:
    if shutil.which("jq") is None:
        pytest.skip("there is no jq here: on Debian `make jq` as root installs it")
    assert {each.name for each in SCRIPTS.iterdir()} == {*IN_ORDER, "common.sh"}
    tool = make_tool("e2e-scripts", runtime=runtime)
    files = tmp_path / "files"
    files.mkdir()
    environment = a_shell_s_environment(tool, tmp_path)
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
