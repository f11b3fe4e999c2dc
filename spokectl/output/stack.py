"""How a person reads a stack: tables for its services and addresses, progress while it comes up."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from spokectl.model import Inspection, LogLine, Port, Setting
from spokectl.operations.endpoints import Endpoint
from spokectl.operations.health import ServiceStatus
from spokectl.output.streams import print_table, stderr
from spokectl.printable import printable, shortened
from spokectl.result import Report
from spokectl.settings import command_line

_SYMBOLS = {"healthy": "✓", "done": "✓", "left-out": "–", "starting": "…", "unhealthy": "✗", "down": "✗"}


def print_status(services: Sequence[ServiceStatus], now: datetime | None = None) -> None:
    moment = now or datetime.now(UTC)
    rows = [
        [
            each.service,
            each.role or "-",
            f"{_SYMBOLS.get(each.health, '?')} {each.health}",
            _age(each.started_at, moment) if each.pid else "",
            each.version,
            _ports(each.ports),
            shortened(each.reason, 120),
        ]
        for each in services
    ]
    print_table(["SERVICE", "ROLE", "HEALTH", "UP", "VERSION", "PORTS", "REASON"], rows)


def print_processes(rows: Sequence[Inspection]) -> None:
    now = datetime.now(UTC)
    print_table(
        ["SERVICE", "STATE", "PID", "UP", "DETAIL"],
        [[row.service, row.state, row.pid, _age(row.started_at, now) if row.pid else "", row.detail] for row in rows],
    )


def print_endpoints(points: Sequence[Endpoint]) -> None:
    print_table(["SERVICE", "ROLE", "WHAT", "ADDRESS"], [[p.service, p.role, p.name, p.url] for p in points])


def print_settings(settings: Sequence[Setting]) -> None:
    rows = [[each.name, each.value, "" if each.source == "default" else each.source] for each in settings]
    print_table(["SETTING", "VALUE", "FROM"], rows)


def print_logs(lines: Iterator[LogLine], width: int) -> None:
    """One line each: service, text; the text carries the server's own time."""
    for line in lines:
        sys.stdout.write(f"{line.service:<{width}} | {printable(line.text)}\n")
        sys.stdout.flush()


def access_notes(stack: str, points: Sequence[Endpoint], elapsed_s: float) -> list[str]:
    """What to type next, after `up`."""
    api = next((point.url for point in points if point.name == "API"), "http://localhost:8080")
    return [
        "",
        f"The stack is up ({elapsed_s:.1f} s). Next:",
        f"  curl {api}/modules",
        *(
            f"  {command_line(stack, words)}"
            for words in ("modules create test-module --description 'My first module'", "status", "down")
        ),
    ]


@contextmanager
def progress(services: Sequence[str], *, silent: bool) -> Iterator[Report]:
    """Shows what an operation reports: a live table on a terminal, one line a change elsewhere, nothing when silent."""
    console = stderr()
    if silent:
        yield _say_nothing
    elif console.is_terminal and not console.is_dumb_terminal:
        with _live(services) as report:
            yield report
    else:
        yield _say_lines(time.monotonic())


def _say_nothing(subject: str, state: str, detail: str = "") -> None:
    """Takes the report and keeps it to itself."""


def _say_lines(started: float) -> Report:
    def report(subject: str, state: str, detail: str = "") -> None:
        text = detail if state == "notice" else f"{subject}: {state}" + (f" ({detail})" if detail else "")
        sys.stderr.write(f"{time.monotonic() - started:6.1f}s  {printable(text)}\n")
        sys.stderr.flush()

    return report


@contextmanager
def _live(services: Sequence[str]) -> Iterator[Report]:
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    states: dict[str, tuple[str, str]] = dict.fromkeys(services, ("waiting", ""))
    styles = {"healthy": "green", "done": "green", "starting": "yellow", "waiting": "dim"}
    started = time.monotonic()

    def table() -> Table:
        rows = Table(box=None, show_header=False, pad_edge=False)
        for name, (state, detail) in states.items():
            rows.add_row(_SYMBOLS.get(state, "·"), name, Text(state, styles.get(state, "red")), Text(detail, "dim"))
        rows.add_row("", Text(f"{time.monotonic() - started:.1f} s", "dim"))
        return rows

    with Live(get_renderable=table, console=stderr(), refresh_per_second=8, transient=True) as live:

        def report(subject: str, state: str, detail: str = "") -> None:
            if state == "notice":
                live.console.print(printable(detail), style="dim")
            else:
                states[subject] = (state, detail)

        yield report


def _age(since: datetime | None, now: datetime) -> str:
    if since is None:
        return ""
    seconds = max(0, int((now - since).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _ports(ports: Sequence[Port]) -> str:
    return ",".join(str(port.published) for port in ports)
