"""Every interleaving of two guards, two servers, writes, a promotion by hand and a kill: no acknowledged write is lost.

The steps are as small as the real ones: a guard that has looked may act much later, a server's processes read their
configuration one by one, and anybody may be frozen, which here is taking no step. The rules are the guard's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from pgguard.decision import Action, RunFacts, decide_running
from pgguard.protection import Do, ProtectionFacts, decide_protection, must_wait
from pgguard.record import DEGRADED, SYNCHRONOUS, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD, NEW = "postgres-primary", "postgres-replica"
IDENTIFIER = "7000000000000000001"
WRITES = 2


class World(NamedTuple):
    """The old primary's writes are numbered; `standby_lsn` is how many of them the other node has, for good."""

    record: Record
    written: int = 0
    checked: int = 0
    acknowledged: int = 0
    attached: bool = True
    standby_lsn: int = 0
    reported_lsn: int = 0
    runs: bool = True
    told: bool = True
    sessions_wait: bool = True
    commits_wait: bool = True
    proving: bool = False
    proven: bool = True
    goal_lsn: int | None = None
    meant: tuple[Record, Do, str] | None = None
    killed: bool = False
    promoted: bool = False
    refused: bool = False
    new_waits: bool = True
    new_meant: tuple[Record, Action] | None = None
    new_acknowledged: bool = False


class Flaw(NamedTuple):
    """What is done wrong on purpose, to see that the search finds it."""

    early_proof: bool = False
    blind_write: bool = False
    standby_does_not_wait: bool = False
    record_last: bool = False


def successors(world: World, flaw: Flaw) -> Iterator[World]:
    yield from servers(world, flaw)
    yield from old_guard(world, flaw)
    yield from new_guard(world, flaw)


def servers(world: World, flaw: Flaw) -> Iterator[World]:
    if world.runs:
        if world.written < WRITES:
            yield world._replace(written=world.written + 1)
        if world.checked < world.written:
            # A commit looks once whether it must wait, after its WAL is written.
            alone: dict[str, Any] = {} if world.commits_wait else {"acknowledged": world.checked + 1}
            yield world._replace(checked=world.checked + 1, **alone)
        if world.acknowledged < world.checked and (not world.commits_wait or world.reported_lsn > world.acknowledged):
            yield world._replace(acknowledged=world.acknowledged + 1)
        yield world._replace(sessions_wait=world.told)
        yield world._replace(commits_wait=world.told)
        if world.proving and (flaw.early_proof or world.commits_wait == world.told):
            yield world._replace(proving=False, proven=True)
        if world.attached:
            yield world._replace(reported_lsn=world.standby_lsn)
    if not world.promoted:
        yield world._replace(attached=not world.attached and world.runs)
        if world.attached and world.standby_lsn < world.written:
            yield world._replace(standby_lsn=world.standby_lsn + 1)
        yield world._replace(attached=False, promoted=True, new_waits=not flaw.standby_does_not_wait)
    elif not world.refused and not world.new_waits:
        yield world._replace(new_acknowledged=True)


def old_guard(world: World, flaw: Flaw) -> Iterator[World]:
    if not world.runs:
        if not world.killed or world.record.primary != OLD:
            return
        told = must_wait(world.record, OLD)
        # What was written before the kill is there after it, acknowledged or not; nobody waits for its answer any more.
        fresh: dict[str, Any] = {"told": told, "sessions_wait": told, "commits_wait": told, "proven": told}
        yield world._replace(runs=True, checked=world.written, **fresh)
        return
    if not world.killed:
        lost: dict[str, Any] = {
            "runs": False,
            "killed": True,
            "attached": False,
            "proving": False,
            "goal_lsn": None,
            "meant": None,
        }
        yield world._replace(**lost)
    if world.meant is not None:
        yield act(world._replace(meant=None), *world.meant, flaw)
    for silent_s in (0.0, 9.0):
        yield look(world, silent_s, flaw)


