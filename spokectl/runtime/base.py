"""The seam between operations and whatever runs the servers: a Docker engine, native processes, later something else.

A runtime starts, stops, kills, pauses and inspects services, runs commands in them and reads their logs. It knows nothing
of PostgreSQL's or Redis's roles: those are asked from the servers, over published ports, the same for every runtime.
"""

import subprocess
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from spokectl.model import Inspection, Kind, LogLine, Port, Service
from spokectl.wait import Deadline

Notice = Callable[[str], None]
"""Takes one sentence for the operator about what goes on."""


def unsaid(_: str) -> None:
    """The notice for steps that the operator has just asked for by name."""


def served_ports(service: Service, left_out: Container[str]) -> tuple[Port, ...]:
    """The ports of a service that something listens on when it runs: without what `Runtime.left_out` names."""
    if service.name in left_out:
        return ()
    return tuple(port for port in service.ports if f"{service.name}:{port.target}" not in left_out)


@dataclass(frozen=True)
class Capabilities:
    """What a runtime can do beyond the common part; a drill that needs more is skipped with the reason."""

    cut_network: bool
    limit_memory: bool
    build_images: bool
    keeps_logs: bool
    """Whether logs can still be read after `tear_down`."""


NO_PROGRAM = 3
"""The exit code of `Invocation.program_check`."""


@dataclass(frozen=True)
class Invocation:
    """A command ready for `subprocess`: it runs beside the service, with the service's environment."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    folder: Path | None = None
    program_check: tuple[str, ...] = ()
    """Where a missing program does not show as an OSError: a command that ends with NO_PROGRAM when it is missing."""

    def run(self, timeout_s: float) -> "subprocess.CompletedProcess[str]":
        """What it said when it has ended. subprocess.TimeoutExpired after `timeout_s`, OSError when it cannot be started."""
        return subprocess.run(
            self.argv,
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )


_CLIENTS_VARIABLES = {
    Kind.POSTGRES: {"PGUSER": "SPOKE_POSTGRES_USER", "PGDATABASE": "SPOKE_POSTGRES_DATABASE"},
    # A Sentinel has no password and would complain of one.
    Kind.REDIS: {"REDISCLI_AUTH": "SPOKE_REDIS_PASSWORD"},
}


def clients_environment(service: Service) -> dict[str, str]:
    """With what a bare `psql` or `redis-cli`, typed in the service, is let in: variables of theirs, secrets among them."""
    own = service.environment
    return {name: own[ours] for name, ours in _CLIENTS_VARIABLES.get(service.kind, {}).items() if ours in own}


class Runtime(Protocol):
    """One stack in one runtime. Service names are those of the stack; an unknown one is a KeyError of the caller.

    What waits takes the command's deadline and ends there with OutcomeUnknown (`timeout`), which names what still runs. A
    service's grace period stays its own: no deadline makes it shorter, and what was asked to stop goes on stopping.
    """

    @property
    def name(self) -> str:
        """`docker` or `local`."""

    @property
    def capabilities(self) -> Capabilities: ...

    def left_out(self) -> dict[str, str]:
        """What this runtime will not run here, each with the reason: a service, or `service:port` for one container port."""

    def without_effect(self) -> list[str]:
        """What the stack file says and this runtime does not heed, a sentence each."""

    def require_free_ports(self, services: Sequence[str]) -> None:
        """Refused (`port_taken`, `port_forbidden`, `bad_bind_address`) as by `bring_up`; the stack's own ports are free."""

    def has_data(self) -> bool:
        """Whether there are volumes of the stack, whoever made them: what is in them holds from an earlier `up`."""

    def bring_up(self, services: Sequence[str], deadline: Deadline, notice: Notice) -> None:
        """Makes the named services run as the stack describes them: the missing are started, the healthy not touched.

        Unless nobody looks after them any more: these are stopped in good order and started again, with a notice.

        Returns before the servers answer; it waits only for what has to stop first. Refused, before anything is changed,
        when a server, a port or the disk is missing.
        """

    def changed(self, services: Sequence[str], deadline: Deadline) -> list[str]:
        """Those of the services that run as another stack file, or other settings, described them.

        A variable that is taken over by a reload (`TAKEN_OVER_BY_RELOAD`) makes no difference.
        """

    def tear_down(self, deadline: Deadline, *, volumes: bool, notice: Notice) -> list[str]:
        """Stops everything of this stack, also what a lost supervisor left behind; afterwards no port is taken.

        Data stays unless `volumes`. Returns the names of what ran until then: none when nothing did.
        """

    def start(self, services: Sequence[str], deadline: Deadline) -> None:
        """Starts stopped services and thaws frozen ones; running ones are left alone. Returns before they answer.

        NotFound or Refused where nothing can be started, even for no services at all: so a restart can ask beforehand.
        """

    def stop(self, services: Sequence[str], deadline: Deadline) -> None:
        """Stops services in good order, each within its own grace period, then by force. They stay down."""

    def kill(self, services: Sequence[str], deadline: Deadline) -> None:
        """Ends every process of the services with SIGKILL, giving none a chance to react. They stay down."""

    def pause(self, services: Sequence[str]) -> None:
        """Freezes every process of the services; connections stay open and unanswered."""

    def unpause(self, services: Sequence[str]) -> None:
        """Lets paused services go on."""

    def inspect(self) -> dict[str, Inspection]:
        """The state of every service of the stack, observed now."""

    def invocation(self, service: str, argv: Sequence[str], *, terminal: bool = False) -> Invocation:
        """How to run `argv` in the service: its binaries, its environment. NotFound when the service does not run.

        Its clients need no password (`clients_environment`), and no argument holds one. Variables of
        `TAKEN_OVER_BY_RELOAD` have the values that the stack file gives them now.

        `terminal`: a person sits at stdin and stdout.
        """

    def logs(self, services: Iterable[str], *, since: datetime | None, tail: int | None, follow: bool) -> Iterator[LogLine]:
        """Log lines merged by time, oldest first; with `follow` it goes on with new lines until the caller stops."""


@runtime_checkable
class BuildsImages(Protocol):
    """What a runtime with `capabilities.build_images` can do besides."""

    def unbuilt(self, services: Sequence[str]) -> list[str]:
        """Those of the services whose images are not there: they must be built before `bring_up`."""

    def build(self, services: Sequence[str], deadline: Deadline, progress: Notice) -> None:
        """Builds the images of the services anew. Refused (`image_build_failed`) with the last lines of the build."""

    def remove_images(self) -> list[str]:
        """Removes the stack's images, and names those that were there."""


@runtime_checkable
class RemovesContainers(Protocol):
    """What a runtime that runs containers can do besides."""

    def remove(self, services: Sequence[str]) -> None:
        """Ends services by force and removes their containers; `bring_up` makes them anew, on the volumes that stay."""


@runtime_checkable
class CutsNetwork(Protocol):
    """What a runtime with `capabilities.cut_network` can do besides."""

    def cut_network(self, services: Sequence[str]) -> None:
        """Cuts services off from every other one and from the host; their processes go on."""

    def restore_network(self, services: Sequence[str]) -> None:
        """Connects services again, under the names that they had."""
