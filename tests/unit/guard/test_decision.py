"""The start table and the running table, row by row, and the sweep: no facts make two nodes writable."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from pgguard.decision import (
    WRITABLE_ACTIONS,
    Action,
    DataFacts,
    PeerFacts,
    RunFacts,
    StartFacts,
    decide_running,
    decide_start,
)
from pgguard.lsn import Divergence
from pgguard.record import ASYNCHRONOUS, DEGRADED, MODES, SYNCHRONOUS, Move, Record

ME, PEER = "postgres-primary", "postgres-replica"
OURS, THEIRS = "7000000000000000001", "7999999999999999999"
LOST = Divergence(fork_lsn=0x3000000, last_lsn=0x3000400, timeline=1)
DATA = DataFacts(present=True, system_identifier=OURS, major_version=18)
HELD = DATA._replace(standby_signal=True, held_epoch=1)
READY_PEER = PeerFacts(has_data=True, is_primary=True, system_identifier=OURS)


def record(primary: str = ME, mode: str = SYNCHRONOUS, **fields: Any) -> Record:
    return Record(**{"system_identifier": OURS, "epoch": 1, "primary": primary, "mode": mode, **fields})


def facts(**changes: Any) -> StartFacts:
    base = StartFacts(ME, PEER, "primary", 18, None, None, DataFacts(), PeerFacts())
    return base._replace(**changes)


def running(**changes: Any) -> RunFacts:
    return RunFacts(ME, PEER, record(ME), None, OURS, in_recovery=False, started_as_standby=False)._replace(**changes)


START_TABLE = {
    "the record cannot be read": (facts(record_error="damaged", data=DATA), Action.REFUSE, "record-unreadable"),
    "another system identifier": (
        facts(data=DATA._replace(system_identifier=THEIRS), record=record()),
        Action.REFUSE,
        "foreign-data",
    ),
    "another system identifier, record names the peer": (
        facts(data=DATA._replace(system_identifier=THEIRS), record=record(PEER), peer=READY_PEER),
        Action.REFUSE,
        "foreign-data",
    ),
    "another system identifier, while the claim is not complete": (
        facts(data=DATA, record=record(PEER, system_identifier=None)),
        Action.WAIT,
        "claim-pending",
    ),
    "files that are no cluster": (facts(data=DataFacts(strange=True)), Action.REFUSE, "strange-data"),
    "another major version": (facts(data=DATA._replace(major_version=17), record=record()), Action.REFUSE, "other-version"),
    "empty, no record, label primary": (facts(), Action.CLAIM, ""),
    "empty, no record, label primary, the peer has data": (
        facts(peer=PeerFacts(has_data=True)),
        Action.REFUSE,
        "peer-has-data",
    ),
    "empty, no record, label replica": (facts(first_role="replica"), Action.WAIT, "record-pending"),
    "empty, my claim is not complete (interrupted initdb)": (
        facts(record=record(system_identifier=None)),
        Action.INITDB,
        "",
    ),
    "empty, record names me": (facts(record=record()), Action.REFUSE, "primary-data-gone"),
    "half rewound, record names me": (
        facts(record=record(), data=DATA._replace(half_rewound=True)),
        Action.REFUSE,
        "primary-data-gone",
    ),
    "empty, record names the peer": (facts(record=record(PEER), peer=READY_PEER), Action.BASE_BACKUP, ""),
    "empty, record names the peer, which is not ready": (facts(record=record(PEER)), Action.WAIT, "peer-pending"),
    "empty, the peer has not completed its claim": (
        facts(record=record(PEER, system_identifier=None)),
        Action.WAIT,
        "claim-pending",
    ),
    "present, my claim is not complete (interrupted after initdb)": (
        facts(record=record(system_identifier=None), data=DATA),
        Action.COMPLETE_CLAIM,
        "",
    ),
    "present, record names me": (facts(record=record(), data=DATA), Action.START_PRIMARY, ""),
    "present, record names me, degraded": (facts(record=record(mode=DEGRADED), data=DATA), Action.START_PRIMARY, ""),
    "present, record names me, a move is not finished": (
        facts(record=record(), data=DATA._replace(standby_signal=True)),
        Action.START_STANDBY,
        "move-unfinished",
    ),
    "present, record names me, held in this epoch": (
        facts(record=record(), data=HELD),
        Action.START_STANDBY,
        "move-unfinished",
    ),
    "present, record names me, held in this epoch, told to rejoin": (
        facts(record=record(), data=HELD, told_to_rejoin=True),
        Action.START_PRIMARY,
        "",
    ),
    "present, record names me, held in an earlier epoch, told to rejoin": (
        facts(record=record(epoch=3), data=HELD, told_to_rejoin=True),
        Action.START_STANDBY,
        "move-unfinished",
    ),
    # It may lack the last WAL of the primary before it: opened on the same timeline, nobody would notice.
    "a standby's data, record names me, told to rejoin": (
        facts(record=record(), data=DATA._replace(standby_signal=True), told_to_rejoin=True),
        Action.START_STANDBY,
        "move-unfinished",
    ),
    "present, record names the peer, nothing lost": (
        facts(record=record(PEER), data=DATA, peer=READY_PEER),
        Action.START_STANDBY,
        "",
    ),
    "present, record names the peer, which is not ready": (
        facts(record=record(PEER), data=DATA),
        Action.WAIT,
        "peer-pending",
    ),
    "a standby's data, record names the peer, which is not ready": (
        facts(record=record(PEER), data=DATA._replace(standby_signal=True)),
        Action.START_STANDBY,
        "",
    ),
    "a standby's data, record names the peer": (
        facts(record=record(PEER), data=DATA._replace(standby_signal=True), peer=READY_PEER),
        Action.START_STANDBY,
        "",
    ),
    "diverged, the record was synchronous": (
        facts(record=record(PEER), data=DATA, peer=READY_PEER._replace(divergence=LOST)),
        Action.REWIND,
        "diverged",
    ),
    "diverged, replication was asynchronous": (
        facts(record=record(PEER, ASYNCHRONOUS), data=DATA, peer=READY_PEER._replace(divergence=LOST)),
        Action.REWIND,
        "diverged",
    ),
    "diverged, the record was degraded": (
        facts(record=record(PEER, DEGRADED), data=DATA, peer=READY_PEER._replace(divergence=LOST)),
        Action.REFUSE,
        "diverged-unprotected",
    ),
    "diverged, the record was synchronous in my term and is degraded since": (
        facts(
            record=record(PEER, DEGRADED, moved_from=Move(ME, SYNCHRONOUS, None)),
            data=DATA,
            peer=READY_PEER._replace(divergence=LOST),
        ),
        Action.REWIND,
        "diverged",
    ),
    "diverged, the record was degraded in my term and is synchronous since": (
        facts(
            record=record(PEER, SYNCHRONOUS, moved_from=Move(ME, DEGRADED, 1)),
            data=DATA,
            peer=READY_PEER._replace(divergence=LOST),
        ),
        Action.REFUSE,
        "diverged-unprotected",
    ),
    "diverged, degraded, by a promotion that was refused": (
        facts(
            record=record(PEER, DEGRADED),
            data=DATA,
            peer=READY_PEER._replace(divergence=LOST),
            nothing_acknowledged=True,
        ),
        Action.REWIND,
        "diverged",
    ),
    "diverged, degraded, the operator discards it": (
        facts(record=record(PEER, DEGRADED), data=DATA, peer=READY_PEER._replace(divergence=LOST), may_discard=True),
        Action.BASE_BACKUP,
        "",
    ),
    "foreign data that the operator discards": (
        facts(record=record(PEER), data=DATA._replace(system_identifier=THEIRS), peer=READY_PEER, may_discard=True),
        Action.BASE_BACKUP,
        "",
    ),
    "another major version that the operator discards": (
        facts(record=record(PEER), data=DATA._replace(major_version=17), peer=READY_PEER, may_discard=True),
        Action.BASE_BACKUP,
        "",
    ),
    "the primary's own data is not the operator's to discard": (
        facts(record=record(), data=DATA._replace(major_version=17), may_discard=True, told_to_copy=True),
        Action.REFUSE,
        "other-version",
    ),
    "nothing lost, the operator asks for a copy": (
        facts(record=record(PEER), data=DATA._replace(standby_signal=True), peer=READY_PEER, told_to_copy=True),
        Action.BASE_BACKUP,
        "",
    ),
    "the operator asks for a copy, but the peer is not ready": (
        facts(record=record(PEER), data=DATA._replace(standby_signal=True), told_to_copy=True),
        Action.START_STANDBY,
        "",
    ),
    "the peer has dropped WAL that is needed here": (
        facts(record=record(PEER), data=DATA._replace(standby_signal=True), peer=READY_PEER, left_behind=True),
        Action.BASE_BACKUP,
        "",
    ),
    "left behind, but with writes of its own": (
        facts(record=record(PEER, DEGRADED), data=DATA, peer=READY_PEER._replace(divergence=LOST), left_behind=True),
        Action.REFUSE,
        "diverged-unprotected",
    ),
    "diverged, protected, the operator asks for a copy": (
        facts(record=record(PEER), data=DATA, peer=READY_PEER._replace(divergence=LOST), told_to_copy=True),
        Action.REWIND,
        "diverged",
    ),
    "diverged, degraded, the operator asks for a copy only": (
        facts(record=record(PEER, DEGRADED), data=DATA, peer=READY_PEER._replace(divergence=LOST), told_to_copy=True),
        Action.REFUSE,
        "diverged-unprotected",
    ),
    "a primary is asked for a copy": (facts(record=record(), data=DATA, told_to_copy=True), Action.START_PRIMARY, ""),
    "interrupted rewind": (
        facts(record=record(PEER), data=DATA._replace(half_rewound=True), peer=READY_PEER),
        Action.BASE_BACKUP,
        "",
    ),
    "interrupted rewind, the peer is not ready": (
        facts(record=record(PEER), data=DATA._replace(half_rewound=True, standby_signal=True)),
        Action.WAIT,
        "peer-pending",
    ),
    "the peer's port answers for another cluster": (
        facts(record=record(PEER), data=DATA, peer=READY_PEER._replace(system_identifier=THEIRS)),
        Action.REFUSE,
        "foreign-peer",
    ),
    "present, no record": (facts(data=DATA), Action.REFUSE, "record-missing"),
    "present, no record, label replica": (facts(data=DATA, first_role="replica"), Action.REFUSE, "record-missing"),
    "the record names a stranger": (facts(record=record("postgres-3"), data=DATA), Action.REFUSE, "unknown-primary"),
}

PROMOTED = {"in_recovery": False, "started_as_standby": True}
RUNNING_TABLE = {
    "primary, record names me": (running(), Action.KEEP, ""),
    "primary, record names the peer": (running(record=record(PEER)), Action.STOP, "fenced"),
    "silent primary, record names the peer": (running(record=record(PEER), in_recovery=None), Action.STOP, "fenced"),
    "silent standby, record names the peer": (
        running(record=record(PEER), in_recovery=None, started_as_standby=True),
        Action.KEEP,
        "starting",
    ),
    "promoted by hand, synchronous": (running(record=record(PEER), **PROMOTED), Action.TAKE_RECORD, "promoted"),
    "promoted by hand, degraded": (running(record=record(PEER, DEGRADED), **PROMOTED), Action.STOP, "promotion-refused"),
    "promoted by hand, asynchronous": (
        running(record=record(PEER, ASYNCHRONOUS), **PROMOTED),
        Action.STOP,
        "promotion-refused",
    ),
    "promoted by an operation, record names me": (running(**PROMOTED), Action.KEEP, ""),
    "standby, record names the peer": (
        running(record=record(PEER), in_recovery=True, started_as_standby=True),
        Action.KEEP,
        "",
    ),
    "standby that has left the primary's history": (
        running(record=record(PEER), in_recovery=True, started_as_standby=True, divergence=LOST),
        Action.STOP,
        "diverged",
    ),
    "standby that needs WAL which the primary has dropped": (
        running(record=record(PEER), in_recovery=True, started_as_standby=True, left_behind=True),
        Action.STOP,
        "left-behind",
    ),
    "standby, record names me": (running(in_recovery=True, started_as_standby=True), Action.KEEP, "move-unfinished"),
    "standby, record names me, told to rejoin": (
        running(in_recovery=True, started_as_standby=True, told_to_rejoin=True),
        Action.KEEP,
        "move-unfinished",
    ),
    "held in this epoch, record names me, told to rejoin": (
        running(in_recovery=True, started_as_standby=True, told_to_rejoin=True, held_epoch=1),
        Action.STOP,
        "",
    ),
    "held in an earlier epoch, record names me, told to rejoin": (
        running(record=record(epoch=3), in_recovery=True, started_as_standby=True, told_to_rejoin=True, held_epoch=1),
        Action.KEEP,
        "move-unfinished",
    ),
    "held in this epoch, record names me": (
        running(in_recovery=True, started_as_standby=True, held_epoch=1),
        Action.KEEP,
        "move-unfinished",
    ),
    "the record cannot be read": (running(record_error="damaged"), Action.KEEP, "record-unreadable"),
    "the record is gone": (running(record=None), Action.KEEP, "record-missing"),
    "the record is another cluster's": (running(record=record(system_identifier=THEIRS)), Action.STOP, "foreign-data"),
}


@pytest.mark.parametrize(("given", "action", "code"), START_TABLE.values(), ids=START_TABLE.keys())
def test_start_table(given: StartFacts, action: Action, code: str) -> None:
    decision = decide_start(given)
    assert (decision.action, decision.code) == (action, code)


@pytest.mark.parametrize(("given", "action", "code"), RUNNING_TABLE.values(), ids=RUNNING_TABLE.keys())
def test_running_table(given: RunFacts, action: Action, code: str) -> None:
    decision = decide_running(given)
    assert (decision.action, decision.code) == (action, code)


def test_every_refusal_gives_its_reason_and_a_command_to_type() -> None:
    refusals = [decide_start(given) for given, action, _ in START_TABLE.values() if action is Action.REFUSE]
    assert len(refusals) > 8
    for decision in refusals:
        assert decision.code
        assert len(decision.message) > 20
        assert decision.command.startswith("spokectl ")


def test_a_refusal_for_unprotected_writes_says_how_much_would_be_lost() -> None:
    decision = decide_start(START_TABLE["diverged, the record was degraded"][0])
    assert "1024 bytes of WAL after 0/3000000" in decision.message
    assert decision.command == f"spokectl postgres reinit {ME} --discard"


@pytest.mark.parametrize(("in_recovery", "primary"), [(False, ME), (None, ME), (True, PEER)])
def test_a_record_that_is_gone_is_to_be_written_for_the_node_that_is_primary(in_recovery: bool | None, primary: str) -> None:
    decision = decide_running(running(record=None, in_recovery=in_recovery))
    assert decision.command == f"spokectl postgres adopt {primary}"


def test_data_that_is_gone_but_for_what_it_replaced_is_refused_with_the_name_of_that() -> None:
    decision = decide_start(facts(record=record(), data=DataFacts(set_aside=True)))
    assert (decision.action, decision.code) == (Action.REFUSE, "primary-data-gone")
    assert "data.old" in decision.message
    assert "data.old" not in decide_start(facts(record=record())).message


RECORDS = [
    None,
    *(
        record(primary, mode, system_identifier=identifier, moved_from=moved)
        for primary, mode, identifier, moved in product(
            (ME, PEER, "postgres-3"),
            MODES,
            (None, OURS, THEIRS),
            (None, Move(ME, DEGRADED, 1), Move(PEER, SYNCHRONOUS, None)),
        )
    ),
]
DATA_FACTS = [
    DataFacts(),
    DataFacts(strange=True),
    DataFacts(set_aside=True),
    *(
        DataFacts(present=True, system_identifier=identifier, major_version=major, standby_signal=signal, half_rewound=half)
        for identifier, major, signal, half in product((OURS, THEIRS), (17, 18), (False, True), (False, True))
    ),
    HELD,
]
PEER_FACTS = [
    PeerFacts(),
    PeerFacts(has_data=True),
    *(PeerFacts(True, True, identifier, lost) for identifier, lost in product((OURS, THEIRS), (None, LOST))),
]


def start_actions(node: str, peer_node: str, first_role: str, stored: Record | None) -> set[Action]:
    """Returns all that a node may decide with this record, whatever its data, its peer and its operator say."""
    found = set()
    for data, peer, words, error in product(DATA_FACTS, PEER_FACTS, product((False, True), repeat=4), (None, "damaged")):
        known = None if error else stored
        given = StartFacts(node, peer_node, first_role, 18, known, error, data, peer, *words)
        found.add(decide_start(given).action)
    return found


@pytest.mark.parametrize("stored", RECORDS, ids=str)
def test_no_two_guards_that_read_one_record_both_start_a_writable_primary(stored: Record | None) -> None:
    first = start_actions(ME, PEER, "primary", stored) & set(WRITABLE_ACTIONS)
    second = start_actions(PEER, ME, "replica", stored) & set(WRITABLE_ACTIONS)
    assert not (first and second)
    if stored is not None:
        assert not first or stored.primary == ME
        assert not second or stored.primary == PEER


def test_two_guards_both_labelled_primary_can_only_race_for_the_exclusive_claim() -> None:
    for node, peer in ((ME, PEER), (PEER, ME)):
        assert start_actions(node, peer, "primary", None) & set(WRITABLE_ACTIONS) == {Action.CLAIM}


@pytest.mark.parametrize("stored", [stored for stored in RECORDS if stored is not None], ids=str)
def test_a_running_server_that_the_record_does_not_name_stays_writable_only_by_taking_a_synchronous_record(
    stored: Record,
) -> None:
    for recovery, as_standby, lost, rejoin in product((None, False), (False, True), (None, LOST), (False, True)):
        action = decide_running(RunFacts(ME, PEER, stored, None, OURS, recovery, as_standby, lost, rejoin)).action
        writable = recovery is False or not as_standby
        if writable and stored.primary != ME and action is not Action.STOP:
            assert action is Action.TAKE_RECORD
            assert (stored.mode, stored.primary, as_standby) == (SYNCHRONOUS, PEER, True)
