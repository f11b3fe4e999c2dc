"""When commits wait for the standby, row by row, and the sweep: a weaker record comes first, a stronger one last."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from pgguard.protection import Do, ProtectionFacts, Step, decide_protection, describe, must_wait
from pgguard.record import ASYNCHRONOUS, DEGRADED, MODES, SYNCHRONOUS, Record

ME, PEER = "postgres-primary", "postgres-replica"
LSN, EARLIER = 0x5000000, 0x4000000


def record(mode: str = SYNCHRONOUS, primary: str = ME) -> Record:
    return Record("7000000000000000001", 3, primary, mode)


def facts(mode: str = SYNCHRONOUS, **changes: Any) -> ProtectionFacts:
    base = ProtectionFacts(
        record=record(mode),
        wanted=True,
        degrade_after_s=5.0,
        told=True,
        waits=True,
        proven=True,
        standby_streaming=True,
        standby_silent_s=0.4,
        standby_lsn=LSN,
        lsn=LSN,
        protected_lsn=EARLIER,
        goal_lsn=LSN,
    )
    return base._replace(**changes)


ALONE = {"standby_streaming": False, "standby_lsn": None, "told": False, "waits": False, "proven": False, "goal_lsn": None}
TABLE = {
    "whole": (facts(), Do.NOTHING, ""),
    "the standby has just left": (facts(standby_streaming=False, standby_silent_s=4.9), Do.NOTHING, ""),
    "the standby is gone": (facts(standby_streaming=False, standby_silent_s=5.1), Do.RECORD, DEGRADED),
    "the standby is frozen": (facts(standby_silent_s=5.1), Do.RECORD, DEGRADED),
    "the standby is gone, never to be given up": (
        facts(standby_streaming=False, standby_silent_s=9e9, degrade_after_s=None),
        Do.NOTHING,
        "",
    ),
    "somebody has switched the waiting off": (facts(waits=False), Do.RECORD, DEGRADED),
    "the record says degraded, commits still wait": (
        facts(DEGRADED, standby_streaming=False, standby_silent_s=5.1),
        Do.STOP_WAITING,
        "",
    ),
    "degraded, the standby is frozen, commits still wait": (facts(DEGRADED, standby_silent_s=5.1), Do.STOP_WAITING, ""),
    "degraded, never to be given up, the standby leaves while it is awaited": (
        facts(DEGRADED, standby_streaming=False, standby_silent_s=0.4, degrade_after_s=None),
        Do.STOP_WAITING,
        "",
    ),
    "degraded and alone": (facts(DEGRADED, **ALONE), Do.NOTHING, ""),
    "degraded, the standby streams": (facts(DEGRADED, **{**ALONE, "standby_streaming": True}), Do.WAIT, ""),
    "told to wait, not read yet": (facts(DEGRADED, waits=False, proven=False, goal_lsn=None), Do.NOTHING, ""),
    "read by sessions, not proven for the server": (facts(DEGRADED, proven=False, goal_lsn=None), Do.PROVE, ""),
    "proven, the standby is behind what came before": (facts(DEGRADED, standby_lsn=LSN - 1), Do.NOTHING, ""),
    "proven, the standby has everything": (facts(DEGRADED), Do.RECORD, SYNCHRONOUS),
    "switched off": (facts(wanted=False), Do.RECORD, ASYNCHRONOUS),
    "switched off while degraded": (facts(DEGRADED, wanted=False), Do.RECORD, ASYNCHRONOUS),
    "switched off, commits still wait": (facts(ASYNCHRONOUS, wanted=False), Do.STOP_WAITING, ""),
    "switched off for long": (facts(ASYNCHRONOUS, wanted=False, told=False, waits=False), Do.NOTHING, ""),
    "switched on": (facts(ASYNCHRONOUS, told=False, waits=False), Do.RECORD, DEGRADED),
}


@pytest.mark.parametrize(("given", "do", "mode"), TABLE.values(), ids=TABLE.keys())
def test_table(given: ProtectionFacts, do: Do, mode: str) -> None:
    step = decide_protection(given)
    assert (step.do, step.mode) == (do, mode)
    assert bool(step.reason) == (do is Do.RECORD)


def test_a_degraded_record_says_from_where_the_standby_lacks_writes() -> None:
    assert decide_protection(TABLE["the standby is gone"][0]).since_lsn == EARLIER
    assert decide_protection(TABLE["switched on"][0]).since_lsn == LSN
    assert decide_protection(TABLE["proven, the standby has everything"][0]).since_lsn is None


YES_NO = (True, False)
SWEEP = [
    facts(
        mode,
        wanted=wanted,
        degrade_after_s=limit_s,
        told=told,
        waits=waits,
        proven=proven,
        standby_streaming=streaming,
        standby_silent_s=silent_s,
        standby_lsn=standby_lsn,
        goal_lsn=goal_lsn,
    )
    for mode, wanted, limit_s, told, waits, proven in product(MODES, YES_NO, (5.0, None), YES_NO, YES_NO, YES_NO)
    for streaming, silent_s, standby_lsn, goal_lsn in product(YES_NO, (0.0, 6.0), (None, LSN - 1, LSN), (None, LSN))
]


def test_commits_stop_waiting_only_after_the_record_says_so() -> None:
    stops = [given for given in SWEEP if decide_protection(given).do is Do.STOP_WAITING]
    assert {given.record.mode for given in stops} == {DEGRADED, ASYNCHRONOUS}


def test_the_record_says_synchronous_only_when_every_commit_waits_and_the_standby_has_what_came_before() -> None:
    stronger = [given for given in SWEEP if decide_protection(given).mode == SYNCHRONOUS]
    assert stronger
    for given in stronger:
        assert given.told
        assert given.waits
        assert given.proven
        assert given.goal_lsn == given.standby_lsn == LSN


def test_a_synchronous_record_is_kept_or_made_weaker_and_nothing_else_is_done_under_it() -> None:
    steps = {decide_protection(given)[:2] for given in SWEEP if given.record.mode == SYNCHRONOUS}
    assert steps == {(Do.NOTHING, ""), (Do.RECORD, DEGRADED), (Do.RECORD, ASYNCHRONOUS)}


@pytest.mark.parametrize(("primary", "mode"), list(product((ME, PEER, "postgres-3"), MODES)))
def test_of_two_nodes_at_most_the_one_that_an_unprotected_record_names_acknowledges_alone(primary: str, mode: str) -> None:
    alone = [node for node in (ME, PEER) if not must_wait(record(mode, primary), node)]
    assert alone == ([primary] if mode != SYNCHRONOUS and primary in (ME, PEER) else [])


def test_without_a_record_nobody_acknowledges_alone() -> None:
    assert must_wait(None, ME)


def test_what_is_shown_names_the_time_the_position_the_reason_and_the_way_back() -> None:
    shown = describe(record(DEGRADED)._replace(since_lsn=EARLIER, time="2026-01-01T00:00:00.000Z", reason="it left"), PEER)
    assert shown.code == "degraded"
    assert shown.message == (
        "degraded since 2026-01-01T00:00:00.000Z: writes since 0/4000000 are not on the standby (it left)"
    )
    assert shown.command == f"spokectl start {PEER}"
    assert describe(record(), PEER).message == ""
    assert Step(Do.NOTHING) == decide_protection(facts())
