"""Redis's master, replica and Sentinels: moved, killed, frozen, without a quorum, all gone."""

from contextlib import closing

from spokectl.clients.probe import NoAnswer, get
from spokectl.clients.redis import RedisUnavailable, SentinelView, observe_sentinel
from spokectl.clients.writers import RegistryWriter, remove_module
from spokectl.drills.breaks import configuration_lost, frozen, killed, removed, stopped
from spokectl.drills.catalog.restarts import back_by_itself, expect_same_master
from spokectl.drills.drill import Need, drill
from spokectl.drills.faults import Fault
from spokectl.drills.figures import REDIS
from spokectl.drills.stage import Stage
from spokectl.drills.ways import removal_of
from spokectl.model import Kind
from spokectl.operations.health import PROBE_TIMEOUT_S, probe
from spokectl.operations.moves import MoveRequest
from spokectl.operations.redis import moves
from spokectl.operations.registry import address_of
from spokectl.wait import Deadline, wait_until

GROUP = "Redis"
_TILT_AFTER_S = 2.0
_TILT_ENDS_WITHIN_S = 120.0
_KNOWN_WITHIN_S = 60.0
_OK, _NOT_FOUND = 200, 404
_ASKED_TIMES = 10


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
    _taken_over(stage, killed(stage.holder("master")))


@drill(
    "redis-stop",
    group=GROUP,
    breaks="Redis's master is stopped in good order, and its name with it; the Sentinels are left to it",
    holds="they agree on another master, and no request of the registry fails meanwhile",
    objective={"redis_gap": 5.0, "failed": 0},
)
def stop_master(stage: Stage) -> None:
    _taken_over(stage, stopped(stage.holder("master")))


@drill(
    "redis-freeze",
    group=GROUP,
    breaks="Redis's master stands still with its connections open; the Sentinels are left to it, then it goes on",
    holds="another one is master, the old one follows it when it is back, and no request of the registry fails",
    # A client of its own waits 2 s for an answer before it asks the Sentinels again.
    objective={"redis_gap": 8.0, "failed": 0},
)
def freeze_master(stage: Stage) -> None:
    _taken_over(stage, frozen(stage.holder("master")))


@drill(
    "redis-crash",
    group=GROUP,
    breaks="Redis's master crashes, and nobody types anything",
    holds="the runtime starts it again by itself, one of the two is master, and no request of the registry fails",
    objective={"redis_gap": 8.0, "failed": 0},
)
def crash_master(stage: Stage) -> None:
    back_by_itself(stage, stage.holder("master"))
    stage.go_on()


@drill(
    "redis-failover",
    group=GROUP,
    breaks="Redis's master is killed, and `spokectl failover redis` is typed",
    holds="another one is master at once, and the old one is its replica when the command ends",
    objective={"redis_gap": 5.0, "failed": 0},
)
def failover(stage: Stage) -> None:
    master = stage.holder("master")
    with stage.broken(killed(master)):
        stage.operate("failover redis", lambda report: moves.failover(stage.context, MoveRequest(), report))
        role = probe(stage.context.stack.services[master]).role
        stage.expect(f"{master} is replica", role == "replica", f"it says {role or 'nothing'}")


@drill(
    "redis-new-address",
    group=GROUP,
    breaks="Redis's master and a Sentinel are removed, and come back with each other's addresses or new ones",
    holds="they are found by their names, the old master follows the new one, and no request fails",
    objective={"redis_gap": 8.0, "failed": 0},
    needs=(Need.ENGINE,),
)
def new_address(stage: Stage) -> None:
    master = stage.holder("master")
    # The Sentinel is made first: it takes the address that the master had.
    _taken_over(stage, removed(stage.names(Kind.SENTINEL)[0], master))


@drill(
    "sentinel-one-down",
    group=GROUP,
    breaks="one of three Sentinels is killed, then Redis's master",
    holds="the two that are left agree on another master, and no request fails",
    objective={"redis_gap": 8.0, "failed": 0},
)
def one_sentinel_down(stage: Stage) -> None:
    with stage.broken(killed(stage.names(Kind.SENTINEL)[0])):
        stage.go_on()
        _taken_over(stage, killed(stage.holder("master")))


