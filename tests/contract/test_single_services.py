"""`exec` and `start` from the shell, on a stack of tiny servers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spokectl.settings import StackRecord
from tests.contract.runtime.tiny import TinyStack, free_ports, job, service, tiny_stack

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[TinyStack]:
    services = {"one": service(free_ports(1)[0]), "setup": job(environment={"NEEDS": "note"}, restart="no")}
    with tiny_stack("local", tmp_path, services) as stack:
        stack.up("one")
        stack.state.write_record(StackRecord("local", str(stack.stack.files[0]), ""))
        stack.wait_for_answer("one")
        yield stack


def spokectl(stack: TinyStack, *words: str) -> "subprocess.Popen[str]":
    state = str(stack.state.folder.parent)
    return subprocess.Popen(
        [sys.executable, "-m", "spokectl", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={"PATH": os.environ["PATH"], "SPOKECTL_STATE_DIR": state, "SPOKECTL_STACK": stack.name},
    )


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_exec_ends_as_its_command_ended_as_in_a_shell(stack: TinyStack, script: str, code: int) -> None:
    done = spokectl(stack, "exec", "one", "--", "sh", "-c", script)
    output, errors = done.communicate(timeout=60)
    assert (done.returncode, output, errors) == (code, "", "")


def test_an_interrupt_belongs_to_the_command_that_exec_runs(stack: TinyStack) -> None:
    script = "trap 'exit 42' INT; echo ready; while :; do sleep 0.1; done"
    running = spokectl(stack, "exec", "one", "--", "sh", "-c", script)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (42, "")


def test_start_of_what_fails_ends_at_once_with_the_reason(stack: TinyStack) -> None:
    done = spokectl(stack, "start", "setup", "--json", "--timeout", "2m")
    error = json.loads(done.communicate(timeout=60)[0])["error"]
    assert (done.returncode, error["code"]) == (1, "service_failed")
    assert error["details"] == {"service": "setup", "exit_code": 7}
    assert "spokectl logs setup --stack tiny" in error["actions"]
