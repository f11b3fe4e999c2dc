"""`doctor` and `report`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from spokectl.cli.command import Answer, Command, current_call

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("doctor", cls=Command)
def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what is safe to mend, say what was done, and look again.")
    ] = False,
) -> Answer:
    """Check this machine and the stack on it. Exit 10 when there is a problem.

    \b
    Examples:
      spokectl doctor
      spokectl doctor --fix
      spokectl doctor --json | jq '.data.checks[] | select(.verdict == "problem")'

    Each check is ok, a warning, a problem, or not checked; what is not ok says why it matters and what mends it. It works
    without a stack, without an engine, and with a stack file that cannot be read.

    --fix removes pid files and sockets whose process is gone, closes files of the stack's state to other users, and heals
    what a drill that has died left broken. It loses no data, stops nothing, and starts nothing that somebody has stopped.
    """
    from spokectl.operations.doctor.examine import examine
    from spokectl.output.doctor import print_examined

    call = current_call()

    def heal(told: Callable[[str], None]) -> object:
        from spokectl.drills.healing import heal_left_behind

        return heal_left_behind(call.stack, call.file, told)

    return Answer(examine(call.stack, call.file, heal=heal if fix else None), text=print_examined)


@app.command("report", cls=Command)
def report(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write it; an existing file stays as it is."),
    ] = None,
) -> Answer:
    """Put all that tells how the stack is into one archive, with every secret replaced, and say what is in it.

    \b
    Examples:
      spokectl report
      spokectl report -o /tmp/spoke.tar.gz
      tar -xzOf "$(spokectl report --json | jq -r .data.file)" --wildcards '*/doctor.json' | jq .

    In it: versions, doctor's findings, status, settings, events, the ledger, the last lines of every log, containers or
    processes, and the stack file. What could not be gathered is said in its errors.txt. Without -o it is written to the
    current folder. Only you may read it.
    """
    from spokectl.operations.report import write_report
    from spokectl.output.doctor import print_report

    call = current_call()
    result = write_report(call.stack, call.file, output)
    return Answer(result, text=print_report, notes=[f"Look through it before you give it away: tar -xzf {result.data.file}"])