@drill(
    "sentinel-two-down",
    group=GROUP,
    breaks="two of three Sentinels are killed, then Redis's master",
    holds="nobody is promoted, status and failover say why; with the Sentinels back it fails over; no request fails",
    objective={"failed": 0},
)
def two_sentinels_down(stage: Stage) -> None:
    master = stage.holder("master")
    other = stage.other(master)
    alone = stage.names(Kind.SENTINEL)[-1]
    quorum = stage.inject(killed(*stage.names(Kind.SENTINEL)[:-1]))
    with stage.broken(killed(master)):
        stage.until(
            f"{alone} misses {master}",
            lambda: None if "s_down" in _flags(stage, alone) else _flags(stage, alone) or "silent",
        )
        reason = next(each.reason for each in stage.statuses() if each.service == alone)
        stage.expect("status says that there is no quorum", reason.startswith("NOQUORUM"), reason or "it says nothing")
        stage.refused("failover redis", lambda report: moves.failover(stage.context, MoveRequest(), report), "no_quorum")
        stage.go_on_without(REDIS)
        role = probe(stage.context.stack.services[other]).role
        stage.expect("nobody is promoted", role == "replica", f"{other} says {role or 'nothing'}")
        stage.heal(quorum)
        stage.operate("failover redis", lambda report: moves.failover(stage.context, MoveRequest(), report))
        holder = stage.holder("master")
        stage.expect(f"{other} is master", holder == other, f"it is {holder}")
        stage.go_on()


@drill(
    "sentinel-config-lost",
    group=GROUP,
    breaks="a Sentinel loses its configuration and comes back; then another one and Redis's master are killed",
    holds="it learns who is master from the others, and agrees on another one where its vote is needed; no request fails",
    objective={"redis_gap": 8.0, "failed": 0},
)
def configuration_of_one_lost(stage: Stage) -> None:
    lost, dead, kept = stage.names(Kind.SENTINEL)
    if stage.holder("master") == stage.names(Kind.REDIS)[0]:
        # What the stack file says of the master shall be wrong.
        stage.operate("switchover redis", lambda report: moves.switchover(stage.context, MoveRequest(), report))
    before = known_at_last(stage, kept)
    with stage.broken(configuration_lost(lost)):
        stage.go_on()
    stage.until(
        f"{lost} knows what {kept} knows",
        lambda: None if _known(stage, lost) == before else f"{_known(stage, lost)}, and not {before}",
    )
    with stage.broken(killed(dead)):
        _taken_over(stage, killed(stage.holder("master")))


@drill(
    "redis-all-down",
    group=GROUP,
    breaks="both Redis nodes are stopped; something is deleted from the registry before they come back",
    holds="no request fails without a cache, and nothing that was deleted is found in it afterwards",
    objective={"rto": 3.0, "failed": 0},
)
def all_down(stage: Stage) -> None:
    _without_a_cache(stage, stopped(*stage.names(Kind.REDIS)))


@drill(
    "redis-all-frozen",
    group=GROUP,
    breaks="both Redis nodes stand still; something is deleted from the registry before they go on with what they hold",
    holds="no request fails without a cache, and nothing that was deleted is found in it afterwards",
    objective={"rto": 3.0, "failed": 0},
    in_ci=True,
)
def all_frozen(stage: Stage) -> None:
    _without_a_cache(stage, frozen(*stage.names(Kind.REDIS)))


@drill(
    "sentinel-tilt",
    group=GROUP,
    breaks=f"all Sentinels stand still for more than {_TILT_AFTER_S:g} s, and find that their clocks have jumped",
    holds="they say so (TILT) and promote nobody; no request fails",
    objective={"redis_gap": 2.0, "redis_lost": 0, "failed": 0},
)
def tilt(stage: Stage) -> None:
    names, master = stage.names(Kind.SENTINEL), stage.holder("master")
    epochs = {name: view.facts.epoch for name in names if (view := _view(stage, name))}
    with stage.broken(frozen(*names)):
        stage.hold(_TILT_AFTER_S + 1.0)

    def tilted() -> dict[str, str]:
        return {each.service: each.reason for each in stage.statuses() if each.service in names}

    stage.until("status says TILT of every Sentinel", lambda: _those_that(tilted(), lack="TILT"), within_s=20.0)
    stage.go_on()
    stage.until("every Sentinel decides again", lambda: _those_that(tilted(), have="TILT"), _TILT_ENDS_WITHIN_S)
    after = {name: view.facts.epoch for name in names if (view := _view(stage, name))}
    stage.expect("no failover was begun", after == epochs, f"epochs {epochs} became {after}")
    expect_same_master(stage, master)


