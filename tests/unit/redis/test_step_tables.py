"""The step tables of Redis's moves on a model of the pair: killed anywhere they end with one master that has every write."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from spokectl.errors import Failed
from spokectl.operations.redis.tables import VARIANTS, table
from tests.unit.broken_off import all_end, on_model


@dataclass
class Pair:
    """Two nodes, and what the methods of RedisMove with these names do to them.

    A node is master, paused (a master that takes no writes), replica or down.
    """

    old: str = "master"
    new: str = "replica"
    equal: bool = False

    def __post_init__(self) -> None:
        self.before = self.old

    def become(self, **states: str) -> None:
        for name, state in states.items():
            setattr(self, name, state)
        self.equal = self.equal and self.old != "master"
        assert (self.old, self.new) != ("master", "master"), "writes are acknowledged that are about to be thrown away"

    def committed(self) -> bool:
        return self.new == "master"

    def rests(self) -> bool:
        moved = (self.old, self.new) == ("replica", "master")
        return moved or (self.new == "replica" and self.old in {self.before, "master"})

    def meddle(self) -> None:
        """A pause ends by itself; somebody starts what is down. The Sentinels demote what is not the master any more."""
        if self.old in {"paused", "down"}:
            self.become(old="replica" if self.committed() else "master")

    # What RedisMove does

    def pause_writes(self) -> None:
        if self.old == "master":
            self.become(old="paused")

    def unpause_writes(self) -> None:
        if self.old == "paused":
            self.become(old="master")

    def wait_until_equal(self) -> None:
        self._require(self.old == "paused")
        self.equal = True

    def have_it_promoted(self) -> None:
        assert self.equal or self.old == "down", "what the replica has not received is thrown away"
        self.become(new="master")

    def have_it_promoted_in_the_pause(self) -> None:
        self._require(self.old == "paused")
        self.have_it_promoted()

    def fence_and_have_it_promoted(self) -> None:
        if not self.committed():
            self.kill_old()
            self.have_it_promoted()

    def have_it_coordinated(self) -> None:
        self.become(old="replica")
        self.become(new="master")

    def demote_old(self) -> None:
        self.become(old="replica")

    def kill_old(self) -> None:
        self.become(old="down")

    def bring_back_old(self) -> None:
        self.become(old="replica" if self.committed() else "master")

    def wait_until_agreed(self) -> None:
        self._require(self.committed())

    def wait_until_followed(self) -> None:
        self._require(self.committed())
        self.become(old="replica")

    def _require(self, held: bool) -> None:
        if not held:
            raise Failed("not_so", repr(self))


BEGINNINGS: list[tuple[str, Callable[[], Pair]]] = [
    ("coordinated", Pair),
    ("by hand", Pair),
    ("lost", Pair),  # it hangs, and has to be killed
    ("lost", lambda: Pair(old="down")),
]


@pytest.mark.parametrize(("variant", "make"), BEGINNINGS)
def test_broken_off_anywhere_it_ends_with_one_master_and_no_write_that_is_thrown_away(
    variant: str, make: Callable[[], Pair]
) -> None:
    last = all_end(on_model(table("spoke", variant)), make)
    assert last[0].committed()
    assert len(last) > 100


@pytest.mark.parametrize("left_out", ["pause", "equal"])
def test_a_move_by_hand_without_the_pause_or_the_look_at_offsets_is_found_out(left_out: str) -> None:
    whole = table("spoke", "by hand")
    shorter = replace(whole, steps=tuple(step for step in VARIANTS["by hand"] if step.id != left_out))
    with pytest.raises(AssertionError):
        assert all_end(on_model(shorter), Pair)[0].committed()
