"""The Spokes behind the load balancer: killed, frozen, restarted one after the other, all but one lost."""

from spokectl.drills.breaks import frozen, killed, stopped
from spokectl.drills.catalog.restarts import back_by_itself
from spokectl.drills.drill import drill
from spokectl.drills.stage import Stage
from spokectl.model import Kind

GROUP = "Spokes"


@drill(
    "spoke-kill",
    group=GROUP,
    breaks="a Spoke is killed and started again, one after the other",
    holds="the load balancer asks another one, and no request fails",
    objective={"rto": 3.0, "failed": 0},
    in_ci=True,
)
def kill_each(stage: Stage) -> None:
    for name in stage.names(Kind.SPOKE):
        with stage.broken(killed(name)):
            stage.go_on()


@drill(
    "spoke-crash",
    group=GROUP,
    breaks="a Spoke crashes, one after the other, and nobody types anything",
    holds="the load balancer asks another one, the runtime starts it again by itself, and no request fails",
    objective={"rto": 3.0, "failed": 0},
    in_ci=True,
)
def crash_each(stage: Stage) -> None:
    for name in stage.names(Kind.SPOKE):
        back_by_itself(stage, name)
        stage.go_on()


@drill(
    "spoke-freeze",
    group=GROUP,
    breaks="a Spoke stands still with its connections open, one after the other",
    holds="its requests are sent to another one when their time is up, and none fails or is applied twice",
    # A try lasts 6 s, and the client's next request may meet the frozen one again.
    objective={"rto": 7.0, "client_gap": 14.0, "failed": 0},
)
def freeze_each(stage: Stage) -> None:
    for name in stage.names(Kind.SPOKE):
        with stage.broken(frozen(name)):
            stage.go_on()


@drill(
    "spoke-rolling-restart",
    group=GROUP,
    breaks="every Spoke is stopped in good order and started again, one after the other",
    holds="requests under way are finished, new ones go to the others, and none fails",
    objective={"rto": 2.0, "failed": 0},
)
def rolling_restart(stage: Stage) -> None:
    for name in stage.names(Kind.SPOKE):
        with stage.broken(stopped(name)):
            pass
        stage.go_on()


@drill(
    "spoke-last-one",
    group=GROUP,
    breaks="all Spokes but one are killed at once",
    holds="the one that is left does all the work, and no request fails",
    objective={"rto": 3.0, "failed": 0},
)
def kill_all_but_one(stage: Stage) -> None:
    with stage.broken(killed(*stage.names(Kind.SPOKE)[:-1])):
        stage.go_on()
