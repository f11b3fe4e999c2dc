"""What a drill is: a script that breaks something, and the promise that it holds the stack to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from spokectl.drills.objective import Objective
from spokectl.drills.stage import Stage
from spokectl.model import Kind
from spokectl.operations.context import Context
from spokectl.runtime.base import CutsNetwork

Script = Callable[[Stage], None]


class Need(StrEnum):
    """What a drill wants of a stack or its runtime beyond the common part."""

    NETWORK = "a runtime that can cut the network"
    ENGINE = "containers"
    NATIVE = "native processes"
    COLLECTOR = "an OpenTelemetry Collector"


@dataclass(frozen=True)
class Drill:
    """`breaks` and `holds` are one line each, for `drill list`. `group`: where it is listed.

    `direct`: clients also write to PostgreSQL and Redis themselves, beside those of the registry. `linked`: half of those of
    the registry reach the load balancer through a link that the script can slow down and cut. `gives_up_writes`: also writes
    of others, so it must be allowed.
    """

    name: str
    group: str
    breaks: str
    holds: str
    script: Script
    objective: Objective = field(default_factory=Objective)
    needs: frozenset[Need] = frozenset()
    direct: bool = True
    seed_test: int | None = None
    """Its number among the six tests of the stack's own README."""
    in_ci: bool = False
    linked: bool = False
    gives_up_writes: bool = False


CATALOG: dict[str, Drill] = {}


def drill(
    name: str,
    *,
    group: str,
    breaks: str,
    holds: str,
    objective: dict[str, float] | None = None,
    needs: tuple[Need, ...] = (),
    direct: bool = True,
    seed_test: int | None = None,
    in_ci: bool = False,
    linked: bool = False,
    gives_up_writes: bool = False,
) -> Callable[[Script], Script]:
    """Puts the script into the catalog, as the drill `name`."""

    def register(script: Script) -> Script:
        if name in CATALOG:
            raise ValueError(f"there are two drills {name}")
        promised = Objective(objective or {})
        options = (frozenset(needs), direct, seed_test, in_ci, linked, gives_up_writes)
        CATALOG[name] = Drill(name, group, breaks, holds, script, promised, *options)
        return script

    return register


def lacking(drill: Drill, context: Context, *, allow_data_loss: bool = False) -> str:
    """Why the drill cannot, or may not, be carried out on this stack in this runtime; empty when it can."""
    if drill.gives_up_writes and not allow_data_loss:
        return "it gives up writes that were acknowledged, also those of others: only with --allow-data-loss"
    left_out = context.runtime.left_out()
    collectors = [each for each in context.stack.of_kind(Kind.COLLECTOR) if each.name not in left_out]
    has = {
        Need.NETWORK: isinstance(context.runtime, CutsNetwork),
        Need.ENGINE: context.runtime.name == "docker",
        Need.NATIVE: context.runtime.name == "local",
        Need.COLLECTOR: bool(collectors),
    }
    return ", ".join(f"it needs {need}" for need in Need if need in drill.needs and not has[need])
