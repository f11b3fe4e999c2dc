"""What the live view of a drill says while it goes on."""

from dataclasses import replace

import pytest

from spokectl.drills.catalog import all_drills
from spokectl.drills.evidence import Mark, Moment
from spokectl.drills.workload import Snapshot
from spokectl.output.drills import Scene, ended_line
from tests.unit.drills.made_up import broken, skipped, trial

DRILL = all_drills()["postgres-kill"]


class Time:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


def test_it_says_which_trial_of_how_many_and_what_is_broken(time: Time) -> None:
    scene = Scene(3, time)
    scene.begins(DRILL, 1, lambda: Snapshot(7, 0, {"api": 1000.0}))
    time.now_s += 2.5
    head, breaks, clients = scene.lines()
    assert head == "1 of 3  postgres-kill  2.5 s  clients begin"
    assert breaks.strip() == DRILL.breaks
    assert clients.strip() == "7 writes acknowledged, 0 requests failed"
    scene.ended()
    scene.begins(DRILL, 2, lambda: Snapshot(0, 0, {}))
    assert scene.lines()[0] == "2 of 3  postgres-kill (2)  0.0 s  clients begin"


def test_the_gap_grows_while_no_write_is_acknowledged_and_the_longest_stays(time: Time) -> None:
    seen = Snapshot(7, 0, {"api": 1000.0, "redis": 1004.0})
    scene = Scene(1, time)
    scene.begins(DRILL, 1, lambda: seen)
    scene.moment(Moment(1000.1, Mark.FAULT, "postgres-primary killed"))
    time.now_s = 1003.0
    assert scene.lines()[2].endswith("no write for 3.0 s, at most 3.0 s")
    seen = replace(seen, acknowledged=8, failed=2, last_good_s={"api": 1003.5})
    time.now_s = 1004.0
    assert scene.lines()[2].strip() == "8 writes acknowledged, 2 requests failed; no write for 0.5 s, at most 3.0 s"


def test_the_last_moments_stand_below_with_their_seconds_from_the_fault(time: Time) -> None:
    scene = Scene(1, time)
    scene.begins(DRILL, 1, lambda: Snapshot(0, 0, {}))
    scene.moment(Moment(1000.0, Mark.FAULT, "postgres-primary killed"))
    for number in range(9):
        scene.moment(Moment(1001.0 + number, Mark.NOTE, f"note {number}"))
    scene.moment(Moment(1010.5, Mark.HEALED, "healed: postgres-primary killed"))
    scene.moment(Moment(1010.5, Mark.PHASE, "all has to be well again"))
    lines = scene.lines()
    assert lines[0].endswith("all has to be well again")
    assert [line.strip() for line in lines[-2:]] == [
        "+10.50 s  healed: postgres-primary killed",
        "+10.50 s  phase: all has to be well again",
    ]
    assert len(lines) == 3 + 6


def test_between_two_trials_it_says_what_is_healed(time: Time) -> None:
    scene = Scene(1, time)
    scene.moment(Moment(1000.0, Mark.NOTE, "healing: spoke-1 killed"))
    assert [line.strip() for line in scene.lines()] == ["note: healing: spoke-1 killed", "the stack is looked at"]


def test_an_ended_trial_is_one_line() -> None:
    assert ended_line(trial()) == "✓ postgres-kill: held in 9 s: rto 1.90 s, lost 0"
    assert "✗ postgres-kill: missed in 9 s: rto 9.50 s, lost 2; rto was 9.5s" in ended_line(trial(rto=9.5, lost=2))
    assert ended_line(skipped()) == "– network-cut: skipped: it needs a runtime that can cut the network"
    assert ended_line(broken(why="bad\x1b[2J\nline")) == "! spoke-kill: broken in 9 s: bad\\x1b[2J\\nline"
