"""A slot that a drill leaves behind keeps WAL for nobody; that roles have changed places is no leftover."""

import pytest

from spokectl.drills import leftovers
from spokectl.drills.leftovers import Slots, left
from tests.unit.drills.pretended import context_in

BEFORE = [("postgres-primary", "replica_slot")]


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (BEFORE, None),
        ([("postgres-replica", "replica_slot")], None),
        ([], None),
        (
            [("postgres-primary", "replica_slot"), ("postgres-replica", "replica_slot")],
            "the slot replica_slot on postgres-primary and postgres-replica",
        ),
        ([*BEFORE, ("postgres-primary", "pg_basebackup_7")], "the slot pg_basebackup_7 on postgres-primary"),
    ],
)
def test_a_slot_is_left_behind_when_there_are_more_of_its_name(
    now: Slots, found: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr(leftovers, "slots_of", lambda _: now)
    assert left(context_in(tmp_path_factory.mktemp("state")), BEFORE) == found
