"""`events` over a journal and log files as the local runtime keeps them; no server has to run for it."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spokectl.journal import Journal
from spokectl.runtime.local.places import Places
from spokectl.settings import StackRecord, StackState

pytestmark = pytest.mark.timeout(300)
STACK_FILE = Path(__file__).parents[2] / "stack" / "ha-stack.yml"
OLD = '{"time":"2026-01-31T12:00:0%d.000+00:00","operation":"up","phase":"%s","actor":"ann","pid":7}\n'


@pytest.fixture
def state(tmp_path: Path) -> StackState:
    state = StackState("spoke", tmp_path)
    state.ensure()
    state.write_record(StackRecord("local", str(STACK_FILE), "2026-01-01T00:00:00+00:00"))
    state.events_file.write_text(OLD % (0, "started") + OLD % (2, "done"))
    say(state, "postgres-primary", "2026-01-31 12:00:01.000 UTC [7] guard: running as primary")
    say(state, "redis-sentinel-1", "7:X 31 Jan 2026 12:00:03.000 # +switch-master m 127.0.0.1 6379 127.0.0.1 6380")
    return state


def say(state: StackState, service: str, line: str) -> None:
    path = Places(state).log(service)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(line + "\n")


def events(state: StackState, *words: str) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPOKE_", "SPOKECTL_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "spokectl", "events", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=kept | {"SPOKECTL_STATE_DIR": str(state.folder.parent)},
    )


def test_journal_guard_and_sentinels_are_one_story_in_the_order_of_time(state: StackState) -> None:
    output, errors = events(state, "--json").communicate(timeout=120)
    seen = [json.loads(line) for line in output.splitlines()]
    assert errors == ""
    assert [(each["source"], each["what"], each["target"], each["outcome"]) for each in seen] == [
        ("journal", "up", "the stack", "done (2.0 s)"),
        ("guard", "running as primary", "postgres-primary", ""),
        ("sentinel", "+switch-master", "redis-replica", ""),
    ]
    output, _ = events(state, "--since", "2026-01-31T12:00:02Z").communicate(timeout=120)
    assert output.split("  ")[:2] == ["2026-01-31 12:00:03.000", "redis-sentinel-1"]
    assert output.count("\n") == 1


def test_what_a_guard_says_to_type_means_the_stack_that_was_asked_about(state: StackState) -> None:
    second = StackState("second", state.folder.parent)
    second.ensure()
    second.write_record(StackRecord("local", str(STACK_FILE), "2026-01-01T00:00:00+00:00"))
    refused = "2026-01-31 12:00:01.000 UTC [7] guard: refused: it has other data; type: spokectl postgres reinit n --discard"
    say(second, "postgres-replica", refused)
    say(state, "postgres-replica", refused)
    for words, stack in (([], ""), (["--stack", "second"], " --stack second")):
        output, errors = events(state, *words).communicate(timeout=120)
        assert errors == ""
        [told] = [line for line in output.splitlines() if "refused" in line]
        assert told.endswith(f"it has other data; type: spokectl postgres reinit n --discard{stack}")


def test_a_sentinel_that_has_just_come_to_know_a_node_does_not_say_that_it_is_back(state: StackState) -> None:
    say(state, "redis-sentinel-1", "7:X 31 Jan 2026 12:00:04.000 # -sdown slave a 127.0.0.1 6379 @ m 127.0.0.1 6380")
    output, _ = events(state, "--json").communicate(timeout=120)
    assert [json.loads(line)["what"] for line in output.splitlines()] == ["up", "running as primary", "+switch-master"]


def test_a_follower_gets_the_past_and_then_what_comes_from_both_sides_until_ctrl_c(state: StackState) -> None:
    with events(state, "--follow", "--json") as following:
        assert following.stdout is not None
        past = [json.loads(following.stdout.readline())["what"] for _ in range(3)]
        assert past == ["up", "running as primary", "+switch-master"]
        with Journal(state.events_file).operation("kill", services=["spoke-1"]):
            began = json.loads(following.stdout.readline())
        ended = json.loads(following.stdout.readline())
        assert [(each["what"], each["target"]) for each in (began, ended)] == [("kill", "spoke-1")] * 2
        assert (began["outcome"], ended["outcome"].startswith("done (")) == ("under way", True)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        say(state, "postgres-primary", f"{now} UTC [7] guard: the record now says degraded: it has gone")
        move = json.loads(following.stdout.readline())
        assert (move["who"], move["what"], move["why"]) == ("guard of postgres-primary", "degraded", "it has gone")
        following.send_signal(signal.SIGINT)
        rest, complaints = following.communicate(timeout=120)
    assert (following.returncode, rest, complaints) == (130, "", "")


def test_a_follower_gets_a_guard_s_advice_again_when_the_process_that_moved_the_role_is_dead(state: StackState) -> None:
    """Killed with SIGKILL it writes no end, and the guard's advice is all that is left."""
    script = (
        "import os, signal, sys; from pathlib import Path; from spokectl.journal import Journal\n"
        "with Journal(Path(sys.argv[1])).operation('switchover postgres', old='a', new='b'):\n"
        "    input()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    def said(following: "subprocess.Popen[str]", outcome: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        say(state, "postgres-primary", f"{now} UTC [7] guard: held: held down as asked; type: spokectl restart s")
        assert following.stdout is not None
        told = json.loads(following.stdout.readline())
        assert (told["what"], told["outcome"]) == ("held", outcome)

    with events(state, "--follow", "--json") as following:
        assert following.stdout is not None
        for _ in range(3):
            assert following.stdout.readline()
        moving = subprocess.Popen([sys.executable, "-c", script, str(state.events_file)], stdin=subprocess.PIPE, text=True)
        assert json.loads(following.stdout.readline())["outcome"] == "under way"
        said(following, "")
        moving.communicate("\n", timeout=120)
        assert moving.returncode == -signal.SIGKILL
        said(following, "type: spokectl restart s")
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=120)


def test_a_follower_whose_reader_goes_away_ends_although_nothing_more_comes(state: StackState) -> None:
    with events(state, "--follow") as following:
        assert following.stdout is not None
        assert following.stderr is not None
        assert following.stdout.readline()
        following.stdout.close()
        assert following.wait(timeout=120) == 141
        assert following.stderr.read() == ""
