"""The data of PostgreSQL's nodes: copied anew, diverged, left behind, rewound half way."""

from concurrent.futures import ThreadPoolExecutor

from spokectl.drills.breaks import killed, stopped
from spokectl.drills.catalog.postgres_hands import (
    expect_no_failover,
    expect_same_rows,
    failover,
    record,
    until_commits_wait,
    until_mode,
)
from spokectl.drills.drill import drill
from spokectl.drills.history import Outcome, Write
from spokectl.drills.postgres_breaks import (
    in_database,
    is_marked,
    kill_rewind,
    little_wal_kept,
    marked,
    promoted_by_hand,
)
from spokectl.drills.shell import in_node
from spokectl.drills.stage import Stage
from spokectl.operations.postgres.guard import DivergentWal
from spokectl.operations.postgres.reinit import ReinitRequest, look, reinit

GROUP = "PostgreSQL's data"
_SLOT = "SELECT coalesce(restart_lsn::text, wal_status) FROM pg_replication_slots"
_NEXT_SEGMENT = "SELECT pg_logical_emit_message(true, 'drill', 'x'), pg_switch_wal()"
_SEGMENTS = 4
# Whether a word stands in the WAL that was saved.
_IS_SAVED = 'cat "$1"/0* | grep -aqF "$2" && echo yes || echo no'


@drill(
    "postgres-reinit",
    group=GROUP,
    breaks="the standby's data is thrown away, and copied anew from the primary by `spokectl postgres reinit`",
    holds="no write fails meanwhile, and it is synchronous again afterwards",
    objective={"rto": 10.0, "failed": 0},
)
def copy_standby(stage: Stage) -> None:
    before, standby = record(stage), stage.other(stage.holder("primary"))
    request = ReinitRequest(standby)
    with stage.broken(marked(standby)):
        agreed = look(stage.context, request, lambda *_: None)
        stage.operate(f"postgres reinit {standby}", lambda report: reinit(stage.context, request, agreed, report))
        is_copied = not is_marked(stage.context, standby)
        stage.expect("its data is a copy", is_copied, f"its data is {'new' if is_copied else 'the old one'}")
    until_mode(stage, "synchronous", 60.0)
    expect_no_failover(stage, before)
    expect_same_rows(stage)


@drill(
    "postgres-diverged",
    group=GROUP,
    breaks="the primary is killed with commits that no standby has and no client was told of, and is failed over",
    holds="it joins again without them; they are kept in a folder, and the failover says where",
    objective={"rto": 15.0},
)
def diverged(stage: Stage) -> None:
    primary = stage.holder("primary")
    standby = stage.other(primary)
    with stage.broken(killed(standby)):
        until_commits_wait(stage, primary)
        dead = stage.inject(killed(primary))
    moved = failover(stage)
    stage.heal(dead)
    _expect_saved(stage, primary, moved.divergent)
    expect_same_rows(stage)


def _expect_saved(stage: Stage, node: str, divergent: DivergentWal | None) -> None:
    kept = divergent.kept_in if divergent else None
    stage.expect("what only it had is kept", bool(kept), divergent.sentence if divergent else "nothing is said of it")
    if not kept:
        return
    writes = [each for each in stage.load.saw.requests if isinstance(each, Write) and each.outcome is Outcome.IN_DOUBT]
    there = in_database(stage.context, node, "SELECT key FROM spokectl_drill").split()
    alone = [each.key for each in writes if each.layer == "postgres" and each.key not in there]
    saved = [key for key in alone if in_node(stage.context, node, _IS_SAVED, kept, key) == "yes"]
    stage.expect("the rows that nobody was told of are in it", bool(saved), f"{len(saved)} of {len(alone)} are in {kept}")


@drill(
    "postgres-left-behind",
    group=GROUP,
    breaks="the standby is away until the primary has dropped WAL that it needs",
    holds="the primary does not fill its disk for it, no write fails, and the standby copies itself anew",
    objective={"rto": 10.0, "failed": 0},
)
def left_behind(stage: Stage) -> None:
    before, primary = record(stage), stage.holder("primary")
    standby = stage.other(primary)
    with stage.broken(little_wal_kept(primary, standby)), stage.broken(marked(standby)):
        with stage.broken(stopped(standby)):
            needed = in_database(stage.context, primary, _SLOT)
            for _ in range(_SEGMENTS):
                in_database(stage.context, primary, _NEXT_SEGMENT)
            in_database(stage.context, primary, "CHECKPOINT")
            # Its guard makes a slot that is lost anew, for the copy that has to follow.
            kept = in_database(stage.context, primary, _SLOT)
            stage.expect("WAL that the standby needs is dropped", kept != needed, f"{needed} was needed, {kept} is kept")
            stage.go_on()
        until_mode(stage, "synchronous", 120.0)
        is_copied = not is_marked(stage.context, standby)
        stage.expect("the standby has copied itself anew", is_copied, f"its data is {'new' if is_copied else 'the old one'}")
    expect_no_failover(stage, before)
    expect_same_rows(stage)


@drill(
    "postgres-rewind-killed",
    group=GROUP,
    breaks="the standby is promoted by hand, and the pg_rewind of the old primary is killed in the middle",
    holds="the half rewound data is replaced by a copy: the old primary joins, and nothing is lost",
    objective={"rto": 10.0},
)
def rewind_killed(stage: Stage) -> None:
    primary = stage.holder("primary")
    standby = stage.other(primary)
    with ThreadPoolExecutor(1) as pool:
        rewind = pool.submit(kill_rewind, stage.context, primary, 60)
        with stage.broken(promoted_by_hand(standby, primary)):
            stage.go_on()
            stage.expect("pg_rewind was killed", rewind.result(), "it was" if rewind.result() else "none was seen")
            until_mode(stage, "synchronous", 120.0)
    stage.expect("the promoted one is primary", stage.holder("primary") == standby, f"{standby} was promoted")
    expect_same_rows(stage)
