import pytest

from spokectl.units import bytes_of, duration, human_bytes, human_seconds, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), (" 5m ", 300)]
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "5 m", "m", "-5s", "1e3", "nan", "inf", "5x", "s5", "9" * 400, "1d", "٣s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("text", "size"), [("100", 100), ("1k", 1024), ("512M", 512 * 1024**2), ("1.5GiB", 3 * 1024**3 // 2)]
)
def test_a_size_counts_1024_to_the_step(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1M", "1X", "1 000"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        bytes_of(text)


def test_a_size_for_people_has_three_digits() -> None:
    assert [human_bytes(n) for n in (0, 1023, 1536, 200 * 1024, 5 * 1024**3)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "200 KiB",
        "5.0 GiB",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0002, "0.2 ms"),
        (0.35, "350 ms"),
        (4.23, "4.2 s"),
        (42.3, "42 s"),
        (200, "3 m"),
        (7300, "2 h"),
        (90000, "1 d"),
    ],
)
def test_a_duration_for_people_has_one_unit(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


@pytest.mark.parametrize(("seconds", "typed"), [(120.0, "2m"), (90.0, "90s"), (0.5, "0.5s"), (2.0, "2s"), (3600.0, "60m")])
def test_a_duration_is_written_as_it_may_be_typed(seconds: float, typed: str) -> None:
    assert duration(seconds) == typed
    assert seconds_of(typed) == seconds
