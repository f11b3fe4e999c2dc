"""A line of a journal is on disk whole, or the writer knows that it is not."""

import errno
import os
import resource
import signal
from pathlib import Path

import pytest

from spokectl.journal import append_line, read_lines


def test_a_disk_that_takes_a_part_of_a_line_is_an_error_and_the_next_line_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    append_line(path, {"number": 1})
    kept = path.stat().st_size
    # A limit of the file's size is met as a full disk is: with a part of the bytes first.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kept + 5, before[1]))
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            append_line(path, {"number": 2, "long": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.stat().st_size == kept + 5
    append_line(path, {"number": 3})
    assert read_lines(path) == [{"number": 1}, {"number": 3}]


def test_a_journal_is_private(tmp_path: Path) -> None:
    append_line(tmp_path / "journal", {"number": 1})
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o600
