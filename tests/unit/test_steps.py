"""The driver of step tables: forward, back, and on from wherever it was broken off."""

import errno
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from spokectl.errors import ExitCode, Failed, Incomplete, Interrupted, OutcomeUnknown, Refused
from spokectl.journal import Underway
from spokectl.operations.steps import Step, Table, drive, settle
from spokectl.wait import Deadline, wait_until


@dataclass
class Lamp:
    """A world of three switches; turning on the second commits."""

    on: list[str] = field(default_factory=list)
    breaks_at: str = ""
    sticks_at: str = ""
    silent: bool = False

    def committed(self) -> bool:
        if self.silent:
            raise Refused("silent", "nobody can be asked")
        return "b" in self.on


class Killed(BaseException):
    """kill -9: nothing after it is done."""


def turn_on(name: str) -> Step[Lamp]:
    def act(lamp: Lamp, _: Deadline) -> None:
        if lamp.breaks_at == name:
            raise Failed("broken", f"{name} is broken", details={"lamp": name})
        if name not in lamp.on:
            lamp.on.append(name)

    def undo(lamp: Lamp, _: Deadline) -> None:
        if lamp.sticks_at == name:
            raise Failed("stuck", f"{name} sticks", actions=[f"spokectl oil {name}"])
        if name in lamp.on:
            lamp.on.remove(name)

    return Step(name, f"turn on {name}", act, 1.0, undo=undo if name == "a" else None, aftercare=name == "d")


TABLE = Table("light", tuple(turn_on(name) for name in "abcd"), "b", "spokectl light")


def say_nothing(subject: str, state: str, detail: str = "") -> None:
    """Takes a report."""


@pytest.fixture
def journal(tmp_path: Path) -> Underway:
    return Underway(tmp_path / "underway")


def test_all_steps_are_taken_and_no_journal_is_left(journal: Underway) -> None:
    lamp = Lamp()
    taken = drive(TABLE, lamp, {"colour": "red"}, journal, say_nothing)
    assert [step.step for step in taken] == list("abcd") == lamp.on
    assert journal.unfinished() is None


@pytest.mark.parametrize("timeout_s", [None, 0.25, 60.0])
def test_a_step_has_its_own_time_and_no_more_than_all_have_together(journal: Underway, timeout_s: float | None) -> None:
    had: list[float] = []

    def act(_: Lamp, deadline: Deadline) -> None:
        had.append(deadline.timeout_s)
        time.sleep(0.02)

    steps = tuple(Step[Lamp](name, f"turn on {name}", act, 1.0) for name in "ab")
    drive(Table("light", steps, "b", "spokectl light"), Lamp(), {}, journal, say_nothing, timeout_s=timeout_s)
    assert 0 < had[0] <= min(1.0, timeout_s or 1.0)
    assert had[1] <= min(1.0, (timeout_s or 100.0) - 0.02)


def test_time_that_is_over_before_the_role_is_given_away_puts_everything_back(journal: Underway) -> None:
    lamp = Lamp()
    with pytest.raises(Failed) as failed:
        drive(TABLE, lamp, {}, journal, say_nothing, timeout_s=1e-9)
    assert (failed.value.code, lamp.on) == ("timeout", [])
    assert "everything is back as it was" in failed.value.message
    assert journal.unfinished() is None


def test_time_that_is_over_afterwards_leaves_nothing_half_done(journal: Underway) -> None:
    had: dict[str, float] = {}

    def step(name: str, *, aftercare: bool = False) -> Step[Lamp]:
        def act(lamp: Lamp, deadline: Deadline) -> None:
            had[name] = deadline.timeout_s
            lamp.on.append(name)
            if name == "b":
                wait_until(lambda: "not yet" if whole_s > time.monotonic() - began_s else None, Deadline(60.0), what="time")

        return Step(name, f"turn on {name}", act, 30.0, aftercare=aftercare)

    whole_s, began_s = 0.3, time.monotonic()
    table = Table("light", (step("a"), step("b"), step("c"), step("d", aftercare=True)), "b", "spokectl light")
    drive(table, Lamp(), {}, journal, say_nothing, timeout_s=whole_s)
    assert had["c"] == 30.0
    assert had["d"] == 0.0


