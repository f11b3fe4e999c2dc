"""How what drills do to PostgreSQL is undone: also again, and where there is nothing to undo."""

import subprocess
import sys
from pathlib import Path

import pytest

from spokectl.drills import postgres_breaks
from spokectl.drills.breaks import configuration_lost, crashed
from spokectl.drills.faults import UNDOS, Undo
from spokectl.drills.links import Link
from spokectl.drills.postgres_breaks import (
    cut_off_primary,
    kill_rewind,
    killed_with_own_writes,
    led_through,
    little_wal_kept,
    marked,
    promoted_by_hand,
    receiver_frozen,
    receiver_slow,
)
from spokectl.drills.shell import in_node
from spokectl.drills.tool_breaks import tool_killed, up_killed
from spokectl.errors import Failed, NotFound
from spokectl.operations.context import Context
from spokectl.runtime.base import Invocation
from spokectl.wait import Deadline
from tests.unit.drills.pretended import PretendedRuntime, context_in


class Shell(PretendedRuntime):
    """Runs in this process's place what was to run in a node."""

    def invocation(self, service: str, argv: list[str]) -> Invocation:
        return Invocation(tuple(argv), {"PATH": "/usr/bin:/bin", "PGDATA": f"/nowhere/{service}"})


class Stopped(PretendedRuntime):
    def invocation(self, service: str, argv: list[str]) -> Invocation:
        raise NotFound("not_running", f"not running: {service} ({argv[0]})")


def on(runtime: PretendedRuntime, folder: Path) -> Context:
    context = context_in(folder)
    return Context(context.stack, context.state, runtime)  # type: ignore[arg-type]


def test_every_fault_names_an_undo_that_there_is() -> None:
    made = [make("a") for make in (crashed, cut_off_primary, killed_with_own_writes, marked, receiver_frozen)]
    made += [
        promoted_by_hand("a", "b"),
        little_wal_kept("a", "b"),
        receiver_slow("a", 1),
        tool_killed("stop", "up"),
        up_killed("a"),
    ]
    with Link(("127.0.0.1", 1)) as link:
        made += [configuration_lost("a"), led_through("a", link)]
    assert {fault.undo.act for fault in made} <= UNDOS.keys()


def test_a_script_gets_its_words_and_says_what_it_said(tmp_path: Path) -> None:
    context = on(Shell(), tmp_path)
    assert in_node(context, "a", 'echo "$1 of $PGDATA"', "it's") == "it's of /nowhere/a"
    with pytest.raises(Failed, match="ends with 3: no luck"):
        in_node(context, "a", "echo no luck >&2; exit 3")


def test_the_receiver_of_a_standby_that_is_down_is_not_looked_for(tmp_path: Path) -> None:
    undo = receiver_frozen("a").undo
    UNDOS[undo.act](on(Stopped(), tmp_path), undo, Deadline(1))


def test_settings_are_taken_back_from_every_node_or_it_is_said_from_which_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def answer(_: Context, node: str, *statements: str) -> str:
        asked.append((node, *statements))
        if len(asked) == 1:
            raise Failed("script_failed", f"{node}: it starts still")
        return ""

    monkeypatch.setattr(postgres_breaks, "in_database", answer)
    undo = little_wal_kept("a", "b").undo
    UNDOS[undo.act](context_in(tmp_path), undo, Deadline(10))
    assert [words[0] for words in asked] == ["a", "a", "b"]
    assert {words[1] for words in asked} == {"ALTER SYSTEM RESET max_slot_wal_keep_size"}


def test_a_move_that_nobody_has_begun_is_ended_without_a_word(tmp_path: Path) -> None:
    UNDOS["end_move"](context_in(tmp_path), Undo("end_move"), Deadline(1))


def test_only_the_rewind_of_the_nodes_own_data_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "pg_rewind"
    program.symlink_to(sys.executable)
    wait = ["-c", "input()", "-D"]
    own, other = (
        subprocess.Popen([program, *wait, f"/nowhere/{node}", "--source-server", "x"], stdin=subprocess.PIPE)
        for node in ("a", "other")
    )
    try:
        assert kill_rewind(on(Shell(), tmp_path), "a", 20)
        assert own.wait(20) == -9
        assert other.poll() is None
        assert not kill_rewind(on(Shell(), tmp_path), "a", 0)
    finally:
        for each in (own, other):
            each.kill()
            each.communicate()
