"""Moves that nobody typed are on the timeline: what guards and Sentinels log, beside a drill's own moments."""

from datetime import UTC, datetime
from pathlib import Path

from spokectl.drills.evidence import Mark, Moment
from spokectl.drills.figures import POSTGRES, REDIS
from spokectl.drills.leftovers import left, slots_of
from spokectl.drills.witnesses import Operation, told, with_their_moments
from spokectl.operations.event_lines import Event
from tests.unit.drills.pretended import context_in

FAULT = Moment(10.0, Mark.FAULT, "redis-master killed", "redis-master")


def sentinel(at_s: float, number: int, what: str, target: str, why: str = "") -> Event:
    return Event(datetime.fromtimestamp(at_s, UTC), "sentinel", f"redis-sentinel-{number}", what, target, why, "")


def guard(at_s: float, what: str, node: str = "postgres-primary", target: str = "postgres-replica") -> Event:
    return Event(datetime.fromtimestamp(at_s, UTC), "guard", f"guard of {node}", what, target, "because", "")


def marks(moments: list[Moment]) -> list[tuple[float, Mark, str]]:
    return [(each.at_s, each.mark, each.subject) for each in moments]


def test_a_failover_of_the_sentinels_is_detected_promoted_and_rejoined_once_each() -> None:
    switched = "master in place of redis-master"
    events = [
        sentinel(12.0, 1, "+sdown", "redis-master"),
        sentinel(12.5, 1, "+odown", "redis-master"),
        sentinel(12.6, 2, "+odown", "redis-master"),
        sentinel(13.0, 1, "+switch-master", "redis-replica", switched),
        sentinel(13.1, 2, "+switch-master", "redis-replica", switched),
        sentinel(13.1, 2, "+slave", "redis-master"),
        sentinel(20.0, 1, "-sdown", "redis-master"),
        sentinel(20.1, 2, "-sdown", "redis-master"),
    ]
    assert marks(with_their_moments([FAULT], reversed(events), [])) == [
        (10.0, Mark.FAULT, "redis-master"),
        (12.5, Mark.DETECTED, "redis-master"),
        (13.0, Mark.PROMOTED, "redis-replica"),
        (20.0, Mark.REJOINED, "redis-master"),
    ]


def test_a_node_that_answers_again_has_rejoined_only_when_another_took_its_role() -> None:
    events = [sentinel(12.0, 1, "+sdown", "redis-master"), sentinel(13.0, 1, "-sdown", "redis-master")]
    assert with_their_moments([FAULT], events, []) == [FAULT]


def test_a_master_that_has_its_role_again_and_pauses_has_not_rejoined() -> None:
    events = [
        sentinel(11.0, 1, "+switch-master", "redis-replica", "master in place of redis-master"),
        sentinel(14.0, 1, "+switch-master", "redis-master", "master in place of redis-replica"),
        sentinel(16.0, 1, "-sdown", "redis-master"),
        sentinel(17.0, 1, "-sdown", "redis-replica"),
    ]
    seen = marks(with_their_moments([FAULT], events, []))
    assert seen[1:] == [
        (11.0, Mark.PROMOTED, "redis-replica"),
        (14.0, Mark.PROMOTED, "redis-master"),
        (17.0, Mark.REJOINED, "redis-replica"),
    ]


def test_of_the_time_of_an_operation_its_own_steps_tell_and_of_the_other_database_the_logs() -> None:
    promoted = Moment(11.0, Mark.PROMOTED, "promote: ...")
    events = [guard(10.9, "new primary"), guard(12.5, "degraded"), sentinel(11.2, 1, "+odown", "redis-master")]
    seen = with_their_moments([FAULT, promoted], events, [Operation(POSTGRES, 10.5, 12.0)])
    assert marks(seen) == [
        (10.0, Mark.FAULT, "redis-master"),
        (11.0, Mark.PROMOTED, ""),
        (11.2, Mark.DETECTED, "redis-master"),
        (12.5, Mark.DETECTED, "postgres-replica"),
    ]
    assert with_their_moments([FAULT], events[2:], [Operation(REDIS, 11.0, 12.0)]) == [FAULT]


def test_each_time_that_a_standby_is_given_up_and_is_back_is_told() -> None:
    events = [guard(11.0, "degraded"), guard(12.0, "synchronous"), guard(13.0, "degraded"), guard(14.0, "synchronous")]
    events += [guard(14.5, "running as primary"), guard(14.6, "says")]
    seen = with_their_moments([FAULT], events, [])
    assert [each.mark for each in seen[1:]] == [Mark.DETECTED, Mark.REJOINED] * 2
    assert seen[1].sentence == "guard of postgres-primary: degraded: because"


def test_what_a_script_has_seen_itself_is_not_told_again() -> None:
    mine = Moment(11.0, Mark.PROMOTED, "pg_ctl says: promoted", "postgres-replica")
    assert with_their_moments([FAULT, mine], [guard(11.3, "new primary", "postgres-replica", "postgres-replica")], []) == [
        FAULT,
        mine,
    ]


def test_a_stack_whose_logs_say_nothing_adds_nothing(tmp_path: Path) -> None:
    assert told(context_in(tmp_path), 0.0) == []


def test_a_move_that_nobody_has_ended_is_left_behind(tmp_path: Path) -> None:
    context = context_in(tmp_path)
    assert slots_of(context) == []
    assert left(context, []) is None
    context.state.underway_file.write_text("{}")
    assert left(context, []) == "a move that nobody has ended"
