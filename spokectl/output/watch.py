"""A status that is drawn again and again: in place on a terminal, one block or JSON line a change elsewhere."""

import io
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Any

from spokectl.operations.observe import Look, StatusData
from spokectl.output.stack import print_status
from spokectl.output.streams import stdout
from spokectl.printable import printable
from spokectl.result import Result

_UNBOUNDED = 10_000


def watch(looks: Iterable[Look], program_line: Callable[[Result], str] | None) -> None:
    """Shows each look until there are no more, or Ctrl-C (KeyboardInterrupt) ends it; the last one stays on the screen.

    `program_line` writes a look for a program that reads it; None when a person does.
    """
    console = stdout()
    if program_line is None and console.is_terminal and not console.is_dumb_terminal:
        _redraw(looks)
        return
    for look in changes(looks):
        text = program_line(look.result) if program_line else "\n".join([*frame(look), ""])
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _redraw(looks: Iterable[Look]) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(console=stdout(), auto_refresh=False) as live:
        for look in looks:
            lines = frame(look, live.console.width, live.console.height - 1)
            live.update(Text("\n".join(lines), no_wrap=True, overflow="crop"), refresh=True)


def frame(look: Look, width: int = _UNBOUNDED, height: int = _UNBOUNDED) -> list[str]:
    """The lines of one look: the time, the status, and last, whatever has no room above, the outlook and the reasons.

    Where there is no room for all, rows of what is well go first, then the access points; the rest is cut off from below.
    """
    data, error = look.result.data, look.result.error
    end = error.message.splitlines() if error else []
    if isinstance(data, StatusData):
        end = ["", *(each.sentence for each in data.outlook), *end]
    tail = [part for line in end for part in textwrap.wrap(printable(line), width, break_on_hyphens=False) or [""]]
    room = max(1, height - len(tail))
    head = [look.time.strftime("%Y-%m-%d %H:%M:%S UTC")]
    if isinstance(data, StatusData):
        well = {each.service for each in data.services if each.ok}
        whole = _without_the_well([*head, "", *_drawn(data, look.time)], well, room)
        bare = replace(data, endpoints=[])
        head = whole if len(whole) <= room else _without_the_well([*head, "", *_drawn(bare, look.time)], well, room)
    if len(head) > room:
        head = [*head[: room - 1], "…"]
    return [line[:width] for line in [*head, *tail]]


def _drawn(data: StatusData, now: datetime) -> list[str]:
    with redirect_stdout(io.StringIO()) as drawn:
        print_status(replace(data, outlook=[]), now)
    return drawn.getvalue().splitlines()


def _without_the_well(lines: list[str], well: set[str], room: int) -> list[str]:
    """As many of the lines as have room, with how many are missing: the lowest rows of what is well go first."""
    blocks = [list(block) for blank, block in groupby(lines, key=lambda line: not line) if not blank]
    missing = 0
    for block in reversed(blocks):
        for row in reversed([row for row in block if row.partition(" ")[0] in well]):
            if len(_joined(blocks)) + bool(missing) <= room:
                break
            block.remove(row)
            missing += 1
            if len(block) == 1:
                block.clear()  # a head without rows
    note = [f"… rows not shown, all of them well: {missing}"] if missing else []
    return _joined(blocks) + note


def _joined(blocks: list[list[str]]) -> list[str]:
    return [line for block in blocks if block for line in ("", *block)][1:]


def changes(looks: Iterable[Look]) -> Iterator[Look]:
    """The first look, and each that says something else than the one before: positions and sizes alone are no change."""
    last: object = None
    for look in looks:
        now = _essence(look.result.data), look.result.error and look.result.error.message
        if now != last:
            yield look
        last = now


def _essence(data: Any) -> object:
    if not isinstance(data, StatusData):
        return None
    services = [(each.service, each.state, each.health, each.role, each.reason, each.master) for each in data.services]
    return services, [(each.service, each.takes_over) for each in data.outlook]
