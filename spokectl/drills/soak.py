"""A soak: one fault after the other, each chosen by chance and healed before the next one. Pure but for `Soak`.

Every choice comes from the seed alone, never from what the stack does, so the same number gives the same sequence. What is
chosen is a part of the stack (`the primary`), not a service: which one that is shows when it is broken.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from spokectl.drills import breaks
from spokectl.drills.faults import Fault
from spokectl.drills.stage import Stage
from spokectl.model import Kind
from spokectl.operations.context import Context
from spokectl.operations.moves import MoveRequest
from spokectl.operations.postgres import moves as postgres
from spokectl.operations.redis import moves as redis
from spokectl.result import Report, Result
from spokectl.runtime.base import CutsNetwork
from spokectl.wait import Deadline


class Act(StrEnum):
    KILL = "kill"
    STOP = "stop"
    FREEZE = "freeze"
    CUT = "cut off"
    RESTART = "restart"
    SWITCHOVER = "switchover"
    FAILOVER = "kill and fail over"


class Part(StrEnum):
    """A part of the stack that it has to survive the loss of."""

    PRIMARY = "the primary"
    STANDBY = "the standby"
    MASTER = "the master"
    REPLICA = "the replica"
    SENTINEL = "a Sentinel"
    SPOKE = "a Spoke"
    BALANCER = "the load balancer"
    STORE = "the object store"


_LOST = (Act.KILL, Act.STOP, Act.FREEZE, Act.CUT, Act.RESTART)
_MOVED = (Act.SWITCHOVER, Act.FAILOVER, Act.RESTART)
# Who comes back by no hand but an operator's is failed over; what nobody can do without is only restarted.
_CHOICES = [
    *((part, act) for part in (Part.STANDBY, Part.MASTER, Part.REPLICA, Part.SENTINEL, Part.SPOKE) for act in _LOST),
    *((part, act) for part in (Part.PRIMARY, Part.MASTER) for act in _MOVED),
    *((part, act) for part in (Part.BALANCER, Part.STORE) for act in (Act.KILL, Act.RESTART)),
]
_FAULTS: Mapping[Act, Callable[..., Fault]] = {
    Act.KILL: breaks.killed,
    Act.STOP: breaks.stopped,
    Act.FREEZE: breaks.frozen,
    Act.CUT: breaks.cut_off,
    Act.RESTART: breaks.stopped,
    Act.FAILOVER: breaks.killed,
}
_MOVES: Mapping[tuple[str, str], Callable[[Context, MoveRequest, Report], Result]] = {
    ("postgres", "switchover"): postgres.switchover,
    ("postgres", "failover"): postgres.failover,
    ("redis", "switchover"): redis.switchover,
    ("redis", "failover"): redis.failover,
}
# Without them no write goes through, so nothing is waited for.
_NOBODY_WRITES = {Part.BALANCER, Part.STORE}


@dataclass(frozen=True)
class Step:
    """`number`: which one, of a part that there are several of."""

    act: Act
    part: Part
    number: int

    @property
    def sentence(self) -> str:
        return f"{self.act} {self.part}"


def plan(seed: int) -> Iterator[Step]:
    """The steps of a soak, without an end."""
    chance = random.Random(seed)  # noqa: S311 - it has to be repeatable, not secret
    while True:
        part, act = chance.choice(_CHOICES)
        yield Step(act, part, chance.randrange(1000))


class Soak:
    """Carries a plan out on a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def run(self) -> None:
        """As many steps as begin within the time; it ends early when the stack is not well after one."""
        stage, end = self._stage, Deadline(self._stage.soak_s)
        stage.note(f"a soak of {stage.soak_s:g} s; to repeat it: --seed {stage.seed}")
        for count, step in enumerate(plan(stage.seed), start=1):
            if step.act is Act.CUT and not isinstance(stage.context.runtime, CutsNetwork):
                stage.note(f"step {count}: {step.sentence}: left out, this runtime cuts no network")
                continue
            stage.phase(f"step {count}: {step.sentence}")
            self._take(step)
            if not stage.until_well() or end.passed:
                return

    def _take(self, step: Step) -> None:
        if step.act is Act.SWITCHOVER:
            self._move(step, "switchover")
            return
        name = self._service(step)
        with self._stage.broken(_FAULTS[step.act](name)):
            if step.act is Act.FAILOVER:
                self._move(step, "failover")
            elif step.act is not Act.RESTART and step.part not in _NOBODY_WRITES:
                self._stage.go_on()

    def _move(self, step: Step, operation: str) -> None:
        database = "postgres" if step.part is Part.PRIMARY else "redis"
        move = _MOVES[database, operation]
        self._stage.operate(f"{operation} {database}", lambda report: move(self._stage.context, MoveRequest(), report))

    def _service(self, step: Step) -> str:
        stage = self._stage
        match step.part:
            case Part.PRIMARY:
                return stage.holder("primary")
            case Part.STANDBY:
                return stage.other(stage.holder("primary"))
            case Part.MASTER:
                return stage.holder("master")
            case Part.REPLICA:
                return stage.other(stage.holder("master"))
        kinds = {
            Part.SENTINEL: Kind.SENTINEL,
            Part.SPOKE: Kind.SPOKE,
            Part.BALANCER: Kind.LOAD_BALANCER,
            Part.STORE: Kind.S3,
        }
        names = stage.names(kinds[step.part])
        return names[step.number % len(names)]
