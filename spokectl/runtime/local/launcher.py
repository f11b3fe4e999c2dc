"""The script that starts one service: its whole environment, its pid file, its restart rule, then the entry script.

The environment stands in a file that only its owner may read, because arguments can be read by everybody. The pid file
says which launcher started the process, so that a later `up` knows whether the stack file has changed meanwhile.
"""

import hashlib
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FIRST_PAUSE_S = 1
LONGEST_PAUSE_S = 60
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Launch:
    """All that a launcher needs to know of a service."""

    service: str
    entry: Path
    words: Sequence[str]
    environment: Mapping[str, str]
    log_file: Path
    pid_file: Path
    failure_file: Path
    restart: str
    supervision: str = ""
    """How it is supervised: not part of the script, but a change of it is a change of the service."""
    unimportant: Collection[str] = ()
    """Variables whose change alone is no change of the service."""
    sweeps: bool = True
    """Whether the script kills what a killed predecessor left of its process group: a worker still has the port."""

    @property
    def retries(self) -> int | None:
        """How often a failure is tried again by the launcher itself; None means without end."""
        kind, _, count = self.restart.partition(":")
        if kind != "on-failure":
            return 0
        return int(count) if count.isdecimal() else None


@dataclass(frozen=True)
class Script:
    """A launcher's text, and the digest that it writes into the pid file."""

    text: str
    digest: str


def render(launch: Launch) -> Script:
    """The script. The same launch gives the same text, another gives another digest."""
    exports = {name: _export(name, value) for name, value in sorted(launch.environment.items()) if is_exportable(name)}
    lines = ["cd /"]
    command = shlex.join(["/bin/sh", str(launch.entry), *launch.words])
    lines += _retrying(launch, command) if launch.restart.startswith("on-failure") else [f"exec {command}"]
    what_matters = [line for name, line in exports.items() if name not in launch.unimportant]
    digest = hashlib.sha256("\n".join([launch.supervision, *what_matters, *lines]).encode()).hexdigest()[:16]
    pid_file = shlex.quote(str(launch.pid_file))
    head = [
        "#!/bin/sh",
        f"# Starts {launch.service}. Written by spokectl, which overwrites what is changed here.",
        # Straight to the file: a supervisor that hangs or dies must not take the servers' output with it. The old output
        # stays open as 9, unused: when its last holder ends, supervisord wakes up and sees it at once.
        f"exec 9>&1 >>{shlex.quote(str(launch.log_file))} 2>&1",
        *([_sweep(pid_file)] if launch.sweeps else []),
        f'printf "%s %s\\n" "$$" {digest} >{pid_file}',
    ]
    return Script("\n".join([*head, *exports.values(), *lines]) + "\n", digest)


def is_exportable(name: str) -> bool:
    """Whether a POSIX shell can export a variable of this name."""
    return _VARIABLE.fullmatch(name) is not None


def _export(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}"


def _sweep(pid_file: str) -> str:
    # A leader that is dead cannot have been replaced by a stranger as long as its group has members.
    return (
        f'if {{ read -r old _ <{pid_file}; }} 2>/dev/null && ! kill -0 "$old" 2>/dev/null; then'
        ' kill -s KILL -- "-$old" 2>/dev/null || :; fi'
    )


def _retrying(launch: Launch, command: str) -> list[str]:
    """supervisord restarts a program that ended at once without a pause or not at all, so a job pauses by itself."""
    failure = shlex.quote(str(launch.failure_file))
    retries = launch.retries
    give_up = [] if retries is None else [f'    [ "$tries" -lt {retries} ] || exit "$status"']
    return [
        f"pause_s={FIRST_PAUSE_S} tries=0 status=0",
        "while :; do",
        f"    rm -f {failure}",
        f"    {command} && exit 0 || status=$?",
        *give_up,
        f'    tries=$((tries + 1)); echo "$status" >{failure}',
        '    sleep "$pause_s"; pause_s=$((pause_s * 2))',
        f'    [ "$pause_s" -le {LONGEST_PAUSE_S} ] || pause_s={LONGEST_PAUSE_S}',
        "done",
    ]
