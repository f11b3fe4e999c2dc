"""The drawing of a trial: labels that do not stand over one another, bars that count every request, a text that says it."""

from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spokectl.drills.drawing import WIDTHS, Label, binned, description, drawings, placed
from spokectl.drills.evidence import Mark, Moment, Tick
from tests.unit.drills.made_up import BEGAN_S, FAULT_S, broken, trial


def overlap(a: Label, b: Label) -> bool:
    return a.lane == b.lane and a.left < b.left + b.width and b.left < a.left + a.width


marks = st.lists(
    st.tuples(st.floats(0, 340), st.sampled_from(["1 fault 0.0 s", "5 first good write 1.9 s", "7"])), max_size=12
)


@given(marks)
def test_no_label_stands_over_another_or_outside(found: list[tuple[float, str]]) -> None:
    labels = placed(sorted(found), 340)
    assert not [pair for pair in combinations(labels, 2) if overlap(*pair)]
    assert all(each.left >= 0 and each.left + each.width <= 340 for each in labels)
    assert [(each.x, each.text) for each in labels] == sorted(found)


@given(marks)
def test_no_line_crosses_the_label_of_an_earlier_one(found: list[tuple[float, str]]) -> None:
    labels = placed(sorted(found), 340)
    for number, label in enumerate(labels):
        for later in labels[number + 1 :]:
            if label.left < later.x < label.left + label.width:
                assert label.lane > later.lane


def test_labels_that_have_room_side_by_side_share_a_lane() -> None:
    assert [each.lane for each in placed([(0, "1 fault"), (200, "2 healed")], 340)] == [0, 0]


@pytest.mark.parametrize(("count", "most", "size"), [(90, 170, 1), (340, 170, 2), (341, 170, 3)])
def test_bars_count_every_request(count: int, most: int, size: int) -> None:
    ticks = [Tick(number / 10, 1, 2, 3) for number in range(count)]
    bars, found = binned(ticks, most)
    assert found == size
    assert len(bars) <= most
    assert [sum(getattr(bar, name) for bar in bars) for name in ("writes", "reads", "failed")] == [
        count,
        2 * count,
        3 * count,
    ]


def test_it_is_drawn_for_each_width_with_its_own_ids() -> None:
    drawn = Xml.fromstring(f"<div>{drawings(trial(), 'one')}</div>")
    ids = [each.attrib["id"] for each in drawn.iter() if "id" in each.attrib]
    assert len(ids) == len(set(ids)) == 2 * len(WIDTHS)
    assert [each.attrib["viewBox"].split()[2] for each in drawn.iter("svg")] == [str(width) for width in WIDTHS]


def test_the_gap_is_shaded_over_the_time_that_it_took() -> None:
    svg = next(Xml.fromstring(f"<div>{drawings(trial(rto=1.9), 'one')}</div>").iter("svg"))
    gap = next(each for each in svg.iter("rect") if each.attrib["class"] == "gap")
    assert float(gap.attrib["width"]) / (WIDTHS[0] - 12) == pytest.approx(1.9 / 9, abs=0.01)


def test_an_endless_gap_is_shaded_to_the_end() -> None:
    svg = next(Xml.fromstring(f"<div>{drawings(trial(rto=float('inf')), 'one')}</div>").iter("svg"))
    gap = next(each for each in svg.iter("rect") if each.attrib["class"] == "gap")
    assert float(gap.attrib["x"]) + float(gap.attrib["width"]) == pytest.approx(WIDTHS[0] - 6, abs=0.1)
    assert "never again" in description(trial(rto=float("inf")))


def test_what_happened_is_a_line_each_and_said_in_words() -> None:
    text = drawings(trial(), "one")
    assert text.count('class="mark fault"') == len(WIDTHS)
    assert "phase" not in text
    said = description(trial())
    assert "Requests from −2.00 s to +7.00 s of the fault." in said
    assert "After +0.00 s the next good write came at +1.90 s." in said
    assert "+1.40 s: promoted." in said


def test_so_many_moments_that_no_name_has_room_are_told_by_their_number() -> None:
    many = [Moment(FAULT_S + number / 10, Mark.FAULT, f"spoke-{number} killed") for number in range(40)]
    text = drawings(replace(trial(), moments=many), "one")
    assert ">40<" in text
    assert "40 fault" not in text


def test_a_trial_without_requests_has_no_drawing() -> None:
    assert drawings(broken(), "one") == ""
    assert description(broken()) == "No request was made."


def test_a_drill_that_breaks_nothing_starts_its_clock_when_it_begins() -> None:
    quiet = replace(trial(), moments=[Moment(BEGAN_S + 1, Mark.NOTE, "looked")])
    assert "Requests from +0.00 s" in description(quiet)
