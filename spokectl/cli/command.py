"""What every command has in common: its shared options, and how its answer reaches the streams.

A command function parses nothing and prints nothing: it calls one operation and returns an `Answer`. Data goes to stdout,
everything else to stderr.
"""

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from typer.core import TyperCommand, TyperGroup

from spokectl.cli import names
from spokectl.cli.query import Query, QueryType
from spokectl.errors import ExitCode, Failed, UsageError
from spokectl.printable import shortened
from spokectl.result import Result, dumps, envelope
from spokectl.settings import DEFAULT_STACK, StackState, stack_name
from spokectl.units import duration, seconds_of

DEFAULT_TIMEOUT_S = 120.0
STOP_TIMEOUT_HELP = (
    "How long to wait. It makes no grace period shorter: that is each service's own (stop_grace_period), after it the "
    "service is killed. At the end of this time the command names what still runs (exit 6); what was asked to stop goes on."
)


@dataclass(frozen=True)
class Call:
    """The shared options of the command that runs now."""

    command: str
    stack: str
    stack_named: bool
    """Whether --stack stood on the command line."""
    file: Path | None
    json: bool
    """Whether a program reads stdout: --json, or --query."""
    query: Query | None
    bare: bool
    """Whether --query stands without --json: a text that it finds has no quotes then."""
    quiet: bool
    verbose: bool
    no_input: bool
    """--no-input, or SPOKECTL_NO_INPUT: nobody answers, whatever standard input is."""

    def line(self, item: object) -> str:
        """One line of a stream as a program reads it, or what --query finds in it."""
        return dumps(item) if self.query is None else self.query.line(item, as_json=not self.bare)

    def envelope_line(self, result: Result) -> str:
        """The whole answer as a program reads it, or what --query finds in its data."""
        return self.line(envelope(self.command, result) if self.query is None else result.data)


@dataclass(frozen=True)
class Answer:
    """A result and how a person reads it: `text` prints it to stdout, and is not called with --json.

    `notes` are lines for stderr, such as the next command to type. With `streamed` the command has printed its data already.
    """

    result: Result
    text: Callable[[Any], None] | None = None
    notes: Sequence[str] = field(default=())
    streamed: bool = False


_call: ContextVar[Call] = ContextVar("call")


def current_call() -> Call:
    """The shared options. LookupError outside a command."""
    return _call.get()


def started_call() -> Call | None:
    """The shared options of the command that runs or ran."""
    return _call.get(None)


def started_command() -> str:
    """The command that runs or ran, empty when none has come so far."""
    call = _call.get(None)
    return call.command if call else ""


def started_stack() -> str:
    """The stack of the command that runs or ran, the default one when none has come so far."""
    call = _call.get(None)
    return call.stack if call else DEFAULT_STACK


class Duration(click.ParamType[float]):
    """Seconds, written `90`, `90s`, `1m30s` or `500ms`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            seconds = seconds_of(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds <= 0:
            self.fail("a duration is more than 0", param, ctx)
        return seconds


Timeout = Annotated[float, typer.Option(click_type=Duration(), help="How long to wait.")]


def shared_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--stack", "-s"],
            metavar="NAME",
            shell_complete=names.stacks,
            help="The stack to work on (SPOKECTL_STACK; default: spoke).",
        ),
        click.Option(["--file"], metavar="PATH", shell_complete=names.files, help="The stack file (SPOKECTL_FILE)."),
        click.Option(["--json"], is_flag=True, help="Print one JSON envelope on stdout."),
        click.Option(
            ["--query"], type=QueryType(), metavar="EXPR", help="Print only what this JMESPath expression finds in the data."
        ),
        click.Option(["--no-input"], is_flag=True, help="Ask nothing: a question is exit 3 (SPOKECTL_NO_INPUT)."),
        click.Option(["--quiet", "-q"], is_flag=True, help="Say nothing but errors, and the data that was asked for."),
        click.Option(["--verbose", "-v"], is_flag=True, help="Say more on stderr."),
    ]


class Command(TyperCommand):
    """A Typer command with the shared options; its function returns an Answer, which is written out here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(shared_options())
        for each in self.params:
            if isinstance(each, click.Option) and isinstance(each.type, Duration) and isinstance(each.default, float):
                # As it would be typed: not as so many seconds with a decimal.
                each.help, each.show_default = f"{each.help}  [default: {duration(each.default)}]", False

    def invoke(self, ctx: click.Context) -> Any:
        named = ctx.params.pop("file")
        if named == "":
            raise UsageError("no_stack_file", "--file names no stack file", actions=["leave --file out, or name one"])
        file = named or os.environ.get("SPOKECTL_FILE")
        call = Call(
            command=command_name(ctx),
            stack_named=ctx.params["stack"] is not None,
            stack=stack_name(ctx.params.pop("stack")),
            file=Path(file).absolute() if file else None,
            json=ctx.params["json"] or ctx.params["query"] is not None,
            bare=not ctx.params.pop("json"),
            query=ctx.params.pop("query"),
            quiet=ctx.params.pop("quiet"),
            verbose=ctx.params.pop("verbose"),
            no_input=ctx.params.pop("no_input") or bool(os.environ.get("SPOKECTL_NO_INPUT")),
        )
        _call.set(call)
        _heal_first(call)
        answer = super().invoke(ctx)
        return write(call, answer) if isinstance(answer, Answer) else ExitCode.OK


