"""A wait for a node whose disk is full ends soon, and says what to type; one that gets room is waited for."""

import pytest

from spokectl.errors import Failed
from spokectl.operations.postgres.move import WithoutRoom

FULL, ROOMY = {"state": "running", "free_bytes": 1 << 20}, {"state": "running", "free_bytes": 1 << 30}
COPIES = {"state": "starting", "free_bytes": 1 << 20}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def looks(*statuses: tuple[float, dict[str, object]]) -> None:
    """Each look with the seconds that have passed since the one before."""
    clock = Clock()
    without_room = WithoutRoom("spoke", "postgres-primary", clock)
    for passed_s, status in statuses:
        clock.now += passed_s
        without_room.look(status)


def test_a_disk_that_stays_full_ends_the_wait() -> None:
    with pytest.raises(Failed) as raised:
        looks((0, FULL), (9, FULL), (1, COPIES), (1, FULL), (2, FULL))
    assert raised.value.code == "disk_full"
    assert "postgres-primary cannot follow: its disk is full, 1.0 MiB free" in raised.value.message
    assert raised.value.actions[0] == "spokectl start postgres-primary"


@pytest.mark.parametrize(
    "statuses",
    [
        [(0, FULL), (9, FULL)],
        [(0, FULL), (9, ROOMY), (9, FULL), (9, FULL)],
        [(0, FULL), (60, COPIES), (60, COPIES), (1, FULL), (8, FULL)],
        [(0, ROOMY), (60, ROOMY)],
        [(0, {}), (60, {"state": "failed", "free_bytes": None})],
    ],
    ids=["not for long", "some was made", "it copies", "there is some", "unknown"],
)
def test_else_it_goes_on(statuses: list[tuple[float, dict[str, object]]]) -> None:
    looks(*statuses)
