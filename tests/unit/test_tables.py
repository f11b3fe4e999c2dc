"""Tables stay readable and copyable at any width."""

import pytest

from spokectl.output.streams import print_table, table

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
