"""PostgreSQL's primary: moved, stopped, killed, frozen, crashed; alone and together with others."""

from spokectl.drills.breaks import crashed, frozen, killed, removed, stopped
from spokectl.drills.catalog.postgres_hands import (
    expect_no_failover,
    expect_same_rows,
    failover,
    failover_is_refused,
    record,
)
from spokectl.drills.drill import Need, drill
from spokectl.drills.looks import roles_said
from spokectl.drills.stage import FAULT_TIMEOUT_S, Stage
from spokectl.errors import SpokectlError
from spokectl.model import Kind
from spokectl.operations.moves import MoveRequest
from spokectl.operations.postgres import moves
from spokectl.result import Report, Result
from spokectl.wait import Deadline

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
    "postgres-stop",
    group=GROUP,
    breaks="PostgreSQL's primary is stopped in good order, and `spokectl failover postgres` is typed",
    holds="the standby takes over with every acknowledged write, and the old primary joins again",
    objective={"rto": 8.0},
)
def stop_primary(stage: Stage) -> None:
    with stage.broken(stopped(stage.holder("primary"))):
        failover(stage)
    expect_same_rows(stage)


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
        failover(stage)
    expect_same_rows(stage)


@drill(
    "postgres-remove",
    group=GROUP,
    breaks="the container of PostgreSQL's primary is removed, and `spokectl failover postgres` is typed",
    holds="the standby takes over; the old primary, made again over its volume, joins it",
    objective={"rto": 8.0},
    needs=(Need.ENGINE,),
)
def remove_primary(stage: Stage) -> None:
    primary = stage.holder("primary")
    with stage.broken(removed(primary)):
        try:
            failover(stage)
        except SpokectlError as error:
            # The role has moved; a container that is not there cannot be started by a failover.
            stage.expect("the role has moved", error.code == "failover_postgres_incomplete", error.message)
    stage.expect("the other node is primary", stage.holder("primary") != primary, f"{primary} was primary")
    expect_same_rows(stage)


@drill(
    "postgres-freeze",
    group=GROUP,
    breaks="PostgreSQL's primary stands still, is failed over, and goes on afterwards",
    holds="it is fenced before another is promoted: no write is acknowledged by both",
    objective={"rto": 10.0},
    in_ci=True,
)
def freeze_primary(stage: Stage) -> None:
    primary = stage.holder("primary")
    before = stage.context.runtime.inspect()[primary].started_at
    with roles_said(stage.context.stack.services[primary]) as said, stage.broken(frozen(primary)):
        failover(stage)
        said.clear()
        now = stage.context.runtime.inspect()[primary]
        killed_first = now.started_at != before
        found = f"it is {now.state}, {'started anew' if killed_first else 'the one from before'}"
        stage.expect("the old primary was killed before it could go on", killed_first, found)
    _expect_never_primary(stage, primary, said)
    expect_same_rows(stage)


@drill(
    "postgres-crash",
    group=GROUP,
    breaks="PostgreSQL's primary and its guard crash, and nobody types anything",
    holds="the runtime starts both again: the same node is primary, and nothing is lost",
    objective={"rto": 15.0},
)
def crash_primary(stage: Stage) -> None:
    primary, before = stage.holder("primary"), record(stage)
    with stage.broken(crashed(primary)):
        stage.go_on()
    expect_no_failover(stage, before)


@drill(
    "postgres-return",
    group=GROUP,
    breaks="the old primary is started in the middle of a failover, and crashes and comes back after it",
    holds="it takes no write: it is fenced again, and joins as a standby whenever it comes",
    objective={"rto": 10.0},
)
def return_of_the_primary(stage: Stage) -> None:
    primary = stage.holder("primary")
    with stage.broken(killed(primary)):
        stage.operate("failover postgres", lambda report: _started_meanwhile(stage, primary, report))
    with roles_said(stage.context.stack.services[primary]) as said, stage.broken(crashed(primary)):
        stage.go_on()
    _expect_never_primary(stage, primary, said)
    expect_same_rows(stage)


def _expect_never_primary(stage: Stage, old: str, said: list[str]) -> None:
    """It was asked all the time since another is primary."""
    found = f"of {len(said)} answers {said.count('primary')} said primary"
    stage.expect(f"{old} never says that it is primary", "primary" not in said, found)


def _started_meanwhile(stage: Stage, primary: str, report: Report) -> Result:
    """A failover during which somebody starts the old primary, once the record names the new one."""

    def told(subject: str, state: str, detail: str = "") -> None:
        if (subject, state) == ("name", "done"):
            stage.note(f"{primary} is started by somebody", primary)
            stage.context.runtime.start([primary], Deadline(FAULT_TIMEOUT_S))
        report(subject, state, detail)

    return moves.failover(stage.context, MoveRequest(), told)


@drill(
    "postgres-both",
    group=GROUP,
    breaks="primary and standby are killed together, and `spokectl failover postgres` is typed",
    holds="it is refused, nobody is promoted, and with both started again every acknowledged write is there",
    objective={"rto": 60.0},
)
def kill_both(stage: Stage) -> None:
    before = record(stage)
    with stage.broken(killed(*stage.names(Kind.POSTGRES))):
        failover_is_refused(stage, "no_guard", "no_standby")
    stage.go_on()
    expect_no_failover(stage, before)


@drill(
    "postgres-both-one-back",
    group=GROUP,
    breaks="primary and standby are killed together; the standby alone comes back, and a failover is typed",
    holds="it has every acknowledged write, and takes over",
    objective={"rto": 60.0},
)
def kill_both_and_lose_one(stage: Stage) -> None:
    primary = stage.holder("primary")
    standby = stage.other(primary)
    lost = stage.inject(killed(primary))
    with stage.broken(killed(standby)):
        stage.note("only the standby comes back", standby)
    failover(stage)
    stage.heal(lost)
    stage.expect("the standby is primary", stage.holder("primary") == standby, f"{stage.holder('primary')} is primary")
    expect_same_rows(stage)


@drill(
    "postgres-and-sentinel",
    group=GROUP,
    breaks="PostgreSQL's primary and a Sentinel are killed together, and the primary is failed over",
    holds="two Sentinels are enough, and what PostgreSQL has acknowledged is there",
    objective={"rto": 8.0},
)
def kill_with_sentinel(stage: Stage) -> None:
    with stage.broken(killed(stage.holder("primary"), stage.names(Kind.SENTINEL)[0])):
        failover(stage)
    expect_same_rows(stage)


@drill(
    "postgres-and-load-balancer",
    group=GROUP,
    breaks="PostgreSQL's primary and the load balancer are killed together; the primary is failed over first",
    holds="the failover does not need the load balancer; nothing that was acknowledged is lost",
    objective={"postgres_gap": 8.0, "rto": 30.0},
)
def kill_with_load_balancer(stage: Stage) -> None:
    with stage.broken(killed(*stage.names(Kind.LOAD_BALANCER), stage.holder("primary"))):
        failover(stage)
    expect_same_rows(stage)