def look(world: World, silent_s: float, flaw: Flaw) -> World:
    running = RunFacts(OLD, NEW, world.record, None, IDENTIFIER, in_recovery=False, started_as_standby=False)
    if decide_running(running).action is Action.STOP:
        return world._replace(runs=False, attached=False, meant=None)
    goal_lsn = world.goal_lsn
    if world.told and world.proven and world.sessions_wait and goal_lsn is None:
        goal_lsn = world.written
    step = decide_protection(
        ProtectionFacts(
            record=world.record,
            wanted=True,
            degrade_after_s=5.0,
            told=world.told,
            waits=world.sessions_wait,
            proven=world.proven,
            standby_streaming=world.attached,
            standby_silent_s=silent_s,
            standby_lsn=world.reported_lsn if world.attached else None,
            lsn=world.written,
            protected_lsn=0,
            goal_lsn=goal_lsn,
        )
    )
    if flaw.record_last and step.mode == DEGRADED:
        world = world._replace(told=False)
    return world._replace(goal_lsn=goal_lsn, meant=(world.record, step.do, step.mode))


def act(world: World, expected: Record, do: Do, mode: str, flaw: Flaw) -> World:
    if do is Do.RECORD and (flaw.blind_write or world.record == expected):
        return world._replace(record=expected._replace(mode=mode))
    if do in (Do.WAIT, Do.STOP_WAITING):
        return world._replace(told=do is Do.WAIT, proving=False, proven=False, goal_lsn=None)
    if do is Do.PROVE:
        return world._replace(proving=True)
    return world


def new_guard(world: World, flaw: Flaw) -> Iterator[World]:
    if not world.promoted or world.refused:
        return
    if world.record.primary == NEW:
        if not must_wait(world.record, NEW):
            yield world._replace(new_waits=False)
        return
    if world.new_meant is not None:
        expected, action = world.new_meant
        if action is Action.STOP:
            yield world._replace(new_meant=None, refused=True)
        elif flaw.blind_write or world.record == expected:
            yield world._replace(new_meant=None, record=expected.moved(NEW, 0, NEW, "promoted")._replace(time=""))
    running = RunFacts(NEW, OLD, world.record, None, IDENTIFIER, in_recovery=False, started_as_standby=True)
    yield world._replace(new_meant=(world.record, decide_running(running).action))


def broken_promise(world: World) -> str:
    if world.record.primary == OLD and world.record.mode == SYNCHRONOUS and world.acknowledged > world.standby_lsn:
        return "the record says synchronous, and a write was acknowledged that the standby does not have"
    if world.record.primary == NEW and world.acknowledged > world.standby_lsn:
        return "the role has moved, and a write that the old primary acknowledged is lost"
    if world.new_acknowledged and world.record.primary != NEW:
        return "a promoted node has acknowledged a write, and the record does not name it"
    return ""


def search(start: World, flaw: Flaw) -> tuple[set[World], set[str]]:
    """Returns every world that can be reached, and every broken promise."""
    seen, broken, waiting = {start}, set(), [start]
    while waiting:
        for world in successors(waiting.pop(), flaw):
            if world in seen:
                continue
            seen.add(world)
            if promise := broken_promise(world):
                broken.add(promise)
            else:
                waiting.append(world)
    return seen, broken


STARTS = {
    "synchronous": World(Record(IDENTIFIER, 1, OLD, SYNCHRONOUS)),
    "degraded": World(
        Record(IDENTIFIER, 1, OLD, DEGRADED),
        attached=False,
        told=False,
        sessions_wait=False,
        commits_wait=False,
        proven=False,
    ),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
def test_in_no_order_of_events_is_an_acknowledged_write_lost(start: World) -> None:
    seen, broken = search(start, Flaw())
    assert not broken
    # The search has been everywhere: roles have moved and stayed, writes were acknowledged in each mode and on each node.
    assert {(world.record.primary, world.record.mode) for world in seen} >= {
        (OLD, SYNCHRONOUS),
        (OLD, DEGRADED),
        (NEW, DEGRADED),
    }
    assert any(world.new_acknowledged for world in seen)
    assert any(world.refused for world in seen)
    assert any(world.record.mode == SYNCHRONOUS and world.acknowledged == WRITES for world in seen)


@pytest.mark.parametrize(
    ("start", "flaw"),
    [
        ("degraded", Flaw(early_proof=True)),
        ("synchronous", Flaw(blind_write=True)),
        ("synchronous", Flaw(standby_does_not_wait=True)),
        ("synchronous", Flaw(record_last=True)),
    ],
)
def test_each_of_these_flaws_would_lose_one(start: str, flaw: Flaw) -> None:
    assert search(STARTS[start], flaw)[1]
