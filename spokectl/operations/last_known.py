"""The stack as it was last brought up: for a `down` whose stack file is broken or gone, and for the next change.

What `down` goes by is written before anything is started; what a change is compared with, only once it has all been
applied. Both are removed once nothing runs any more. Every other command means what the stack file says now.
"""

import json
from pathlib import Path
from typing import Any

from spokectl.model import HealthProbe, Kind, Mount, Port, Service, Stack
from spokectl.result import plain
from spokectl.settings import StackState, write_privately


def keep(state: StackState, stack: Stack) -> None:
    """Notes the stack's services, whole: private, since their environments hold passwords."""
    _write(state.last_known_file, stack)


def keep_applied(state: StackState, stack: Stack) -> None:
    """Notes that all services run as the stack describes them."""
    _write(state.applied_file, stack)


def applied(state: StackState) -> Stack | None:
    """The stack as all of it was last applied; None when that is not known."""
    found = _read(state, state.applied_file)
    return found if found.services else None


def _write(file: Path, stack: Stack) -> None:
    content = {"files": plain(stack.files), "services": [plain(service) for service in stack.services.values()]}
    write_privately(file, json.dumps(content) + "\n")


def read(state: StackState) -> Stack:
    """The stack with the services noted last; with none where nothing was noted, or it cannot be understood."""
    return _read(state, state.last_known_file)


def _read(state: StackState, file: Path) -> Stack:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        services = [_service(raw) for raw in content["services"]]
        files = tuple(Path(file) for file in content["files"])
    except (OSError, ValueError, KeyError, TypeError):
        # The runtime still finds what runs, if not the best order to stop it in.
        services, files = [], (state.folder / "stack.yml",)
    return Stack(state.name, files, {service.name: service for service in services}, volumes=(), settings={})


def _service(raw: dict[str, Any]) -> Service:
    parts = {
        "kind": Kind(raw["kind"]),
        "health": HealthProbe(**raw["health"]),
        "ports": tuple(Port(**port) for port in raw["ports"]),
        "mounts": tuple(Mount(**mount) for mount in raw["mounts"]),
        "command": tuple(raw["command"]),
    }
    return Service(**raw | parts)
