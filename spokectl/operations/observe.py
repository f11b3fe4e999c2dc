"""Looking at a stack without changing it."""

from dataclasses import dataclass
from pathlib import Path

from spokectl.errors import NotFound
from spokectl.model import Inspection, RunState
from spokectl.operations.context import open_context, open_stack, require_known, services_of
from spokectl.operations.endpoints import Endpoint, endpoints, environment
from spokectl.operations.health import ServiceStatus, judged, observe
from spokectl.result import Result
from spokectl.settings import command_line


@dataclass(frozen=True)
class StatusData:
    stack: str
    runtime: str
    services: list[ServiceStatus]


def status(name: str, file: Path | None, services: list[str]) -> Result:
    """Every service with its state, its role as the server says it, its health and why. Degraded (10) when one is not well.

    NotFound (`not_running`) when nothing of the stack runs.
    """
    context = open_context(name, file)
    if not any(seen.pid for seen in context.runtime.inspect().values()):
        raise NotFound("not_running", f"the stack {name} is not running", actions=[command_line(name, "up")])
    statuses = observe(context, services_of(context.stack, services))
    return judged(name, StatusData(name, context.runtime.name, statuses), statuses)


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
    return endpoints(context.stack, {each.service: each.role for each in statuses}, context.runtime.left_out())


def client_environment(name: str, file: Path | None, *, show_secrets: bool) -> dict[str, str]:
    require_known(name)
    return environment(open_stack(name, file), show_secrets=show_secrets)
