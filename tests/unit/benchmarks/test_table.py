"""When a benchmark's figure holds."""

from benchmarks.table import Row


def test_a_figure_with_a_yardstick_holds_by_its_ratio() -> None:
    assert Row("x", 2.0, 1.0, 2.0, "s", "bare").holds
    assert not Row("x", 2.1, 1.0, 2.0, "s", "bare").holds


def test_a_figure_without_a_yardstick_holds_by_itself() -> None:
    assert Row("x", 0.0, None, 0.0, "", "").holds
    assert not Row("x", 1.0, None, 0.0, "", "").holds


def test_a_figure_that_is_good_enough_by_itself_holds_whatever_the_yardstick_says() -> None:
    assert Row("x", 0.5, 0.1, 2.0, "s", "bare", enough=0.5).holds
    assert Row("x", 0.9, 0.5, 2.0, "s", "bare", enough=0.5).holds
    assert not Row("x", 1.1, 0.5, 2.0, "s", "bare", enough=0.5).holds
