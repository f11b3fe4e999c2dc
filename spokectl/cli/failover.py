"""`failover`: another holder of a role in place of one that is lost."""

from typing import Annotated

import click
import typer

from spokectl.cli.command import Answer, Command, current_call, noun
from spokectl.cli.confirmation import confirm, require_answerer
from spokectl.cli.moves import DryRun, To, Within, move
from spokectl.errors import Refused

app = noun("Another holder of a role in place of one that is lost.")


@app.command("postgres", cls=Command)
def postgres(
    to: To = None,
    dry_run: DryRun = False,
    allow_data_loss: Annotated[
        bool, typer.Option("--allow-data-loss", help="Go on although acknowledged writes will be lost.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    timeout: Within = None,
) -> Answer:
    """Make the PostgreSQL standby primary in place of a lost primary.

    Two independent signs of death are wanted; a frozen or hanging primary is killed, and seen to be dead, before the
    record names another. A primary that is well is switched over instead. The old node is started and joins as a standby.
    With --allow-data-loss what would be lost is shown, and the stack's name is asked for; nothing where nothing would be.

    \b
    Examples:
      spokectl failover postgres --dry-run
      spokectl failover postgres
      spokectl failover postgres --allow-data-loss --yes
    """
    from spokectl.operations.moves import MoveRequest
    from spokectl.operations.postgres import moves
    from spokectl.operations.postgres.tables import FAILOVER_STEPS

    if allow_data_loss and not dry_run:
        allow_data_loss = _loss_is_agreed_to(to, yes=yes)
    return move(moves.open_pair, moves.failover, MoveRequest(to, dry_run, allow_data_loss, timeout), FAILOVER_STEPS)


def _loss_is_agreed_to(to: str | None, *, yes: bool) -> bool:
    """Whether writes may be lost: yes when the operator, who is shown what would be lost, says so.

    No, without a question, where nothing would be lost now, or where nothing would be done: should that change before the
    failover looks itself, it is refused.
    """
    from spokectl.operations.moves import MoveRequest
    from spokectl.operations.postgres import moves
    from spokectl.output.moves import loss_lines
    from spokectl.output.stack import progress

    call = current_call()
    question = f"Go on, although writes that the stack {call.stack} has acknowledged may be lost for good"
    require_answerer(question, yes=yes)
    if yes:
        return True
    context = moves.open_pair(call.stack, call.file)
    try:
        with progress([], silent=call.json or call.quiet) as report:
            planned = moves.failover(context, MoveRequest(to, dry_run=True, allow_data_loss=True), report)
    except Refused:
        return False
    lost = loss_lines(planned.data)
    for line in lost:
        click.echo(line, err=True)
    if lost:
        confirm(question, call.stack, type_name=True, yes=yes)
    return bool(lost)


@app.command("redis", cls=Command)
def redis(to: To = None, dry_run: DryRun = False, timeout: Within = None) -> Answer:
    """Make the Redis replica master in place of a lost master, without waiting until the Sentinels miss it.

    A frozen master is killed first. One that is well is switched over instead. The old node is started and follows.

    \b
    Examples:
      spokectl failover redis --dry-run
      spokectl failover redis
    """
    from spokectl.operations.moves import MoveRequest
    from spokectl.operations.redis import moves

    return move(moves.open_pair, moves.failover, MoveRequest(to, dry_run, timeout_s=timeout), ())
