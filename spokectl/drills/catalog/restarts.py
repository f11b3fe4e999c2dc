"""Services that crash and that the runtime starts again, and services whose loss nobody should notice."""

from spokectl.drills.breaks import crashed, frozen, killed, stopped
from spokectl.drills.drill import Need, drill
from spokectl.drills.stage import Stage
from spokectl.model import Kind, RunState
from spokectl.operations.health import probe

GROUP = "Those that nobody should miss"
_BACK_WITHIN_S = 60.0
_WAYS = (killed, stopped, frozen)


@drill(
    "redis-replica-lost",
    group=GROUP,
    breaks="Redis's replica is killed, stopped, frozen, and crashes",
    holds="the master goes on as master, no request fails, and the replica follows it again each time",
    objective={"redis_gap": 2.0, "redis_lost": 0, "failed": 0},
)
def replica_lost(stage: Stage) -> None:
    master = stage.holder("master")
    _lose_each_way(stage, stage.other(master))
    expect_same_master(stage, master)


@drill(
    "sentinel-each-lost",
    group=GROUP,
    breaks="one Sentinel after the other is killed, stopped, frozen, and crashes",
    holds="the two others go on, nobody is promoted, and no request fails",
    objective={"redis_gap": 2.0, "redis_lost": 0, "failed": 0},
)
def each_sentinel_lost(stage: Stage) -> None:
    master = stage.holder("master")
    for name in stage.names(Kind.SENTINEL):
        _lose_each_way(stage, name)
    expect_same_master(stage, master)


@drill(
    "collector-lost",
    group=GROUP,
    breaks="the OpenTelemetry Collector is killed, stopped, frozen, and crashes",
    holds="no request fails or waits for it",
    objective={"rto": 2.0, "read_gap": 2.0, "failed": 0},
    needs=(Need.COLLECTOR,),
)
def collector_lost(stage: Stage) -> None:
    for name in stage.names(Kind.COLLECTOR):
        _lose_each_way(stage, name)


def expect_same_master(stage: Stage, master: str) -> None:
    """Nobody has taken the role from it."""
    holder = stage.holder("master")
    stage.expect("the master is the same", holder == master, f"it is {holder}")


def back_by_itself(stage: Stage, name: str) -> None:
    """It crashes; the runtime has to start it again, so that it answers, before anybody heals."""
    service = stage.context.stack.services[name]
    before = stage.context.runtime.inspect()[name]

    def blocker() -> str | None:
        # Processes of the one that has crashed, as NGINX's workers, may answer still.
        now = stage.context.runtime.inspect()[name]
        if now.state is not RunState.RUNNING or now.started_at == before.started_at:
            return f"it is {now.state}"
        return None if (health := probe(service)).ok else health.reason or "it does not answer"

    with stage.broken(crashed(name)):
        stage.until(f"{name} is back by itself", blocker, _BACK_WITHIN_S)


def _lose_each_way(stage: Stage, name: str) -> None:
    for fault in _WAYS:
        with stage.broken(fault(name)):
            stage.go_on()
    back_by_itself(stage, name)
    stage.go_on()