def _taken_over(stage: Stage, fault: Fault) -> None:
    """The master is lost by the fault: the other node has its role, and all clients go on, before it is healed."""
    other = stage.other(stage.holder("master"))
    with stage.broken(fault):
        stage.until(f"{other} is master", lambda: None if stage.holder("master") == other else "not yet")
        stage.go_on()


def _without_a_cache(stage: Stage, fault: Fault) -> None:
    """What every Spoke has read, and so Redis has kept, is deleted while Redis is away."""
    module = f"{stage.load.clients[0].name}-deleted"
    key, url = f"{module}.1", address_of(stage.context.stack)
    path = f"/modules/{module}/versions/{key}"
    with stage.beside("a module of the drill's own", removal_of(module)):
        with closing(RegistryWriter(url)) as registry:
            registry.prepare(module)
            registry.write(key)
        seen = {name: _asked(stage, name, path) for name in stage.names(Kind.SPOKE)}
        stage.expect("every Spoke has what will be deleted", set(seen.values()) == {_OK}, f"{seen}")
        with stage.broken(fault):
            stage.until("every Spoke does without Redis", lambda: _spokes_with_redis(stage))
            stage.go_on_without(REDIS)
            remove_module(url, module)
            stage.go_on_without(REDIS)
        stage.until_well()
        found = [(name, _asked(stage, name, path)) for _ in range(_ASKED_TIMES) for name in stage.names(Kind.SPOKE)]
        stale = [f"{name}: {status}" for name, status in found if status != _NOT_FOUND]
        stage.expect("what was deleted is not found again", not stale, ", ".join(stale) or "404 from every Spoke")


def _spokes_with_redis(stage: Stage) -> str | None:
    spokes = {each.service: each.reason for each in stage.statuses() if each.kind is Kind.SPOKE}
    return _those_that(spokes, lack="redis")


def _those_that(said: dict[str, str], *, lack: str = "", have: str = "") -> str | None:
    """Those whose sentence lacks one word, or has the other; None when there are none."""
    names = [name for name, text in said.items() if (lack and lack not in text) or (have and have in text)]
    return ", ".join(names) or None


def _asked(stage: Stage, spoke: str, path: str) -> int:
    """The status of a Spoke's own answer; 0 for none."""
    service = stage.context.stack.services[spoke]
    try:
        return get(*service.address(int(service.environment["SPOKE_PORT"])), path, timeout_s=PROBE_TIMEOUT_S).status
    except NoAnswer:
        return 0


def _view(stage: Stage, sentinel: str) -> SentinelView | None:
    service = stage.context.stack.services[sentinel]
    group = service.environment["SPOKE_REDIS_MASTER_NAME"]
    try:
        return observe_sentinel(*service.address(service.health.port), group, timeout_s=PROBE_TIMEOUT_S)
    except RedisUnavailable:
        return None


def _known(stage: Stage, sentinel: str) -> tuple[str, int, int] | None:
    """Who is master, by which epoch, and by how many Sentinels it is watched."""
    view = _view(stage, sentinel)
    return (view.master, view.facts.epoch, view.facts.sentinels) if view else None


def known_at_last(stage: Stage, sentinel: str) -> tuple[str, int, int]:
    """What it knows, once it names a master. OutcomeUnknown (`timeout`) when it does not."""
    found: list[tuple[str, int, int]] = []

    def blocker() -> str | None:
        known = _known(stage, sentinel)
        found[:] = [known] if known and known[0] else []
        return None if found else "it names nobody"

    wait_until(blocker, Deadline(_KNOWN_WITHIN_S), what=f"{sentinel} says who is master")
    return found[0]


def _flags(stage: Stage, sentinel: str) -> str:
    view = _view(stage, sentinel)
    return view.facts.flags if view else ""
