"""A slot that a drill leaves behind keeps WAL for nobody; that roles have changed places is no leftover."""

import pytest

from spokectl.drills.leftovers import Slots, more

BEFORE = [("postgres-primary", "replica_slot")]


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (BEFORE, {}),
        ([("postgres-replica", "replica_slot")], {}),
        ([], {}),
        (
            [("postgres-primary", "replica_slot"), ("postgres-replica", "replica_slot")],
            {"replica_slot": ["postgres-primary", "postgres-replica"]},
        ),
        ([*BEFORE, ("postgres-primary", "pg_basebackup_7")], {"pg_basebackup_7": ["postgres-primary"]}),
    ],
)
def test_a_slot_is_left_behind_when_there_are_more_of_its_name(now: Slots, found: dict[str, list[str]]) -> None:
    assert more(BEFORE, now) == found
