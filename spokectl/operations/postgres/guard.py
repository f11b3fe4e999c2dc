"""What a node's PostgreSQL guard says of itself (docs/postgres-guard.md), also while its server is down."""

import json
import subprocess
from dataclasses import dataclass

from spokectl.errors import SpokectlError
from spokectl.runtime.base import Runtime

_STATUS = 'exec "${SPOKE_PYTHON:-python3}" "${SPOKE_SERVICE_DIR:-/opt/spoke/services/postgres}/guard.py" status'
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class GuardWord:
    """`state` is the guard's word: starting, waiting, running, refused, … `reason` and `actions` are for the operator."""

    state: str = ""
    reason: str = ""
    actions: tuple[str, ...] = ()

    @property
    def refuses(self) -> bool:
        return self.state == "refused"


def guard_word(runtime: Runtime, service: str) -> GuardWord:
    """Asks the guard of a node. Empty when it cannot be asked: the caller has a reason of its own then."""
    try:
        invocation = runtime.invocation(service, ["sh", "-c", _STATUS])
        done = subprocess.run(
            invocation.argv,
            env=invocation.environment,
            cwd=invocation.folder,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        answer = json.loads(done.stdout)
        status = answer["status"] or {}
        command = status.get("command")
        return GuardWord(str(status["state"]), str(status["message"] or ""), (str(command),) if command else ())
    except (SpokectlError, OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return GuardWord()
