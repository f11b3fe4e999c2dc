"""The six tests of the stack's README, each measured and judged under load."""

import statistics
import subprocess
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

from spokectl.clients.visitor import Visit, Visitor
from spokectl.clients.writers import RegistryWriter, failing
from spokectl.drills import looks, series, shares
from spokectl.drills.breaks import stopped
from spokectl.drills.drill import drill
from spokectl.drills.evidence import Mark
from spokectl.drills.faults import Undo
from spokectl.drills.figures import API
from spokectl.drills.history import Clock, Outcome, Write
from spokectl.drills.series import ACTIVE, HITS, MISSES, SERIES, Series
from spokectl.drills.stage import Stage
from spokectl.errors import Failed
from spokectl.facts import PostgresFacts
from spokectl.model import Kind, Service
from spokectl.operations.cache import cached_versions
from spokectl.operations.cache_bench import read_until_in_memory, version_path
from spokectl.operations.context import load_balancer
from spokectl.operations.health import observe, probe, wants_synchronous
from spokectl.operations.registry import address_of, url_at
from spokectl.wait import Deadline

GROUP = "The six tests of the stack's README"

_VISITS_EACH = 20
_VERSIONS = 20
_TIMEOUT_S = 5.0
_COMMAND_TIMEOUT_S = 90.0
# A Spoke sends its metrics to the collector every ten seconds.
_METRICS_WITHIN_S = 60.0
_MODULES = "/modules?limit=1"


@drill(
    "test-1-load-balancing",
    group=GROUP,
    breaks="nothing: requests are made one after the other, and who answers each is counted",
    holds="every Spoke has its share, and the load balancer's log and status page say the same",
    objective={"failed": 0},
    direct=False,
    seed_test=1,
    in_ci=True,
)
def load_balancing(stage: Stage) -> None:
    context, spokes = stage.context, stage.names(Kind.SPOKE)
    balancer = load_balancer(context.stack).name
    began, before, prefix = datetime.now(UTC), looks.counted(context), f"{_name_of(stage)}-"
    answered = [each.instance for each in looks.visits(context, _MODULES, _VISITS_EACH * len(spokes), prefix)]
    seen = Counter(answered)
    _expect(stage, "every Spoke has its share", shares.uneven(answered, spokes), shares.told(seen))

    def logged() -> str:
        lines = context.runtime.logs([balancer], since=began, tail=None, follow=False)
        return shares.told(shares.logged((line.text for line in lines), prefix))

    same = f"the log of {balancer} names the same"
    stage.until(same, lambda: None if logged() == shares.told(seen) else logged(), within_s=60.0, found=logged)
    now = looks.counted(context)
    more = {name: now.get(name, (0, 0))[0] - before.get(name, (0, 0))[0] for name in spokes}
    fewer = [f"{name}: {more[name]}" for name in spokes if more[name] < seen[name]]
    _expect(stage, "its status page counts these requests and those of the load", fewer, shares.told(more))


@drill(
    "test-2-spoke-failure",
    group=GROUP,
    breaks="a Spoke is stopped, and started again",
    holds="the others answer, no request fails, and it is used again after its return",
    objective={"failed": 0},
    direct=False,
    seed_test=2,
    in_ci=True,
)
def spoke_failure(stage: Stage) -> None:
    context, one = stage.context, stage.names(Kind.SPOKE)[0]
    failed_before = looks.counted(context).get(one, (0, 0))[1]
    with stage.broken(stopped(one)):
        stage.until_served()
        visits = [each for path in (_MODULES, "/health/ready") for each in looks.visits(context, path, _VISITS_EACH)]
        answered = Counter(each.instance for each in visits)
        wrong = [f"{one} is stopped, and answered"] if one in answered else []
        wrong += [f"{each.instance or 'nobody'} answered {each.status}" for each in visits if each.status != 200]
        failed = looks.counted(context).get(one, (0, 0))[1] - failed_before
        _expect(stage, "the others answer", wrong, f"{shares.told(answered)}; {failed} tries of {one} failed")
    answered.clear()

    def used_again() -> str | None:
        answered.update(each.instance for each in looks.visits(context, _MODULES, 5))
        return None if one in answered else shares.told(answered)

    stage.until(f"{one} is used again", used_again, within_s=60.0, found=lambda: shares.told(answered))


