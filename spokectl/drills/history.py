"""What clients asked, what became of it and when: a history in memory, and on disk. Times are seconds since 1970."""

import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spokectl.errors import Failed
from spokectl.settings import privately


class Outcome(StrEnum):
    """`REFUSED`: not applied for sure. `IN_DOUBT`: no answer, or one that leaves open whether it was applied."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    IN_DOUBT = "in doubt"


@dataclass(frozen=True)
class Request(ABC):
    """What both kinds have in common. `layer`: the way that the client took, such as `api`, `postgres`, `redis`.

    `why`: what kept it from going well.
    """

    key: str
    began_s: float
    ended_s: float
    why: str = field(default="", kw_only=True)
    client: str = field(default="", kw_only=True)
    layer: str = field(default="api", kw_only=True)

    @property
    @abstractmethod
    def ok(self) -> bool:
        """Whether it was answered as it should be."""


@dataclass(frozen=True)
class Write(Request):
    """One write, told apart from all others by its `key`, which its content is made from."""

    outcome: Outcome

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.ACKNOWLEDGED


@dataclass(frozen=True)
class Read(Request):
    """One read of a key. `found`: whether it was there; None without an answer. `whole`: as it was written."""

    found: bool | None
    whole: bool = True

    @property
    def ok(self) -> bool:
        return self.found is not None


class Clock:
    """Seconds since 1970 that never go backwards, whatever is done to the machine's clock meanwhile."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def now_s(self) -> float:
        return time.monotonic() + self._offset_s


class Ledger:
    """Appends requests to a file, a line each, from any number of threads.

    What was written before a crash of this process is there; the line that it was at may be cut short.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "a", encoding="utf-8", buffering=1, opener=privately)  # noqa: SIM115 - closed by `close`
        self._lock = threading.Lock()

    def add(self, request: Request) -> None:
        kind = "write" if isinstance(request, Write) else "read"
        line = json.dumps({"kind": kind, **asdict(request)})
        with self._lock:
            self._file.write(line + "\n")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_ledger(path: Path) -> list[Request]:
    """The requests of a ledger in the order in which they were added. Failed (`ledger_damaged`) for what is none."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = lines if not lines or lines[-1].endswith("\n") else lines[:-1]
    return list(_requests(path, whole))


def _requests(path: Path, lines: Iterable[str]) -> Iterator[Request]:
    for number, line in enumerate(lines, start=1):
        try:
            yield _request(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failed(
                "ledger_damaged",
                f"{path}, line {number}, is no request of a drill",
                actions=[f"look at it: {path}"],
            ) from error


def _request(found: dict[str, Any]) -> Request:
    """KeyError, ValueError or TypeError when it is none."""
    kind = found.pop("kind")
    if kind == "write":
        return Write(**found | {"outcome": Outcome(found["outcome"])})
    if kind == "read":
        return Read(**found)
    raise KeyError(kind)
