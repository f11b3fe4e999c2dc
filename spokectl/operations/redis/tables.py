"""The steps of `switchover redis`, in the form that the server can do, and of `failover redis`."""

from dataclasses import replace

from spokectl.operations.redis.move import PAUSE_MS, RedisMove
from spokectl.operations.steps import Step, Table
from spokectl.settings import command_line

SWITCHOVER, FAILOVER = "switchover redis", "failover redis"

_AGREE = Step(
    "agree",
    "see that every Sentinel names the new master",
    RedisMove.wait_until_agreed,
    60.0,
    ("SENTINEL GET-MASTER-ADDR-BY-NAME  (every Sentinel)",),
    aftercare=True,
)
_FOLLOW = Step(
    "follow",
    "see that the old master is a replica of the new one",
    RedisMove.wait_until_followed,
    60.0,
    ("ROLE  (on the old master)",),
    aftercare=True,
)

COORDINATED: tuple[Step[RedisMove], ...] = (
    Step(
        "promote",
        "have a Sentinel coordinate it: the master stops writes, waits for the replica and hands over",
        RedisMove.have_it_coordinated,
        15.0,
        ("SENTINEL FAILOVER GROUP COORDINATED",),
    ),
    _AGREE,
    _FOLLOW,
)

BY_HAND: tuple[Step[RedisMove], ...] = (
    Step(
        "pause",
        "pause writes on the old master",
        RedisMove.pause_writes,
        10.0,
        (f"CLIENT PAUSE {PAUSE_MS} WRITE  (on the old master)",),
        undo=RedisMove.unpause_writes,
    ),
    Step(
        "equal",
        "see that the replica has everything",
        RedisMove.wait_until_equal,
        5.0,
        ("INFO replication  (on both: equal offsets)",),
    ),
    Step(
        "promote",
        "have a Sentinel promote the replica",
        RedisMove.have_it_promoted_in_the_pause,
        10.0,
        ("SENTINEL FAILOVER GROUP",),
    ),
    Step(
        "demote",
        "make the old master a replica at once, and its clients look again",
        RedisMove.demote_old,
        10.0,
        ("REPLICAOF NEW PORT", "CLIENT KILL TYPE NORMAL", "CLIENT UNPAUSE  (all on the old master)"),
    ),
    _AGREE,
    _FOLLOW,
)

# Its old master is down: what sees it follow has started it first.
_START_AND_FOLLOW = replace(
    _FOLLOW,
    sentence="start the old master, and see that it is a replica of the new one",
    commands=("spokectl start OLD", *_FOLLOW.commands),
)

LOST: tuple[Step[RedisMove], ...] = (
    Step(
        "fence",
        "kill the old master where it is not down already, and see that it is",
        RedisMove.kill_old,
        30.0,
        ("spokectl kill OLD",),
        undo=RedisMove.bring_back_old,
    ),
    Step(
        "promote",
        "have a Sentinel promote the replica now, not when all have missed the master",
        RedisMove.fence_and_have_it_promoted,
        30.0,
        ("spokectl kill OLD  (where somebody has started it)", "SENTINEL FAILOVER GROUP"),
    ),
    _AGREE,
    _START_AND_FOLLOW,
)

VARIANTS = {"coordinated": COORDINATED, "by hand": BY_HAND, "lost": LOST}


def table(stack: str, variant: str) -> Table[RedisMove]:
    """`variant` is a key of VARIANTS."""
    operation = FAILOVER if variant == "lost" else SWITCHOVER
    return Table(operation, VARIANTS[variant], "promote", command_line(stack, operation), command_line(stack, "status"))
