"""What every runtime promises about single services: start, stop, kill, pause, restart policy, commands and logs."""

import os
import signal
import subprocess
from datetime import UTC, datetime
from itertools import islice

import pytest

from spokectl.errors import NotFound, OutcomeUnknown
from spokectl.model import RunState
from spokectl.operations.services import execute
from spokectl.settings import StackRecord
from spokectl.wait import Deadline, wait_until
from tests.contract.runtime.conftest import MakeStack
from tests.contract.runtime.tiny import WITHIN_S, TinyStack, is_alive, names, service, wait_until_gone
from tests.ports import free_ports

pytestmark = pytest.mark.timeout(180)


def test_stop_lets_a_server_end_in_good_order_and_it_stays_down(pair: TinyStack) -> None:
    other, stopped = pair.ask("two")["pid"], pair.ask("one")
    pair.stop(["one"])
    assert pair.inspect("one").state is RunState.STOPPED
    assert not is_alive(stopped["pid"])
    assert not is_alive(stopped["child"])
    assert names(pair.log("one"), "stopped in good order") == 1
    assert pair.ask("two")["pid"] == other


def test_stop_ends_a_server_that_does_not_listen_after_its_grace_period(make_stack: MakeStack) -> None:
    stack = make_stack({"one": service(free_ports(1)[0], environment={"STUBBORN": "yes"}, stop_grace_period="1s")})
    stack.up()
    answer = stack.wait_for_answer("one")
    stack.stop(["one"])
    assert not is_alive(answer["pid"])
    assert not is_alive(answer["child"])
    assert names(stack.log("one"), "no") >= 1


def test_a_deadline_ends_the_wait_for_a_stop_and_shortens_no_grace_period(make_stack: MakeStack) -> None:
    slow = service(free_ports(1)[0], environment={"STUBBORN": "yes"}, stop_grace_period="4s")
    stack = make_stack({"one": slow, "two": service(free_ports(1)[0])})
    stack.up()
    answers = stack.wait_for_answers("one", "two")
    with pytest.raises(OutcomeUnknown) as caught:
        stack.stop(["one", "two"], within_s=0.5)
    assert caught.value.code == "timeout"
    assert "one" in caught.value.details["services"]  # type: ignore[operator]  # a list of names
    assert is_alive(answers["one"]["pid"])
    # Nobody waits any more, and its own grace period ends it all the same.
    wait_until_gone(answers["one"]["pid"], answers["one"]["child"])
    stack.wait_for("one", RunState.STOPPED)
    stack.stop(["one", "two"])
    assert not is_alive(answers["two"]["pid"])


def test_a_stop_without_time_to_wait_has_been_asked_for_all_the_same(pair: TinyStack) -> None:
    command = pair.call_elsewhere("stop(['one', 'two'], Deadline(0))")
    command.wait(WITHIN_S)  # it fails, unless they were quicker; what it has begun goes on without it
    for name in ("one", "two"):
        pair.wait_for(name, RunState.STOPPED)


def test_stopping_what_is_stopped_is_no_failure(pair: TinyStack) -> None:
    pair.stop(["one"])
    pair.stop(["one", "two"])
    assert {name: (seen.state, seen.detail) for name, seen in pair.runtime.inspect().items()} == {
        "one": (RunState.STOPPED, ""),
        "two": (RunState.STOPPED, ""),
    }


def test_start_brings_a_stopped_server_back_and_leaves_a_running_one_alone(pair: TinyStack) -> None:
    running = pair.ask("two")["pid"]
    pair.stop(["one"])
    pair.start(["one", "two"])
    pair.wait_for_answer("one")
    assert pair.ask("two")["pid"] == running


def test_kill_gives_no_process_a_chance_to_react_and_it_stays_down(pair: TinyStack) -> None:
    killed = pair.ask("one")
    pair.kill(["one"])
    assert not is_alive(killed["pid"])
    assert not is_alive(killed["child"])
    assert (pair.inspect("one").state, pair.inspect("one").detail) == (RunState.STOPPED, "killed")
    assert names(pair.log("one"), "stopped in good order") == 0
    pair.start(["one"])
    assert pair.wait_for_answer("one")["pid"] != killed["pid"]


def test_a_server_that_crashes_comes_back_by_itself(pair: TinyStack) -> None:
    before = pair.ask("one")["pid"]
    pair.tell("one", "crash 3")
    wait_until_gone(before)
    assert pair.wait_for_answer("one")["pid"] != before
    assert pair.inspect("one").state is RunState.RUNNING


def test_a_server_killed_from_outside_comes_back_although_its_child_still_holds_the_port(pair: TinyStack) -> None:
    before = pair.ask("one")
    os.kill(before["pid"], signal.SIGKILL)
    wait_until_gone(before["pid"], before["child"])
    assert pair.wait_for_answer("one")["pid"] != before["pid"]


def test_a_server_that_cannot_start_is_tried_again_with_pauses_and_says_why(make_stack: MakeStack) -> None:
    stack = make_stack({"one": service(free_ports(1)[0], environment={"CRASH": "9"})})
    stack.up()
    seen = stack.wait_for("one", RunState.RESTARTING)
    assert seen.exit_code == 9
    assert seen.detail
    # A spinning restart would have written hundreds of lines until the third pause.
    wait_until(
        lambda: None if names(stack.log("one"), "crashing") >= 3 else "fewer than three tries",
        Deadline(WITHIN_S),
        what="three tries",
    )
    assert names(stack.log("one"), "crashing") <= 5