@drill(
    "test-3-redis-failover",
    group=GROUP,
    breaks="Redis's master is stopped and started again; the Sentinels are left to it",
    holds="they agree on the replica within 10 s, no request fails, and the old master comes back as a replica",
    # The README has it that Sentinels need 5 to 10 seconds.
    objective={"redis_gap": 10.0, "failed": 0},
    seed_test=3,
    in_ci=True,
)
def redis_failover(stage: Stage) -> None:
    context, old = stage.context, stage.holder("master")
    new = stage.other(old)
    began, sentinels = datetime.now(UTC), stage.names(Kind.SENTINEL)
    left = stage.inject(stopped(old))
    stage.until(f"all Sentinels name {new}", lambda: _not_named(stage, sentinels, new), found=lambda: new)
    stage.note(f"the Sentinels name {new}", new)
    stage.until("every Spoke is healthy with it", lambda: _unwell(stage, stage.names(Kind.SPOKE)), found=lambda: "healthy")
    stage.until_served()
    with looks.roles_said(_service(stage, old)) as said:
        stage.heal(left)
        stage.until(f"{old} is its replica", lambda: _no_replica(stage, old, new), found=lambda: f"it follows {new}")
        stage.until_served()
    never = f"{old} never says master again"
    stage.expect(never, bool(said) and set(said) == {"replica"}, f"it said: {shares.told(Counter(said))}")
    lines = context.runtime.logs(sentinels, since=began, tail=None, follow=False)
    told = sorted({line.service for line in lines if "+switch-master" in line.text})
    stage.expect("the Sentinels' logs tell of it", bool(told), f"+switch-master: {', '.join(told) or 'nowhere'}")


@drill(
    "test-4-postgres-failover",
    group=GROUP,
    breaks="PostgreSQL's standby is promoted by `pg_ctl promote`, typed in it while the primary lives",
    holds="one primary is left, every Spoke writes to it, nothing acknowledged is lost, and the old one becomes its standby",
    objective={"rto": 8.0},
    seed_test=4,
    in_ci=True,
)
def postgres_failover(stage: Stage) -> None:
    old = stage.holder("primary")
    new = stage.other(old)
    _expect_replication(stage, old, new)
    # Whoever finds it half done has both run: their guards settle who is primary.
    with stage.beside(f"{new} promoted beside {old}", Undo("start", (new, old))):
        stage.notebook.mark(Mark.COMMAND, f"pg_ctl promote, in {new}", new)
        code, said = _typed(stage, new, 'exec pg_ctl promote -D "$PGDATA"')
        stage.expect("pg_ctl promotes", code == 0, f"exit code {code}: {said}")
        stage.notebook.mark(Mark.PROMOTED, f"pg_ctl says: {said}", new)
        stage.until_served()
        spokes = stage.names(Kind.SPOKE)
        writes = {name: _written(stage, _url_of(_service(stage, name)), f"by-{name}") for name in spokes}
        for each in writes.values():
            stage.load.saw.add(each)
        bad = [f"{name}: {each.why}" for name, each in writes.items() if not each.ok]
        _expect(stage, "every Spoke writes to it", bad, f"a version by each of {', '.join(spokes)}")
        want = {new: "primary", old: "standby"}

        def roles() -> dict[str, str]:
            return {name: probe(_service(stage, name)).role for name in want}

        def told() -> str:
            return ", ".join(f"{name} says {role or 'nothing'}" for name, role in roles().items())

        if stage.until(f"{old} is its standby", lambda: None if roles() == want else told(), found=told):
            stage.notebook.mark(Mark.REJOINED, f"{old} is a standby", old)
        if stage.until_well():
            _expect_replication(stage, new, old)


