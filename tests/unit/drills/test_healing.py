"""What a drill has broken is on disk before it is broken, and is undone by whoever comes next."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spokectl.drills import faults, healing
from spokectl.drills.faults import Fault, FaultJournal, Undo
from spokectl.drills.healing import drill_lock, heal_all
from spokectl.errors import Failed, Incomplete, Refused
from spokectl.operations.context import Context, is_drilled
from spokectl.settings import StackState
from spokectl.wait import Deadline
from tests.unit.drills.pretended import context_in

DONE: list[tuple[str, ...]] = []


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    def mend(_: Context, undo: Undo, deadline: Deadline) -> None:
        assert deadline.remaining_s > 0
        if undo.values.get("stuck"):
            raise Failed("stuck", "it does not let itself be mended")
        DONE.append(undo.services)

    DONE.clear()
    monkeypatch.setitem(faults.UNDOS, "mend", mend)
    return context_in(tmp_path)


def journal_of(context: Context) -> FaultJournal:
    return FaultJournal(context.state.faults_file)


def mend(*services: str, **values: object) -> Undo:
    return Undo("mend", services, values)


def unheard(_: str) -> None:
    pass


def test_the_last_fault_is_healed_first_and_nothing_is_left(context: Context) -> None:
    for name in ("a", "b", "c"):
        journal_of(context).began(f"{name} broken", mend(name))
    told: list[str] = []
    healed = heal_all(context, told.append)
    assert DONE == [("c",), ("b",), ("a",)]
    assert [left.sentence for left in healed] == ["c broken", "b broken", "a broken"]
    assert told == ["healing: c broken", "healing: b broken", "healing: a broken"]
    assert not context.state.faults_file.exists()


def test_what_is_healed_already_is_not_healed_again(context: Context) -> None:
    journal = journal_of(context)
    journal.began("a broken", mend("a"))
    journal.healed(journal.began("b broken", mend("b")))
    heal_all(context, unheard)
    assert DONE == [("a",)]


def test_an_older_fault_may_be_left_for_later(context: Context) -> None:
    first = journal_of(context).began("a broken", mend("a"))
    journal_of(context).began("b broken", mend("b"))
    heal_all(context, unheard, beyond=first)
    assert DONE == [("b",)]
    assert [left.sentence for left in journal_of(context).left()] == ["a broken"]


def test_one_that_cannot_be_healed_keeps_none_of_the_others_from_it_and_stays(context: Context) -> None:
    journal_of(context).began("a broken", mend("a"))
    journal_of(context).began("b broken", mend("b", stuck=True))
    journal_of(context).began("c broken", Undo("of another version", ("c",)))
    with pytest.raises(Incomplete) as incomplete:
        heal_all(context, unheard)
    assert incomplete.value.code == "not_healed"
    assert "b broken: it does not let itself be mended" in incomplete.value.message
    assert "of another version" in incomplete.value.message
    assert str(context.state.faults_file) in incomplete.value.actions[-1]
    assert DONE == [("a",)]
    assert [left.sentence for left in journal_of(context).left()] == ["c broken", "b broken"]


def test_a_line_cut_short_by_a_crash_is_no_fault_yet(context: Context) -> None:
    journal_of(context).began("a broken", mend("a"))
    with context.state.faults_file.open("a") as file:
        file.write('{"number": 2, "sente')
    assert [left.sentence for left in journal_of(context).left()] == ["a broken"]
    journal_of(context).began("c broken", mend("c"))
    assert [left.sentence for left in journal_of(context).left()] == ["c broken", "a broken"]


def test_a_file_of_something_else_is_refused_with_what_to_type(context: Context) -> None:
    context.state.faults_file.write_text(json.dumps({"number": "one"}) + "\n")
    with pytest.raises(Refused) as refused:
        heal_all(context, unheard)
    assert refused.value.code == "faults_damaged"
    assert str(context.state.faults_file) in refused.value.actions[-1]


def test_one_drill_at_a_time(context: Context) -> None:
    assert not is_drilled(context.state)
    with drill_lock(context.state):
        assert is_drilled(context.state)
        with pytest.raises(Refused, match="under way"), drill_lock(context.state):
            pass
    assert not is_drilled(context.state)


def test_a_look_for_a_drill_takes_no_lock_and_believes_no_file_of_a_drill_that_was_killed(context: Context) -> None:
    """The look had taken the drill's lock for a moment, in which a drill that began was refused."""
    state = context.state
    holder = state.drill_lock_file.with_suffix(".holder")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    # The number of the last one is ours, who began after it.
    ours = f"process {os.getpid()}, since 2026"
    for said, age_s in (
        (f"process {ended.pid}, since 2026", 0),
        ("", 0),
        ("\xff", 0),
        (f"process {2**70}, ", 0),
        (ours, 1e6),
    ):
        holder.write_bytes(said.encode("latin-1"))
        os.utime(holder, (time.time() - age_s,) * 2)
        assert not is_drilled(state)
    assert not state.drill_lock_file.exists()


def test_a_drill_that_is_alive_heals_itself(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "StackState", lambda _: context.state)
    monkeypatch.setattr(healing, "running_context", lambda *_: context)
    journal_of(context).began("a broken", mend("a"))
    with drill_lock(context.state):
        healing.heal_first("pretended", None, unheard)
    assert DONE == []
    healing.heal_first("pretended", None, unheard)
    assert DONE == [("a",)]
    healing.heal_first("pretended", None, unheard)
    # It is in the ledger, once: the second time there was nothing to do.
    said = [(each["operation"], each["phase"], each.get("message")) for each in context.journal.read()]
    assert said == [("drill heal", "started", None), ("drill heal", "done", "a broken")]


def test_what_cannot_be_healed_stops_no_other_command(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "StackState", lambda _: context.state)
    monkeypatch.setattr(healing, "running_context", lambda *_: context)
    journal_of(context).began("a broken", mend("a", stuck=True))
    told: list[str] = []
    healing.heal_first("pretended", None, told.append)
    assert "could be healed" in told[-1]


def test_every_fault_names_an_undo_that_there_is() -> None:
    from spokectl.drills.breaks import cut_off, frozen, killed, stopped

    made: list[Fault] = [make("a", "b") for make in (killed, stopped, frozen, cut_off)]
    assert all(fault.undo.act in faults.UNDOS for fault in made)
    assert {fault.subject for fault in made} == {"a, b"}


def test_a_state_folder_without_faults_is_healthy(tmp_path: Path) -> None:
    assert FaultJournal(StackState("none", tmp_path).faults_file).left() == []


def test_an_undo_with_a_defect_of_its_own_keeps_no_other_from_it(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def defective(*_: object) -> None:
        raise KeyError("k")

    monkeypatch.setitem(faults.UNDOS, "defective", defective)
    journal_of(context).began("a broken", mend("a"))
    journal_of(context).began("b broken", Undo("defective", ("b",)))
    with pytest.raises(Incomplete, match="b broken: KeyError: 'k'"):
        heal_all(context, unheard)
    assert DONE == [("a",)]


def test_what_the_stack_does_not_have_any_more_need_not_be_healed(context: Context) -> None:
    journal_of(context).began("gone", mend("removed by an edit of the stack file"))
    journal_of(context).began("half gone", mend("a", "removed by an edit of the stack file"))
    heal_all(context, unheard)
    assert DONE == [("a",)]
    assert not context.state.faults_file.exists()
