"""The whole stack: two parts lost at once, all connections taken, everything killed, a soak."""

from spokectl.clients.crowd import IdleSessions
from spokectl.drills.breaks import killed
from spokectl.drills.drill import drill
from spokectl.drills.figures import API
from spokectl.drills.soak import Soak
from spokectl.drills.stage import Stage
from spokectl.drills.tool_breaks import up_killed
from spokectl.facts import PostgresFacts
from spokectl.model import Kind
from spokectl.operations.health import application_credentials, postgres_node, probe
from spokectl.operations.lifecycle import UpRequest, up
from spokectl.operations.registry import reached

GROUP = "The whole"
_LET_IN_WITHIN_S = 5.0


@drill(
    "nginx-and-spoke",
    group=GROUP,
    breaks="NGINX and a Spoke are killed at once; NGINX comes back first",
    holds="clients are served by the Spokes that are left, within seconds",
    objective={"rto": 8.0},
)
def nginx_and_spoke(stage: Stage) -> None:
    with stage.broken(killed(stage.names(Kind.SPOKE)[0])), stage.broken(killed(*stage.names(Kind.LOAD_BALANCER))):
        pass
    stage.go_on()


@drill(
    "redis-and-sentinel",
    group=GROUP,
    breaks="Redis's master and a Sentinel are killed at once",
    holds="the two Sentinels that are left agree on another master, and no request fails",
    objective={"redis_gap": 8.0, "failed": 0},
)
def redis_and_sentinel(stage: Stage) -> None:
    master = stage.holder("master")
    other = stage.other(master)
    with stage.broken(killed(master, stage.names(Kind.SENTINEL)[0])):
        stage.until(f"{other} is master", lambda: None if stage.holder("master") == other else "not yet")
        stage.go_on()


@drill(
    "s3-and-spoke",
    group=GROUP,
    breaks="the object store and a Spoke are killed at once, until a write is refused",
    holds="writes wait or are refused, nothing acknowledged is lost, and all goes on with the store",
)
def store_and_spoke(stage: Stage) -> None:
    def blocker() -> str | None:
        return None if any(each.layer == API and not each.ok for each in stage.load.saw.requests) else "they wait"

    with stage.broken(killed(*stage.names(Kind.S3), stage.names(Kind.SPOKE)[0])):
        stage.until("a write is refused", blocker, within_s=60.0)
    stage.go_on()


@drill(
    "connections-used-up",
    group=GROUP,
    breaks="an application opens sessions in PostgreSQL until it is refused, and keeps them",
    holds="the Spokes go on with theirs, operators are let in, and everybody is again as soon as they are closed",
    objective={"rto": 5.0, "failed": 0},
)
def connections_used_up(stage: Stage) -> None:
    nodes = stage.context.stack.of_kind(Kind.POSTGRES)
    primary = stage.context.stack.services[stage.holder("primary")]
    node = postgres_node(primary)
    facts = node.facts if node else None
    limit = facts.connections_max if isinstance(facts, PostgresFacts) else 0
    addresses = [reached(each.address(each.health.port)) for each in nodes]
    with IdleSessions(addresses, application_credentials(primary), limit) as sessions:
        with stage.ours("PostgreSQL's connections are used up", primary.name):
            refusal = sessions.fill()
            stage.note(f"{len(sessions)} sessions are open, the next one is told: {refusal}")
            stage.expect("the next one is refused in plain words", "slots" in refusal or "clients" in refusal, refusal)
            role = probe(primary).role
            stage.expect("operators are let in", role == "primary", f"{primary.name} says {role or 'nothing'}")
            stage.go_on()
            sessions.close()
        stage.until("applications are let in again", lambda: sessions.refusal() or None, within_s=_LET_IN_WITHIN_S)


@drill(
    "everything-killed",
    group=GROUP,
    breaks="every server is killed at the same moment, and `spokectl up` is typed",
    holds="a primary commits again within a minute, everybody comes back, and nothing acknowledged is lost",
    objective={"postgres_gap": 60.0},
)
def everything_killed(stage: Stage) -> None:
    with stage.broken(killed(*_everyone(stage))):
        _up(stage)
    stage.go_on()


@drill(
    "up-killed",
    group=GROUP,
    breaks="every server is killed, and so is `spokectl up` when half of them run again; it is typed once more",
    holds="the second one brings everybody back, one node is primary, and nothing acknowledged is lost",
    objective={"postgres_gap": 90.0},
)
def first_up_killed(stage: Stage) -> None:
    everyone = _everyone(stage)
    with stage.broken(killed(*everyone)), stage.broken(up_killed(*everyone)):
        _up(stage)
    stage.go_on()


@drill(
    "soak",
    group=GROUP,
    breaks="one thing after the other, by chance, for --soak-time: killed, stopped, frozen, cut off, restarted, moved",
    holds="the stack survives each, is well before the next one, and nothing acknowledged is lost; --seed repeats it",
    objective={"rto": 30.0},
)
def soak(stage: Stage) -> None:
    Soak(stage).run()


def _everyone(stage: Stage) -> list[str]:
    return [name for kind in Kind if kind is not Kind.JOB for name in stage.names(kind)]


def _up(stage: Stage) -> None:
    context = stage.context
    request = UpRequest(context.stack.name, context.stack.files[0])
    stage.operate("up", lambda report: up(request, report))
    stage.note(f"{stage.holder('primary')} is the primary")
