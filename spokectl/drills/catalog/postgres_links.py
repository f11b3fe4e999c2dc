"""PostgreSQL's replication: cut, frozen, slow, left behind; a standby that is lost."""

from collections.abc import Iterator
from contextlib import contextmanager

from spokectl.clients.writers import pushed
from spokectl.drills.breaks import cut_off, frozen, killed
from spokectl.drills.catalog.postgres_hands import (
    expect_no_failover,
    expect_same_rows,
    failover,
    failover_is_refused,
    record,
    until_mode,
)
from spokectl.drills.drill import Need, drill
from spokectl.drills.faults import Fault
from spokectl.drills.figures import API, POSTGRES
from spokectl.drills.history import Clock, Write
from spokectl.drills.links import Link
from spokectl.drills.postgres_breaks import (
    cut_off_primary,
    give_up_own_writes,
    killed_with_own_writes,
    led_through,
    receiver_frozen,
    receiver_slow,
    rows,
)
from spokectl.drills.stage import FAULT_TIMEOUT_S, Stage
from spokectl.errors import Refused, SpokectlError
from spokectl.operations.moves import MoveRequest
from spokectl.operations.postgres import moves
from spokectl.operations.registry import address_of, reached
from spokectl.result import Report
from spokectl.wait import Deadline

GROUP = "PostgreSQL's replication"
# A silent standby is given up after SPOKE_POSTGRES_DEGRADE_AFTER, 5 s; the rest is for the guard and the record.
_GIVEN_UP_WITHIN_S = 30.0
_SYNCHRONOUS_WITHIN_S = 60.0
# What the clients of a drill have acknowledged at most in the seconds in which writes are unprotected.
_MOST_LOST = 2000.0
_SLOW_S = 0.1
# Less than after which the standby is given up.
_SILENT_S = 2.0


@drill(
    "postgres-cut",
    group=GROUP,
    breaks="PostgreSQL's primary is cut off from the network, killed as `spokectl failover postgres` says, and failed over",
    holds="it serves no write to anybody afterwards; where it had gone on alone already, the failover is refused instead",
    objective={"rto": 60.0},
    needs=(Need.NETWORK,),
)
def cut_primary(stage: Stage) -> None:
    primary = stage.holder("primary")
    cut = stage.inject(cut_off_primary(primary))
    # Its guard says still, in the folder that all share, that it lives: the network alone is no sign of death.
    failover_is_refused(stage, "primary_alive")
    stage.context.runtime.kill([primary], Deadline(FAULT_TIMEOUT_S))
    stage.note(f"spokectl kill {primary}", primary)

    def told(report: Report) -> Report:
        def tell(subject: str, state: str, detail: str = "") -> None:
            report(subject, state, detail)
            if (subject, state) == ("promote", "done"):
                stage.heal(cut)

        return tell

    try:
        stage.operate("failover postgres", lambda report: moves.failover(stage.context, MoveRequest(), told(report)))
    except Refused as error:
        # Alone for longer than it waits for its standby, it may have told a client beside it of writes.
        stage.expect("it is refused only for what would be lost", error.code == "data_loss", error.message)
        stage.heal(cut)
    expect_same_rows(stage)


@drill(
    "postgres-standby-cut",
    group=GROUP,
    breaks="the standby is cut off from the network",
    holds="writes wait until it is given up, loudly; none fails, nobody is promoted, and it catches up afterwards",
    objective={"rto": 10.0, "failed": 0},
    needs=(Need.NETWORK,),
)
def cut_standby(stage: Stage) -> None:
    _without_standby(stage, cut_off(stage.other(stage.holder("primary"))))


@drill(
    "postgres-standby-freeze",
    group=GROUP,
    breaks="the standby stands still",
    holds="writes wait until it is given up, loudly; none fails, nobody is promoted, and it catches up afterwards",
    objective={"rto": 10.0, "failed": 0},
)
def freeze_standby(stage: Stage) -> None:
    _without_standby(stage, frozen(stage.other(stage.holder("primary"))))


@drill(
    "postgres-standby-kill",
    group=GROUP,
    breaks="the standby is killed, and started again",
    holds="writes wait until it is given up, loudly; none fails, and it streams again within a minute",
    objective={"rto": 10.0, "failed": 0},
)
def kill_standby(stage: Stage) -> None:
    _without_standby(stage, killed(stage.other(stage.holder("primary"))))


def _without_standby(stage: Stage, fault: Fault) -> None:
    before = record(stage)
    with stage.broken(fault):
        if until_mode(stage, "degraded", _GIVEN_UP_WITHIN_S):
            stage.go_on()
            _expect_said(stage)
    until_mode(stage, "synchronous", _SYNCHRONOUS_WITHIN_S)
    expect_no_failover(stage, before)
    expect_same_rows(stage)


def _expect_said(stage: Stage) -> None:
    """`status` says since when writes are on one node only."""
    primary = stage.holder("primary")
    said = next(each.reason for each in stage.statuses() if each.service == primary)
    stage.expect("status says that writes are unprotected", "degraded since" in said, said or "it says nothing")


@drill(
    "postgres-slow-link",
    group=GROUP,
    breaks="the standby confirms what it receives only after 0.2 s, forty times in a row",
    holds="commits are slower, and that is all: it is not given up, nobody is promoted, no request fails",
    objective={"rto": 2.0, "failed": 0},
)
def slow_link(stage: Stage) -> None:
    before = record(stage)
    with stage.broken(receiver_slow(stage.other(stage.holder("primary")), 40)):
        after = record(stage)
    expect_no_failover(stage, before)
    stage.expect("it is not given up", bool(before and after and before.time == after.time), str(after))


