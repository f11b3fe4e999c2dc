"""What a node's PostgreSQL guard says of itself (docs/postgres-guard.md), also while its server is down."""

import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spokectl.errors import SpokectlError
from spokectl.runtime.base import Runtime

_STATUS = 'exec "${SPOKE_PYTHON:-python3}" "${SPOKE_SERVICE_DIR:-/opt/spoke/services/postgres}/guard.py" status'
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class ClusterRecord:
    """Who may be primary (docs/postgres-guard.md), and who said so. `mode`: synchronous, degraded or asynchronous.

    `since_lsn`: from where on the standby may lack acknowledged writes.
    """

    primary: str
    mode: str
    epoch: int
    since_lsn: str | None
    changed_by: str
    reason: str
    time: str


@dataclass(frozen=True)
class GuardWord:
    """`state` is the guard's word: starting, waiting, running, refused, … `reason` and `actions` are for the operator."""

    state: str = ""
    reason: str = ""
    actions: tuple[str, ...] = ()
    record: ClusterRecord | None = None

    @property
    def refuses(self) -> bool:
        return self.state == "refused"


@dataclass(frozen=True)
class DivergentWal:
    """WAL that only `node` has, up to `timeline`; or had: then it is kept in the folder `kept_in`, beside the node's data.

    `to_lsn` and `bytes` are None where the last record could not be read.
    """

    node: str
    timeline: int
    from_lsn: str
    to_lsn: str | None
    bytes: int | None
    kept_in: str | None

    @property
    def sentence(self) -> str:
        size = "an unknown number of bytes" if self.bytes is None else f"{self.bytes} bytes"
        return f"{size} of WAL (timeline {self.timeline}, {self.from_lsn} to {self.to_lsn or 'its end'})"


def divergent_wal(node: str, said: Mapping[str, Any] | None) -> DivergentWal | None:
    """`divergent` of a guard's status."""
    if not said:
        return None
    return DivergentWal(node, *(said[name] for name in ("timeline", "from_lsn", "to_lsn", "bytes", "kept_in")))


def newest(records: Iterable[ClusterRecord | None]) -> ClusterRecord | None:
    """The record as the guards that were asked have read it: the last one, where it changed meanwhile."""
    return max((each for each in records if each), key=lambda record: (record.epoch, record.time), default=None)


def guard_word(runtime: Runtime, service: str) -> GuardWord:
    """Asks the guard of a node. Empty when it cannot be asked: the caller has a reason of its own then."""
    try:
        done = runtime.invocation(service, ["sh", "-c", _STATUS]).run(_TIMEOUT_S)
        answer = json.loads(done.stdout)
        status = answer["status"] or {}
        command = status.get("command")
        actions = (str(command),) if command else ()
        return GuardWord(str(status["state"]), str(status["message"] or ""), actions, _record(answer.get("record")))
    except (SpokectlError, OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return GuardWord()


def _record(found: dict[str, Any] | None) -> ClusterRecord | None:
    if not found:
        return None
    texts = {name: str(found[name]) for name in ("primary", "mode", "changed_by", "reason", "time")}
    return ClusterRecord(**texts, epoch=int(found["epoch"]), since_lsn=found["since_lsn"])
