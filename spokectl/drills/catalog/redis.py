"""Redis's master, replica and Sentinels: moved, killed, without a quorum."""

from spokectl.drills.breaks import killed
from spokectl.drills.drill import drill
from spokectl.drills.stage import Stage
from spokectl.operations.moves import MoveRequest
from spokectl.operations.redis import moves

GROUP = "Redis"


@drill(
    "redis-switchover",
    group=GROUP,
    breaks="nothing: Redis's master and replica change places while everything is well",
    holds="nothing that Redis has acknowledged is lost, and no request fails",
    objective={"redis_gap": 2.5, "redis_lost": 0, "failed": 0},
    in_ci=True,
)
def switchover(stage: Stage) -> None:
    stage.operate("switchover redis", lambda report: moves.switchover(stage.context, MoveRequest(), report))


@drill(
    "redis-kill",
    group=GROUP,
    breaks="Redis's master is killed; the Sentinels are left to it",
    holds="they agree on another master, and no request of the registry fails meanwhile",
    objective={"redis_gap": 5.0, "failed": 0},
    in_ci=True,
)
def kill_master(stage: Stage) -> None:
    master = stage.holder("master")
    other = stage.other(master)
    with stage.broken(killed(master)):
        stage.until(f"{other} is master", lambda: None if stage.holder("master") == other else "not yet")
        stage.go_on()