def test_a_failure_before_the_point_of_no_return_puts_everything_back(journal: Underway) -> None:
    lamp = Lamp(breaks_at="b")
    with pytest.raises(Failed, match="turn on b: b is broken; everything is back as it was"):
        drive(TABLE, lamp, {}, journal, say_nothing)
    assert lamp.on == []
    assert journal.unfinished() is None


def test_after_it_the_journal_stays_for_the_command_that_finishes(journal: Underway) -> None:
    lamp = Lamp(breaks_at="c")
    with pytest.raises(OutcomeUnknown) as raised:
        drive(TABLE, lamp, {"colour": "red"}, journal, say_nothing)
    assert raised.value.actions == ("spokectl light",)
    found = journal.unfinished()
    assert found is not None
    assert (found.operation, found.facts, found.begun) == ("light", {"colour": "red"}, ("a", "b", "c"))
    lamp.breaks_at = ""
    assert settle(TABLE, lamp, found, journal, say_nothing)
    assert lamp.on == list("abcd")


def test_a_failure_of_the_aftercare_is_done_but_incomplete(journal: Underway) -> None:
    lamp = Lamp(breaks_at="d")
    with pytest.raises(Incomplete, match="light is done, but not all is well yet") as raised:
        drive(TABLE, lamp, {}, journal, say_nothing)
    assert raised.value.details == {"lamp": "d"}
    assert lamp.on == list("abc")
    assert journal.unfinished() is None


def test_where_nobody_says_whether_it_is_committed_nothing_is_guessed(journal: Underway) -> None:
    lamp = Lamp(breaks_at="b", silent=True)
    with pytest.raises(OutcomeUnknown, match="it cannot be asked whether it happened"):
        drive(TABLE, lamp, {}, journal, say_nothing)
    assert lamp.on == ["a"]
    assert journal.unfinished() is not None


def test_what_cannot_be_put_back_is_said_with_why_it_had_to_be_and_the_next_command_does(journal: Underway) -> None:
    lamp = Lamp(breaks_at="b", sticks_at="a")
    with pytest.raises(OutcomeUnknown) as raised:
        drive(TABLE, lamp, {}, journal, say_nothing)
    assert (raised.value.code, raised.value.exit_code) == ("not_put_back", ExitCode.OUTCOME_UNKNOWN)
    assert raised.value.message == (
        "turn on b: b is broken; light was broken off, and not everything could be put back: a sticks"
    )
    assert raised.value.actions == ("spokectl oil a", "spokectl light")
    found = journal.unfinished()
    assert found is not None
    with pytest.raises(OutcomeUnknown, match=r"^light was broken off, and not everything could be put back: a sticks$"):
        settle(TABLE, lamp, found, journal, say_nothing)
    lamp.sticks_at = ""
    assert not settle(TABLE, lamp, found, journal, say_nothing)
    assert lamp.on == []
    assert journal.unfinished() is None


