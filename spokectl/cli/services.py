"""`start`, `stop`, `restart`, `kill`, `pause`, `unpause` and `exec`."""

from typing import Annotated

import typer

from spokectl.cli import names
from spokectl.cli.command import DEFAULT_TIMEOUT_S, STOP_TIMEOUT_HELP, Answer, Command, Duration, current_call
from spokectl.errors import UsageError

app = typer.Typer(rich_markup_mode=None, add_completion=False)
Services = Annotated[list[str], typer.Argument(metavar="SERVICE...", autocompletion=names.services)]
Timeout = Annotated[float, typer.Option(click_type=Duration(), help="How long to wait until it has happened.")]
StopTimeout = Annotated[float, typer.Option(click_type=Duration(), help=STOP_TIMEOUT_HELP)]


def _act(action: str, services: list[str], timeout_s: float) -> Answer:
    from spokectl.operations.services import act
    from spokectl.output.stack import progress

    call = current_call()
    with progress(services, silent=call.json or call.quiet) as report:
        result = act(call.stack, call.file, action, services, timeout_s, report)
    return Answer(result, notes=[f"{each['service']}: {each['detail'] or each['state']}" for each in result.data])


@app.command("start", cls=Command)
def start(services: Services, timeout: Timeout = DEFAULT_TIMEOUT_S) -> Answer:
    """Start stopped services and wait until they answer.

    \b
    Example: spokectl start spoke-1
    """
    return _act("start", services, timeout)


@app.command("stop", cls=Command)
def stop(services: Services, timeout: StopTimeout = DEFAULT_TIMEOUT_S) -> Answer:
    """Stop services in good order; they stay down until `start` or `up`.

    \b
    Example: spokectl stop spoke-1 spoke-2
    """
    return _act("stop", services, timeout)


@app.command("restart", cls=Command)
def restart(services: Services, timeout: StopTimeout = DEFAULT_TIMEOUT_S) -> Answer:
    """Stop services in good order and start them again: those of one kind one after the other.

    \b
    Example: spokectl restart spoke-1 spoke-2 spoke-3
    """
    return _act("restart", services, timeout)


@app.command("kill", cls=Command)
def kill(services: Services, timeout: Timeout = DEFAULT_TIMEOUT_S) -> Answer:
    """End services at once with SIGKILL; they stay down until `start` or `up`.

    \b
    Example: spokectl kill postgres-primary
    """
    return _act("kill", services, timeout)


@app.command("pause", cls=Command)
def pause(services: Services, timeout: Timeout = DEFAULT_TIMEOUT_S) -> Answer:
    """Freeze services: their connections stay open and nobody answers.

    \b
    Example: spokectl pause redis-master
    """
    return _act("pause", services, timeout)


@app.command("unpause", cls=Command)
def unpause(services: Services, timeout: Timeout = DEFAULT_TIMEOUT_S) -> Answer:
    """Let paused services go on.

    \b
    Example: spokectl unpause redis-master
    """
    return _act("unpause", services, timeout)


@app.command("exec", cls=Command, context_settings={"ignore_unknown_options": True})
def execute(
    service: Annotated[str, typer.Argument(autocompletion=names.services)],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...")],
) -> None:
    """Run a command in a service, with its programs and its environment; the exit code is the command's.

    \b
    Examples:
      spokectl exec postgres-primary -- psql -c 'SELECT count(*) FROM modules'
      spokectl exec redis-master -- redis-cli INFO replication
      spokectl exec redis-sentinel-1 -- redis-cli -p 26379 SENTINEL masters
    """
    from spokectl.operations.services import execute as run

    call = current_call()
    if call.json:
        raise UsageError("no_json", "exec passes the command's own output through: it has no --json and no --query")
    raise typer.Exit(run(call.stack, call.file, service, command))
