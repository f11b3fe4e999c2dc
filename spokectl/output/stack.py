"""How a person reads a stack: tables for its services and addresses, progress while it comes up."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from spokectl.model import Inspection, Kind, LogLine, Port, Setting
from spokectl.operations.endpoints import Endpoint
from spokectl.operations.health import ServiceStatus
from spokectl.operations.observe import StatusData
from spokectl.operations.scale import Scaled
from spokectl.output.databases import print_outlook, print_postgres, print_redis, print_sentinels
from spokectl.output.streams import columns_of, lone_row, print_table, stderr
from spokectl.printable import printable, shortened
from spokectl.result import Report, unheard
from spokectl.settings import command_line

if TYPE_CHECKING:
    from spokectl.operations.event_lines import Event

_SYMBOLS = {"healthy": "✓", "done": "✓", "left-out": "–", "starting": "…", "degraded": "!", "unhealthy": "✗", "down": "✗"}
_EVENT_COLUMNS = (23, 26, 21, 16)


def print_status(data: StatusData, now: datetime | None = None) -> None:
    """One screen: where to connect, every service, the databases' own facts, and last what would happen now."""
    if data.endpoints:
        for label, address in _access(data):
            sys.stdout.write(f"{label:<12}{address}\n")
        sys.stdout.write("\n")
    print_services(data.services, now)
    for kind, show in ((Kind.POSTGRES, print_postgres), (Kind.REDIS, print_redis), (Kind.SENTINEL, print_sentinels)):
        if found := [each for each in data.services if each.kind is kind]:
            sys.stdout.write("\n")
            show(found)
    if data.outlook:
        sys.stdout.write("\n")
        print_outlook(data.outlook)


def _access(data: StatusData) -> list[tuple[str, str]]:
    """The doors that a client takes, not every port of every node: those are in `endpoints`."""
    kinds = {each.service: each.kind for each in data.services}
    kinds[""] = Kind.POSTGRES
    doors = {Kind.LOAD_BALANCER: "", Kind.POSTGRES: "primary", Kind.REDIS: "master", Kind.S3: ""}
    return [
        (point.name, point.url)
        for point in data.endpoints
        if (kind := kinds.get(point.service)) in doors
        and doors[kind] in {"", point.role}
        and (kind is not Kind.POSTGRES or not point.service)
    ]


def print_services(services: Sequence[ServiceStatus], now: datetime | None = None) -> None:
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


def print_log(line: LogLine, width: int) -> None:
    """Service, text; the text carries the server's own time."""
    sys.stdout.write(f"{line.service:<{width}} | {printable(line.text)}\n")


def print_event(event: "Event") -> None:
    """When (UTC), who, what, to what; then why and how it ended."""
    rest = "; ".join(each for each in (event.why, event.outcome) if each)
    moment = event.time.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    cells = [printable(each) for each in (moment, event.who, event.what, event.target, rest)]
    for line in lone_row(cells, _EVENT_COLUMNS, columns_of(sys.stdout)):
        sys.stdout.write(line + "\n")


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


def scale_notes(stack: str, scaled: Scaled | None) -> list[str]:
    """That the number of Spokes is not the stack file's, and how to have that one again."""
    if scaled is None:
        return []
    back = command_line(stack, f"scale {scaled.in_file}")
    return [f"Spokes: {scaled.spokes}, as was asked for; the stack file has {scaled.in_file}. Back to these: {back}"]


@contextmanager
def progress(services: Sequence[str], *, silent: bool) -> Iterator[Report]:
    """Shows what an operation reports: a live table on a terminal, one line a change elsewhere, nothing when silent."""
    console = stderr()
    if silent:
        yield unheard
    elif console.is_terminal and not console.is_dumb_terminal:
        with _live(services) as report:
            yield report
    else:
        yield _say_lines(time.monotonic())


def _say_lines(started: float) -> Report:
    def report(subject: str, state: str, detail: str = "") -> None:
        if state == "waiting":
            return  # a table has a row for it; as a line it says nothing
        text = detail if state == "notice" else f"{subject}: {state}" + (f" ({detail})" if detail else "")
        sys.stderr.write(f"{time.monotonic() - started:6.1f}s  {printable(text)}\n")
        sys.stderr.flush()

    return report


@contextmanager
def _live(services: Sequence[str]) -> Iterator[Report]:
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from spokectl.output.terminal import without_echo

    states: dict[str, tuple[str, str]] = dict.fromkeys(services, ("waiting", ""))
    styles = {"healthy": "green", "done": "green", "starting": "yellow", "waiting": "dim"}
    started = time.monotonic()

    def table() -> Table:
        rows = Table(box=None, show_header=False, pad_edge=False)
        for name, (state, detail) in states.items():
            rows.add_row(_SYMBOLS.get(state, "·"), name, Text(state, styles.get(state, "red")), Text(detail, "dim"))
        rows.add_row("", Text(f"{time.monotonic() - started:.1f} s", "dim"))
        return rows

    with (
        without_echo(),
        Live(get_renderable=table, console=stderr(), refresh_per_second=8, transient=True) as live,
    ):

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
