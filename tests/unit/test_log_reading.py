"""`logs`: which lines are shown. They are read from the files of a stack that does not run."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spokectl.errors import NotFound, UsageError
from spokectl.operations.logs import moment, read
from spokectl.operations.patterns import pattern_of
from spokectl.settings import StackRecord, StackState

STACK = """
services:
  one: {labels: {spokectl.kind: job, spokectl.health: job}}
  two: {labels: {spokectl.kind: job, spokectl.health: job}}
"""
Shown = Callable[..., list[str]]


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Gives the texts of the lines that `logs` shows of two services."""
    monkeypatch.setenv("SPOKECTL_STATE_DIR", str(tmp_path / "state"))
    file = tmp_path / "stack.yml"
    file.write_text(STACK)
    state = StackState("spoke")
    state.ensure()
    state.write_record(StackRecord("local", str(file), ""))
    state.logs.mkdir()
    for name, seconds in (("one", (1, 3, 5)), ("two", (2, 4))):
        lines = [f"2026-01-01T00:00:0{second}Z {name} says {second}\n" for second in seconds]
        (state.logs / f"{name}.log").write_text("".join(lines))

    def texts(*services: str, since: str | None = None, tail: int | None = None, grep: str | None = None) -> list[str]:
        found = read("spoke", None, list(services), since=since, tail=tail, grep=grep, follow=False)
        return [line.text.partition("Z ")[2] for line in found]

    return texts


def test_all_services_are_merged_by_time(shown: Shown) -> None:
    assert shown() == ["one says 1", "two says 2", "one says 3", "two says 4", "one says 5"]


def test_services_times_and_a_number_of_lines_narrow_it(shown: Shown) -> None:
    assert shown("two") == ["two says 2", "two says 4"]
    assert shown(since="2026-01-01T00:00:04+00:00") == ["two says 4", "one says 5"]
    assert shown(tail=2) == ["two says 4", "one says 5"]
    assert shown(tail=0) == []


def test_the_last_lines_are_counted_among_those_that_match(shown: Shown) -> None:
    assert shown(grep="^.*one says") == ["one says 1", "one says 3", "one says 5"]
    assert shown(grep="says [1-3]", tail=2) == ["two says 2", "one says 3"]
    assert shown(grep="nobody", tail=2) == []


def test_what_cannot_be_meant_is_refused_before_anything_is_shown(shown: Shown) -> None:
    cases: list[tuple[str, list[str], dict[str, str]]] = [
        ("bad_pattern", [], {"grep": "("}),
        ("bad_time", [], {"since": "x"}),
    ]
    for code, services, given in cases:
        with pytest.raises(UsageError) as caught:
            shown(*services, **given)
        assert caught.value.code == code


def test_a_service_that_the_stack_does_not_have_is_not_found(shown: Shown) -> None:
    with pytest.raises(NotFound) as caught:
        shown("thre")
    assert (caught.value.code, caught.value.actions) == ("unknown_service", ("spokectl ps",))


def test_a_stack_that_never_was_has_no_logs(shown: Shown) -> None:
    assert shown() != []
    with pytest.raises(NotFound):
        read("another", None, [], since=None, tail=None, grep=None, follow=False)


def test_a_moment_is_so_long_ago_or_a_time() -> None:
    now = datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert moment("90s", now) == now - timedelta(seconds=90)
    assert moment("1h30m", now) == now - timedelta(minutes=90)
    assert moment("2026-01-02T13:00:00+02:00", now) == datetime(2026, 1, 2, 11, tzinfo=UTC)
    assert moment("2026-01-02T13:00", now) == datetime(2026, 1, 2, 13).astimezone(UTC)
    for text in ("", "yesterday", "-5m", "2026-13-01", "0001-01-01T00:00+23:59"):
        with pytest.raises(UsageError) as caught:
            moment(text, now)
        assert caught.value.code == "bad_time"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "unterminated"),
        ("a{99999999999}", "too large"),
        ("(" * 3000, "nested too deeply"),
        ("(?P<\x1b>a)", "bad character"),
    ],
)
def test_a_pattern_is_a_regular_expression_that_can_be_used(text: str, reason: str) -> None:
    assert pattern_of("--grep", "a|b").search("xb")
    with pytest.raises(UsageError, match=f"^--grep .*{reason}") as caught:
        pattern_of("--grep", text)
    assert (caught.value.code, caught.value.message.isprintable(), len(caught.value.message) < 400) == (
        "bad_pattern",
        True,
        True,
    )