@drill(
    "postgres-bad-network",
    group=GROUP,
    breaks=f"the standby's link to the primary is {1000 * _SLOW_S:.0f} ms slow, then silent for {_SILENT_S:g} s, then cut",
    holds="commits are slower, and that is all: it is not given up, nobody is promoted, no request fails",
    objective={"rto": 5.0, "failed": 0},
    needs=(Need.NATIVE,),
)
def bad_network(stage: Stage) -> None:
    before, primary = record(stage), stage.holder("primary")
    node = stage.context.stack.services[primary]
    with Link(reached(node.address(node.health.port))) as link, stage.broken(led_through(stage.other(primary), link)):
        with stage.ours(f"{_SLOW_S * 1000:.0f} ms each way"):
            link.slow(_SLOW_S)
            since_s = Clock().now_s()
            stage.go_on()
            took = _commits_took(stage, since_s)
            stage.expect("commits wait for the link", took >= 2 * _SLOW_S, f"the fastest took {took * 1000:.0f} ms")
            link.slow(0.0)
        with stage.ours("swallows everything"):
            link.swallow()
            stage.hold(_SILENT_S)
            link.flow()
        stage.go_on()
        link.cut()
        stage.note("the link is cut, and lets new connections pass")
        stage.go_on()
        after = record(stage)
    expect_no_failover(stage, before)
    stage.expect("it is not given up", bool(before and after and before.time == after.time), str(after))


def _commits_took(stage: Stage, since_s: float) -> float:
    """The fastest commit of a client of PostgreSQL itself that began after then."""
    commits = [each for each in stage.load.saw.requests if each.layer == POSTGRES and isinstance(each, Write) and each.ok]
    return min((each.ended_s - each.began_s for each in commits if each.began_s > since_s), default=0.0)


@drill(
    "postgres-lagging",
    group=GROUP,
    breaks="the standby falls behind until it is given up; then the primary is killed, and a failover is typed",
    holds="it is refused, with the bytes at risk; with the primary started again nothing is lost",
    objective={"rto": 60.0},
)
def lagging(stage: Stage) -> None:
    before = record(stage)
    primary = stage.holder("primary")
    with _left_behind(stage), stage.broken(killed(primary)):
        _refused_with_bytes(stage)
    stage.go_on()
    expect_no_failover(stage, before)
    expect_same_rows(stage)


@drill(
    "postgres-lagging-loss",
    group=GROUP,
    breaks="the same, with `--allow-data-loss`: what the standby lacks is given up by the operator's word",
    holds="no more is lost than was said, and only what was acknowledged unprotected",
    objective={"rto": 90.0, "lost": _MOST_LOST, "stale": _MOST_LOST},
    gives_up_writes=True,
)
def lagging_with_loss(stage: Stage) -> None:
    primary = stage.holder("primary")
    standby = stage.other(primary)
    with _left_behind(stage) as unprotected_since_s:
        dead = stage.inject(killed_with_own_writes(primary))
        _refused_with_bytes(stage)
    # What its receiver had not read yet goes with it: the standby lags by what it has written down.
    with stage.broken(killed(standby)):
        stage.note("the standby is started anew, with what it has on its disk", standby)
    at_risk = _bytes_at_risk(stage)
    try:
        failover(stage, allow_data_loss=True)
    except SpokectlError as error:
        stage.expect("the role has moved", error.code == "failover_postgres_incomplete", f"{error.code}: {error.message}")
    given_up = give_up_own_writes(stage.context, primary, Deadline(FAULT_TIMEOUT_S))
    stage.note(f"postgres reinit {primary} --discard: {'done' if given_up else 'not needed'}", primary)
    stage.heal(dead)
    stage.go_on()
    _expect_loss_as_said(stage, unprotected_since_s, at_risk)
    expect_same_rows(stage)


@contextmanager
def _left_behind(stage: Stage) -> Iterator[float]:
    """The standby's receiver stands still, and writes are acknowledged unprotected. Gives since when they may be."""
    primary = stage.holder("primary")
    clock = Clock()
    with stage.broken(receiver_frozen(stage.other(primary))):
        # A write that ended before was confirmed by the standby.
        since_s = clock.now_s()
        until_mode(stage, "degraded", _GIVEN_UP_WITHIN_S)
        stage.go_on()
        yield since_s


def _refused_with_bytes(stage: Stage) -> None:
    refused = failover_is_refused(stage, "data_loss")
    if refused is not None:
        said = refused.details.get("bytes")
        stage.expect("it says how much would be lost", isinstance(said, int) and said > 0, f"{said} bytes")


def _bytes_at_risk(stage: Stage) -> int:
    refused = failover_is_refused(stage, "data_loss")
    said = refused.details.get("bytes") if refused is not None else None
    return said if isinstance(said, int) else 0


def _expect_loss_as_said(stage: Stage, unprotected_since_s: float, at_risk: int) -> None:
    """Every acknowledged write that is not there was acknowledged while status said that writes were unprotected."""
    requests = stage.load.saw.requests
    good = [each for each in requests if isinstance(each, Write) and each.ok and each.layer in (API, POSTGRES)]
    present = set(rows(stage.context, stage.holder("primary")))
    url = address_of(stage.context.stack)
    for module in sorted({each.key.rpartition(".")[0] for each in good if each.layer == API}):
        present.update(key for key, _ in pushed(url, module))
    lost = [each for each in good if each.key not in present]
    early = [each.key for each in lost if each.ended_s < unprotected_since_s]
    stage.expect("only unprotected writes are lost", not early, f"{len(early)} of {len(lost)} were acknowledged before")
    # A row of the clients takes more than its key; so this many bytes cannot have held more of them.
    least = sum(len(each.key) for each in lost)
    stage.expect("no more is lost than was said", least <= at_risk, f"{len(lost)} writes, {at_risk} bytes at risk")
