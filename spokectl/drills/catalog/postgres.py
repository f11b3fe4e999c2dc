"""PostgreSQL's primary and standby: moved, killed, frozen."""

from spokectl.drills.breaks import frozen, killed
from spokectl.drills.drill import drill
from spokectl.drills.stage import Stage
from spokectl.operations.moves import MoveRequest
from spokectl.operations.postgres import moves

GROUP = "PostgreSQL"


@drill(
    "postgres-switchover",
    group=GROUP,
    breaks="nothing: PostgreSQL's primary and standby change places while everything is well",
    holds="writes wait for a moment, and none fails",
    objective={"rto": 2.0, "failed": 0},
    in_ci=True,
)
def switchover(stage: Stage) -> None:
    stage.operate("switchover postgres", lambda report: moves.switchover(stage.context, MoveRequest(), report))


@drill(
    "postgres-kill",
    group=GROUP,
    breaks="PostgreSQL's primary is killed, and `spokectl failover postgres` is typed",
    holds="the standby takes over with every acknowledged write, and the old primary joins again",
    objective={"rto": 8.0},
    in_ci=True,
)
def kill_primary(stage: Stage) -> None:
    with stage.broken(killed(stage.holder("primary"))):
        stage.operate("failover postgres", lambda report: moves.failover(stage.context, MoveRequest(), report))


@drill(
    "postgres-freeze",
    group=GROUP,
    breaks="PostgreSQL's primary stands still, is failed over, and goes on afterwards",
    holds="it is fenced before another is promoted: no write is acknowledged by both",
    objective={"rto": 10.0},
)
def freeze_primary(stage: Stage) -> None:
    with stage.broken(frozen(stage.holder("primary"))):
        stage.operate("failover postgres", lambda report: moves.failover(stage.context, MoveRequest(), report))