# Of an error: who types or sends a hundred thousand characters need not see them all again.
_LONGEST_LINE = 1000
# `down` ends it all; others heal by themselves, or only look.
_HEALS_NOT_FIRST = frozenset({"down", "drill heal", "drill run", "doctor", "report", "help", "completion"})


def _heal_first(call: Call) -> None:
    """Heals what a drill that has died left broken, before most commands."""
    if call.command in _HEALS_NOT_FIRST or not StackState(call.stack).faults_file.exists():
        return
    from spokectl.drills.healing import heal_first

    heal_first(call.stack, call.file, lambda sentence: None if call.quiet else click.echo(sentence, err=True))


def unknown(word: str, known: Sequence[str]) -> UsageError:
    """The error for a command that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    hint = f": did you mean {near[0]!r}?" if near else ""
    return UsageError("unknown_command", f"there is no command {word!r}{hint}", actions=["spokectl --help"])


class Noun(TyperGroup):
    """A noun with its verbs, such as `modules create`; a verb that does not exist is met with the nearest one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise unknown(f"{ctx.info_name} {args[0]}", [f"{ctx.info_name} {verb}" for verb in self.commands])
        return super().resolve_command(ctx, args)


def noun(summary: str) -> typer.Typer:
    """A Typer application for a noun, in this project's form."""
    return typer.Typer(
        cls=Noun,
        help=summary,
        rich_markup_mode=None,
        no_args_is_help=True,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def command_name(ctx: click.Context) -> str:
    """`modules create`: the words of the command, without the program's name."""
    words: list[str] = []
    context: click.Context | None = ctx
    while context is not None and context.parent is not None:
        words.insert(0, context.info_name or "")
        context = context.parent
    return " ".join(words)


def write(call: Call, answer: Answer) -> ExitCode:
    """Data to stdout, warnings, notes and the reason for an exit code other than 0 to stderr."""
    result = answer.result
    if not answer.streamed:
        if call.json:
            line, result = _for_a_program(call, result)
            sys.stdout.write(line)
        elif answer.text is not None:
            answer.text(result.data)
        sys.stdout.flush()
    if not call.json or call.query is not None:
        lines = [] if call.quiet else [f"warning: {warning}" for warning in result.warnings]
        if result.error is not None:
            lines += error_lines(result.error.message, result.error.actions)
        if not call.quiet and not call.json:
            lines += answer.notes
        for line in lines:
            click.echo(line, err=True)
    return result.exit_code


def _for_a_program(call: Call, result: Result) -> tuple[str, Result]:
    """The line for stdout; that a query does not fit comes after what the command itself has to say."""
    try:
        return call.envelope_line(result) + "\n", result
    except Failed as error:
        if result.error is None:
            return "", replace(result, exit_code=error.exit_code, error=error)
        return "", replace(result, warnings=(*result.warnings, error.message))


def error_lines(message: str, actions: Sequence[str]) -> list[str]:
    """An error for people: what happened, then what to type."""
    first, *rest = message.splitlines() or [""]
    lines = [f"error: {first}", *rest, *(f"  try: {action}" for action in actions)]
    return [shortened(line, _LONGEST_LINE) for line in lines]
