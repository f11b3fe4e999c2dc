"""What `switchover` and `failover` have in common."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from spokectl.cli import names
from spokectl.cli.command import Answer, Duration, current_call
from spokectl.operations.context import Context
from spokectl.operations.moves import MoveRequest
from spokectl.operations.steps import Step
from spokectl.result import Report, Result

To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="NODE",
        autocompletion=names.role_nodes,
        help="The node that shall have the role; default: the one that has not.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the measured preconditions, every step and its undo; change nothing.")
]
Within = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        click_type=Duration(),
        help="How long all steps may take together; default: half a minute to five for each of them. Over before the role "
        "is given away, everything is put back (1); after that the move is finished all the same, and only the old node's "
        "return is not waited for any longer (12).",
    ),
]
Opener = Callable[[str, Path | None], Context]
Operation = Callable[[Context, MoveRequest, Report], Result]


def move(opened: Opener, operation: Operation, request: MoveRequest, steps: Sequence[Step[Any]]) -> Answer:
    """Runs the operation with its steps shown as they are taken; those that are not known before show when they begin."""
    from spokectl.output.moves import move_notes, print_move, refusal
    from spokectl.output.stack import progress

    call = current_call()
    context = opened(call.stack, call.file)
    with progress([step.id for step in steps], silent=call.json or call.quiet or request.dry_run) as report:
        result = operation(context, request, report)
    refused = refusal(call.stack, result.data, allow_data_loss=request.allow_data_loss)
    if refused and call.json:
        result = replace(result, warnings=(*result.warnings, refused))
    return Answer(result, text=print_move, notes=["", refused] if refused else move_notes(call.stack, result.data))