def test_stop_kill_and_start_work_between_two_tries(make_stack: MakeStack) -> None:
    stack = make_stack({"one": service(free_ports(1)[0], environment={"CRASH": "9"})})
    stack.up()
    for end in (stack.stop, stack.kill):
        stack.wait_for("one", RunState.RESTARTING)
        end(["one"])
        assert stack.inspect("one").state is RunState.STOPPED
        stack.start(["one"])
    del stack.services["one"]["environment"]["CRASH"]
    stack.up()
    stack.wait_for_answer("one")


def test_a_paused_server_keeps_connections_and_answers_after_unpause(pair: TinyStack) -> None:
    before = pair.ask("one")["pid"]
    pair.runtime.pause(["one"])
    assert pair.inspect("one").state is RunState.PAUSED
    assert pair.is_listening("one")
    with pytest.raises(TimeoutError):
        pair.ask("one", timeout_s=0.3)
    pair.runtime.unpause(["one"])
    assert pair.inspect("one").state is RunState.RUNNING
    assert pair.ask("one")["pid"] == before


def test_a_paused_server_can_be_stopped_in_good_order(pair: TinyStack) -> None:
    pair.runtime.pause(["one"])
    pair.stop(["one"])
    assert pair.inspect("one").state is RunState.STOPPED
    assert names(pair.log("one"), "stopped in good order") == 1


def test_a_paused_server_can_be_killed(pair: TinyStack) -> None:
    pid = pair.ask("one")["pid"]
    pair.runtime.pause(["one"])
    pair.kill(["one"])
    assert not is_alive(pid)
    assert pair.inspect("one").state is RunState.STOPPED


def test_start_lets_a_paused_server_go_on(pair: TinyStack) -> None:
    pid = pair.ask("one")["pid"]
    pair.runtime.pause(["one"])
    pair.start(["one"])
    assert pair.ask("one")["pid"] == pid


def test_pausing_a_stopped_server_is_not_found(pair: TinyStack) -> None:
    pair.stop(["one"])
    with pytest.raises(NotFound) as caught:
        pair.runtime.pause(["one"])
    assert caught.value.code == "not_running"
    assert "one" in caught.value.message


def test_a_server_gets_its_environment_and_arguments(make_stack: MakeStack) -> None:
    odd = "a b'c\"d$HOME `id` \\ %s é"
    written = odd.replace("$", "$$")  # as the stack file wants it
    stack = make_stack({"one": service(free_ports(1)[0], environment={"ODD": written}, command=["--flag", written])})
    stack.up()
    answer = stack.wait_for_answer("one")
    assert answer["environment"]["ODD"] == odd
    assert answer["arguments"] == ["--flag", odd]


def test_a_command_runs_with_the_environment_of_its_service(pair: TinyStack) -> None:
    invocation = pair.runtime.invocation("one", ["sh", "-c", 'echo "$TINY_PORT $1"', "sh", "word"])
    done = subprocess.run(
        invocation.argv, env=invocation.environment, cwd=invocation.folder, capture_output=True, text=True, timeout=WITHIN_S
    )
    assert done.stdout.split() == [pair.ask("one")["environment"]["TINY_PORT"], "word"]


def test_a_program_that_a_service_does_not_have_is_not_found_and_a_scripts_own_exit_code_is_passed_on(
    pair: TinyStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = pair.stack.files[0]
    pair.state.write_record(StackRecord(pair.runtime_name, str(file), ""))
    monkeypatch.setenv("SPOKECTL_STATE_DIR", str(pair.state.folder.parent))
    for program in ("no-such-program", "/no/such/program", "/etc/passwd", "/etc"):
        with pytest.raises(NotFound) as caught:
            execute(pair.name, file, "one", [program])
        assert caught.value.code == "no_such_program"
        assert program in caught.value.message
    for code in (126, 127):
        assert execute(pair.name, file, "one", ["sh", "-c", f"exit {code}"]) == code


def test_a_command_in_a_service_that_does_not_run_is_not_found(pair: TinyStack) -> None:
    pair.stop(["one"])
    with pytest.raises(NotFound):
        pair.runtime.invocation("one", ["true"])


def test_logs_of_several_services_are_merged_by_time(pair: TinyStack) -> None:
    for text, moment in (("third", "03"), ("first", "01"), ("second", "02")):
        for name in ("one", "two"):
            if (text == "second") == (name == "two"):
                pair.ask(name, f"say 2030-01-01T00:00:{moment}Z {text}")
    lines = list(pair.runtime.logs(["one", "two"], since=None, tail=None, follow=False))
    assert {line.service for line in lines} == {"one", "two"}
    times = [line.time for line in lines if line.time]
    assert times == sorted(times)


def test_logs_can_be_limited_to_the_last_lines_and_to_a_time(pair: TinyStack) -> None:
    for number in range(5):
        pair.ask("one", f"say line {number}")
    wait_until(
        lambda: None if names(pair.log("one"), "line 4") else "not written yet",
        Deadline(WITHIN_S),
        what="the log's last line",
    )
    assert [line[-6:] for line in pair.log("one", tail=2)] == ["line 3", "line 4"]
    assert pair.log("one", since=datetime(2100, 1, 1, tzinfo=UTC)) == []
    assert len(pair.log("one", since=datetime(2000, 1, 1, tzinfo=UTC))) >= 6


def test_followed_logs_go_on_with_new_lines(pair: TinyStack) -> None:
    stream = pair.runtime.logs(["one"], since=None, tail=1, follow=True)
    assert len(list(islice(stream, 1))) == 1
    pair.ask("one", "say something new")
    assert next(line for line in stream if "new" in line.text).service == "one"
    stream.close()  # type: ignore[attr-defined]  # a generator in every runtime so far
