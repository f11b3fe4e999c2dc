"""Who did what to what, why, and how it ended: read from the journal and from the servers' own log lines."""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spokectl.errors import Failed, NotFound, OutcomeUnknown, Refused, SpokectlError
from spokectl.journal import Journal
from spokectl.model import Kind, LogLine
from spokectl.operations import events
from spokectl.operations.context import Context
from spokectl.operations.event_lines import (
    Event,
    of_journal,
    of_line,
    without_advice_during_moves,
    without_unfounded_returns,
)
from spokectl.output.stack import print_event
from spokectl.settings import StackState
from spokectl.stackfile import default_stack_file, load_stack
from tests.unit.test_readiness import SeenRuntime

BEGAN = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
NAMES = {"127.0.0.1:6379": "redis-master", "127.0.0.1:6380": "redis-replica", "127.0.0.1:26379": "redis-sentinel-1"}


def record(operation: str, phase: str, after_s: float, pid: int = 7, **facts: object) -> dict[str, object]:
    time = (BEGAN + timedelta(seconds=after_s)).isoformat()
    return {"time": time, "operation": operation, "phase": phase, "actor": "ann", "pid": pid} | facts


def test_an_operation_is_one_event_at_its_start_that_says_how_it_ended() -> None:
    records = [
        record("kill", "started", 0, services=["a", "b"]),
        record("up", "started", 1, pid=8),
        record("kill", "done", 2.5),
        record("up", "failed", 3, pid=8, code="timeout", message="not ready: c\nits log"),
    ]
    kill, up = of_journal(records)
    assert (kill.time, kill.who, kill.what, kill.target, kill.why, kill.outcome) == (
        BEGAN,
        "ann",
        "kill",
        "a, b",
        "",
        "done (2.5 s)",
    )
    assert (up.what, up.target, up.why, up.outcome) == ("up", "the stack", "not ready: c", "failed (2.0 s)")


def test_an_operation_without_an_end_is_under_way_and_one_without_a_start_is_shown_as_it_is() -> None:
    records = [record("down", "started", 0, volumes=True), record("switchover", "step 3", 1, reason="asked for")]
    told = {event.what: event for event in of_journal([*records, {"no": "event"}])}
    down = told["down"]
    assert (down.outcome, down.target, down.why) == ("under way", "the stack", "--volumes")
    assert (told["switchover"].outcome, told["switchover"].why) == ("step 3", "asked for")


def test_an_operation_whose_process_is_gone_is_broken_off() -> None:
    records = [record("up", "started", 0, pid=8), record("down", "started", 1, pid=9)]
    told = of_journal(records, alive=lambda pid: pid == 9)
    assert [(event.what, event.outcome) for event in told] == [("up", "broken off"), ("down", "under way")]


def test_an_operation_that_moves_a_role_says_from_where_to_where() -> None:
    moved: dict[str, Any] = {"old": "a", "new": "b", "reason": "switchover postgres"}
    records = [record("switchover postgres", "started", 0, **moved), record("switchover postgres", "done", 1.5)]
    [event] = of_journal(records)
    assert (event.target, event.why, event.outcome) == ("b", "in place of a", "done (1.5 s)")


def test_what_was_asked_for_stands_beside_how_it_failed_and_not_in_the_target() -> None:
    lost = "12 bytes of WAL (timeline 1, 0/30 to 0/3C)"
    records = [
        record("reinit postgres", "started", 0, services=["a"], discard=True, lost=lost),
        record("reinit postgres", "failed", 1, code="timeout", message="the copy is not whole\nits log"),
        record("reinit postgres", "started", 2, services=["b"], discard=False, lost=None),
    ]
    failed, other = of_journal(records)
    assert (failed.target, failed.why) == ("a", f"--discard, lost: {lost}; the copy is not whole")
    assert (other.target, other.why) == ("b", "")


def test_where_the_role_is_at_the_end_holds_before_where_it_was_meant_to_go() -> None:
    records = [
        record("failover redis", "started", 0, old="a", new="b", reason="failover redis"),
        record("failover redis", "done", 1, old="b", new="a", message="finished: a has the role"),
    ]
    [event] = of_journal(records)
    assert (event.time, event.target, event.why, event.outcome) == (BEGAN, "a", "finished: a has the role", "done (1.0 s)")


KILLED = [
    record("up", "started", 0, pid=8),
    record("switchover postgres", "started", 1, pid=8, old="a", new="b", reason="changed settings"),
]
ENDING = [
    record("up", "started", 5, pid=9),
    record("end switchover postgres", "started", 6, pid=9, old="a", new="b"),
    record("end switchover postgres", "done", 7, pid=9, message="put back: a has the role"),
]


