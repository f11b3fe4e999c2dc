"""The command tree, and the only place where an error becomes an exit code.

Only the module of the command that runs is imported: the table below is all that `--help` and completion need.
"""

import importlib
import io
import os
import select
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click
import typer.main

from spokectl import __version__
from spokectl.cli.command import error_lines, shared_options, started_call, started_command, started_stack, unknown
from spokectl.errors import ExitCode, Failed, Interrupted, SpokectlError, UsageError
from spokectl.printable import printable
from spokectl.result import dumps, error_envelope
from spokectl.settings import command_line


class Entry(NamedTuple):
    """`module` holds the Typer application `app`; for a bare verb, its command of the same name."""

    module: str
    group: str
    summary: str


STACK, SERVICES, ROLES, REGISTRY = "The stack", "Its services", "Who is primary", "The registry"
TOOL = "This tool"

COMMANDS: dict[str, Entry] = {
    "up": Entry("lifecycle", STACK, "Bring the stack up, or repair it, and wait until it answers"),
    "down": Entry("lifecycle", STACK, "Stop everything; data stays unless --volumes"),
    "status": Entry("observe", STACK, "Every service: state, role asked from the server, health and why"),
    "ps": Entry("observe", STACK, "Every service as the runtime sees it"),
    "endpoints": Entry("observe", STACK, "Where to connect, with the observed role of each port"),
    "logs": Entry("observe", STACK, "Logs of all services, merged by time"),
    "events": Entry("observe", STACK, "Who did what to what, why, and how it ended; also guards and Sentinels"),
    "doctor": Entry("doctor", STACK, "Check the machine and the stack: what is wrong, why it matters, what mends it"),
    "report": Entry("doctor", STACK, "One archive for whoever helps: state, logs, settings; secrets replaced"),
    "metrics": Entry("metrics", STACK, "The series of every Spoke and the collector, side by side"),
    "config": Entry("config", STACK, "The stack's settings: list, get, set, unset"),
    "start": Entry("services", SERVICES, "Start stopped services"),
    "stop": Entry("services", SERVICES, "Stop services in good order; they stay down"),
    "restart": Entry("services", SERVICES, "Stop and start services"),
    "kill": Entry("services", SERVICES, "End services with SIGKILL; they stay down"),
    "pause": Entry("services", SERVICES, "Freeze services"),
    "unpause": Entry("services", SERVICES, "Let paused services go on"),
    "scale": Entry("scale", SERVICES, "More Spokes, or fewer, without a failed request"),
    "lb": Entry("lb", SERVICES, "The load balancer: status, test, reload"),
    "exec": Entry("services", SERVICES, "Run a command in a service"),
    "shell": Entry("shell", SERVICES, "psql, redis-cli or the bucket, in whichever node has the role now"),
    "postgres": Entry("postgres", SERVICES, "PostgreSQL's nodes: status, lag, slots, connections, reinit, adopt"),
    "redis": Entry("redis", SERVICES, "Redis's nodes and Sentinels: status, info, sentinels, reset-sentinels"),
    "cache": Entry("cache", SERVICES, "The caches of versions: stats, keys, bench, flush"),
    "switchover": Entry("switchover", ROLES, "Planned move of a role: postgres, redis"),
    "failover": Entry("failover", ROLES, "Replace the lost holder of a role: postgres, redis"),
    "drill": Entry("drill", ROLES, "Break the stack on purpose, and measure what it promises"),
    "modules": Entry("modules", REGISTRY, "Modules: list, create, get, update, delete"),
    "versions": Entry("versions", REGISTRY, "Versions: push, pull, list, get, file, diff, delete"),
    "help": Entry("help", TOOL, "A topic (exit-codes, json, query, environment), or a command's --help"),
    "completion": Entry("completion", TOOL, "The script that teaches bash, zsh or fish to complete live names"),
}