@drill(
    "test-5-cache",
    group=GROUP,
    breaks="nothing: new versions are read for the first time, and again until every Spoke has them in memory",
    holds="the first read misses, the second hits, memory is faster; Redis has the keys, and the counters move",
    objective={"failed": 0},
    direct=False,
    seed_test=5,
    in_ci=True,
)
def cache(stage: Stage) -> None:
    context = stage.context
    spokes = [_service(stage, name) for name in stage.names(Kind.SPOKE)]
    before = {name: looks.totals(name, spokes) for name in (HITS, MISSES)}
    writes = [_written(stage, address_of(context.stack), f"cold-{number}") for number in range(_VERSIONS)]
    with Visitor(address_of(context.stack)) as visitor:
        first = [_read(visitor, each) for each in writes]
        # A Spoke tells Redis after it has answered.
        _expect_in_redis(stage, {f"version:{each.key.rpartition('.')[0]}:{each.key}" for each in writes})
        second = [_read(visitor, each) for each in writes]
        later = [read_until_in_memory(visitor, _path(each), at_most=len(spokes) + 1) for each in writes]
    # Known to the clients of the load from now on; before, one of them might have been the first to read it.
    for each in writes:
        stage.load.saw.add(each)
    last = [reads[-1] for reads in later]
    for what, reads, wanted in (
        ("the first read misses", first, {"miss"}),
        ("the second read hits", second, {"redis", "memory"}),
        ("a Spoke that has read it before has it in memory", last, {"memory"}),
    ):
        told = f"{shares.told(Counter(each.cache for each in reads))}; {_median_ms(reads):.1f} ms in the median"
        stage.expect(what, all(each.cache in wanted for each in reads), told)
    # What else goes on makes a read slower, never faster.
    cold, warm = (min(each.took_s for each in reads) * 1000 for reads in (first, last))
    told = f"{cold:.1f} ms, then {warm:.1f} ms, the fastest of {len(writes)} each"
    stage.expect("a read from memory is faster than the first", warm < cold, told)
    every = [*first, *second, *(each for reads in later for each in reads)]
    for name, kinds in ((HITS, {"redis", "memory"}), (MISSES, {"miss"})):
        own = sum(each.cache in kinds for each in every)
        more = series.grown(before[name], looks.totals(name, spokes))
        stage.expect(f"{name} moves", more >= own > 0, f"by {more:g}, of which these reads make {own}")


@drill(
    "test-6-metrics",
    group=GROUP,
    breaks="nothing: the series that the README names are read while clients write and read",
    holds="each is there for every Spoke, and moves: at the collector where there is one, else at the Spokes themselves",
    objective={"failed": 0},
    direct=False,
    seed_test=6,
    in_ci=True,
)
def metrics(stage: Stage) -> None:
    spokes = [_service(stage, name) for name in stage.names(Kind.SPOKE)]
    collectors = [_service(stage, name) for name in stage.names(Kind.COLLECTOR)]
    sources = collectors[:1] or spokes
    stage.note(f"series are read from {', '.join(each.name for each in sources)}")
    before = {each.name: looks.totals(each.name, sources) for each in SERIES}
    # Within one deadline: each of them is looked at, also after it.
    deadline = Deadline(_METRICS_WITHIN_S)
    for each in SERIES:
        _expect_series(stage, each, before[each.name], sources, deadline)
    most: dict[str, float] = {}

    def in_use() -> str | None:
        for name, value in looks.totals(ACTIVE, spokes).items():
            most[name] = max(value, most.get(name, 0.0))
        idle = [each.name for each in spokes if not most.get(each.name)]
        return f"always 0 for {', '.join(idle)}" if idle else None

    stage.until(
        "db_connections_active counts connections in use",
        in_use,
        deadline.remaining_s,
        found=lambda: "at most " + ", ".join(f"{name} {value:g}" for name, value in sorted(most.items())),
    )


# What several of them do.


def _expect(stage: Stage, name: str, wrong: Sequence[str], found: str) -> None:
    """Holds the drill to nothing being wrong."""
    stage.expect(name, not wrong, f"{'; '.join(wrong)} ({found})" if wrong else found)


def _service(stage: Stage, name: str) -> Service:
    return stage.context.stack.services[name]


def _name_of(stage: Stage) -> str:
    """The module of one of the clients: what is written to it is counted, and removed at the end."""
    return stage.load.clients[0].name