def test_what_a_killed_process_had_begun_is_broken_off_when_another_one_ends_it() -> None:
    assert {(event.what, event.outcome) for event in of_journal(KILLED)} == {
        ("up", "under way"),
        ("switchover postgres", "under way"),
    }
    told = [(event.what, event.time, event.outcome) for event in of_journal([*KILLED, *ENDING])]
    assert told == [
        ("up", BEGAN, "broken off"),
        ("switchover postgres", BEGAN + timedelta(seconds=1), "broken off"),
        ("end switchover postgres", BEGAN + timedelta(seconds=6), "done (1.0 s)"),
        ("up", BEGAN + timedelta(seconds=5), "under way"),
    ]


def test_a_move_that_was_broken_off_is_known_by_its_name_where_pids_come_again() -> None:
    same = [{**each, "pid": 1} for each in (KILLED[1], *ENDING)]
    assert [(event.what, event.outcome) for event in of_journal(same)] == [
        ("switchover postgres", "broken off"),
        ("end switchover postgres", "done (1.0 s)"),
        ("up", "under way"),
    ]


def test_a_follower_is_told_of_what_was_broken_off_when_it_is_known() -> None:
    told = [event for event in of_journal([*KILLED, *ENDING], running=True) if event.outcome == "broken off"]
    assert [(event.what, event.time) for event in told] == [
        ("up", BEGAN + timedelta(seconds=6)),
        ("switchover postgres", BEGAN + timedelta(seconds=6)),
    ]


def test_a_follower_sees_the_start_and_the_end_each_when_it_is() -> None:
    records = [record("kill", "started", 0, services=["a"]), record("kill", "done", 2)]
    start, end = of_journal(records, running=True)
    assert (start.time, start.outcome) == (BEGAN, "under way")
    assert (end.time, end.target, end.outcome) == (BEGAN + timedelta(seconds=2), "a", "done (2.0 s)")


GUARD = "2026-01-31 12:00:00.000 UTC [7] guard: "
SENTINEL = "7:X 31 Jan 2026 12:00:00.000 # "


@pytest.mark.parametrize(
    ("kind", "text", "seen"),
    [
        (
            Kind.POSTGRES,
            f"{GUARD}the record now says degraded: the standby has been gone for 5 s",
            ("guard of s", "degraded", "cluster record", "the standby has been gone for 5 s", ""),
        ),
        (
            Kind.POSTGRES,
            f"{GUARD}promoted by hand: the record now names this node (epoch 2)",
            ("guard of s", "new primary", "s", "promoted by hand", "epoch 2"),
        ),
        (Kind.POSTGRES, f"{GUARD}running as standby", ("guard of s", "running as standby", "s", "", "")),
        (
            Kind.POSTGRES,
            f"{GUARD}refused: writes here: 12 bytes; type: spokectl postgres reinit s --discard",
            ("guard of s", "refused", "s", "writes here: 12 bytes", "type: spokectl postgres reinit s --discard"),
        ),
        (
            Kind.POSTGRES,
            f"{GUARD}held: held down as asked; type: spokectl restart s",
            ("guard of s", "held", "s", "held down as asked", "type: spokectl restart s"),
        ),
        (
            Kind.POSTGRES,
            f"{GUARD}64 bytes of WAL that only this node had (timeline 1, 0/30 to 0/70) are kept in /d/data.divergent-1",
            (
                "guard of s",
                "gave up WAL",
                "s",
                "64 bytes of WAL that only this node had (timeline 1, 0/30 to 0/70)",
                "kept in /d/data.divergent-1",
            ),
        ),
        (
            Kind.POSTGRES,
            f"{GUARD}rewound to 0/3000000",
            ("guard of s", "says", "s", "rewound to 0/3000000", ""),
        ),
        (
            Kind.SENTINEL,
            f"{SENTINEL}+switch-master spoke-redis 127.0.0.1 6379 127.0.0.1 6380",
            ("s", "+switch-master", "redis-replica", "master in place of redis-master", ""),
        ),
        (
            Kind.SENTINEL,
            f"{SENTINEL}+odown master spoke-redis 127.0.0.1 6379 #quorum 3/2",
            ("s", "+odown", "redis-master", "enough Sentinels agree that it is down", "quorum 3/2"),
        ),
        (
            Kind.SENTINEL,
            f"{SENTINEL}+sdown sentinel 1f 127.0.0.1 26379 @ spoke-redis 127.0.0.1 6379",
            ("s", "+sdown", "redis-sentinel-1", "does not answer this Sentinel", ""),
        ),
        (Kind.SENTINEL, f"{SENTINEL}+sdown slave x 10.9.9.9 1 @ m 127.0.0.1 6379", ("s", "+sdown", "10.9.9.9:1", None, "")),
        (
            Kind.SENTINEL,
            f"{SENTINEL}+tilt #tilt mode entered",
            ("s", "+tilt", "s", "the clock jumped: no decisions for 30 s", ""),
        ),
        (
            Kind.REDIS,
            "2026-01-31T12:00:00Z s: starting as replica of redis-master at 127.0.0.1:6379 (it says that it is the master)",
            ("s", "starting as replica", "s", "of redis-master at 127.0.0.1:6379 (it says that it is the master)", ""),
        ),
    ],
)
def test_a_server_s_own_move_is_an_event(kind: Kind, text: str, seen: tuple[str | None, ...]) -> None:
    event = of_line(LogLine("s", BEGAN, text), kind, NAMES)
    assert event is not None
    for found, expected in zip((event.who, event.what, event.target, event.why, event.outcome), seen, strict=True):
        assert expected is None or found == expected


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kind.POSTGRES, "2026-01-31 12:00:00.000 UTC [7] LOG:  checkpoint starting: time"),
        (Kind.POSTGRES, f"{GUARD}starting: PostgreSQL has been started and does not answer yet"),
        (Kind.SENTINEL, f"{SENTINEL}+vote-for-leader 1f 1"),
        (Kind.SENTINEL, "7:X 31 Jan 2026 12:00:00.000 * Sentinel new configuration saved on disk"),
        (Kind.REDIS, "7:M 31 Jan 2026 12:00:00.000 * Background saving started by pid 9"),
        (Kind.SPOKE, f"{GUARD}running as standby"),
    ],
)
def test_what_is_no_move_is_left_out(kind: Kind, text: str) -> None:
    assert of_line(LogLine("s", BEGAN, text), kind, NAMES) is None


