"""The step tables of PostgreSQL's moves on a model of the pair: killed anywhere they end with one primary."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from spokectl.errors import Failed
from spokectl.operations.postgres.tables import ADOPT, FAILOVER, NAME, PROMOTE, STEPS, SWITCHOVER, table
from spokectl.operations.steps import Table
from tests.unit.broken_off import all_end, on_model

OLD, NEW = "old", "new"


@dataclass
class Pair:
    """Two nodes by the rules of docs/postgres-guard.md, and what the methods of Move with these names do to them.

    A node is primary, standby, read-only (what was held, after its guard was restarted), held or down.
    """

    old: str = "primary"
    new: str = "standby"
    named: str | None = OLD
    seen: set[tuple[str, str, str | None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.before = (self.old, self.new, self.named)

    def become(self, **states: str) -> None:
        for name, state in states.items():
            setattr(self, name, state)
        self.seen.add((self.old, self.new, self.named))
        assert (self.old, self.new) != ("primary", "primary"), self.seen

    def committed(self) -> bool:
        return self.named == NEW

    def rests(self) -> bool:
        moved = (self.old, self.new, self.named) == ("standby", "primary", NEW)
        kept = self.named == self.before[2] and self.new == self.before[1]
        return moved or (kept and (self.old == self.before[0] or (self.old, self.named) == ("primary", OLD)))

    def meddle(self) -> None:
        """Somebody starts the old node, or restarts the guard that holds it."""
        if self.old == "held":
            self.become(old="read-only")
        elif self.old == "down":
            self._start_old()

    def _start_old(self) -> None:
        if self.named is not None:
            self.become(old="primary" if self.named == OLD else "standby")

    # What Move does

    def checkpoint(self) -> None:
        """It changes nothing that counts here."""

    def stop_old(self) -> None:
        self.become(old="held")

    def bring_back_old(self) -> None:
        if self.named != OLD:
            raise Failed("not_back", "the record names another")
        self.become(old="primary")

    start_old_again = bring_back_old

    def wait_for_shutdown_checkpoint(self) -> None:
        self._require(self.old != "primary")

    wait_until_nothing_more_comes = wait_for_shutdown_checkpoint

    def kill_old(self) -> None:
        self.become(old="down")

    def name_new(self) -> None:
        self.become(named=NEW)

    adopt_new = name_new

    def promote(self) -> None:
        self.become(new="primary")

    def fence_and_promote(self) -> None:
        if self.new != "primary":
            self.kill_old()
        self.promote()

    def wait_until_followed(self) -> None:
        self._require(self.new == "primary")

    def rejoin_old(self) -> None:
        self._require(self.named == NEW)
        self.become(old="standby")

    def wait_until_protected(self) -> None:
        self._require((self.old, self.new) == ("standby", "primary"))

    def _require(self, held: bool) -> None:
        if not held:
            raise Failed("not_so", repr(self))


def modelled(operation: str) -> Table[Any]:
    return on_model(table("spoke", operation))


BEGINNINGS: list[tuple[str, Callable[[], Pair]]] = [
    (SWITCHOVER, Pair),
    (FAILOVER, Pair),  # it hangs, and has to be killed
    (FAILOVER, lambda: Pair(old="down")),
    (ADOPT, lambda: Pair(old="down", named=None)),
]


@pytest.mark.parametrize(("operation", "make"), BEGINNINGS)
def test_broken_off_anywhere_it_ends_with_one_primary_and_never_has_two(operation: str, make: Callable[[], Pair]) -> None:
    last = all_end(modelled(operation), make)
    assert {pair.committed() for pair in last} == {True, False}


@pytest.mark.parametrize(("operation", "make"), BEGINNINGS)
def test_every_state_on_the_way_is_met_when_it_is_broken_off(operation: str, make: Callable[[], Pair]) -> None:
    """What is reached by an undisturbed move is met by broken-off ones too, which go on from there."""
    [undisturbed, *broken] = all_end(modelled(operation), make)
    assert len(undisturbed.seen) >= 3
    assert undisturbed.seen <= set().union(*(pair.seen for pair in broken))


@pytest.mark.parametrize("operation", [SWITCHOVER, FAILOVER])
def test_a_table_that_promotes_before_the_record_says_so_is_found_out(operation: str) -> None:
    whole = modelled(operation)
    ids = [step.id for step in whole.steps]
    name = ids.index(NAME.id)
    steps = list(whole.steps)
    steps[name], steps[name + 1] = steps[name + 1], steps[name]
    with pytest.raises(AssertionError):
        all_end(replace(whole, steps=tuple(steps)), Pair)


def test_a_failover_that_does_not_look_at_its_fence_again_is_found_out() -> None:
    unfenced = replace(table("spoke", FAILOVER), steps=tuple(PROMOTE if s.id == PROMOTE.id else s for s in STEPS[FAILOVER]))
    with pytest.raises(AssertionError):
        all_end(on_model(unfenced), Pair)
