"""Tables stay readable and copyable at any width."""

from datetime import UTC, datetime
from typing import Any

import pytest

from spokectl.operations.event_lines import Event
from spokectl.output.stack import print_event
from spokectl.output.streams import print_table, print_text, table

HEADERS = ["SERVICE", "ADDRESS", "REASON"]
ROWS: list[list[object]] = [
    ["nginx", "http://localhost:8080", "it answers 503 because nothing behind it does"],
    ["spoke-1", "", None],
]


def test_off_a_terminal_a_row_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(HEADERS, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "SERVICE  ADDRESS                REASON",
        "nginx    http://localhost:8080  it answers 503 because nothing behind it does",
        "spoke-1  -                      -",
    ]


@pytest.mark.parametrize("columns", [20, 35, 45, 60])
def test_on_a_narrow_terminal_no_word_is_cut(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    print_table(HEADERS, ROWS)
    out = capsys.readouterr().out
    for word in ["http://localhost:8080", "nginx", "spoke-1", "because", "nothing"]:
        assert word in out


def test_the_last_column_folds_between_words_below_its_own_head() -> None:
    assert table(HEADERS, ROWS, 58) == [
        "SERVICE  ADDRESS                REASON",
        "nginx    http://localhost:8080  it answers 503 because",
        "                                nothing behind it does",
        "spoke-1  -                      -",
    ]


CHECKS: list[list[object]] = [
    ["✓", "both nodes answer", "they do", ""],
    ["✗", "room on the disks", "none left for postgres-primary: make some, or kill it", "spokectl kill postgres-primary"],
]


def test_every_long_text_folds_in_its_own_column_and_short_ones_keep_their_width() -> None:
    assert table(["", "PRECONDITION", "FOUND", "REMEDY"], CHECKS, 72) == [
        "   PRECONDITION       FOUND                     REMEDY",
        "✓  both nodes answer  they do                   -",
        "✗  room on the disks  none left for             spokectl kill",
        "                      postgres-primary: make    postgres-primary",
        "                      some, or kill it",
    ]


def test_what_fits_is_laid_out_as_off_a_terminal() -> None:
    whole = table(["", "PRECONDITION", "FOUND", "REMEDY"], CHECKS, None)
    width = max(map(len, whole))
    assert table(["", "PRECONDITION", "FOUND", "REMEDY"], CHECKS, width) == whole
    assert table(["", "PRECONDITION", "FOUND", "REMEDY"], CHECKS, width - 1) != whole


def test_columns_without_room_stand_below_the_others_and_empty_ones_take_no_line() -> None:
    assert table(HEADERS, ROWS, 45) == [
        "SERVICE  ADDRESS",
        "  REASON",
        "nginx    http://localhost:8080",
        "  it answers 503 because nothing behind it",
        "  does",
        "spoke-1  -",
    ]


def event(**said: Any) -> Event:
    parts: dict[str, Any] = {"source": "journal", "who": "root", "what": "failover postgres", "target": "postgres-primary"}
    return Event(datetime(2026, 1, 31, 12, 0, tzinfo=UTC), **{**parts, "why": "", "outcome": "", **said})


def test_an_event_is_a_line_off_a_terminal_and_folds_between_words_on_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "its guard has said nothing for 5 s, and the replica receives nothing from it"
    print_event(event(who="somebody with a very long name", why=why, outcome="done"))
    assert capsys.readouterr().out == (
        f"2026-01-31 12:00:00.000  somebody with a very long name  failover postgres      postgres-primary  {why}; done\n"
    )
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "90")
    print_event(event())
    assert capsys.readouterr().out.splitlines() == [
        "2026-01-31 12:00:00.000  root                        failover postgres",
        "  postgres-primary",
    ]
    monkeypatch.setenv("COLUMNS", "80")
    print_event(event(why=why, outcome="done"))
    print_event(event(target=""))
    assert capsys.readouterr().out.splitlines() == [
        "2026-01-31 12:00:00.000  root                        failover postgres",
        "  postgres-primary  its guard has said nothing for 5 s, and the replica receives",
        "                    nothing from it; done",
        "2026-01-31 12:00:00.000  root                        failover postgres",
    ]


def test_characters_that_take_two_columns_do_not_shift_what_follows() -> None:
    assert table(["A", "B"], [["日本", "x"], ["e\u0301", "y"]], None) == ["A     B", "日本  x", "e\u0301     y"]


@pytest.mark.parametrize(
    ("terminal", "environment", "styled"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_heads_stand_out_only_where_a_terminal_can_show_it_and_may(
    terminal: bool,
    environment: dict[str, str],
    styled: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    print_table(HEADERS, ROWS)
    assert ("\x1b[1m" in capsys.readouterr().out) == styled


def test_a_sentence_folds_between_words_on_a_terminal_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "if postgres-primary dies: `spokectl failover postgres` makes postgres-replica primary"
    print_text(said)
    assert capsys.readouterr().out == said + "\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    print_text(said)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(lines) == said