def test_a_sentinel_hears_a_node_again_only_if_it_had_said_that_it_does_not() -> None:
    def said(event: str, address: str, sentinel: str = "s") -> Event:
        text = f"{SENTINEL}{event} slave x {address} @ m 127.0.0.1 6379"
        found = of_line(LogLine(sentinel, BEGAN, text), Kind.SENTINEL, NAMES)
        assert found is not None
        return found

    first, second = "127.0.0.1 6379", "127.0.0.1 6380"
    down, up, switched = said("+sdown", first), said("-sdown", first), said("+slave", second)
    unfounded = [said("-sdown", second), said("-sdown", first, "another")]
    told = without_unfounded_returns([up, *unfounded, down, switched, *unfounded, up, up])
    assert list(told) == [down, switched, up]


def guard_said(text: str, after_s: float) -> Event:
    found = of_line(LogLine("s", BEGAN + timedelta(seconds=after_s), f"{GUARD}{text}"), Kind.POSTGRES, NAMES)
    assert found is not None
    return found


HELD = "held: held down as asked; type: spokectl restart s"
MOVE = [record("switchover postgres", "started", 1), record("switchover postgres", "done", 3)]


def test_what_a_guard_says_to_type_during_a_move_is_what_the_move_does() -> None:
    before, during, after = (guard_said(HELD, at_s) for at_s in (0, 2, 4))
    [move] = of_journal(MOVE)
    assert move.ended_at == BEGAN + timedelta(seconds=3)
    told = list(without_advice_during_moves([before, move, during, after]))
    assert [each.outcome for each in told if each is not move] == [before.outcome, "", after.outcome]
    assert [each.why for each in told if each is not move] == ["held down as asked"] * 3


def test_a_follower_is_spared_the_advice_until_the_move_has_ended() -> None:
    start, end = of_journal(MOVE, running=True)
    told = without_advice_during_moves([start, guard_said(HELD, 2), end, guard_said(HELD, 4)])
    assert [each.outcome for each in told if each.source == "guard"] == ["", "type: spokectl restart s"]


def test_after_a_move_that_was_broken_off_the_advice_counts() -> None:
    killed = of_journal([*KILLED, *ENDING])
    told = list(without_advice_during_moves([*list(killed)[:2], guard_said(HELD, 3)]))
    assert told[-1].outcome == "type: spokectl restart s"


@pytest.mark.parametrize(
    ("alive", "written", "advice"),
    [
        (True, MOVE[:1], ""),
        # kill -9: nobody writes an end.
        (False, MOVE[:1], "type: spokectl restart s"),
        # What the guard said has been read before the end that was written meanwhile, and its process is gone too.
        (False, MOVE, ""),
    ],
)
def test_a_follower_gets_the_advice_once_the_process_that_moved_the_role_is_dead(
    alive: bool, written: list[dict[str, object]], advice: str
) -> None:
    [start] = of_journal(MOVE[:1], running=True)
    told = without_advice_during_moves([start, guard_said(HELD, 2)], lambda: of_journal(written, alive=lambda _: alive))
    assert [each.outcome for each in told if each.source == "guard"] == [advice]


