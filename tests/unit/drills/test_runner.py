"""What becomes of a drill: held, missed, skipped or broken; and that it heals, whatever happens."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from spokectl.drills import faults, runner, stage, workload
from spokectl.drills.checker import Kept
from spokectl.drills.choosing import chosen, judged
from spokectl.drills.drill import Drill, Need
from spokectl.drills.evidence import Mark, Moment, Run, Trial, Verdict
from spokectl.drills.faults import Fault, FaultJournal, Undo
from spokectl.drills.healing import drill_lock
from spokectl.drills.history import Request, Write, read_ledger
from spokectl.drills.links import Link
from spokectl.drills.objective import Objective
from spokectl.drills.runner import RunRequest, Watcher
from spokectl.drills.stage import Stage
from spokectl.drills.store import Store
from spokectl.drills.workload import Client, Saw, clients_of
from spokectl.errors import ExitCode, Failed, Interrupted, NotFound, Refused, UsageError
from spokectl.model import Kind, LogLine
from spokectl.operations.context import Context
from spokectl.operations.health import ServiceStatus
from spokectl.wait import Deadline
from tests.unit.drills.pretended import PretendedRuntime, context_in
from tests.unit.statuses import down

HEALED: list[str] = []
LOSES: set[str] = set()


class Remembering:
    """A writer to a registry that keeps everything."""

    def write(self, key: str) -> None:
        pass

    def read(self, key: str) -> None:
        pass

    def close(self) -> None:
        pass


class PretendedWays:
    """The way into a registry that keeps all but what is in LOSES."""

    def __init__(self, _: Context, name: str, *, direct: bool, links: Sequence[Link] = (), lasts_s: float = 0.0) -> None:
        self._name = name
        assert direct
        assert lasts_s > 0

    def clients(self, saw: Saw) -> list[Client]:
        return clients_of(self._name, "api", 2, saw, lambda _: Remembering())

    def prepare(self) -> None:
        pass

    written = Undo("forget")

    def kept(self, requests: list[Request]) -> dict[str, list[Kept]]:
        keys = [each.key for each in requests if isinstance(each, Write)]
        return {"api": [Kept(key) for key in keys if not key.endswith(tuple(LOSES) or ("\0",))]}


class Told(Watcher):
    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self.moments: list[Moment] = []

    def moment(self, moment: Moment) -> None:
        self.moments.append(moment)

    def ended(self, trial: Trial) -> None:
        self.trials.append(trial)


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    HEALED.clear()
    LOSES.clear()
    found = context_in(tmp_path)
    monkeypatch.setitem(faults.UNDOS, "mend", lambda _, undo, __: HEALED.extend(undo.services))
    monkeypatch.setitem(faults.UNDOS, "forget", lambda *_: HEALED.append("what was written"))
    monkeypatch.setattr(runner, "running_context", lambda *_: found)
    monkeypatch.setattr(runner, "Ways", PretendedWays)
    monkeypatch.setattr(workload, "PACE_S", 0.001)
    for room in (runner, stage):
        monkeypatch.setattr(room, "observe", lambda *_: [])
    return found


def drill(script: Callable[[Stage], None], **more: object) -> Drill:
    return Drill("try", "group", "something", "something else", script, **more)  # type: ignore[arg-type]


def broken(name: str) -> Fault:
    return Fault(f"{name} broken", Undo("mend", (name,)), lambda *_: None)


def carry_out(*drills: Drill, watcher: Watcher | None = None, **more: object) -> Run:
    request = RunRequest("pretended", None, ["try"], drills, **more)  # type: ignore[arg-type]
    return runner.run(request, watcher or Told())


def breaks_and_goes_on(stage: Stage) -> None:
    with stage.broken(broken("a")):
        stage.go_on()


def test_a_drill_that_holds_leaves_evidence_and_heals(context: Context) -> None:
    watcher = Told()
    run = carry_out(drill(breaks_and_goes_on, objective=Objective({"rto": 60.0, "failed": 0.0})), watcher=watcher)
    [trial] = run.trials
    assert (trial.verdict, trial.why, trial.missed) == (Verdict.HELD, "", [])
    assert HEALED == ["a", "what was written"]
    marks = [each.mark for each in trial.moments]
    assert marks.index(Mark.FAULT) < marks.index(Mark.HEALED)
    assert Mark.FIRST_GOOD_WRITE in marks
    assert {each.name: each.found for each in trial.measures}["lost"] == 0.0
    assert judged(run).exit_code is ExitCode.OK
    assert [each.mark for each in watcher.moments] == [each for each in marks if each is not Mark.FIRST_GOOD_WRITE]
    kept = Store(context.state).run(run.id)
    assert kept == run
    requests = read_ledger(context.state.drills / run.id / trial.ledger)
    assert sum(isinstance(each, Write) for each in requests) == sum(each.writes for each in trial.ticks)


def test_what_the_servers_did_by_themselves_is_on_the_timeline(context: Context) -> None:
    def missed(stage: Stage) -> None:
        with stage.broken(broken("a")):
            said = "1:X 29 Nov 2026 08:00:00.000 # +odown master group 127.0.0.1 6379 #quorum 2/2"
            cast(PretendedRuntime, context.runtime).lines.append(LogLine("sentinel", datetime.now(UTC), said))
            stage.go_on()

    [trial] = carry_out(drill(missed)).trials
    marks = [each.mark for each in trial.moments if each.mark in {Mark.FAULT, Mark.DETECTED, Mark.HEALED}]
    assert marks == [Mark.FAULT, Mark.DETECTED, Mark.HEALED]


def test_logs_that_cannot_be_read_cost_no_verdict(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: object, **__: object) -> None:
        raise ConnectionResetError("the engine has gone")

    monkeypatch.setattr(PretendedRuntime, "logs", unreadable)
    assert carry_out(drill(breaks_and_goes_on)).verdict is Verdict.HELD


def test_what_a_drill_leaves_behind_makes_it_miss(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaves(stage: Stage) -> None:
        breaks_and_goes_on(stage)
        context.state.underway_file.write_text("{}")

    monkeypatch.setattr(stage, "_LEFT_FOR_S", 0.1)
    [trial] = carry_out(drill(leaves)).trials
    assert trial.verdict is Verdict.MISSED
    assert any("nothing is left behind" in each and "a move that nobody has ended" in each for each in trial.missed)


def test_a_lost_write_is_named_and_makes_it_miss(context: Context) -> None:
    LOSES.add("-1.3")
    run = carry_out(drill(breaks_and_goes_on))
    assert run.verdict is Verdict.MISSED
    assert [key.rpartition(".")[2] for key in run.trials[0].ids["lost"]] == ["3"]
    result = judged(run)
    assert (result.exit_code, result.error and result.error.code) == (ExitCode.OBJECTIVE_MISSED, "objective_missed")
    assert result.error is not None
    assert "lost was 1, and at most 0 was promised" in result.error.message


def test_bounds_of_the_command_take_the_place_of_the_drills_own(context: Context) -> None:
    run = carry_out(drill(breaks_and_goes_on, objective=Objective({"rto": 60.0})), bounds={"rto": 0.0})
    assert run.verdict is Verdict.MISSED
    LOSES.add("-1.3")
    assert carry_out(drill(breaks_and_goes_on), bounds={"lost": 1.0}).verdict is Verdict.HELD


def test_what_a_script_expects_and_does_not_find_makes_it_miss(context: Context) -> None:
    run = carry_out(drill(lambda stage: stage.expect("a is primary", ok=False, found="b is")))
    assert run.trials[0].missed == ["a is primary: b is"]
    assert run.verdict is Verdict.MISSED


def test_what_a_script_does_and_fails_makes_it_miss_and_heals(context: Context) -> None:
    def fails(stage: Stage) -> None:
        stage.inject(broken("a"))
        stage.inject(broken("b"))
        raise Failed("no_good", "it did not work")

    run = carry_out(drill(fails))
    assert (run.trials[0].verdict, run.trials[0].why) == (Verdict.MISSED, "")
    assert run.trials[0].missed == ["all that the drill does goes well: no_good: it did not work"]
    assert HEALED == ["b", "a", "what was written"]
    assert judged(run).exit_code is ExitCode.OBJECTIVE_MISSED


def test_a_fault_that_fails_half_way_is_undone_all_the_same(context: Context) -> None:
    def half(_: Context, __: Deadline) -> None:
        raise Failed("half_way", "the second one would not")

    def script(stage: Stage) -> None:
        stage.inject(Fault("half broken", Undo("mend", ("a",)), half))

    run = carry_out(drill(script))
    assert (run.verdict, run.trials[0].why) == (Verdict.BROKEN, "half_way: half broken: the second one would not")
    assert judged(run).exit_code is ExitCode.FAILED
    assert HEALED == ["a", "what was written"]


def test_ctrl_c_heals_and_keeps_what_there_is(context: Context) -> None:
    told: list[Run] = []

    def interrupted(stage: Stage) -> None:
        stage.inject(broken("a"))
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="in try, trial 2; what was broken is healed"):
        carry_out(drill(breaks_and_goes_on), drill(interrupted), drill(breaks_and_goes_on), at_the_end=told.append)
    assert HEALED == ["a", "what was written"] * 2
    kept = Store(context.state).run(None).trials
    assert [(each.verdict, each.why) for each in kept] == [(Verdict.HELD, ""), (Verdict.BROKEN, "interrupted")]
    assert [each.verdict for each in told[0].trials] == [Verdict.HELD, Verdict.BROKEN]
    folder = Store(context.state).folder_of(told[0].id)
    assert {"run.json", "junit.xml", "report.html"} <= {each.name for each in folder.iterdir()}
    assert not context.state.faults_file.exists()


def test_ctrl_c_ends_the_run_also_when_what_is_healed_then_does_not_heal(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def does_not(*_: object) -> None:
        raise Failed("stuck", "it does not let itself be mended")

    def interrupted(stage: Stage) -> None:
        with stage.broken(broken("a")):
            monkeypatch.setitem(faults.UNDOS, "mend", does_not)
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="in try, trial 1; still to be healed: a broken") as ended:
        carry_out(drill(interrupted), drill(breaks_and_goes_on))
    assert "drill heal" in ended.value.actions[0]


def test_an_error_that_nobody_expects_is_kept_and_the_evidence_before_it_too(context: Context) -> None:
    def full(_: Stage) -> None:
        raise OSError(28, "No space left on device")

    run = carry_out(drill(breaks_and_goes_on), drill(full))
    assert [each.verdict for each in run.trials] == [Verdict.HELD, Verdict.BROKEN]
    assert "No space left" in run.trials[1].why
    assert HEALED == ["a", "what was written", "what was written"]
    assert Store(context.state).run(None) == run


def test_where_nobody_tells_what_is_there_nothing_is_said_to_be_kept(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise Failed("load_failed", "the registry lists nothing")

    monkeypatch.setattr(PretendedWays, "kept", gone)
    run = carry_out(drill(breaks_and_goes_on))
    assert run.verdict is Verdict.MISSED
    said = "; ".join(run.trials[0].missed)
    assert "what was written can be read afterwards: load_failed" in said
    assert "lost could not be measured" in said
    assert {each.name: each.found for each in run.trials[0].measures if each.measured}["failed"] == 0


def test_drills_that_give_up_writes_of_others_have_to_be_allowed(context: Context) -> None:
    lossy = drill(breaks_and_goes_on, gives_up_writes=True)
    run = carry_out(lossy)
    assert [each.verdict for each in run.trials] == [Verdict.SKIPPED]
    # A script that names a drill must not take it for one that held.
    assert judged(run).exit_code is ExitCode.REFUSED
    assert "--allow-data-loss" in carry_out(lossy).trials[0].why
    assert carry_out(lossy, allow_data_loss=True).verdict is Verdict.HELD


def test_what_a_runtime_cannot_do_is_skipped_with_the_reason_and_is_no_failure(context: Context) -> None:
    run = carry_out(drill(breaks_and_goes_on, needs=frozenset({Need.NETWORK})), drill(breaks_and_goes_on))
    assert [each.verdict for each in run.trials] == [Verdict.SKIPPED, Verdict.HELD]
    assert "cut the network" in run.trials[0].why
    result = judged(run)
    assert result.exit_code is ExitCode.OK
    assert "was skipped" in result.warnings[0]


def test_repeats_are_told_apart(context: Context) -> None:
    run = carry_out(drill(breaks_and_goes_on), repeat=3)
    assert [each.number for each in run.trials] == [1, 2, 3]
    assert len({each.ledger for each in run.trials}) == 3


def test_a_stack_that_is_not_well_is_not_broken_further(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "observe", lambda *_: [down("a", Kind.SPOKE)])
    with pytest.raises(Refused) as refused:
        carry_out(drill(breaks_and_goes_on))
    assert refused.value.code == "not_well"
    assert "stopped by hand" in refused.value.message
    assert HEALED == []


def test_after_a_drill_that_cannot_be_mended_the_rest_tells_nothing(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[ServiceStatus]] = [[], [down("a", Kind.SPOKE)]]
    monkeypatch.setattr(runner, "observe", lambda *_: seen.pop(0))
    monkeypatch.setattr(runner, "up", lambda *_: (_ for _ in ()).throw(Failed("no_way", "no way")))
    run = carry_out(drill(breaks_and_goes_on), drill(breaks_and_goes_on))
    assert [each.verdict for each in run.trials] == [Verdict.HELD, Verdict.SKIPPED]
    assert "has left a stack that is not well: no way" in run.trials[1].why


def test_a_drill_on_a_stack_of_another_drill_is_refused(context: Context) -> None:
    with drill_lock(context.state), pytest.raises(Refused, match="under way"):
        carry_out(drill(breaks_and_goes_on))


def test_what_an_earlier_drill_left_is_healed_before_anything(context: Context) -> None:
    FaultJournal(context.state.faults_file).began("old broken", Undo("mend", ("old",)))
    carry_out(drill(breaks_and_goes_on))
    assert HEALED == ["old", "a", "what was written"]


def test_with_keep_what_was_written_stays(context: Context) -> None:
    carry_out(drill(breaks_and_goes_on), keep=True)
    assert HEALED == ["a"]
    assert not context.state.faults_file.exists()


def test_clients_that_are_never_served_again_make_it_miss(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SERVED_WITHIN_S", 0.2)
    stuck = False

    def write(_: Remembering, key: str) -> None:
        if stuck:
            raise ConnectionResetError(key)

    def sticks(_: Stage) -> None:
        nonlocal stuck
        stuck = True

    monkeypatch.setattr(Remembering, "write", write)
    run = carry_out(drill(sticks))
    assert run.verdict is Verdict.MISSED
    assert any("every client is served again" in each for each in run.trials[0].missed)
    assert next(each for each in run.trials[0].measures if each.name == "rto").found is None


def test_drills_are_chosen_by_name_each_once_in_the_order_of_the_catalog() -> None:
    every = chosen([], everything=True)
    names = [each.name for each in every]
    assert len(names) == len(set(names))
    assert [each.name for each in chosen([names[1], names[0], names[1]])] == names[:2]
    with pytest.raises(NotFound, match="did you mean postgres-kill"):
        chosen(["postgres-kil"])
    with pytest.raises(UsageError) as usage:
        chosen([])
    assert usage.value.code == "no_drill"
