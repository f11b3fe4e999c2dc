from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spokectl.runtime.local.daemon import rotate
from spokectl.runtime.local.log_times import time_of
from spokectl.runtime.local.logs import read

BERLIN = timezone(timedelta(hours=1))
EIGHT = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "moment"),
    [
        ("2026-11-23 08:00:00.123 UTC [17] LOG:  ready", EIGHT + timedelta(milliseconds=123)),
        ("123:M 23 Nov 2026 09:00:00.123 * Ready to accept connections", EIGHT + timedelta(milliseconds=123)),
        ("123:X 23 Nov 2026 09:00:00.000 # +sdown master", EIGHT),
        ("2026/11/23 09:00:00 [error] 7#7: *1 connect() failed", EIGHT),
        ('{"time": "2026-11-23T08:00:00.5Z", "level": "info"}', EIGHT + timedelta(milliseconds=500)),
        ('{"level": "info", "msg": "' + "x" * 300 + '", "time": "2026-11-23T08:00:00Z"}', EIGHT),
        ("2026-11-23T08:00:00+00:00 127.0.0.1 GET /modules 200", EIGHT),
        ("2026-11-23T10:30:00+0230 x", EIGHT),
        ("2026-11-23T07:00:00-01:00 x", EIGHT),
        ("127.0.0.1 - [2026-11-23T08:00:00Z] GET / 200", EIGHT),
        ("2026-11-23 09:00:00,250 INFO uvicorn.error: running", EIGHT + timedelta(milliseconds=250)),
        ("2026-11-23T08:00:00.123456789Z x", EIGHT + timedelta(microseconds=123456)),
        ("\tat line 7", None),
        ("", None),
        ("2026-13-45 08:00:00 no such day", None),
        ("12:M 23 Foo 2026 09:00:00.123 * x", None),
        ("0001-01-01T00:00:00+23:00 before all time", None),
        ("x" * 200 + " 2026-11-23T08:00:00Z is told, not written", None),
    ],
)
def test_a_line_tells_its_own_time(line: str, moment: datetime | None) -> None:
    assert time_of(line, BERLIN) == moment


@given(st.text())
def test_any_text_may_stand_in_a_log(text: str) -> None:
    found = time_of(text)
    assert found is None or found.tzinfo is UTC


def never(_: float) -> None:
    raise AssertionError("waited although nothing had to be waited for")


def texts(files: dict[str, Path], since: datetime | None = None, tail: int | None = None) -> list[tuple[str, str]]:
    return [(line.service, line.text) for line in read(files, since=since, tail=tail, follow=False, pause=never)]


def line(second: int, text: str) -> str:
    return f"2026-11-23T08:00:{second:02d}Z {text}"


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(each + "\n" for each in lines))
    return path


def test_lines_of_services_are_merged_by_time_and_undated_ones_stay_with_theirs(tmp_path: Path) -> None:
    files = {
        "a": write(tmp_path / "a.log", line(1, "first"), "  its detail", line(4, "last")),
        "b": write(tmp_path / "b.log", line(2, "second"), line(3, "third")),
    }
    words = [text.removeprefix("2026-11-23T08:00:") for _, text in texts(files)]
    assert words == ["01Z first", "  its detail", "02Z second", "03Z third", "04Z last"]


def test_rotated_files_come_first_the_oldest_at_the_beginning(tmp_path: Path) -> None:
    write(tmp_path / "a.log.2", line(1, "oldest"))
    write(tmp_path / "a.log.1", line(2, "older"))
    write(tmp_path / "a.log.bak", line(9, "not a log"))
    path = write(tmp_path / "a.log", line(3, "now"))
    assert [text[-6:] for _, text in texts({"a": path})] == ["oldest", " older", "3Z now"]


def test_a_service_without_a_log_has_no_lines(tmp_path: Path) -> None:
    assert texts({"a": tmp_path / "missing.log"}) == []
    assert texts({"a": tmp_path / "missing.log"}, tail=5) == []


