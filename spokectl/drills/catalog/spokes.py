"""The Spokes behind the load balancer: killed, restarted one after the other."""

from spokectl.drills.breaks import killed
from spokectl.drills.drill import drill
from spokectl.drills.stage import Stage
from spokectl.model import Kind

GROUP = "Spokes"


@drill(
    "spoke-kill",
    group=GROUP,
    breaks="a Spoke is killed and started again, one after the other",
    holds="the load balancer asks another one, and no request fails",
    objective={"failed": 0},
    in_ci=True,
)
def kill_each(stage: Stage) -> None:
    for name in stage.names(Kind.SPOKE):
        with stage.broken(killed(name)):
            stage.go_on()
