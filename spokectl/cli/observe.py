"""`status`, `ps`, `endpoints` and `logs`."""

import shlex
import sys
from typing import Annotated, Any

import typer

from spokectl.cli.command import Answer, Command, current_call
from spokectl.errors import ExitCode
from spokectl.result import Result, dumps

app = typer.Typer(rich_markup_mode=None, add_completion=False)
Services = Annotated[list[str] | None, typer.Argument(metavar="[SERVICE]...", help="All services when none is named.")]


@app.command("status", cls=Command)
def status(services: Services = None) -> Answer:
    """Show every service: its state, the role it says it has, its health and why. Exit 10 when one is not well.

    \b
    Examples:
      spokectl status
      spokectl status --json | jq '.data.services[] | select(.health != "healthy")'
    """
    from spokectl.operations.observe import status as observe_status
    from spokectl.output.stack import print_status

    call = current_call()
    result = observe_status(call.stack, call.file, services or [])
    return Answer(result, text=lambda data: print_status(data.services))


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
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")] = False,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="A duration (10m) or a time (2026-01-31T12:00).")] = None,
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
    from spokectl.output.stack import print_logs

    call = current_call()
    lines = read(call.stack, call.file, services or [], since=since, tail=tail, grep=grep, follow=follow)
    try:
        if call.json:
            for line in lines:
                sys.stdout.write(dumps(line) + "\n")
                sys.stdout.flush()
        else:
            print_logs(lines, width=16)
    except KeyboardInterrupt:
        # The usual way to end --follow: nothing has gone wrong, and nothing needs to be said.
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    return Answer(Result(None), streamed=True)


def _print_exports(values: Any) -> None:
    for name, value in values.items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
