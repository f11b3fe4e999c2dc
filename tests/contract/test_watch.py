"""`status --watch` as a terminal and a pipe see it: redrawn in place, a line a change, ended by Ctrl-C with 130."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)
WORDS = [sys.executable, "-m", "spokectl", "status", "--watch", "--interval", "50ms"]


def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPOKE_", "SPOKECTL_", "NO_COLOR"))}
    own = {"SPOKECTL_STATE_DIR": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/no-engine", "TERM": "xterm"}
    return kept | own


def test_off_a_terminal_it_says_each_change_once_and_ctrl_c_ends_it_with_130(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*WORDS, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(tmp_path)
    ) as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        assert (first["command"], first["error"]["code"]) == ("status", "no_stack")
        watching.send_signal(signal.SIGINT)
        rest, complaints = watching.communicate(timeout=120)
    assert (watching.returncode, rest, complaints) == (130, b"", b"")


def test_on_a_terminal_it_is_redrawn_in_place_without_another_screen(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(WORDS, stdout=theirs, stdin=theirs, stderr=subprocess.PIPE, env=environment(tmp_path)) as watching:
        os.close(theirs)
        shown = b""
        end = time.monotonic() + 120
        while shown.count(b"the stack spoke was never brought up") < 3:
            assert time.monotonic() < end, shown
            shown += os.read(ours, 4096)
        watching.send_signal(signal.SIGINT)
        _, complaints = watching.communicate(timeout=120)
    os.close(ours)
    assert (watching.returncode, complaints) == (130, b"")
    assert b"\x1b[1A" in shown  # up one line, to draw over what is there
    assert b"\x1b[?1049h" not in shown  # the alternate screen
