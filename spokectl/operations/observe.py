"""Looking at a stack without changing it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from spokectl.errors import NotFound, SpokectlError, UsageError
from spokectl.model import Inspection, Kind, RunState
from spokectl.operations.context import (
    Context,
    broken_off,
    open_context,
    open_stack,
    require_known,
    running_context,
    scaled,
    services_of,
)
from spokectl.operations.endpoints import ORDER, Endpoint, endpoints, environment
from spokectl.operations.health import ServiceStatus, judged, observe
from spokectl.operations.outlook import Outlook, outlook
from spokectl.operations.postgres.guard import ClusterRecord, guard_word, newest
from spokectl.operations.scale import Scaled
from spokectl.result import Result


@dataclass(frozen=True)
class StatusData:
    """`endpoints` and `outlook` are empty where only some services were asked for."""

    stack: str
    runtime: str
    services: list[ServiceStatus]
    scaled: Scaled | None
    endpoints: list[Endpoint]
    outlook: list[Outlook]


def status(name: str, file: Path | None, services: list[str]) -> Result:
    """Every service with its state, its role as the server says it, its health and why. Degraded (10) when one is not well.

    In the order in which a request goes through them; and what a loss of the primary or the master would mean now.
    NotFound (`not_running`) when nothing of the stack runs.
    """
    context = running_context(name, file)
    kinds = [*ORDER, *(kind for kind in Kind if kind not in ORDER)]
    chosen = sorted(services_of(context.stack, services), key=lambda each: kinds.index(context.stack.services[each].kind))
    statuses = observe(context, chosen)
    points, expected = [], []
    if not services:
        points = endpoints(context.stack, _roles(statuses), context.runtime.left_out())
        expected = outlook(name, statuses, _record(context, statuses))
    data = StatusData(name, context.runtime.name, statuses, scaled(context.stack), points, expected)
    return judged(name, data, statuses, *broken_off(context))


@dataclass(frozen=True)
class Look:
    """A status, or the error that came in its place."""

    time: datetime
    result: Result


def watch(name: str, file: Path | None, services: list[str], pause: Callable[[], None]) -> Iterator[Look]:
    """One status after another, `pause` between them, until the caller stops.

    No error ends it once it has begun: a stack that does not run, or is taken down and brought up again, is watched too.
    UsageError at the first look: what was typed is wrong, or the stack file.
    """
    begun = False
    while True:
        try:
            result = status(name, file, services)
        except SpokectlError as error:
            if not begun and isinstance(error, UsageError):
                raise
            result = Result(None, exit_code=error.exit_code, error=error)
        begun = True
        yield Look(datetime.now(UTC), result)
        pause()


def _roles(statuses: Iterable[ServiceStatus]) -> dict[str, str]:
    return {each.service: each.role for each in statuses}


def _record(context: Context, statuses: list[ServiceStatus]) -> ClusterRecord | None:
    """Asked for where no server says how safe a failover is: without a primary. A guard asked before has said it."""
    nodes = [each for each in statuses if each.kind is Kind.POSTGRES]
    known = newest(each.record for each in nodes)
    if known is not None or any(each.role == "primary" for each in nodes):
        return known
    running = [each.service for each in nodes if each.state is RunState.RUNNING]
    return guard_word(context.runtime, running[0]).record if running else None


def processes(name: str, file: Path | None) -> Result:
    """Every service as the runtime sees it, without asking the servers."""
    context = open_context(name, file)
    inspections = context.runtime.inspect()
    return Result([inspections.get(each) or Inspection(each, RunState.ABSENT) for each in context.stack.services])


def access_points(name: str, file: Path | None) -> list[Endpoint]:
    """Every address, with the role observed now; without roles when the stack does not run."""
    try:
        context = open_context(name, file)
    except NotFound:
        require_known(name)
        return endpoints(open_stack(name, file), {}, {})
    statuses = observe(context, context.stack.services)
    return endpoints(context.stack, _roles(statuses), context.runtime.left_out())


def client_environment(name: str, file: Path | None, *, show_secrets: bool) -> dict[str, str]:
    require_known(name)
    return environment(open_stack(name, file), show_secrets=show_secrets)
