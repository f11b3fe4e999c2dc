"""Why a move of the primary role is refused or stops, and what to type then; guards and servers say what the test wants."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from spokectl.clients.postgres import PostgresUnavailable
from spokectl.clients.postgres_session import Position
from spokectl.errors import ExitCode, Failed, Incomplete, OutcomeUnknown, Refused
from spokectl.journal import Underway, Unfinished
from spokectl.model import HealthProbe, Inspection, Kind, Port, RunState, Service, Stack
from spokectl.operations.context import Context
from spokectl.operations.event_lines import of_journal
from spokectl.operations.moves import MoveRequest, Settled, settle_unfinished
from spokectl.operations.postgres import move as moving
from spokectl.operations.postgres import moves, switchover
from spokectl.operations.postgres.console import Guards
from spokectl.operations.postgres.move import Move
from spokectl.operations.postgres.pair import hear
from spokectl.operations.postgres.tables import FAILOVER, table
from spokectl.operations.steps import drive
from spokectl.settings import StackState
from spokectl.wait import Deadline
from tests.unit.postgres.test_preconditions import PRIMARY, STANDBY
from tests.unit.test_readiness import SeenRuntime, unheard

OLD, NEW = "postgres-primary", "postgres-replica"
RECORD = {"primary": OLD, "epoch": 3, "mode": "synchronous"}
SILENT: dict[str, Position] = {}

# Answers each command of a conversation with what stands beside its name; a status is of this moment. The record is that
# of the file, where one is named.
_GUARD = """
import datetime, json, sys
answers = json.loads(sys.argv[1])
for line in sys.stdin:
    answer = answers[json.loads(line)["command"]]
    if sys.argv[2:]:
        answer["record"] = json.load(open(sys.argv[2]))
    if "status" in answer:
        answer["status"]["time"] = datetime.datetime.now(datetime.timezone.utc).isoformat()
    print(json.dumps({"ok": answer}), flush=True)
"""


def guard(
    status: Mapping[str, Any],
    *,
    peer: Mapping[str, Any] = MappingProxyType({}),
    record: Mapping[str, Any] = MappingProxyType(RECORD),
    **answers: object,
) -> tuple[str, ...]:
    """A guard's process. `answers`: to commands other than `status`."""
    said = {"status": status, "peer": dict(peer), "record": dict(record), "record_error": None, "guard_alive": True}
    return (sys.executable, "-E", "-S", "-c", _GUARD, json.dumps({"status": said, **answers}))


@dataclass
class PairRuntime(SeenRuntime):
    """Two nodes that are seen as they are said to be, whatever is started; what is killed is down."""

    started: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    at_kill: Callable[[], object] = lambda: None

    def start(self, services: Sequence[str], deadline: Deadline) -> None:
        self.started += services

    def kill(self, services: Sequence[str], deadline: Deadline) -> None:
        self.killed += services
        self.at_kill()
        self.views = [view | {name: Inspection(name, RunState.STOPPED) for name in services} for view in self.views]


MakePair = Callable[..., Context]


@pytest.fixture
def make_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePair:
    def make(
        programs: Mapping[str, tuple[str, ...]], positions: Mapping[str, Position], old_state: RunState = RunState.STOPPED
    ) -> Context:
        """The stack `second`. `programs`: the guards that are there; `positions`: what the servers that answer say."""

        def session(service: Service, timeout_s: float = 0) -> AbstractContextManager[Any]:
            if service.name not in positions:
                raise PostgresUnavailable("connection refused")
            return Session(positions[service.name])

        monkeypatch.setattr(moving, "session", session)
        monkeypatch.setattr(moves, "session", session)
        monkeypatch.setattr(switchover, "session", session)
        services = {
            name: Service(name, Kind.POSTGRES, "", HealthProbe("postgres", 5432), {}, name, (Port("127.0.0.1", 1, 5432),))
            for name in (OLD, NEW)
        }
        seen = {OLD: Inspection(OLD, old_state), NEW: Inspection(NEW, RunState.RUNNING, pid=1)}
        state = StackState("second", tmp_path)
        state.ensure()
        stack = Stack("second", (tmp_path / "stack.yml",), services, (), {})
        return Context(stack, state, PairRuntime([seen], programs=dict(programs)))

    return make


class Session(nullcontext[Any]):
    def __init__(self, position: Position) -> None:
        super().__init__(self)
        self._position = position

    def position(self) -> Position:
        return self._position

    def promote(self, timeout_s: float) -> None:
        """It is done at once."""

    def close(self) -> None:
        """There is nothing to end."""


