"""stdout and stderr: colour and width by what each stream is, never by guess.

Off a terminal nothing is wrapped, cut, styled or animated. Tables are laid out here: most commands print one, and importing
Rich for it took longer than asking all the servers. Rich draws what moves: NO_COLOR, FORCE_COLOR, TERM=dumb are its rules.
"""

import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, TextIO

from spokectl.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

_GAP = 2
_INDENT = "  "
_NARROWEST_TEXT = 20  # columns: what would fold into less stands below the other columns
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
    """A table without borders on stdout: one line a row, also for `awk` and `grep`; on a terminal as wide as that is."""
    for line in table(headers, rows, columns_of(sys.stdout)):
        sys.stdout.write(line + "\n")


def print_text(text: str) -> None:
    """A sentence on stdout; on a terminal it folds between words, so that a command in it can be read and copied."""
    line = printable(text)
    width = columns_of(sys.stdout)
    for part in [line] if width is None else _folded(line, width):
        sys.stdout.write(part + "\n")


def columns_of(stream: TextIO) -> int | None:
    """How wide the stream's terminal is; None for what is no terminal, where nothing is folded."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], width: int | None) -> list[str]:
    """The lines of a table no wider than `width`, unless a word would have to be cut for that.

    Too wide, its long texts fold between words, each below its own head. Columns that have no room even so stand below the
    others, indented; a row that has nothing in these has no such line.
    """
    cells = [list(headers), *([_cell(value) for value in row] for row in rows)]
    columns = list(zip(*cells, strict=True))
    bands = _bands([max(map(_width, column)) for column in columns], [_longest_word(column) for column in columns], width)
    head, *body = (row_lines(row, bands) for row in cells)
    return [*map(bold, head), *(line for lines in body for line in lines)]


def row_lines(cells: Sequence[str], bands: Sequence[Sequence[int]]) -> list[str]:
    """The lines of one row: its columns' widths, and below those the widths of the columns that had no room beside them."""
    lines: list[str] = []
    start = 0
    for number, widths in enumerate(bands):
        band = cells[start : start + len(widths)]
        start += len(widths)
        if number and all(cell in {"", "-"} for cell in band):
            continue
        folded = [_folded(cell, room) for cell, room in zip(band, widths, strict=True)]
        for parts in zip_longest(*folded, fillvalue=""):
            padded = (part + " " * (room + _GAP - _width(part)) for part, room in zip(parts, widths, strict=True))
            lines.append((_INDENT * bool(number) + "".join(padded)).rstrip())
    return lines


def lone_row(cells: Sequence[str], widths: Sequence[int], width: int | None) -> list[str]:
    """A row of a table whose other rows are not known: `widths` are the least of its columns, but for the last."""
    wanted = [max(_width(cell), each) for cell, each in zip(cells, [*widths, 0], strict=True)]
    words = [max(_longest_word([cell]), each) for cell, each in zip(cells, [*widths, 0], strict=True)]
    return row_lines(cells, _bands(wanted, words, width))


def _bands(wanted: Sequence[int], words: Sequence[int], width: int | None) -> list[list[int]]:
    """The columns' widths, in one band where that has room. `words`: how wide a column's longest word is."""
    if width is None:
        return [list(wanted)]
    bands: list[list[tuple[int, int]]] = [[]]
    for each, word in zip(wanted, words, strict=True):
        least = max(word, min(each, _NARROWEST_TEXT))
        if bands[-1] and _span([*(one for _, one in bands[-1]), least]) > _room(width, len(bands) - 1):
            bands.append([])
        bands[-1].append((each, least))
    return [_fitted(band, _room(width, number)) for number, band in enumerate(bands)]


def _fitted(band: Sequence[tuple[int, int]], room: int) -> list[int]:
    """Widths from the wanted ones down to the least: the widest gives way first, until all have room or none can."""
    widths = [wanted for wanted, _ in band]
    while _span(widths) > room:
        yielding = [number for number, (_, least) in enumerate(band) if widths[number] > least]
        if not yielding:
            break
        widths[max(yielding, key=widths.__getitem__)] -= 1
    return widths


def _span(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _room(width: int, band: int) -> int:
    return width - len(_INDENT) if band else width


def _longest_word(cells: Sequence[str]) -> int:
    return max(_width(word) for cell in cells for word in cell.split() or [""])


def _folded(text: str, room: int) -> list[str]:
    if _width(text) <= room:
        return [text]
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if _width(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line for line in lines if line]


def _width(text: str) -> int:
    """The columns that the text takes on a terminal: East Asian characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else printable(str(value))
