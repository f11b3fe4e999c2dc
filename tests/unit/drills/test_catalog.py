"""What the catalog of drills promises to those who choose from it."""

import pytest

from spokectl.drills.catalog import GROUPS, all_drills
from spokectl.drills.choosing import chosen
from spokectl.drills.drill import drill
from spokectl.drills.objective import FIGURES, parse_bounds


def test_the_six_tests_of_the_readme_come_first_and_in_their_order() -> None:
    assert [each.seed_test for each in all_drills().values()][:7] == [1, 2, 3, 4, 5, 6, None]
    assert [each.seed_test for each in chosen([], seed_tests=True)] == [1, 2, 3, 4, 5, 6]


def test_the_tests_of_the_readme_need_nothing_that_a_runtime_may_lack() -> None:
    assert all(each.needs == frozenset() and each.in_ci for each in chosen([], seed_tests=True))


def test_drills_of_a_group_stand_together() -> None:
    groups = [each.group for each in all_drills().values()]
    assert list(dict.fromkeys(groups)) == GROUPS
    assert groups == sorted(groups, key=GROUPS.index)


def test_every_drill_says_what_it_breaks_and_what_must_hold_in_a_line_each() -> None:
    for each in all_drills().values():
        for said in (each.breaks, each.holds):
            assert said, each.name
            assert "\n" not in said, each.name
            assert not said.endswith("."), each.name
            assert len(said) <= 130, each.name


def test_every_objective_is_of_figures_that_there_are_and_can_be_typed() -> None:
    for each in all_drills().values():
        assert set(each.objective.bounds) <= set(FIGURES), each.name
        assert parse_bounds(each.objective.text) == {**each.objective.bounds, "lost": each.objective.lost}


def test_no_two_drills_have_one_name() -> None:
    with pytest.raises(ValueError, match="there are two drills spoke-kill"):
        drill("spoke-kill", group="Spokes", breaks="it", holds="it")(lambda _: None)