BOTH_GUARDS = {OLD: guard({"state": "running"}), NEW: guard({"state": "running"})}


@pytest.mark.parametrize("operation", [moves.switchover, moves.failover])
def test_without_any_guard_no_role_is_moved(make_pair: MakePair, operation: Callable[..., object]) -> None:
    context = make_pair({}, {OLD: PRIMARY, NEW: STANDBY})
    with pytest.raises(Refused) as caught:
        operation(context, MoveRequest(), unheard)
    assert_no_guard(caught.value)


def test_without_any_guard_no_data_is_touched(make_pair: MakePair) -> None:
    context = make_pair({}, SILENT)
    with closing(Guards(context.runtime)) as guards, pytest.raises(Refused) as caught:
        hear(context, guards)
    assert_no_guard(caught.value)


def assert_no_guard(error: Refused) -> None:
    assert (error.code, error.exit_code) == ("no_guard", ExitCode.REFUSED)
    why = f"the guard of {OLD} cannot be asked: {OLD} does not run"
    assert error.message == f"nothing was changed: {why}"
    assert error.actions == ("spokectl up --stack second",)


def test_a_failover_to_a_standby_that_does_not_answer_is_refused(make_pair: MakePair) -> None:
    with pytest.raises(Refused) as caught:
        moves.failover(make_pair(BOTH_GUARDS, SILENT), MoveRequest(), unheard)
    assert (caught.value.code, caught.value.exit_code) == ("no_standby", ExitCode.REFUSED)
    assert caught.value.message == (
        f"nothing was changed: {NEW} cannot take over: {NEW} does not answer: connection refused"
    )
    assert caught.value.actions == (f"spokectl start {NEW} --stack second", "spokectl up --stack second")


def test_a_failover_to_a_node_that_takes_writes_against_the_record_is_refused(make_pair: MakePair) -> None:
    with pytest.raises(Refused) as caught:
        moves.failover(make_pair(BOTH_GUARDS, {NEW: PRIMARY}), MoveRequest(), unheard)
    assert (caught.value.code, caught.value.exit_code) == ("two_primaries", ExitCode.REFUSED)
    assert caught.value.message == f"nothing was changed: {NEW} takes writes as a primary, but the record names {OLD}"
    assert caught.value.actions == (
        "spokectl postgres status --stack second",
        f"spokectl restart {NEW} --stack second",
        f"spokectl start {OLD} --stack second",
    )


@pytest.mark.parametrize(
    ("proof", "found"),
    [
        ({"state": "in production", "checkpoint_lsn": "0/5000"}, "pg_controldata says 'in production'"),
        (None, "pg_controldata says nothing"),
    ],
)
def test_a_primary_without_proof_of_a_clean_stop_ends_the_move(
    make_pair: MakePair, proof: dict[str, str] | None, found: str
) -> None:
    stopped = guard({"state": "held"}, demote={"state": "held", "control": proof})
    context = make_pair(BOTH_GUARDS | {OLD: stopped}, {NEW: STANDBY})
    with closing(Move(context, OLD, NEW, 3, "test")) as move, pytest.raises(Failed) as caught:
        move.stop_old(Deadline(60))
    assert (caught.value.code, caught.value.exit_code) == ("not_stopped_cleanly", ExitCode.FAILED)
    assert caught.value.message == f"{OLD} is down, but not known to have been stopped cleanly: {found}"
    assert caught.value.actions == (f"spokectl logs {OLD} --stack second",)
    assert move.checkpoint_lsn is None


REFUSING = guard(
    {"state": "refused", "message": "16 bytes of WAL are only here", "command": f"spokectl postgres reinit {OLD} --discard"}
)


def test_an_old_primary_whose_guard_has_not_seen_the_new_record_yet_is_waited_for(make_pair: MakePair) -> None:
    missing = guard(
        {"state": "refused", "code": "record-missing", "message": "there is no cluster record", "command": "adopt"}
    )
    context = make_pair(BOTH_GUARDS | {OLD: missing}, {NEW: PRIMARY})
    with (
        closing(Move(context, OLD, NEW, 3, "test")) as move,
        pytest.raises(OutcomeUnknown, match="there is no cluster record"),
    ):
        move.rejoin_old(Deadline(0.1))


