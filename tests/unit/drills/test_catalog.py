"""The drills as they are listed."""

import pytest

from spokectl.drills.catalog import GROUPS, all_drills
from spokectl.drills.drill import Drill, drill
from spokectl.drills.objective import FIGURES


@pytest.mark.parametrize("each", all_drills().values(), ids=lambda each: each.name)
def test_a_drill_says_in_one_line_what_it_breaks_and_what_holds_and_promises_what_is_measured(each: Drill) -> None:
    assert all(line and "\n" not in line and len(line) <= 130 for line in (each.breaks, each.holds))
    assert each.group in GROUPS
    assert set(each.objective.bounds) <= set(FIGURES)


def test_no_two_drills_have_one_name() -> None:
    with pytest.raises(ValueError, match="there are two drills spoke-kill"):
        drill("spoke-kill", group="Spokes", breaks="it", holds="it")(lambda _: None)
