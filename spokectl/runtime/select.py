"""Which runtime a stack runs in: chosen at its first `up`, recorded, and never changed under it."""

import os
from collections.abc import Mapping

from spokectl.errors import Refused, UsageError
from spokectl.model import Stack
from spokectl.runtime.base import Runtime
from spokectl.settings import StackRecord, StackState

AUTO, DOCKER, LOCAL = "auto", "docker", "local"
RUNTIMES = (AUTO, DOCKER, LOCAL)


def select_runtime(
    asked: str | None, record: StackRecord | None, environ: Mapping[str, str] = os.environ
) -> tuple[str, str]:
    """The runtime's name and why it is this one: the recorded one, else what --runtime or SPOKECTL_RUNTIME ask for.

    `asked` is the value of --runtime, or None. Refused (`other_runtime`) when another than the recorded one is asked for.
    """
    wish, source = _wish(asked, environ)
    if record is not None:
        if wish not in {AUTO, record.runtime}:
            raise _other_runtime(record.runtime, wish, source)
        return record.runtime, "chosen at the stack's first `up`"
    if wish == DOCKER:
        raise Refused(
            "no_docker_runtime",
            f"{source} asks for the Docker runtime, which is not part of this release yet",
            actions=["spokectl up --runtime local"],
        )
    if wish == LOCAL:
        return LOCAL, f"asked for by {source}"
    return LOCAL, "native processes; the Docker runtime is not part of this release yet"


def runtime_for(name: str, stack: Stack, state: StackState) -> Runtime:
    """The runtime of that name for the stack. Refused (`no_docker_runtime`) when this release does not have it."""
    if name != LOCAL:
        raise Refused(
            "no_docker_runtime",
            f"the stack {stack.name} was brought up in the runtime {name}, which this release of spokectl does not have",
            actions=["use the release that brought it up"],
        )
    from spokectl.runtime.local.runtime import LocalRuntime

    return LocalRuntime(stack, state)


def _wish(asked: str | None, environ: Mapping[str, str]) -> tuple[str, str]:
    if asked is not None:
        wish, source = asked, "--runtime"
    else:
        wish, source = environ.get("SPOKECTL_RUNTIME") or AUTO, "SPOKECTL_RUNTIME"
    if wish not in RUNTIMES:
        raise UsageError("bad_runtime", f"{source} is {wish!r}: expected one of {', '.join(RUNTIMES)}")
    return wish, source


def _other_runtime(recorded: str, wish: str, source: str) -> Refused:
    return Refused(
        "other_runtime",
        f"this stack lives in the {recorded} runtime, and {source} asks for {wish}: its data cannot move",
        actions=[
            f"spokectl up --runtime {recorded}",
            f"spokectl up --stack NAME --runtime {wish} --port-offset 1000  # a second stack beside it",
        ],
        details={"recorded": recorded, "asked": wish},
    )
