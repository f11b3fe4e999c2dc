"""The steps of `switchover postgres` and `failover postgres`. They differ in how the old primary is put down before."""

from dataclasses import replace

from spokectl.operations.postgres.move import Move
from spokectl.operations.steps import Step, Table
from spokectl.settings import command_line

SWITCHOVER, FAILOVER, ADOPT = "switchover postgres", "failover postgres", "adopt postgres"

NAME = Step(
    "name",
    "name the new primary in the cluster record",
    Move.name_new,
    20.0,
    ("guard.py name-primary NEW --expect-epoch N",),
)
PROMOTE = Step("promote", "promote it", Move.promote, 60.0, ("SELECT pg_promote(true, 60)  (on the new primary)",))
FENCED_PROMOTE = replace(
    PROMOTE,
    sentence="promote it, once the old primary is seen to be down still",
    act=Move.fence_and_promote,
    commands=("spokectl kill OLD  (where somebody has started it)", *PROMOTE.commands),
)
FOLLOW = Step(
    "follow", "see that the Spokes have followed", Move.wait_until_followed, 60.0, ("GET /health/ready  (every Spoke)",)
)
PROTECT = Step(
    "protect",
    "see that commits wait for the standby again",
    Move.wait_until_protected,
    60.0,
    ("the guard: synchronous_standby_names, then the record",),
    aftercare=True,
)

SWITCHOVER_STEPS: tuple[Step[Move], ...] = (
    Step(
        "checkpoint",
        "write a checkpoint, so that the stop is short",
        Move.checkpoint,
        60.0,
        ("CHECKPOINT  (on the old primary)",),
    ),
    Step(
        "stop",
        "stop the old primary cleanly and hold it; the Spokes keep writes until there is a new one",
        Move.stop_old,
        30.0,
        ("guard.py demote  (on the old primary: standby.signal, fast shutdown, pg_controldata as proof)",),
        undo=Move.bring_back_old,
    ),
    Step(
        "receive",
        "see that the standby has replayed the old primary's last record",
        Move.wait_for_shutdown_checkpoint,
        30.0,
        ("SELECT pg_last_wal_replay_lsn()  (on the standby: beyond the shutdown checkpoint)",),
    ),
    NAME,
    PROMOTE,
    FOLLOW,
    Step(
        "rejoin",
        "start the old primary as a standby of the new one",
        Move.rejoin_old,
        120.0,
        ("guard.py rejoin  (on the old primary)",),
        aftercare=True,
    ),
    PROTECT,
)

FAILOVER_STEPS: tuple[Step[Move], ...] = (
    Step(
        "fence",
        "kill the old primary where it is not down already, and see that it is",
        Move.kill_old,
        30.0,
        ("spokectl kill OLD",),
        undo=Move.start_old_again,
    ),
    Step(
        "drain",
        "see that the standby receives no more; what it has it replays before it is primary",
        Move.wait_until_nothing_more_comes,
        60.0,
        ("SELECT status FROM pg_stat_wal_receiver  (on the standby: none)",),
    ),
    NAME,
    FENCED_PROMOTE,
    FOLLOW,
    Step(
        "rejoin",
        "start the old primary as a standby of the new one; where its data has diverged it is rewound or copied",
        Move.rejoin_old,
        300.0,
        ("spokectl start OLD", "the guard: saves what only the old one has, pg_rewind, else pg_basebackup"),
        aftercare=True,
    ),
    PROTECT,
)

ADOPT_STEPS: tuple[Step[Move], ...] = (
    Step(
        NAME.id,
        "write a cluster record that names it",
        Move.adopt_new,
        30.0,
        ("guard.py adopt  (on the node)",),
    ),
    PROMOTE,
    *FAILOVER_STEPS[FAILOVER_STEPS.index(FOLLOW) :],
)

STEPS = {SWITCHOVER: SWITCHOVER_STEPS, FAILOVER: FAILOVER_STEPS, ADOPT: ADOPT_STEPS}


def table(stack: str, operation: str) -> Table[Move]:
    """`operation` is a key of STEPS."""
    # An adoption asks for a node, and is refused where there is a record; `up` ends whatever was broken off.
    again = command_line(stack, "up" if operation == ADOPT else operation)
    return Table(operation, STEPS[operation], NAME.id, again, command_line(stack, "status"))
