"""The nouns of the product: a stack, its services, their ports and what can be said about each."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from spokectl.facts import Facts


class Kind(StrEnum):
    """What a service is; the folder `stack/services/<kind>` holds its entry script."""

    POSTGRES = "postgres"
    REDIS = "redis"
    SENTINEL = "sentinel"
    S3 = "s3"
    JOB = "job"
    SPOKE = "spoke"
    LOAD_BALANCER = "load-balancer"
    COLLECTOR = "collector"


TAKEN_OVER_BY_RELOAD = {Kind.LOAD_BALANCER: frozenset({"SPOKE_BACKENDS"})}
"""Variables that a running server takes over by `run --reload`: a change of them alone restarts nothing."""


@dataclass(frozen=True)
class Port:
    """`target` inside the container, published as `host`:`published`."""

    host: str
    published: int
    target: int


@dataclass(frozen=True)
class Mount:
    """A named volume (`source` is its name) or a file or folder beside the stack file, seen as `target` in a container."""

    source: str
    target: str
    named: bool
    read_only: bool = False


@dataclass(frozen=True)
class HealthProbe:
    """How health is asked: `protocol` on the container's `port`, for HTTP with a `path`. A job has neither."""

    protocol: str
    port: int = 0
    path: str = ""


@dataclass(frozen=True)
class Service:
    """One service of the stack file, with every `${…}` already replaced."""

    name: str
    kind: Kind
    first_role: str
    health: HealthProbe
    environment: dict[str, str]
    container_name: str
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    command: tuple[str, ...] = ()
    restart: str = "no"
    stop_grace_s: float = 10.0
    stop_signal: str = "TERM"
    memory_limit_bytes: int | None = None
    image: str = ""

    def address(self, target: int) -> tuple[str, int]:
        """The published host and port of the container port `target`. KeyError, with what lacks, when it has none."""
        for port in self.ports:
            if port.target == target:
                return port.host, port.published
        raise KeyError(f"published port {target}")


@dataclass(frozen=True)
class Setting:
    """One `${NAME}` of the stack file: `default` is None where the file gives none.

    `source` is shell, file (the stack's own env file), dotenv (`.env` beside the stack file) or default.
    """

    name: str
    value: str
    default: str | None
    source: str


@dataclass(frozen=True)
class Stack:
    """A stack as its file and settings describe it; nothing here says whether it runs."""

    name: str
    files: tuple[Path, ...]
    services: dict[str, Service]
    volumes: tuple[str, ...]
    settings: dict[str, Setting]
    port_settings: dict[str, int] = field(default_factory=dict)
    """The settings that choose published ports, with their defaults."""
    notices: tuple[str, ...] = ()
    """What the files say and native processes do not heed, a sentence each."""

    def of_kind(self, kind: Kind) -> list[Service]:
        return [service for service in self.services.values() if service.kind is kind]

    @property
    def folder(self) -> Path:
        """Where the stack file lies: relative paths in it start here, and `services/` stands beside it."""
        return self.files[0].parent


class RunState(StrEnum):
    """What the runtime sees of a service, before anybody asks the server itself."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"  # by hand: it stays down until `start` or `up`
    RESTARTING = "restarting"  # it died and will be started again
    FAILED = "failed"  # it died and is not started again
    DONE = "done"  # a job that succeeded
    ABSENT = "absent"  # never started, or removed


# In which no process of the service is left.
DOWN = frozenset({RunState.STOPPED, RunState.FAILED, RunState.DONE, RunState.ABSENT})


@dataclass(frozen=True)
class Inspection:
    """What the runtime sees of one service. `detail` says why, where the state alone does not.

    `version`: of the program, as its image or its package says; empty where neither does.
    """

    service: str
    state: RunState
    pid: int | None = None
    started_at: datetime | None = None
    exit_code: int | None = None
    detail: str = ""
    version: str = ""


@dataclass(frozen=True)
class LogLine:
    """One line of a service's log; `time` (aware, UTC) is None only before a service's first dated line."""

    service: str
    time: datetime | None
    text: str


@dataclass(frozen=True)
class Health:
    """A service's own answer. `role` is what the server says it is now; `reason` says why `ok` is false, or what is odd.

    `degraded`: it does its work, but without the protection that it should have.
    `master` is an address: whom a Redis replica follows, or whom a Sentinel names. `facts`: what else a database said.
    """

    service: str
    ok: bool
    role: str = ""
    reason: str = ""
    version: str = ""
    degraded: bool = False
    master: str = ""
    facts: Facts | None = None
