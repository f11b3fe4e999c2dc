"""Log files of many services as one stream of lines, oldest first, also while they grow and rotate."""

import heapq
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from spokectl.model import LogLine
from spokectl.runtime.local.log_times import time_of

_POLL_S = 0.1
_BLOCK_BYTES = 1 << 16
# Before the last lines asked for, so that their first ones know their time.
_CONTEXT_LINES = 50
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def read(
    files: Mapping[str, Path],
    *,
    since: datetime | None,
    tail: int | None,
    follow: bool,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[LogLine]:
    """Lines of every service's file and its rotated predecessors (`.1`, `.2`, … older), merged by their own times.

    A line without a time belongs to the one before it. With `follow` it goes on until the caller stops.
    """
    readers = [_Reader(service, path) for service, path in files.items()]
    try:
        merged = heapq.merge(*(reader.present(since, tail, unfinished=not follow) for reader in readers), key=_moment)
        yield from deque(merged, maxlen=tail) if tail is not None else merged
        while follow:
            fresh = sorted((line for reader in readers for line in reader.fresh()), key=_moment)
            yield from (line for line in fresh if since is None or _moment(line) >= since)
            if not fresh:
                pause(_POLL_S)
    finally:
        for reader in readers:
            reader.close()


def _moment(line: LogLine) -> datetime:
    return line.time or _LONG_AGO


class _Reader:
    """One service's lines: those of the rotated files first, then those of the current one, as it grows."""

    def __init__(self, service: str, path: Path) -> None:
        self._service = service
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        self._time: datetime | None = None

    def present(self, since: datetime | None, tail: int | None, *, unfinished: bool) -> Iterator[LogLine]:
        """What is there now. Files older than `since` are not opened; with `tail` only ends of files are read."""
        old = self._rotated()
        if tail is not None:
            old = old if self._lines_wanted_from_old(tail + _CONTEXT_LINES) else []
        for path in old:
            try:
                if since is not None and path.stat().st_mtime < since.timestamp():
                    continue
                with path.open("rb") as file:
                    yield from self._after(since, self._lines(file))
            except FileNotFoundError:
                continue
        if self._open():
            if tail is not None and not old:
                self._skip_to_last(tail + _CONTEXT_LINES)
            yield from self._after(since, self.fresh())
        if unfinished and self._rest:
            yield LogLine(self._service, self._time, self._rest.decode(errors="replace"))

    def fresh(self) -> Iterator[LogLine]:
        """Whole lines that were written since the last call, through a rotation."""
        if self._file is None and not self._open():
            return
        assert self._file is not None  # noqa: S101 - opened above
        read_bytes = self._file.tell()
        yield from self._lines(self._file)
        if self._was_emptied(read_bytes):
            # What was written since the last call went to `.1` with the rest.
            with suppress(FileNotFoundError), self._path.with_name(self._path.name + ".1").open("rb") as older:
                older.seek(read_bytes)
                yield from self._lines(older)
            self._file.seek(0)
            yield from self._lines(self._file)
        elif self._was_replaced():
            self.close()
            if self._open():
                yield from self._lines(self._file)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _lines(self, file: BinaryIO) -> Iterator[LogLine]:
        while block := file.read(_BLOCK_BYTES):
            *lines, self._rest = (self._rest + block).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace").rstrip("\r")
                self._time = time_of(text) or self._time
                yield LogLine(self._service, self._time, text)

    @staticmethod
    def _after(since: datetime | None, lines: Iterator[LogLine]) -> Iterator[LogLine]:
        return lines if since is None else (line for line in lines if _moment(line) >= since)

    def _rotated(self) -> list[Path]:
        """Oldest first."""
        numbered = []
        for path in self._path.parent.glob(self._path.name + ".*"):
            number = path.name.removeprefix(self._path.name + ".")
            if number.isdecimal():
                numbered.append((int(number), path))
        return [path for _, path in sorted(numbered, reverse=True)]

    def _open(self) -> bool:
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            return False
        return True

    def _was_emptied(self, read_bytes: int) -> bool:
        assert self._file is not None  # noqa: S101 - only asked of an open file
        return os.fstat(self._file.fileno()).st_size < read_bytes

    def _was_replaced(self) -> bool:
        assert self._file is not None  # noqa: S101 - only asked of an open file
        try:
            here = self._path.stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(self._file.fileno())
        return (here.st_ino, here.st_dev) != (mine.st_ino, mine.st_dev)

    def _lines_wanted_from_old(self, tail: int) -> bool:
        """Whether the current file alone has fewer lines than wanted."""
        try:
            with self._path.open("rb") as file:
                return _offset_of_last(file, tail) is None
        except FileNotFoundError:
            return True

    def _skip_to_last(self, tail: int) -> None:
        assert self._file is not None  # noqa: S101 - only asked of an open file
        self._file.seek(_offset_of_last(self._file, tail) or 0)


def _offset_of_last(file: BinaryIO, count: int) -> int | None:
    """Where the last `count` lines begin; None when the file has fewer. Reads from the end, a block at a time."""
    end = file.seek(0, 2)
    wanted, position = count + 1, end
    while position > 0 and wanted > 0:
        start = max(0, position - _BLOCK_BYTES)
        file.seek(start)
        block = file.read(position - start)
        found = block.count(b"\n")
        if found < wanted:
            wanted, position = wanted - found, start
            continue
        cut = len(block)
        for _ in range(wanted):
            cut = block.rindex(b"\n", 0, cut)
        return start + cut + 1
    return None