class Logged(SeenRuntime):
    """A guard's advice, at 2 s."""

    def logs(self, services: Iterable[str], *, since: datetime | None, tail: int | None, follow: bool) -> Iterator[LogLine]:
        return iter([LogLine("postgres-primary", BEGAN + timedelta(seconds=2), f"{GUARD}{HELD}")])


@pytest.mark.parametrize(("ended_s", "advice"), [(3, ""), (1.25, "type: spokectl restart s")])
def test_a_move_that_began_before_what_is_looked_at_still_holds_its_advice_back(
    ended_s: float, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--since` once hid the move from what leaves the advice out."""
    state = StackState("spoke", tmp_path)
    state.ensure()
    move = [record("switchover postgres", "started", 1), record("switchover postgres", "done", ended_s)]
    state.events_file.write_text("".join(f"{json.dumps(each)}\n" for each in move))
    stack = load_stack("spoke", [default_stack_file()], shell={}, env_file={})
    monkeypatch.setattr(events, "open_context", lambda *_: Context(stack, state, Logged([{}])))
    since = (BEGAN + timedelta(seconds=1.5)).isoformat()
    told = events.read("spoke", None, since=since, follow=False)
    assert [(each.source, each.why, each.outcome) for each in told] == [("guard", "held down as asked", advice)]


def test_an_operation_of_another_kind_is_no_reason_to_hold_advice_back() -> None:
    [kill] = of_journal([record("kill", "started", 0, services=["s"]), record("kill", "done", 9)])
    assert list(without_advice_during_moves([kill, guard_said(HELD, 1)]))[-1].outcome == "type: spokectl restart s"


@pytest.mark.parametrize(
    ("error", "phase"),
    [
        (Refused("locked", "held by somebody"), "refused"),
        (NotFound("not_running", "the stack is not running"), "refused"),
        (Failed("supervisor", "it has died"), "failed"),
        (OutcomeUnknown("timeout", "not ready"), "failed"),
    ],
)
def test_what_was_refused_has_not_failed(tmp_path: Path, error: SpokectlError, phase: str) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    with pytest.raises(type(error)), journal.operation("up"):
        raise error
    assert [each["phase"] for each in journal.read()] == ["started", phase]


def test_what_is_refused_once_something_was_changed_has_failed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "events.jsonl")

    def half_done() -> None:
        with journal.operation("up") as ending:
            ending.changes_begun()
            raise Refused("journal_damaged", "it cannot be read")

    with pytest.raises(Refused):
        half_done()
    _, ended = journal.read()
    assert (ended["phase"], ended["code"], ended["message"]) == ("failed", "journal_damaged", "it cannot be read")


def test_a_line_from_before_the_first_dated_one_has_no_place_in_time() -> None:
    assert of_line(LogLine("s", None, f"{GUARD}running as standby"), Kind.POSTGRES, NAMES) is None


def test_an_event_is_one_line_whatever_a_log_says(capsys: pytest.CaptureFixture[str]) -> None:
    event = of_line(LogLine("s", BEGAN, f"{GUARD}failed: \x1b[31mred\x1b[0m; type: spokectl up"), Kind.POSTGRES, NAMES)
    assert event is not None
    print_event(event)
    out = capsys.readouterr().out
    assert out.startswith("2026-01-31 12:00:00.000  guard of s ")
    assert out.endswith("\\x1b[31mred\\x1b[0m; type: spokectl up\n")
    assert out.count("\n") == 1


def test_a_journal_is_followed_from_before_it_exists_and_a_torn_line_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    whole = json.dumps({"operation": "torn"})

    def refused() -> None:
        with journal.operation("up"):
            raise Refused("locked", "held by somebody")

    def first() -> None:
        with pytest.raises(Refused):
            refused()

    def write(text: str) -> None:
        with path.open("a") as file:
            file.write(text)

    steps: Iterator[Callable[[], None]] = iter([first, lambda: write(whole[:5]), lambda: write(whole[5:] + "\n")])

    def pause() -> None:
        next(steps)()

    followed = journal.follow(pause)
    seen = [next(followed) for _ in range(3)]
    assert [each["operation"] for each in seen] == ["up", "up", "torn"]
    assert [each.get("phase") for each in seen] == ["started", "refused", None]
