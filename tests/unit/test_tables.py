"""Tables stay readable and copyable at any width."""

import pytest

from spokectl.output.streams import print_table

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
