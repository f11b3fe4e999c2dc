"""Which runtime a stack runs in: chosen at its first `up`, recorded, and never changed under it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from spokectl.errors import Refused, UsageError
from spokectl.model import Stack
from spokectl.runtime.base import Runtime
from spokectl.settings import StackRecord, StackState, command_line

AUTO, DOCKER, LOCAL = "auto", "docker", "local"
RUNTIMES = (AUTO, DOCKER, LOCAL)
# A Docker context may name another place; then DOCKER_HOST or --runtime docker says that it is wanted.
_ENGINE_SOCKET = Path("/var/run/docker.sock")


def select_runtime(
    stack: str,
    asked: str | None,
    record: StackRecord | None,
    why_not_docker: Callable[[], str | None],
    environ: Mapping[str, str] = os.environ,
) -> tuple[str, str]:
    """The runtime's name and why it is this one: the recorded one, else what --runtime or SPOKECTL_RUNTIME ask for.

    `asked` is the value of --runtime, or None. `why_not_docker` is called when nobody asks for either: it says what the
    Docker runtime lacks here. Refused (`other_runtime`) when another than the recorded one is asked for.
    """
    wish, source = _wish(asked, environ)
    if record is not None:
        if wish not in {AUTO, record.runtime}:
            raise _other_runtime(stack, record.runtime, wish, source)
        return record.runtime, "chosen at the stack's first `up`"
    if wish != AUTO:
        return wish, f"asked for by {source}"
    lacking = why_not_docker()
    if lacking is None:
        return DOCKER, "an engine answers and has the images; native processes instead: --runtime local"
    return LOCAL, f"native processes, because {lacking}; containers instead: --runtime docker"


def what_docker_lacks(stack: Stack) -> str | None:
    """None when an engine answers and has the stack's images. Without an engine's socket it costs nothing."""
    if not _may_have_an_engine():
        return "there is no Docker engine"
    from spokectl.runtime.docker.engine import why_not_ready

    return why_not_ready(service.image for service in stack.services.values())


def brought_up_by_compose(name: str) -> Path | None:
    """The stack file of a stack of that name that plain Compose brought up, without this tool."""
    if not _may_have_an_engine():
        return None
    from spokectl.runtime.docker import engine

    return engine.brought_up_by_compose(name)


def runtime_for(name: str, stack: Stack, state: StackState) -> Runtime:
    """The runtime of that name for the stack."""
    if name == DOCKER:
        from spokectl.runtime.docker.runtime import DockerRuntime

        return DockerRuntime(stack, state)
    if name == LOCAL:
        from spokectl.runtime.local.runtime import LocalRuntime

        return LocalRuntime(stack, state)
    raise Refused(
        "unknown_runtime",
        f"the stack {stack.name} was brought up in the runtime {name}, which this release of spokectl does not have",
        actions=["use the release that brought it up"],
    )


def _may_have_an_engine() -> bool:
    host = os.environ.get("DOCKER_HOST") or f"unix://{_ENGINE_SOCKET}"
    return not host.startswith("unix://") or Path(host.removeprefix("unix://")).exists()


def _wish(asked: str | None, environ: Mapping[str, str]) -> tuple[str, str]:
    if asked is not None:
        wish, source = asked, "--runtime"
    else:
        wish, source = environ.get("SPOKECTL_RUNTIME") or AUTO, "SPOKECTL_RUNTIME"
    if wish not in RUNTIMES:
        raise UsageError("bad_runtime", f"{source} is {wish!r}: expected one of {', '.join(RUNTIMES)}")
    return wish, source


def _other_runtime(stack: str, recorded: str, wish: str, source: str) -> Refused:
    return Refused(
        "other_runtime",
        f"the stack {stack} lives in the {recorded} runtime, and {source} asks for {wish}: its data cannot move",
        actions=[
            command_line(stack, f"up --runtime {recorded}"),
            f"spokectl up --stack NAME --runtime {wish} --port-offset 1000  # a second stack beside it",
        ],
        details={"recorded": recorded, "asked": wish},
    )
