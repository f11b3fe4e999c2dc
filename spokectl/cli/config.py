"""`config`: the stack's settings."""

import sys
from typing import Annotated, Any

import click
import typer

from spokectl.cli import names
from spokectl.cli.command import Answer, Command, current_call, noun
from spokectl.cli.confirmation import may_ask
from spokectl.cli.stdin import text_argument
from spokectl.errors import UsageError
from spokectl.operations import settings
from spokectl.operations.secret_settings import is_secret
from spokectl.printable import printable
from spokectl.settings import command_line

app = noun("The settings of the stack: every ${NAME} in its file.")


@app.command("list", cls=Command)
def listed(
    show_secrets: Annotated[bool, typer.Option("--show-secrets", help="Show passwords.")] = False,
) -> Answer:
    """List every setting, its value and where that comes from (shell, file, or the stack file's default)."""
    from spokectl.output.stack import print_settings

    call = current_call()
    return Answer(settings.listed(call.stack, call.file, show_secrets=show_secrets), text=print_settings)


@app.command("get", cls=Command)
def get(name: Annotated[str, typer.Argument(autocompletion=names.settings)]) -> Answer:
    """Print one setting's value."""
    call = current_call()
    return Answer(settings.value_of(call.stack, call.file, name), text=_print_value)


@app.command("set", cls=Command)
def keep(pairs: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", autocompletion=names.assignments)]) -> Answer:
    """Keep values for this stack.

    \b
    Examples:
      spokectl config set SPOKE_POSTGRES_MAX_CONNS=50
      spokectl config set SPOKE_LOG_LEVEL=debug SPOKE_REDIS_POOL_SIZE=20
      spokectl config set SPOKE_REDIS_PASSWORD=- < password.txt

    NAME=- reads the value from standard input: one line, without its line break; on a terminal it is asked for. So a
    password stands neither in the list of processes nor in the shell's history.
    """
    call = current_call()
    return Answer(settings.keep(call.stack, call.file, pairs, _read_value), notes=[_next(call.stack)])


@app.command("unset", cls=Command)
def forget(given: Annotated[list[str], typer.Argument(metavar="NAME...", autocompletion=names.settings)]) -> Answer:
    """Go back to the stack file's defaults."""
    call = current_call()
    result = settings.forget(call.stack, call.file, given)
    return Answer(result, notes=[_next(call.stack) if result.data["unset"] else "Nothing of it was set for this stack."])


def _next(stack: str) -> str:
    return f"It holds from the next: {command_line(stack, 'up')}"


def _read_value(name: str) -> str:
    """The value for `NAME=-`."""
    if may_ask():
        return str(click.prompt(name, hide_input=is_secret(name), err=True))
    value = text_argument("-").removesuffix("\r")
    if not value:
        raise UsageError("no_input", f"there is no value for {name} on standard input")
    return value


def _print_value(setting: Any) -> None:
    sys.stdout.write(printable(setting.value) + "\n")