def test_an_old_primary_that_may_not_join_is_left_with_its_guards_command(make_pair: MakePair) -> None:
    context = make_pair(BOTH_GUARDS | {OLD: REFUSING}, {NEW: PRIMARY})
    with closing(Move(context, OLD, NEW, 3, "test")) as move, pytest.raises(Failed) as caught:
        move.rejoin_old(Deadline(60))
    assert (caught.value.code, caught.value.exit_code) == ("rejoin_refused", ExitCode.FAILED)
    assert caught.value.message == f"{OLD} may not join by itself: 16 bytes of WAL are only here"
    assert caught.value.actions == (f"spokectl postgres reinit {OLD} --discard --stack second",)
    assert isinstance(context.runtime, PairRuntime)
    assert context.runtime.started == [OLD]


def test_a_failover_whose_old_primary_may_not_join_is_done_but_incomplete(make_pair: MakePair) -> None:
    """The role has moved: what scripts see is 12, and the guard's reason and command."""
    context = make_pair(BOTH_GUARDS | {OLD: REFUSING}, {NEW: PRIMARY})
    whole = table("second", FAILOVER)
    rejoin = tuple(step for step in whole.steps if step.id == "rejoin")
    journal = Underway(context.state.underway_file)
    with closing(Move(context, OLD, NEW, 3, "test")) as move, pytest.raises(Incomplete) as caught:
        drive(replace(whole, steps=rejoin), move, move.facts, journal, unheard)
    assert (caught.value.code, caught.value.exit_code) == ("failover_postgres_incomplete", ExitCode.INCOMPLETE)
    assert f"{OLD} may not join by itself: 16 bytes of WAL are only here" in caught.value.message
    assert caught.value.actions == (f"spokectl postgres reinit {OLD} --discard --stack second",)


@pytest.mark.parametrize(
    ("states", "said", "actions"),
    [
        ({NEW: RunState.STOPPED}, f"{NEW} is stopped", (f"start {NEW}",)),
        ({NEW: RunState.PAUSED}, f"{NEW} is paused", (f"unpause {NEW}",)),
        ({OLD: RunState.STOPPED}, f"{OLD} is stopped", (f"start {OLD}", "failover postgres")),
        ({}, "not both nodes answer: ", ("postgres status", "up")),
    ],
)
def test_a_switchover_without_one_of_the_nodes_names_it_and_what_brings_it_back(
    make_pair: MakePair, states: dict[str, RunState], said: str, actions: tuple[str, ...]
) -> None:
    context = make_pair(BOTH_GUARDS, SILENT)
    assert isinstance(context.runtime, PairRuntime)
    context.runtime.views = [{node: Inspection(node, states.get(node, RunState.RUNNING)) for node in (OLD, NEW)}]
    with pytest.raises(Refused) as caught:
        moves.switchover(context, MoveRequest(), unheard)
    assert (caught.value.code, caught.value.exit_code) == ("node_unavailable", ExitCode.REFUSED)
    assert caught.value.message.startswith(f"nothing was changed: {said}")
    assert caught.value.actions == tuple(f"spokectl {words} --stack second" for words in actions)


def test_a_stopped_standby_has_no_guard_and_is_named_all_the_same(make_pair: MakePair) -> None:
    context = make_pair({OLD: guard({"state": "running"})}, {OLD: PRIMARY})
    assert isinstance(context.runtime, PairRuntime)
    context.runtime.views = [{OLD: Inspection(OLD, RunState.RUNNING), NEW: Inspection(NEW, RunState.STOPPED)}]
    for move in (moves.switchover, moves.failover):
        with pytest.raises(Refused, match=f"nothing was changed: {NEW} is stopped"):
            move(context, MoveRequest(), unheard)


def test_a_primary_that_somebody_has_started_meanwhile_is_put_down_before_the_promotion(make_pair: MakePair) -> None:
    context = make_pair(BOTH_GUARDS, {NEW: STANDBY}, RunState.RUNNING)
    assert isinstance(context.runtime, PairRuntime)
    with closing(Move(context, OLD, NEW, 3, "test")) as move:
        move.fence_and_promote(Deadline(60))
    assert context.runtime.killed == [OLD]


def test_a_primary_that_follows_already_is_not_put_down_again(make_pair: MakePair) -> None:
    context = make_pair(BOTH_GUARDS, {OLD: STANDBY, NEW: PRIMARY}, RunState.RUNNING)
    assert isinstance(context.runtime, PairRuntime)
    with closing(Move(context, OLD, NEW, 3, "test")) as move:
        move.fence_and_promote(Deadline(60))
    assert context.runtime.killed == []


