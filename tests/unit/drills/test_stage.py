"""What a drill's commands leave in the journal of faults, should the process end in their middle."""

from pathlib import Path

import pytest

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
