"""`status`, `ps`, `endpoints`, `logs` and `events`."""

import shlex
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Annotated, Any, TypeVar

import typer

from spokectl.cli import names
from spokectl.cli.command import Answer, Command, Duration, current_call
from spokectl.cli.streams import until_nobody_reads
from spokectl.errors import ExitCode
from spokectl.result import Result

app = typer.Typer(rich_markup_mode=None, add_completion=False)
Services = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SERVICE]...", autocompletion=names.services, help="All services when none is named."),
]

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="A duration (10m) or a time (2026-01-31T12:00).")]
Item = TypeVar("Item")


@app.command("status", cls=Command)
def status(
    services: Services = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(click_type=Duration(), help="With --watch: the time between two looks.")] = 2.0,
) -> Answer:
    """Show every service: its state, the role it says it has, its health and why. Exit 10 when one is not well.

    \b
    Examples:
      spokectl status
      spokectl status --watch
      spokectl status --json | jq '.data.services[] | select(.health != "healthy")'

    With --watch it is redrawn in place on a terminal, and goes on when servers or the whole stack are gone; off a terminal,
    or with --json, one block or line is printed at each change.
    """
    from spokectl.operations.observe import status as observe_status
    from spokectl.output.stack import print_status, scale_notes

    call = current_call()
    if watch:
        return _watched(services or [], interval)
    result = observe_status(call.stack, call.file, services or [])
    notes = scale_notes(call.stack, result.data.scaled)
    return Answer(result, text=print_status, notes=notes)


def _watched(services: list[str], interval_s: float) -> Answer:
    import time

    from spokectl.operations.observe import watch
    from spokectl.output.watch import watch as show

    call = current_call()
    try:
        looks = watch(call.stack, call.file, services, lambda: time.sleep(interval_s))
        with until_nobody_reads():
            show(looks, call.envelope_line if call.json else None)
    except KeyboardInterrupt:
        # The only way to end it: nothing has gone wrong, and nothing needs to be said.
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    return Answer(Result(None), streamed=True)


@app.command("ps", cls=Command)
def processes() -> Answer:
    """Show every service as the runtime sees it, without asking the servers.

    \b
    Examples:
      spokectl ps
      spokectl ps --json | jq -r '.data[] | "\\(.service) \\(.pid)"'
    """
    from spokectl.operations.observe import processes as observe_processes
    from spokectl.output.stack import print_processes

    call = current_call()
    return Answer(observe_processes(call.stack, call.file), text=print_processes)


@app.command("endpoints", cls=Command)
def endpoints(
    env: Annotated[bool, typer.Option("--env", help="Print variables for eval in a shell.")] = False,
    show_secrets: Annotated[bool, typer.Option("--show-secrets", help="With --env: passwords too.")] = False,
) -> Answer:
    """Show where to connect. Names are nodes, not roles: each address comes with the role observed now.

    \b
    Examples:
      spokectl endpoints
      eval "$(spokectl endpoints --env --show-secrets)" && psql "$DATABASE_URL"
    """
    from spokectl.operations.observe import access_points, client_environment
    from spokectl.output.stack import print_endpoints

    call = current_call()
    if env:
        values = client_environment(call.stack, call.file, show_secrets=show_secrets)
        return Answer(Result(values), text=_print_exports)
    return Answer(Result(access_points(call.stack, call.file)), text=print_endpoints)


@app.command("logs", cls=Command)
def logs(
    services: Services = None,
    follow: Follow = False,
    since: Since = None,
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=0, help="Only the last N lines.")] = None,
    grep: Annotated[str | None, typer.Option(metavar="REGEX", help="Only lines that match.")] = None,
) -> Answer:
    """Show the logs of all services, merged by time. With --json one JSON object a line.

    \b
    Examples:
      spokectl logs --tail 50
      spokectl logs -f spoke-1 spoke-2
      spokectl logs --since 10m --grep 'failover|switch-master'
    """
    from spokectl.operations.logs import read
    from spokectl.output.stack import print_log

    call = current_call()
    lines = read(call.stack, call.file, services or [], since=since, tail=tail, grep=grep, follow=follow)
    return _streamed(lines, lambda line: print_log(line, width=16), endless=follow)


@app.command("events", cls=Command)
def events(follow: Follow = False, since: Since = None) -> Answer:
    """Show who did what to what, why, and how it ended: this tool's operations, the guards' and the Sentinels' own moves.

    \b
    Examples:
      spokectl events --since 1h
      spokectl events -f
      spokectl events --json | jq 'select(.what == "+switch-master")'

    With --json one object a line.
    """
    from spokectl.operations.events import read
    from spokectl.output.stack import print_event

    call = current_call()
    return _streamed(read(call.stack, call.file, since=since, follow=follow), print_event, endless=follow)


def _streamed(items: Iterable[Item], show: Callable[[Item], None], *, endless: bool) -> Answer:
    """Each item as it comes: one JSON object a line with --json, else as `show` prints it."""
    try:
        with until_nobody_reads() if endless else nullcontext():
            for item in items:
                if current_call().json:
                    sys.stdout.write(current_call().line(item) + "\n")
                else:
                    show(item)
                sys.stdout.flush()
    except KeyboardInterrupt:
        # The usual way to end --follow: nothing has gone wrong, and nothing needs to be said.
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    return Answer(Result(None), streamed=True)


def _print_exports(values: Any) -> None:
    for name, value in values.items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
