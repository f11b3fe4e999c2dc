"""stdout and stderr: colour and width by what each stream is, never by guess.

Off a terminal nothing is wrapped, cut, styled or animated. Tables are laid out here: most commands print one, and importing
Rich for it took longer than asking all the servers. Rich draws what moves: NO_COLOR, FORCE_COLOR, TERM=dumb are its rules.
"""

import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spokectl.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

_GAP = 2
# Off a terminal a line is as wide as its content; Rich needs a number, and this one no content reaches.
_UNBOUNDED = 10_000


def stdout() -> "Console":
    """For what moves; a table needs none."""
    return _console(stderr=False)


def stderr() -> "Console":
    return _console(stderr=True)


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, emoji=False, markup=False, width=None if stream.isatty() else _UNBOUNDED)


def bold(text: str) -> str:
    """The text as it stands out on stdout, where that is a terminal which can show it and may."""
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") in {None, "", "dumb", "unknown"}
    return text if plain else f"\x1b[1m{text}\x1b[0m"


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table without borders on stdout: one line a row, also for `awk` and `grep`; on a terminal the last column folds."""
    for line in table(headers, rows, shutil.get_terminal_size().columns if sys.stdout.isatty() else None):
        sys.stdout.write(line + "\n")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], width: int | None) -> list[str]:
    """The lines of a table no wider than `width`, unless a word would have to be cut for that."""
    cells = [[_cell(value) for value in row] for row in rows]
    columns = list(zip(headers, *cells, strict=True))
    widths = [max(map(_width, column)) for column in columns]
    left = sum(each + _GAP for each in widths[:-1])
    longest_word = max(_width(word) for cell in columns[-1] for word in cell.split() or [""])
    # Too narrow to fold the last column: whole lines, which the terminal wraps, stay readable and can be copied.
    room = width - left if width is not None and width - left >= longest_word else None
    lines = []
    for number, row in enumerate([list(headers), *cells]):
        start = "".join(cell + " " * (each + _GAP - _width(cell)) for cell, each in zip(row[:-1], widths, strict=False))
        first, *more = _folded(row[-1], room)
        whole = [(start + first).rstrip(), *(" " * left + line for line in more)]
        lines += [bold(line) for line in whole] if number == 0 else whole
    return lines


def _folded(text: str, room: int | None) -> list[str]:
    lines = [""]
    for word in text.split(" ") if room is not None else [text]:
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if room is None or _width(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _width(text: str) -> int:
    """The columns that the text takes on a terminal: East Asian characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else printable(str(value))
