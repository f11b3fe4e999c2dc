"""When a node's data may be replaced, and when it may be declared to be the right one."""

from dataclasses import replace

import pytest

from spokectl.errors import Refused
from spokectl.model import RunState
from spokectl.operations.moves import Check
from spokectl.operations.postgres.data_checks import (
    adopt_checks,
    adopt_warnings,
    node_checks,
    require,
    source_checks,
)
from spokectl.operations.postgres.guard import divergent_wal
from spokectl.operations.postgres.pair import Node, Pair

ONE, TWO = "postgres-primary", "postgres-replica"
PRIMARY = Node(ONE, RunState.RUNNING, "running", "primary", system_identifier="77", timeline=1, lsn="0/5000")
STANDBY = Node(TWO, RunState.RUNNING, "running", "standby", system_identifier="77", timeline=1, lsn="0/5000")
WELL = Pair({ONE: PRIMARY, TWO: STANDBY}, {"primary": ONE, "epoch": 3}, "")
WITHOUT_RECORD = replace(WELL, record=None)
REFUSING = replace(STANDBY, state="refused", role="", code="diverged-unprotected", message="12 bytes more")


def code_of(checks: list[Check]) -> str:
    """The code with which they are refused; empty when all hold."""
    try:
        require(checks)
    except Refused as refused:
        return refused.code if refused.actions else "refused without an advice"
    return ""


@pytest.mark.parametrize(
    ("node", "pair", "problem", "code"),
    [
        (TWO, WELL, "", ""),
        (TWO, WITHOUT_RECORD, "", "no_record"),
        (TWO, replace(WITHOUT_RECORD, record_error="damaged"), "", "no_record"),
        (ONE, WELL, "", "is_primary"),
        (ONE, WELL, "it does not answer", "is_primary"),
        (TWO, WELL, "it does not answer", "primary_unavailable"),
    ],
)
def test_data_is_copied_only_from_a_primary_that_answers_and_never_over_it(
    node: str, pair: Pair, problem: str, code: str
) -> None:
    assert code_of(source_checks("s", node, pair, problem)) == code


def test_a_lost_primary_is_to_be_failed_over_and_one_that_is_well_to_be_switched_over_before_its_data_goes() -> None:
    [well] = source_checks("s", ONE, WELL, "")
    [lost] = source_checks("s", ONE, WELL, "it does not answer")
    assert (well.remedy, lost.remedy) == (
        "spokectl switchover postgres --stack s",
        "spokectl failover postgres --stack s",
    )


@pytest.mark.parametrize(
    ("node", "without", "with_discard"),
    [
        (STANDBY, "", ""),
        (REFUSING, "own_writes", ""),
        (replace(REFUSING, code="foreign-data"), "own_writes", ""),
        (replace(REFUSING, code="other-version"), "own_writes", ""),
        (replace(REFUSING, code="strange-data", command="spokectl status"), "guard_refuses", "guard_refuses"),
        # What a guard said before its service was stopped is not what it will say.
        (replace(REFUSING, service=RunState.STOPPED), "", ""),
        (replace(STANDBY, state="failed", role="", code="server-ended"), "", ""),
        (replace(STANDBY, state="held", role=""), "", ""),
    ],
)
def test_what_only_a_node_has_is_given_up_only_when_that_is_said(node: Node, without: str, with_discard: str) -> None:
    assert code_of(node_checks("s", node, ONE, discard=False)) == without
    assert code_of(node_checks("s", node, ONE, discard=True)) == with_discard


def test_the_refusal_of_a_node_with_writes_of_its_own_names_the_command_that_gives_them_up() -> None:
    with pytest.raises(Refused, match="12 bytes more") as raised:
        require(node_checks("s", REFUSING, ONE, discard=False))
    assert raised.value.actions == (f"spokectl postgres reinit {TWO} --discard --stack s",)


def refusing(node: Node) -> Node:
    return replace(node, state="refused", role="", code="record-missing")


@pytest.mark.parametrize(
    ("node", "other", "pair", "code"),
    [
        (PRIMARY, STANDBY, WITHOUT_RECORD, ""),
        (refusing(PRIMARY), refusing(STANDBY), WITHOUT_RECORD, ""),
        (refusing(STANDBY), replace(PRIMARY, service=RunState.STOPPED), WITHOUT_RECORD, ""),
        (STANDBY, replace(PRIMARY, service=RunState.FAILED), WITHOUT_RECORD, ""),
        (PRIMARY, STANDBY, WELL, "record_exists"),
        (PRIMARY, STANDBY, replace(WELL, record={"primary": "postgres-3", "epoch": 1}), "record_exists"),
        (PRIMARY, STANDBY, replace(WITHOUT_RECORD, record_error="damaged"), "record_unreadable"),
        (replace(PRIMARY, system_identifier=""), STANDBY, WITHOUT_RECORD, "no_data"),
        # Its writes would be lost, and for a moment there would be two.
        (STANDBY, PRIMARY, WITHOUT_RECORD, "other_primary"),
        (STANDBY, replace(PRIMARY, service=RunState.PAUSED), WITHOUT_RECORD, "other_primary"),
        (STANDBY, replace(PRIMARY, role="", service=RunState.PAUSED), WITHOUT_RECORD, "other_primary"),
    ],
)
def test_a_node_is_adopted_only_where_there_is_no_record_and_no_other_primary(
    node: Node, other: Node, pair: Pair, code: str
) -> None:
    assert code_of(adopt_checks("s", node, other, pair)) == code


def test_a_record_that_names_neither_node_is_to_be_removed_by_hand() -> None:
    checks = adopt_checks("s", PRIMARY, STANDBY, replace(WELL, record={"primary": "postgres-3", "epoch": 1}))
    assert "cluster.json" in next(check.remedy for check in checks if not check.ok)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (STANDBY, ""),
        (replace(STANDBY, lsn="0/4FFF"), ""),
        (replace(STANDBY, lsn="0/5010"), "16 bytes of WAL more"),
        (replace(STANDBY, timeline=2, lsn="0/4000"), "timeline 2"),
        (replace(STANDBY, lsn=None), "not known"),
        (replace(STANDBY, system_identifier="78"), "another cluster"),
        (replace(STANDBY, system_identifier="", timeline=None, lsn=None), ""),
    ],
)
def test_whoever_chooses_is_told_what_speaks_for_the_other_node(other: Node, said: str) -> None:
    doubts = adopt_warnings(PRIMARY, other)
    assert len(doubts) == bool(said)
    assert said in "".join(doubts)


def test_divergent_wal_is_said_with_timeline_range_and_size() -> None:
    said = {"epoch": 2, "timeline": 1, "from_lsn": "0/5000", "to_lsn": "0/5010", "bytes": 16, "kept_in": None}
    found = divergent_wal(ONE, said)
    assert found is not None
    assert found.sentence == "16 bytes of WAL (timeline 1, 0/5000 to 0/5010)"
    unread = divergent_wal(ONE, {**said, "to_lsn": None, "bytes": None})
    assert unread is not None
    assert unread.sentence == "an unknown number of bytes of WAL (timeline 1, 0/5000 to its end)"
    assert divergent_wal(ONE, None) is None
