"""`switchover`: planned moves of a role, with everything alive."""

from spokectl.cli.command import Answer, Command, noun
from spokectl.cli.moves import DryRun, To, Within, move

app = noun("Planned moves of a role: both nodes are well, nothing is lost, no request fails.")


@app.command("postgres", cls=Command)
def postgres(to: To = None, dry_run: DryRun = False, timeout: Within = None) -> Answer:
    """Make the PostgreSQL standby primary, and the primary its standby.

    Every precondition is measured first; when one does not hold, nothing is changed (exit 5). Up to the point where the
    cluster record names the new primary any failure puts everything back. Broken off, it is ended by the next
    `switchover`, `failover` or `up`.

    \b
    Examples:
      spokectl switchover postgres --dry-run
      spokectl switchover postgres
      spokectl switchover postgres --to postgres-primary
    """
    from spokectl.operations.moves import MoveRequest
    from spokectl.operations.postgres import moves
    from spokectl.operations.postgres.tables import SWITCHOVER_STEPS

    return move(moves.open_pair, moves.switchover, MoveRequest(to, dry_run, timeout_s=timeout), SWITCHOVER_STEPS)


@app.command("redis", cls=Command)
def redis(to: To = None, dry_run: DryRun = False, timeout: Within = None) -> Answer:
    """Make the Redis replica master, and the master its replica.

    Writes to the cache are paused meanwhile, or the server hands over by itself where it can (Valkey 9): nothing that was
    acknowledged is lost.

    \b
    Examples:
      spokectl switchover redis --dry-run
      spokectl switchover redis
    """
    from spokectl.operations.moves import MoveRequest
    from spokectl.operations.redis import moves

    return move(moves.open_pair, moves.switchover, MoveRequest(to, dry_run, timeout_s=timeout), ())
