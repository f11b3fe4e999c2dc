"""`failover`: another holder of a role in place of one that is lost."""

from typing import Annotated

import typer

from spokectl.cli.command import Answer, Command, current_call, noun
from spokectl.cli.confirmation import confirm
from spokectl.cli.moves import DryRun, To, move

app = noun("Another holder of a role in place of one that is lost.")


@app.command("postgres", cls=Command)
def postgres(
    to: To = None,
    dry_run: DryRun = False,
    allow_data_loss: Annotated[
        bool, typer.Option("--allow-data-loss", help="Go on although acknowledged writes will be lost.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> Answer:
    """Make the PostgreSQL standby primary in place of a lost primary.

    Two independent signs of death are wanted; a frozen or hanging primary is killed, and seen to be dead, before the
    record names another. A primary that is well is switched over instead. The old node is started and joins as a standby.

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
        stack = current_call().stack
        confirm(f"Writes that {stack} has acknowledged may be lost for good", stack, type_name=True, yes=yes)
    return move(moves.open_pair, moves.failover, MoveRequest(to, dry_run, allow_data_loss), FAILOVER_STEPS)


@app.command("redis", cls=Command)
def redis(to: To = None, dry_run: DryRun = False) -> Answer:
    """Make the Redis replica master in place of a lost master, without waiting until the Sentinels miss it.

    A frozen master is killed first. One that is well is switched over instead. The old node is started and follows.

    \b
    Examples:
      spokectl failover redis --dry-run
      spokectl failover redis
    """
    from spokectl.operations.moves import MoveRequest
    from spokectl.operations.redis import moves

    return move(moves.open_pair, moves.failover, MoveRequest(to, dry_run), ())