@pytest.mark.parametrize("tail", [0, 1, 3, 59, 60, 61, 200])
def test_tail_gives_the_last_lines_of_all_services_together(tmp_path: Path, tail: int) -> None:
    lines = [line(second, f"n{second}") for second in range(60)]
    files = {
        "even": write(tmp_path / "e.log", *lines[40::2]),
        "odd": write(tmp_path / "o.log", *lines[1::2]),
    }
    write(tmp_path / "e.log.1", *lines[:40:2])
    assert [text for _, text in texts(files, tail=tail)] == (lines[-tail:] if tail else [])


def test_tail_reads_files_larger_than_a_block(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log", *[f"{line(1, str(number))} {'x' * 100}" for number in range(5000)])
    assert [text.split()[1] for _, text in texts({"a": path}, tail=3)] == ["4997", "4998", "4999"]


def test_since_leaves_earlier_lines_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log", line(1, "early"), "  its detail", line(5, "late"), "  its detail")
    assert [text for _, text in texts({"a": path}, since=EIGHT + timedelta(seconds=5))] == [line(5, "late"), "  its detail"]


def test_a_last_line_that_is_not_ended_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(line(1, "whole") + "\n" + line(2, "cut sho"))
    assert [text[-7:] for _, text in texts({"a": path})] == ["Z whole", "cut sho"]


def test_bytes_that_are_not_text_do_not_hide_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"2026-11-23T08:00:01Z \xff\xfe x\r\n")
    assert texts({"a": path}) == [("a", "2026-11-23T08:00:01Z \ufffd\ufffd x")]


def test_following_goes_on_through_a_rotation(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log", line(1, "old"))
    number = iter(range(2, 9))
    steps = iter(["append", "rotate", "append", "rotate"])

    def pause(_: float) -> None:
        step = next(steps)
        with path.open("a") as file:
            file.write(line(next(number), step) + "\n")
        if step == "rotate":
            rotate(path, max_bytes=1, keep=2)
            with path.open("a") as file:
                file.write(line(next(number), "n") + "\n")

    stream = read({"a": path}, since=None, tail=None, follow=True, pause=pause)
    assert [each.text for each in islice(stream, 7)] == [
        line(1, "old"),
        line(2, "append"),
        line(3, "rotate"),
        line(4, "n"),
        line(5, "append"),
        line(6, "rotate"),
        line(7, "n"),
    ]


def test_following_goes_on_with_a_new_file_of_the_same_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log", line(1, "old"))

    def pause(_: float) -> None:
        path.rename(tmp_path / "elsewhere")
        write(path, line(2, "new"))

    stream = read({"a": path}, since=None, tail=None, follow=True, pause=pause)
    assert [each.text for each in islice(stream, 2)] == [line(1, "old"), line(2, "new")]


def test_rotation_keeps_the_newest_files_and_leaves_short_ones_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    for text in ("one", "two", "three", "four"):
        path.write_text(text)
        rotate(path, max_bytes=2, keep=2)
        assert path.read_text() == ""
    rotate(path, max_bytes=2, keep=2)
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
        "a.log": "",
        "a.log.1": "four",
        "a.log.2": "three",
    }


def test_following_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log")
    parts = iter([line(1, "half"), " and half\n"])

    def pause(_: float) -> None:
        with path.open("a") as file:
            file.write(next(parts))

    stream = read({"a": path, "b": tmp_path / "none.log"}, since=None, tail=10, follow=True, pause=pause)
    assert next(stream).text == line(1, "half and half")


def test_following_starts_with_a_log_that_does_not_exist_yet(tmp_path: Path) -> None:
    path = tmp_path / "a.log"

    def pause(_: float) -> None:
        write(path, line(1, "born"))

    stream = read({"a": path}, since=None, tail=None, follow=True, pause=pause)
    assert next(stream).text == line(1, "born")