@pytest.mark.parametrize("phase", ["began", "done"])
@pytest.mark.parametrize("step", list("abcd"))
def test_killed_anywhere_it_is_put_back_or_finished(
    step: str, phase: str, journal: Underway, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = Underway.note

    def note_or_die(self: Underway, name: str, now: str) -> None:
        if (name, now) == (step, phase) == (step, "done"):
            raise Killed
        note(self, name, now)
        if (name, now) == (step, phase):
            raise Killed

    lamp = Lamp()
    with monkeypatch.context() as patched:
        patched.setattr(Underway, "note", note_or_die)
        with pytest.raises(Killed):
            drive(TABLE, lamp, {}, journal, say_nothing)
    found = journal.unfinished()
    assert found is not None
    committed = lamp.committed()
    assert settle(TABLE, lamp, found, journal, say_nothing) is committed
    assert lamp.on == (list("abcd") if committed else [])
    assert journal.unfinished() is None


def test_a_first_line_that_a_crash_cut_short_means_that_nothing_was_done(tmp_path: Path) -> None:
    path = tmp_path / "underway"
    path.write_text('{"time": "2026-01-01T00:00:00", "oper')
    assert Underway(path).unfinished() is None


def test_ctrl_c_before_the_point_of_no_return_puts_back_and_stays_an_interruption(journal: Underway) -> None:
    def interrupted(lamp: Lamp, _: Deadline) -> None:
        raise KeyboardInterrupt

    table = Table("light", (TABLE.steps[0], Step("b", "turn on b", interrupted, 1.0)), "b", "spokectl light")
    lamp = Lamp()
    with pytest.raises(Interrupted, match="light was broken off, and everything is back as it was"):
        drive(table, lamp, {}, journal, say_nothing)
    assert lamp.on == []
    assert journal.unfinished() is None


def test_ctrl_c_while_it_is_put_back_says_that_it_is_half_way_and_what_ends_it(journal: Underway) -> None:
    def interrupted(lamp: Lamp, _: Deadline) -> None:
        raise KeyboardInterrupt

    first = replace(TABLE.steps[0], undo=interrupted)
    lamp = Lamp(breaks_at="b")
    with pytest.raises(Interrupted, match="it is half way, and the next command ends it") as raised:
        drive(replace(TABLE, steps=(first, *TABLE.steps[1:])), lamp, {}, journal, say_nothing)
    assert raised.value.actions == ("spokectl light",)
    found = journal.unfinished()
    assert found is not None
    assert not settle(TABLE, lamp, found, journal, say_nothing)
    assert lamp.on == []


def failing_at(step: str, error: BaseException) -> Table[Lamp]:
    def fail(lamp: Lamp, _: Deadline) -> None:
        raise error

    steps = tuple(replace(each, act=fail) if each.id == step else each for each in TABLE.steps)
    return replace(TABLE, steps=steps)


def test_ctrl_c_in_the_aftercare_leaves_it_to_the_command_that_finishes(journal: Underway) -> None:
    lamp = Lamp()
    with pytest.raises(OutcomeUnknown) as raised:
        drive(failing_at("d", KeyboardInterrupt()), lamp, {}, journal, say_nothing)
    assert (raised.value.code, raised.value.actions) == ("unfinished", ("spokectl light",))
    found = journal.unfinished()
    assert found is not None
    assert settle(TABLE, lamp, found, journal, say_nothing)
    assert lamp.on == list("abcd")


def test_what_the_system_refuses_puts_everything_back_with_what_to_type(journal: Underway) -> None:
    lamp = Lamp()
    with pytest.raises(Failed, match=r"the system refused: .*No space left.*; everything is back as it was") as raised:
        drive(failing_at("b", OSError(errno.ENOSPC, "No space left on device")), lamp, {}, journal, say_nothing)
    assert (raised.value.code, raised.value.actions) == ("system_error", ("spokectl status", "spokectl light"))
    assert lamp.on == []
    assert journal.unfinished() is None


def test_a_journal_that_cannot_be_written_puts_everything_back(journal: Underway, monkeypatch: pytest.MonkeyPatch) -> None:
    note = Underway.note

    def note_or_fail(self: Underway, step: str, phase: str) -> None:
        if step == "b":
            raise OSError(errno.ENOSPC, "No space left on device")
        note(self, step, phase)

    monkeypatch.setattr(Underway, "note", note_or_fail)
    lamp = Lamp()
    with pytest.raises(Failed, match="No space left"):
        drive(TABLE, lamp, {}, journal, say_nothing)
    assert lamp.on == []
    assert journal.unfinished() is None


def test_a_reader_that_has_gone_stops_nothing(journal: Underway) -> None:
    def unread(subject: str, state: str, detail: str = "") -> None:
        raise BrokenPipeError

    lamp = Lamp()
    assert [step.step for step in drive(TABLE, lamp, {}, journal, unread)] == list("abcd") == lamp.on


@pytest.mark.parametrize(
    "lines",
    [
        b'{"operation": "light"}\n',
        b'{"operation": "light", "facts": []}\n',
        b'{"step": "a", "phase": "began"}\n',
        b'{"operation": "light", "facts": {}}\n{"phase": "began"}\n',
    ],
)
def test_a_journal_that_no_crash_leaves_behind_is_refused_by_name_and_kept(tmp_path: Path, lines: bytes) -> None:
    path = tmp_path / "underway"
    path.write_bytes(lines)
    with pytest.raises(Refused, match=str(path)) as refused:
        Underway(path).unfinished()
    assert refused.value.code == "journal_damaged"
    assert f"rm {path}" in refused.value.actions[-1]
    assert path.read_bytes() == lines


def test_a_line_of_the_journal_that_is_no_text_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "underway"
    path.write_bytes(b'{"operation": "light", "facts": {}}\n\xff\xfe\n{"step": "a", "phase": "began"}\n')
    found = Underway(path).unfinished()
    assert found is not None
    assert found.begun == ("a",)
