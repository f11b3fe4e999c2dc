"""What drills of PostgreSQL's nodes have in common: how the role is moved, what must be so on both nodes afterwards."""

from spokectl.drills.postgres_breaks import in_database, rows
from spokectl.drills.stage import Stage
from spokectl.errors import Failed, NotFound, Refused
from spokectl.model import Kind
from spokectl.operations.moves import MoveData, MoveRequest
from spokectl.operations.postgres import moves
from spokectl.operations.postgres.guard import ClusterRecord, guard_word, newest
from spokectl.result import Report, Result

_SAME_WITHIN_S = 60.0
_COMMITS_WAIT = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def failover(stage: Stage, *, allow_data_loss: bool = False) -> MoveData:
    """`spokectl failover postgres`, which has to be done."""
    words = "failover postgres" + (" --allow-data-loss" if allow_data_loss else "")
    request = MoveRequest(allow_data_loss=allow_data_loss)
    moved: MoveData = stage.operate(words, lambda report: moves.failover(stage.context, request, report)).data
    return moved


def failover_is_refused(stage: Stage, *codes: str) -> Refused | None:
    """The same, which has to be refused."""

    def act(report: Report) -> Result:
        return moves.failover(stage.context, MoveRequest(), report)

    error = stage.refused("failover postgres", act, *codes)
    return error if isinstance(error, Refused) else None


def record(stage: Stage) -> ClusterRecord | None:
    """The cluster record; None while no guard can be asked for it."""
    return newest(guard_word(stage.context.runtime, each.name).record for each in stage.context.stack.of_kind(Kind.POSTGRES))


def until_mode(stage: Stage, mode: str, within_s: float) -> bool:
    """Waits until the record says so; whether it does."""

    def blocker() -> str | None:
        found = record(stage)
        return None if found and found.mode == mode else f"the record says {found.mode if found else 'nothing'}"

    return stage.until(f"the record says {mode}", blocker, within_s)


def until_commits_wait(stage: Stage, primary: str) -> None:
    """Waits until a commit is on the primary, and nobody has been told of it."""

    def blocker() -> str | None:
        return None if int(in_database(stage.context, primary, _COMMITS_WAIT)) else "no commit waits"

    stage.until("a commit waits for the standby", blocker, 10.0)


def expect_no_failover(stage: Stage, before: ClusterRecord | None) -> None:
    """Nobody has taken the role from the primary."""
    after = record(stage)
    same = before is not None and after is not None and (before.primary, before.epoch) == (after.primary, after.epoch)
    stage.expect("nobody else is made primary", same, f"the record names {after.primary if after else 'nobody'}")


def expect_same_rows(stage: Stage) -> None:
    """The standby has every row of the primary, and none that the primary has not. Clients may go on writing."""
    primary = stage.holder("primary")
    standby = stage.other(primary)
    wanted = set(rows(stage.context, primary))
    there: set[str] = set()

    def blocker() -> str | None:
        try:
            there.update(rows(stage.context, standby))
        except (Failed, NotFound) as error:
            return error.message
        missing = len(wanted - there)
        return f"{missing} of {len(wanted)} rows are not on {standby}" if missing else None

    stage.until("the standby has every row of the primary", blocker, _SAME_WITHIN_S)
    alone = there - set(rows(stage.context, primary))
    stage.expect("the standby has no row of its own", not alone, f"{len(alone)} rows are on {standby} only")