def test_a_failover_that_became_a_loss_while_the_primary_was_put_down_keeps_the_role(
    make_pair: MakePair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its guard has given up waiting for the standby between the judgement and the kill."""
    monkeypatch.setattr(moving, "_BACK_WITHIN_S", 0.1)
    record = tmp_path / "record.json"
    record.write_text(json.dumps(RECORD))
    degraded = RECORD | {"mode": "degraded", "time": "2026-01-01T00:00:00Z", "since_lsn": "0/3000"}
    words = guard({"state": "running"}, rejoin={})
    programs = dict.fromkeys((OLD, NEW), (*words, str(record)))
    context = make_pair(programs, {NEW: replace(STANDBY, receiving=False)}, RunState.RUNNING)
    assert isinstance(context.runtime, PairRuntime)
    context.runtime.at_kill = lambda: record.write_text(json.dumps(degraded))
    with pytest.raises(Failed, match=r"replication has been degraded since .*; everything is back") as caught:
        moves.failover(context, MoveRequest(), unheard)
    assert (caught.value.code, caught.value.exit_code) == ("data_loss", ExitCode.FAILED)
    assert caught.value.actions[-1] == "spokectl failover postgres --allow-data-loss --stack second"
    assert (context.runtime.killed, context.runtime.started) == ([OLD], [OLD])
    assert not context.state.underway_file.exists()


def test_what_has_not_received_anything_since_its_start_is_not_taken_for_empty(make_pair: MakePair) -> None:
    """A standby without a primary says the beginning of a segment; what it replays it has."""
    degraded = RECORD | {"mode": "degraded", "time": "2026-01-01T00:00:00Z", "since_lsn": "0/3000"}
    program = guard({"state": "running"}, peer={"lsn": "0/5010"}, record=degraded)
    context = make_pair(dict.fromkeys((OLD, NEW), program), {NEW: replace(STANDBY, received=0x1000, replayed=0x5000)})
    with pytest.raises(Refused) as caught:
        moves.failover(context, MoveRequest(), unheard)
    assert (caught.value.code, caught.value.details["bytes"]) == ("data_loss", 16)


def test_what_was_down_before_the_failover_is_not_started_by_its_undo(make_pair: MakePair) -> None:
    context = make_pair(BOTH_GUARDS, {NEW: STANDBY})
    assert isinstance(context.runtime, PairRuntime)
    with closing(Move(context, OLD, NEW, 3, "test")) as move:
        move.old_ran = False
        again = moves.reopened(context, Unfinished(FAILOVER, move.facts, ("fence",)))[1]
    again.start_old_again(Deadline(60))
    assert context.runtime.started == []


def test_a_primary_that_cannot_come_back_does_not_keep_a_failover_from_ending(
    make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was broken off before anything was given away; the next command looks anew."""
    monkeypatch.setattr(moving, "_BACK_WITHIN_S", 0.1)
    context = make_pair({NEW: guard({"state": "running"})}, {NEW: STANDBY})
    journal = Underway(context.state.underway_file)
    with closing(Move(context, OLD, NEW, 3, "test")) as move:
        journal.begin(FAILOVER, move.facts)
        journal.note("fence", "began")
    settled = settle_unfinished(context, unheard)
    assert settled == Settled(FAILOVER, OLD, NEW, finished=False)
    assert journal.unfinished() is None
    [event] = of_journal(context.journal.read())
    assert (event.what, event.why) == (f"end {FAILOVER}", f"put back: {OLD} has the role")


@pytest.mark.parametrize(
    ("operation", "facts"),
    [("reshuffle postgres", {}), ("failover kafka", {}), (FAILOVER, {"old": OLD}), (FAILOVER, {"old": "gone", "new": NEW})],
)
def test_what_an_unknown_version_began_is_refused_and_kept(
    make_pair: MakePair, operation: str, facts: dict[str, object]
) -> None:
    context = make_pair(BOTH_GUARDS, SILENT)
    journal = Underway(context.state.underway_file)
    journal.begin(operation, {"epoch": 3, "reason": "", "variant": ""} | facts)
    with pytest.raises(Refused, match="in a way that this version does not know") as caught:
        settle_unfinished(context, unheard)
    assert caught.value.code == "journal_damaged"
    assert journal.unfinished() is not None


def test_only_a_move_of_the_same_role_to_the_same_node_is_what_was_meant() -> None:
    finished = Settled("failover postgres", OLD, NEW, finished=True)
    assert finished.is_what_is_meant("switchover postgres", MoveRequest())
    assert finished.is_what_is_meant("failover postgres", MoveRequest(to=NEW))
    assert not finished.is_what_is_meant("switchover postgres", MoveRequest(to=OLD))
    assert not finished.is_what_is_meant("failover redis", MoveRequest())
    assert not replace(finished, finished=False).is_what_is_meant("failover postgres", MoveRequest())
