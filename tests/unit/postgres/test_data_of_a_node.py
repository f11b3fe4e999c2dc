"""`postgres reinit` and `postgres adopt` when a guard goes away meanwhile, or another move was broken off before."""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spokectl.errors import ExitCode, Failed, OutcomeUnknown, Refused
from spokectl.journal import Underway
from spokectl.model import RunState
from spokectl.operations.context import Context
from spokectl.operations.postgres import adopt as adopting
from spokectl.operations.postgres import move as moving
from spokectl.operations.postgres import reinit as reiniting
from spokectl.operations.postgres.adopt import AdoptRequest
from spokectl.operations.postgres.console import Guards
from spokectl.operations.postgres.copying import Copy
from spokectl.operations.postgres.reinit import ReinitRequest
from spokectl.operations.redis import moves as redis_moves
from spokectl.operations.steps import Step, Table
from spokectl.wait import Deadline
from tests.unit.postgres import test_refusals
from tests.unit.postgres.test_preconditions import PRIMARY
from tests.unit.postgres.test_refusals import BOTH_GUARDS, NEW, OLD, SILENT, MakePair, PairRuntime, guard
from tests.unit.test_readiness import unheard

make_pair = test_refusals.make_pair

# Has its last conversation when it is asked for a copy.
_ENDS = """
import json, os, sys
for line in sys.stdin:
    if os.path.exists(sys.argv[1]):
        break
    if json.loads(line)["command"] != "status":
        open(sys.argv[1], "w").close()
        print(json.dumps({"ok": {"request": "r"}}), flush=True)
        break
    status = {"state": "running", "message": "", "request": None, "copied": None}
    print(json.dumps({"ok": {"status": status, "peer": {}, "record": None, "record_error": None}}), flush=True)
"""
WHAT_TO_TYPE = tuple(f"spokectl {words} --stack second" for words in ("up", "postgres status", "events"))


def pair_runtime(context: Context) -> PairRuntime:
    assert isinstance(context.runtime, PairRuntime)
    return context.runtime


def copied(context: Context) -> None:
    """A copy of OLD to NEW that is given up after the first look."""
    seen = pair_runtime(context).views[0]
    seen[NEW] = replace(seen[NEW], started_at=datetime.now(UTC))
    with closing(Guards(context.runtime)) as guards:
        Copy(context, guards, NEW, OLD, discard=False, report=unheard).run(Deadline(0))


def test_a_copy_whose_guard_is_gone_at_the_deadline_is_in_doubt(make_pair: MakePair, tmp_path: Path) -> None:
    program = (sys.executable, "-E", "-S", "-c", _ENDS, str(tmp_path / "ended"))
    with pytest.raises(OutcomeUnknown) as caught:
        copied(make_pair({NEW: program}, SILENT))
    assert (caught.value.code, caught.value.exit_code) == ("outcome_unknown", ExitCode.OUTCOME_UNKNOWN)
    assert caught.value.message.startswith(f"{NEW} may have been copied, or not: the guard of {OLD} cannot be asked")
    assert caught.value.actions == WHAT_TO_TYPE


def test_a_copy_that_its_guard_waits_to_begin_is_given_up(make_pair: MakePair) -> None:
    waits = guard({"state": "waiting", "message": "for its peer"}, **{"begin-reinit": {"request": "r"}}, rejoin={})
    with pytest.raises(Failed) as caught:
        copied(make_pair({NEW: waits}, SILENT))
    assert caught.value.code == "not_copied"


def test_a_copy_that_is_in_place_when_both_guards_go_is_not_said_to_have_changed_nothing(
    make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_pair(BOTH_GUARDS, {OLD: PRIMARY}, RunState.RUNNING)

    class LastOne(Copy):
        def run(self, deadline: Deadline) -> None:
            assert deadline.remaining_s
            pair_runtime(context).programs.clear()
            self._guards.close()

    monkeypatch.setattr(reiniting, "session", moving.session)
    monkeypatch.setattr(reiniting, "Copy", LastOne)
    request = ReinitRequest(NEW)
    with pytest.raises(OutcomeUnknown) as caught:
        reiniting.reinit(context, request, reiniting.plan(context, request), unheard)
    assert (caught.value.code, caught.value.exit_code) == ("outcome_unknown", ExitCode.OUTCOME_UNKNOWN)
    assert caught.value.message == (
        f"{NEW} is copied and streamed; whether commits wait for it is not known: "
        f"the guard of {OLD} cannot be asked: {OLD} does not run"
    )
    assert caught.value.actions == WHAT_TO_TYPE


@pytest.mark.parametrize(("copied_bytes", "phase"), [(None, "refused"), (1, "failed")])
def test_a_copy_that_is_refused_has_failed_once_something_was_copied(
    copied_bytes: int | None, phase: str, make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_pair(BOTH_GUARDS, {OLD: PRIMARY}, RunState.RUNNING)

    class Ended(Copy):
        def run(self, deadline: Deadline) -> None:
            assert deadline.remaining_s
            self.bytes = copied_bytes
            raise Refused("no_engine", "no Docker engine answers")

    monkeypatch.setattr(reiniting, "session", moving.session)
    monkeypatch.setattr(reiniting, "Copy", Ended)
    request = ReinitRequest(NEW)
    with pytest.raises(Refused):
        reiniting.reinit(context, request, reiniting.plan(context, request), unheard)
    assert [each["phase"] for each in context.journal.read()] == ["started", phase]


@pytest.fixture
def without_record(make_pair: MakePair) -> Context:
    """Nobody knows of a record, and the node that shall be adopted has no data."""
    said = {"status": {"state": "refused"}, "peer": {}, "record": None, "record_error": None, "guard_alive": True}
    return make_pair({NEW: (*BOTH_GUARDS[NEW][:-1], json.dumps({"status": said}))}, SILENT)


ADOPTIONS = pytest.mark.parametrize("adoption", [adopting.look, adopting.adopt], ids=["look", "adopt"])


@ADOPTIONS
def test_a_broken_off_move_of_redis_is_ended_before_an_adoption(
    without_record: Context, monkeypatch: pytest.MonkeyPatch, adoption: Callable[..., object]
) -> None:
    journal = Underway(without_record.state.underway_file)
    journal.begin("switchover redis", {"old": "redis-master", "new": "redis-replica"})
    journal.note("pause", "began")
    undone: list[object] = []

    def reopened(*_: object) -> tuple[Table[Any], object]:
        pause = Step[Any]("pause", "", lambda *_: None, 1.0, undo=lambda world, _: undone.append(world))
        ends = (SimpleNamespace(name=name) for name in ("redis-master", "redis-replica"))
        move = SimpleNamespace(old=next(ends), new=next(ends), committed=lambda: False, close=lambda: None)
        return Table("switchover redis", (pause,), "move", ""), move

    monkeypatch.setattr(redis_moves, "reopened", reopened)
    with pytest.raises(Refused) as caught:
        adoption(without_record, AdoptRequest(NEW), unheard)
    assert caught.value.code == "no_data"
    assert len(undone) == 1
    assert journal.unfinished() is None


@ADOPTIONS
def test_a_broken_off_move_of_the_primary_is_left_to_the_adoption(
    without_record: Context, adoption: Callable[..., object]
) -> None:
    """Without a record it cannot be asked how far it had come."""
    journal = Underway(without_record.state.underway_file)
    journal.begin("failover postgres", {"old": OLD, "new": NEW, "epoch": 1, "reason": "test"})
    with pytest.raises(Refused) as caught:
        adoption(without_record, AdoptRequest(NEW), unheard)
    assert caught.value.code == "no_data"
    assert journal.unfinished() is not None