def _url_of(spoke: Service) -> str:
    return url_at(spoke.address(int(spoke.environment["SPOKE_PORT"])))


def _typed(stage: Stage, service: str, command: str) -> tuple[int | None, str]:
    """Exit code and last line of a command of the shell, typed in the service; without a code where it did not end."""
    try:
        done = stage.context.runtime.invocation(service, ["sh", "-c", command]).run(_COMMAND_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    return done.returncode, (done.stdout + done.stderr).strip().rpartition("\n")[2]


def _written(stage: Stage, url: str, word: str) -> Write:
    """A version written beside those of the load, which does not know of it yet."""
    key, clock = f"{_name_of(stage)}.{word}", Clock()
    began_s = clock.now_s()
    outcome, why = Outcome.ACKNOWLEDGED, ""
    with closing(RegistryWriter(url)) as writer:
        try:
            with failing(f"{url} takes no write"):
                writer.write(key)
        except Failed as error:
            outcome, why = Outcome.IN_DOUBT, error.message
    return Write(key, began_s, clock.now_s(), outcome, why=why, client="test", layer=API)


def _read(visitor: Visitor, written: Write) -> Visit:
    return visitor.get(_path(written))


def _path(written: Write) -> str:
    return version_path(written.key.rpartition(".")[0], written.key)


def _median_ms(visits: Sequence[Visit]) -> float:
    return 1000 * statistics.median(each.took_s for each in visits)


def _expect_in_redis(stage: Stage, wanted: set[str]) -> None:
    def missing() -> str | None:
        lacking = wanted.difference(cached_versions(stage.context, stage.holder("master"), _TIMEOUT_S))
        return f"{len(lacking)} of {len(wanted)} are not there" if lacking else None

    stage.until("Redis's master has the keys version:*", missing, within_s=30.0, found=lambda: f"all {len(wanted)}")


def _expect_series(
    stage: Stage, wanted: Series, before: series.Totals, sources: Sequence[Service], deadline: Deadline
) -> None:
    names, now = stage.names(Kind.SPOKE), dict(before)

    def stands() -> str | None:
        now.update(looks.totals(wanted.name, sources))
        bad = series.still(before, now, names) if wanted.counts else series.absent(now, names)
        return f"not for {', '.join(bad)} ({series.told(before, now) or 'nothing'})" if bad else None

    does = "moves" if wanted.counts else "is there"
    found = partial(series.told, before, now)
    stage.until(f"{wanted.readme} {does} for every Spoke", stands, deadline.remaining_s, found)


def _expect_replication(stage: Stage, primary: str, standby: str) -> None:
    """The check of the README: `pg_stat_replication` on the one, `pg_is_in_recovery()` on the other."""
    facts = [probe(_service(stage, name)).facts for name in (primary, standby)]
    of_primary, of_standby = (each if isinstance(each, PostgresFacts) else None for each in facts)
    followers = of_primary.followers if of_primary else ()
    told = ", ".join(f"{each.name} {each.state} {each.sync_state}" for each in followers) or "nobody follows"
    role = of_standby.role if of_standby else "silent"
    streams = any(each.state == "streaming" for each in followers)
    protects = any(each.protects for each in followers) or not wants_synchronous(_service(stage, primary))
    ok = streams and protects and role == "standby"
    stage.expect(f"{standby} replicates {primary}", ok, f"{told}; {standby} is {role}")


def _not_named(stage: Stage, sentinels: Sequence[str], master: str) -> str | None:
    named = {each.service: each.master for each in observe(stage.context, sentinels)}
    others = [f"{name} names {whom or 'nobody'}" for name, whom in named.items() if whom != master]
    return ", ".join(others) or None


def _unwell(stage: Stage, names: Sequence[str]) -> str | None:
    bad = [each for each in observe(stage.context, names) if not each.ok]
    return "; ".join(f"{each.service}: {each.reason or each.health}" for each in bad) or None


def _no_replica(stage: Stage, node: str, master: str) -> str | None:
    [seen] = observe(stage.context, [node])
    fine = seen.role == "replica" and seen.master == master and seen.ok
    return None if fine else f"{seen.role or seen.health} of {seen.master or 'nobody'}: {seen.reason}"
