"""A stack that is not there: its state folder is real, its runtime only remembers what was asked of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from spokectl.model import HealthProbe, Inspection, Kind, LogLine, Service, Stack
from spokectl.operations.context import Context
from spokectl.runtime.base import Runtime
from spokectl.settings import StackState


@dataclass
class PretendedRuntime:
    name: str = "pretended"
    absent: dict[str, str] = field(default_factory=dict)
    lines: list[LogLine] = field(default_factory=list)

    def left_out(self) -> dict[str, str]:
        return self.absent

    def inspect(self) -> dict[str, Inspection]:
        return {}

    def logs(self, services: Iterable[str], **_: object) -> Iterator[LogLine]:
        return iter(self.lines)


def context_in(folder: Path, name: str = "pretended") -> Context:
    """A context of a stack of four Spokes and a Sentinel, with its state below `folder`."""
    state = StackState(name, folder)
    state.ensure()
    services = {each: Service(each, Kind.SPOKE, "", HealthProbe("http"), {}, each) for each in ("a", "b", "c", "old")}
    services["sentinel"] = Service("sentinel", Kind.SENTINEL, "", HealthProbe("sentinel"), {}, "sentinel")
    stack = Stack(name, (folder / "stack.yml",), services, (), {})
    return Context(stack, state, cast(Runtime, PretendedRuntime()))
