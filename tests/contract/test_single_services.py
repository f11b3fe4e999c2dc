"""Single services, and `down`, from the shell: on a stack of tiny servers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spokectl.journal import Underway
from spokectl.operations import last_known
from spokectl.settings import StackRecord, write_env_file
from tests.contract.runtime.tiny import TinyStack, is_alive, job, service, tiny_stack
from tests.ports import free_ports

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


@pytest.mark.parametrize("words", ["start", "stop", "restart", "kill", "pause", "unpause", "status", "logs", "exec"])
def test_a_service_that_the_stack_does_not_have_is_not_found_by_any_command(stack: TinyStack, words: str) -> None:
    done = spokectl(stack, words, "on", *(["--", "true"] if words == "exec" else []))
    output, errors = done.communicate(timeout=60)
    assert (done.returncode, output) == (4, "")
    assert errors.startswith("error: there is no service 'on' in the stack: did you mean one?\n")


def test_a_node_whose_role_was_moving_is_started_and_stopped_only_by_what_ends_the_move(stack: TinyStack) -> None:
    facts = {"old": "one", "new": "two", "epoch": 1, "reason": "switchover postgres"}
    Underway(stack.state.underway_file).begin("switchover postgres", facts)
    before = stack.inspect("one")
    for action in ("start", "stop", "restart"):
        done = spokectl(stack, action, "one", "--json")
        output, errors = done.communicate(timeout=60)
        error = json.loads(output)["error"]
        assert (done.returncode, error["code"]) == (5, "move_unfinished"), errors
        assert error["actions"] == [f"spokectl {words} --stack {stack.name}" for words in ("switchover postgres", "up")]
    assert stack.inspect("one") == before
    # The job beside it has no part in the move, and what breaks things on purpose asks for no order.
    for words in (["start", "setup", "--timeout", "1s"], ["kill", "one"]):
        done = spokectl(stack, *words, "--json")
        output, errors = done.communicate(timeout=60)
        assert "move_unfinished" not in output, errors
    assert stack.inspect("one").state == "stopped"


@pytest.mark.parametrize("words", [["up", "--build"], ["down", "--images"]])
def test_images_are_refused_where_there_are_none_and_nothing_is_touched(stack: TinyStack, words: list[str]) -> None:
    before = stack.inspect("one")
    done = spokectl(stack, *words, "--json")
    output, _ = done.communicate(timeout=60)
    assert (done.returncode, json.loads(output)["error"]["code"]) == (5, "no_images")
    assert stack.inspect("one") == before


def test_an_interrupt_belongs_to_the_command_that_exec_runs(stack: TinyStack) -> None:
    script = "trap 'exit 42' INT; echo ready; while :; do sleep 0.1; done"
    running = spokectl(stack, "exec", "one", "--", "sh", "-c", script)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (42, "")


def test_a_stop_that_takes_longer_than_its_timeout_is_unknown_and_names_what_runs(stack: TinyStack) -> None:
    stack.services["one"] |= {"stop_grace_period": "2m"}
    stack.services["one"]["environment"]["STUBBORN"] = "1"
    stack.up("one")
    stack.wait_for_answer("one")
    for words in (["stop", "one"], ["restart", "one"], ["down"]):
        done = spokectl(stack, *words, "--json", "--timeout", "300ms")
        error = json.loads(done.communicate(timeout=60)[0])["error"]
        assert (done.returncode, error["code"], error["retryable"]) == (6, "timeout", True)
        assert error["details"]["services"] == ["one"]
        assert "spokectl kill one --stack tiny" in error["actions"]
    killed = spokectl(stack, "kill", "one")
    killed.communicate(timeout=60)
    assert killed.returncode == 0


def test_down_says_whether_anything_ran_until_then(stack: TinyStack) -> None:
    for ran in (True, False):
        answer = json.loads(spokectl(stack, "down", "--json").communicate(timeout=60)[0])
        assert (answer["data"]["exists"], answer["data"]["was_running"]) == (True, ran)
    assert "tiny was down already" in spokectl(stack, "down").communicate(timeout=60)[1]


BREAKAGES = {
    "no YAML": lambda file: file.write_text("services: ["),
    "an unknown kind": lambda file: file.write_text(
        file.read_text().replace("spokectl.kind: spoke", "spokectl.kind: spook")
    ),
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
@pytest.mark.parametrize("known", [True, False], ids=["as noted by up", "nothing noted"])
def test_down_works_without_a_stack_file_that_can_be_read(stack: TinyStack, breakage: str, known: bool) -> None:
    pids = {stack.ask("one")[key] for key in ("pid", "child")}
    file = stack.stack.files[0]
    if known:
        last_known.keep(stack.state, stack.stack)
    BREAKAGES[breakage](file)
    refused = spokectl(stack, "status", "--json").communicate(timeout=60)[0]
    assert json.loads(refused)["error"]["code"] in {"bad_stack_file", "stack_file_gone"}
    done = spokectl(stack, "down", "--json")
    answer = json.loads(done.communicate(timeout=60)[0])
    assert (done.returncode, answer["status"], answer["data"]["was_running"]) == (0, "ok", True)
    assert str(file) in answer["warnings"][0]
    assert [pid for pid in pids if is_alive(pid)] == []
    assert not stack.state.last_known_file.exists()
    assert not stack.is_listening("one")


def test_down_with_volumes_says_what_it_leaves_and_leaves_nothing_else(stack: TinyStack) -> None:
    write_env_file(stack.state.env_file, {"SPOKE_SETTING": "kept"})
    done = spokectl(stack, "down", "--volumes", "--yes")
    _, errors = done.communicate(timeout=60)
    assert done.returncode == 0
    assert f"its settings and events stay in {stack.state.folder}" in errors
    assert {path.name for path in stack.state.folder.iterdir()} == {"stack.env", "events.jsonl", "lock"}


def test_start_of_what_fails_ends_at_once_with_the_reason(stack: TinyStack) -> None:
    done = spokectl(stack, "start", "setup", "--json", "--timeout", "2m")
    error = json.loads(done.communicate(timeout=60)[0])["error"]
    assert (done.returncode, error["code"]) == (1, "service_failed")
    assert error["details"] == {"service": "setup", "exit_code": 7}
    assert "spokectl logs setup --stack tiny" in error["actions"]


def test_up_says_where_to_connect_and_nothing_at_all_when_it_is_to_be_quiet(tmp_path: Path) -> None:
    with tiny_stack("local", tmp_path, {"setup": job(restart="no")}) as stack:
        file = str(stack.stack.files[0])

        def said(*words: str) -> tuple[int, str, str]:
            running = spokectl(stack, "up", "--runtime", "local", "--file", file, *words)
            output, errors = running.communicate(timeout=120)
            return running.returncode, output, errors

        code, output, errors = said()
        assert (code, output.split()[:4]) == (0, ["SERVICE", "ROLE", "WHAT", "ADDRESS"])
        assert "The stack is up" in errors
        assert said("-q") == (0, "", "")
        assert json.loads(said("-q", "--json")[1])["data"]["services"][0]["health"] == "done"
