"""`shell`: psql, redis-cli, or a look into the bucket."""

import shlex
import sys
from typing import Annotated

import typer

from spokectl.cli import names
from spokectl.cli.command import Command, current_call, error_lines, noun
from spokectl.cli.confirmation import require_no_terminal
from spokectl.errors import SpokectlError, UsageError
from spokectl.operations import shell

app = noun("A shell in whichever node has the role now: postgres, redis, s3.")
_PASS_ON = {"ignore_unknown_options": True}
Node = Annotated[
    str | None, typer.Option(metavar="NAME", autocompletion=names.role_nodes, help="This node, whatever its role.")
]
Arguments = Annotated[list[str] | None, typer.Argument(metavar="[-- ARGUMENT...]", show_default=False)]


@app.command("postgres", cls=Command, context_settings=_PASS_ON)
def postgres(arguments: Arguments = None, node: Node = None) -> None:
    """Open psql in the current primary, as the application's user. The exit code is psql's.

    \b
    Examples:
      spokectl shell postgres
      spokectl shell postgres -- -c 'SELECT count(*) FROM modules'
      spokectl shell postgres --node postgres-replica
    """
    call = current_call()
    _check(arguments)
    raise typer.Exit(shell.psql(call.stack, call.file, node, arguments or []))


@app.command("redis", cls=Command, context_settings=_PASS_ON)
def redis(arguments: Arguments = None, node: Node = None) -> None:
    """Open redis-cli in the current master. The exit code is redis-cli's.

    \b
    Examples:
      spokectl shell redis
      spokectl shell redis -- INFO memory
      spokectl shell redis --node redis-replica -- ROLE
    """
    call = current_call()
    _check(arguments)
    raise typer.Exit(shell.redis_cli(call.stack, call.file, node, arguments or []))


@app.command("s3", cls=Command, context_settings=_PASS_ON)
def s3(arguments: Arguments = None) -> None:
    """Look into the stack's bucket: `ls [PREFIX]`, `cat KEY`, read only; without words line by line, until `quit`.

    \b
    Examples:
      spokectl shell s3
      spokectl shell s3 -- ls blobs/
      eval "$(spokectl endpoints --env --show-secrets)" && aws s3 ls s3://spoke-storage

    The stack brings no AWS client; the last line shows how one of your own finds the store.
    """
    call = current_call()
    _check(arguments)
    store = shell.Store(call.stack, call.file)
    if arguments:
        _say(store, arguments)
        return
    while (words := _line(f"{store.bucket}> ")) not in (None, ["quit"], ["exit"]):
        try:
            if words:
                _say(store, words)
        except SpokectlError as error:
            typer.echo(error_lines(error.message, error.actions)[0], err=True)


def _say(store: shell.Store, words: list[str]) -> None:
    for part in store.answer(words):
        sys.stdout.buffer.write(part)
    sys.stdout.flush()


def _line(prompt: str) -> list[str] | None:
    """The words of the next line; None at the end of the input. Only a terminal is prompted."""
    try:
        return shlex.split(input(prompt if sys.stdin.isatty() else ""))
    except EOFError:
        return None
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        return []


def _check(arguments: list[str] | None) -> None:
    if current_call().json:
        raise UsageError("no_json", "a shell passes another program's output through: it has no --json and no --query")
    if not arguments:
        require_no_terminal("a shell's commands", "put the command behind --, or give it on standard input: < FILE")
