"""What a drill's commands leave in the journal of faults, should the process end in their middle."""

from pathlib import Path

import pytest

from spokectl.drills.evidence import Mark
from spokectl.drills.faults import FaultJournal
from spokectl.drills.healing import heal_all
from spokectl.drills.stage import Notebook, Stage
from spokectl.drills.workload import Saw, Workload
from spokectl.errors import Refused
from spokectl.result import Report, Result
from tests.unit.drills.pretended import context_in


def test_a_command_that_ends_leaves_nothing_to_heal_and_one_that_dies_its_end(tmp_path: Path) -> None:
    context = context_in(tmp_path)
    stage = Stage(context, Workload([], Saw()), Notebook(lambda _: None), 0)
    left = FaultJournal(context.state.faults_file).left

    def done(_: Report) -> Result:
        assert [each.sentence for each in left()] == ["spokectl move it broken off"]
        return Result(None)

    def refused(_: Report) -> Result:
        raise Refused("not_now", "it is not the time")

    def dies(_: Report) -> Result:
        raise KeyboardInterrupt

    stage.operate("move it", done)
    assert left() == []
    stage.refused("move it", refused, "not_now")
    assert left() == []
    with pytest.raises(KeyboardInterrupt):
        stage.operate("move it", dies)
    assert [each.undo.act for each in left()] == ["end_move"]
    heal_all(context, lambda _: None)
    assert left() == []


def test_steps_of_a_move_are_moments_by_the_database_that_they_move(tmp_path: Path) -> None:
    notebook = Notebook(lambda _: None)
    stage = Stage(context_in(tmp_path), Workload([], Saw()), notebook, 0)

    def moves(report: Report) -> Result:
        report("fence", "doing", "kill it")
        for step in ("fence", "promote", "follow", "rejoin"):
            report(step, "done", "1 s")
        return Result(None)

    def marks() -> list[Mark]:
        seen: list[Mark] = [each.mark for each in notebook.moments if each.mark not in {Mark.COMMAND, Mark.NOTE}]
        notebook.moments.clear()
        return seen

    def moves_redis(report: Report) -> Result:
        report("rejoin", "done", "is no step of it")
        report("promote", "done", "1 s")
        report("follow", "done", "1 s")
        return Result(None)

    stage.operate("failover postgres", moves)
    assert marks() == [Mark.DETECTED, Mark.PROMOTED, Mark.REJOINED]
    [first] = notebook.operations
    # Of Redis it is the old master that follows; PostgreSQL's `follow` is about the Spokes.
    stage.operate("failover redis", moves_redis)
    assert marks() == [Mark.PROMOTED, Mark.REJOINED]
    assert [each.database for each in notebook.operations] == ["postgres", "redis"]
    assert first.began_s <= first.ended_s <= notebook.operations[1].began_s
