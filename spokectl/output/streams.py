"""stdout and stderr as consoles: colour and width by what each stream is, never by guess.

NO_COLOR, FORCE_COLOR and TERM=dumb are Rich's own rules. Off a terminal nothing is wrapped, cut or animated.
"""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from spokectl.printable import printable

# Off a terminal a table is as wide as its content; Rich needs a number, and this one no content reaches.
_UNBOUNDED = 10_000


def stdout() -> Console:
    return _console(stderr=False)


def stderr() -> Console:
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, emoji=False, markup=False, width=None if stream.isatty() else _UNBOUNDED)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table without borders on stdout: one line a row, also for `awk` and `grep`."""
    cells = [[_cell(value) for value in row] for row in rows]
    console = stdout()
    if _needed(headers, cells) > console.width:
        # Too narrow to fold the last column: whole lines, which the terminal wraps, stay readable and can be copied.
        console.width = _UNBOUNDED
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 2, 0, 0))
    for index, header in enumerate(headers):
        table.add_column(header, no_wrap=index < len(headers) - 1, overflow="fold")
    for row in cells:
        table.add_row(*row)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


def _needed(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """The width at which no column but the last is cut, and no word of that."""
    columns = list(zip(headers, *rows, strict=True))
    fixed = sum(max(map(len, column)) + 2 for column in columns[:-1])
    return fixed + max(len(word) for cell in columns[-1] for word in cell.split() or [""])


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else printable(str(value))
