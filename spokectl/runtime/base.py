"""The seam between operations and whatever runs the servers: a Docker engine, native processes, later something else.

A runtime starts, stops, kills, pauses and inspects services, runs commands in them and reads their logs. It knows nothing
of PostgreSQL's or Redis's roles: those are asked from the servers, over published ports, the same for every runtime.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from spokectl.model import Inspection, LogLine

Notice = Callable[[str], None]
"""Takes one sentence for the operator about what goes on."""


@dataclass(frozen=True)
class Capabilities:
    """What a runtime can do beyond the common part; a drill that needs more is skipped with the reason."""

    cut_network: bool
    limit_memory: bool
    build_images: bool


@dataclass(frozen=True)
class Invocation:
    """A command ready for `subprocess`: it runs beside the service, with the service's environment."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    folder: Path | None = None


class Runtime(Protocol):
    """One stack in one runtime. Service names are those of the stack; an unknown one is a KeyError of the caller."""

    @property
    def name(self) -> str:
        """`docker` or `local`."""

    @property
    def capabilities(self) -> Capabilities: ...

    def left_out(self) -> dict[str, str]:
        """What this runtime will not run here, each with the reason: a service, or `service:port` for one container port."""

    def bring_up(self, services: Sequence[str], notice: Notice) -> None:
        """Makes the named services run as the stack describes them: the missing are started, the healthy not touched.

        Returns before the servers answer. Refused, before anything is changed, when a server, a port or the disk is missing.
        """

    def tear_down(self, *, volumes: bool, notice: Notice) -> None:
        """Stops everything of this stack, also what a lost supervisor left behind; afterwards no port is taken.

        Data stays unless `volumes`. Does nothing when nothing runs.
        """

    def start(self, services: Sequence[str]) -> None:
        """Starts stopped services; running ones are left alone. Returns before they answer."""

    def stop(self, services: Sequence[str]) -> None:
        """Stops services in good order, each within its own grace period, then by force. They stay down."""

    def kill(self, services: Sequence[str]) -> None:
        """Ends every process of the services with SIGKILL, giving none a chance to react. They stay down."""

    def pause(self, services: Sequence[str]) -> None:
        """Freezes every process of the services; connections stay open and unanswered."""

    def unpause(self, services: Sequence[str]) -> None:
        """Lets paused services go on."""

    def inspect(self) -> dict[str, Inspection]:
        """The state of every service of the stack, observed now."""

    def invocation(self, service: str, argv: Sequence[str]) -> Invocation:
        """How to run `argv` in the service: its binaries, its environment. NotFound when the service does not run."""

    def logs(self, services: Iterable[str], *, since: datetime | None, tail: int | None, follow: bool) -> Iterator[LogLine]:
        """Log lines merged by time, oldest first; with `follow` it goes on with new lines until the caller stops."""