class LazyGroup(click.Group):
    """The root command: knows every command's name and summary, imports one only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"spokectl.cli.{entry.module}")
        command = typer.main.get_command(module.app)
        if isinstance(command, click.Group) and cmd_name in command.commands:
            return command.get_command(ctx, cmd_name)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise unknown(args[0], list(COMMANDS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for group in (STACK, SERVICES, ROLES, REGISTRY, TOOL):
            with formatter.section(group):
                formatter.write_dl([(name, e.summary) for name, e in COMMANDS.items() if e.group == group])


@click.group(
    cls=LazyGroup,
    name="spokectl",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 confirmation needed, 4 not found, 5 refused, 6 outcome unknown, "
    "10 degraded, 11 objective missed, 12 incomplete, 130 interrupted, 141 nobody reads the output: "
    "spokectl help exit-codes.",
)
@click.version_option(__version__, "-V", "--version", prog_name="spokectl", message="%(prog)s %(version)s")
def root() -> None:
    """Bring up, look at and operate a highly available Spoke, the Protobuf schema registry, on one machine.

    \b
    Examples:
      spokectl up                                  the whole stack, ready in seconds
      spokectl modules create payments -d "…"      a module
      spokectl versions push payments v1.0.0 ./protos
      spokectl status                              what state it is really in
      spokectl down                                stop it; the data stays
    """


def run(argv: Sequence[str]) -> int:
    """Runs one command line and gives its exit code; every expected failure has become a message by then."""
    try:
        if instruction := os.environ.get("_SPOKECTL_COMPLETE"):
            from spokectl.cli.completion import complete

            return complete(root, instruction)
        return _run(argv)
    except BrokenPipeError:
        return ExitCode.NOBODY_READS
    except OSError as error:
        # Not even the envelope of the error could be written.
        click.echo(error_lines(_system(error).message, ())[0], err=True)
        return ExitCode.FAILED
    finally:
        _end_output()


def _run(argv: Sequence[str]) -> int:
    try:
        for stream in (sys.stdout, sys.stderr):
            # A stream that cannot show a character shows its escape: output is never lost to a locale.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        code = _dispatched(argv)
        return int(code) if isinstance(code, int) else ExitCode.OK
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            raise
        if os.environ.get("SPOKECTL_DEBUG") and not isinstance(error, _EXPECTED):
            raise
        # Behind `--` stand the words of another program.
        own = argv[: argv.index("--")] if "--" in argv else argv
        return _fail(_explained(error), _command_word(own), json=_wants_envelope(own))


def _dispatched(argv: Sequence[str]) -> object:
    """What the command gives. A broken pipe as it was raised: click would end the process, with 1, whichever pipe it is."""
    try:
        return root.main(args=list(argv), prog_name="spokectl", standalone_mode=False)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            raise end.__context__ from None
        raise


def _nobody_reads() -> bool:
    """Whether it is stdout or stderr whose reader went away (`| head`): a connection that breaks is a failure."""
    streams = select.poll()
    for number in (1, 2):
        streams.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in streams.poll(0))


def _end_output() -> None:
    """What a stream does not take has no destination: nor has it at the interpreter's exit, which would complain."""
    for stream, number in ((sys.__stdout__, 1), (sys.__stderr__, 2)):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)


_EXPECTED = (SpokectlError, click.ClickException, click.Abort, KeyboardInterrupt, OSError)


def _explained(error: BaseException) -> SpokectlError:
    match error:
        case SpokectlError():
            return error
        case click.UsageError():
            return _usage(error)
        case click.Abort() | KeyboardInterrupt():
            # click raises its own in place of what it was.
            return _interrupted(error.__cause__ if isinstance(error, click.Abort) else error)
        case OSError():
            return _system(error)
        case _:
            return _defect(error)


def _fail(error: SpokectlError, command: str, *, json: bool) -> int:
    if json:
        sys.stdout.write(dumps(error_envelope(started_command() or command, error)) + "\n")
        sys.stdout.flush()
    else:
        for line in error_lines(error.message, error.actions):
            click.echo(line, err=True)
    return error.exit_code


def _wants_envelope(argv: Sequence[str]) -> bool:
    """With --query stdout has what that finds, or nothing: the error is for people then, on stderr."""
    call = started_call()
    if call is not None:
        return call.json and call.query is None
    return "--json" in argv and not any(word == "--query" or word.startswith("--query=") for word in argv)


def _command_word(argv: Sequence[str]) -> str:
    """The command that was meant, for the envelope of an error that came before it could start."""
    return next((word for word in argv if word in COMMANDS), "")


def _usage(error: click.UsageError) -> UsageError:
    message = error.format_message().rstrip(".")
    path = error.ctx.command_path if error.ctx else "spokectl"
    help_line = f"{path} --help"
    if isinstance(error, click.NoSuchOption) and error.ctx and isinstance(error.ctx.command, click.Group):
        shared = {word for option in shared_options() for word in option.opts}
        if error.option_name in shared:
            message = f"{error.option_name} stands behind the command"
            help_line = f"{path} COMMAND {error.option_name} …"
    return UsageError("usage", message[:1].lower() + message[1:], actions=[help_line])


class _Interrupted(SpokectlError):
    exit_code = ExitCode.INTERRUPTED


def _interrupted(by: BaseException | None) -> SpokectlError:
    if isinstance(by, Interrupted):
        return _Interrupted("interrupted", by.message, actions=by.actions)
    return _Interrupted(
        "interrupted",
        "interrupted; the next command shows how far it came",
        actions=[command_line(started_stack(), "status")],
    )


def _system(error: OSError) -> SpokectlError:
    where = f" ({printable(str(error.filename))})" if error.filename else ""
    return SpokectlError("system_error", f"the system refused: {error.strerror or error}{where}")


def _defect(error: BaseException) -> SpokectlError:
    return Failed(
        "internal_error",
        f"a defect of spokectl: {type(error).__name__}: {error}",
        actions=["repeat the command with SPOKECTL_DEBUG=1 for the traceback, and report it"],
    )


def main(argv: Sequence[str] | None = None) -> Any:
    """For tests that call the tool in their own process."""
    return run(sys.argv[1:] if argv is None else argv)
