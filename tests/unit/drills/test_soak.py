"""What a soak does is a matter of its seed alone."""

from itertools import islice

from spokectl.drills.soak import Act, Part, Step, plan

LONG = 500


def first(seed: int, count: int) -> list[Step]:
    return list(islice(plan(seed), count))


def test_the_same_seed_gives_the_same_steps_and_another_one_others() -> None:
    assert first(7, LONG) == first(7, LONG)
    assert first(7, LONG) != first(8, LONG)


def test_every_act_is_done_and_every_part_is_met_in_time() -> None:
    steps = first(1, LONG)
    assert {step.act for step in steps} == set(Act)
    assert {step.part for step in steps} == set(Part)


def test_a_primary_is_only_lost_where_somebody_takes_over_or_it_comes_back() -> None:
    done = {step.act for step in first(1, LONG) if step.part is Part.PRIMARY}
    assert done == {Act.SWITCHOVER, Act.FAILOVER, Act.RESTART}
