"""supervisord: its configuration, its life, and what it is told over its socket."""

import os
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from spokectl.errors import Failed
from spokectl.model import Kind, Service
from spokectl.runtime.local import processes, rpc
from spokectl.runtime.local.places import Places
from spokectl.settings import command_line, privately
from spokectl.wait import Deadline, wait_until

_DAEMON = Path(__file__).with_name("daemon.py")
_ANSWER_WITHIN_S = 5.0
_START_WITHIN_S = 20.0
_PATIENCE_S = 20.0
_POLL_S = 0.01
_LOG_BYTES = 10 << 20
_OLD_LOGS = 2  # with the current one three files, as the stack file's `max-file`
# After each failed start it waits one second longer than before; a million is for ever.
_TRIES = 1_000_000


class State(IntEnum):
    """supervisord's own states. Source: http://supervisord.org/subprocess.html#process-states"""

    STOPPED = 0
    STARTING = 10
    RUNNING = 20
    BACKOFF = 30
    STOPPING = 40
    EXITED = 100
    FATAL = 200
    UNKNOWN = 1000


ENDED = frozenset({State.STOPPED, State.EXITED, State.FATAL, State.UNKNOWN})


@dataclass(frozen=True)
class Program:
    """What supervisord says of one service."""

    name: str
    state: State
    pid: int
    started_at_s: int
    exit_code: int
    problem: str


def configuration(services: Iterable[Service], places: Places) -> str:
    """supervisord.conf. Paths that may hold anything are kept out of it: it runs in the state folder."""
    head: dict[str, Mapping[str, object]] = {
        "supervisord": {
            "logfile": f"logs/{places.supervisor_log.name}",
            "logfile_maxbytes": _LOG_BYTES,
            "logfile_backups": _OLD_LOGS,
            "pidfile": places.supervisor_pid.name,
            "nocleanup": "true",
            "silent": "true",
        },
        "unix_http_server": {"file": str(places.socket).replace("%", "%%"), "chmod": "0700"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface",
        },
        "rpcinterface:logs": {
            "supervisor.rpcinterface_factory": "__main__:keep_logs",
            "folder": "logs",
            "own": places.supervisor_log.name,
            "max_bytes": _LOG_BYTES,
            "keep": _OLD_LOGS,
        },
    }
    sections = head | {f"program:{service.name}": _program(service) for service in services}
    blocks = []
    for title, values in sections.items():
        blocks.append("\n".join([f"[{title}]", *(f"{key} = {value}" for key, value in values.items())]))
    return "\n\n".join(blocks) + "\n"


def _program(service: Service) -> Mapping[str, object]:
    endless = restarts_always(service)
    return {
        "command": f"launchers/{service.name}",
        "autostart": "false",
        "autorestart": "true" if endless else "false",
        # One that dies within a second is started again after a growing pause; one that ends well within it is no failure.
        "startsecs": 1 if endless else 0,
        "startretries": _TRIES,
        "stopsignal": service.stop_signal,
        "stopwaitsecs": max(1, -int(-service.stop_grace_s // 1)),
        # Servers stop their own children in good order; a job's launcher cannot. The last resort reaches all of them.
        "stopasgroup": "true" if service.restart.startswith("on-failure") or service.kind is Kind.JOB else "false",
        "killasgroup": "true",
        # supervisord's own files, logs among them, are private; what a server creates is its own affair.
        "umask": "022",
        "redirect_stderr": "true",
        "stdout_logfile": f"logs/{service.name}.log",
        # What the launcher says before it writes there itself.
        "stdout_logfile_maxbytes": 0,
    }


def restarts_always(service: Service) -> bool:
    """Whether the service is started again however it ended, as long as nobody stopped it."""
    return service.restart in {"always", "unless-stopped"}


class Supervisor:
    """One stack's supervisord, running or not."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def programs(self) -> dict[str, Program] | None:
        """What it knows of every service; None when it is lost: it does not live, or has not answered for long.

        One that lives is asked again: on a loaded machine a slow answer must not restart healthy servers.
        """
        deadline = Deadline(_PATIENCE_S)
        while True:
            try:
                answer = self._call("supervisor.getAllProcessInfo")
                break
            except rpc.Fault:
                return None
            except OSError:
                if self.pid() is None or deadline.passed:
                    return None
                time.sleep(_POLL_S)
        return {program.name: program for program in map(_read_program, answer if isinstance(answer, list) else [])}

    def pid(self) -> int | None:
        """The process of a living supervisord, whether it answers or not."""
        root = processes.root_of(self._places.supervisor_pid)
        return root.pid if root else None

    def spawn(self, environment: Mapping[str, str]) -> None:
        """Starts it detached from this command and terminal; returns once it answers. Failed (`supervisor`) if not."""
        places = self._places
        import subprocess

        output = places.supervisor_log.with_name("supervisord.out")
        command = [sys.executable, "-P", str(_DAEMON), "-n", "-c", str(places.configuration)]
        with open(output, "wb", opener=privately) as log:
            # Its parent is the shell, which ends at once: nobody has to wait for it, and no terminal ends it.
            started = subprocess.run(
                ["/bin/sh", "-c", 'umask 077; "$@" >&2 & echo $!', "sh", *command],
                cwd=places.configuration.parent,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                check=True,
            )
        pid = int(started.stdout)
        deadline = Deadline(_START_WITHIN_S)
        while True:
            if self.programs() is not None:
                return
            if deadline.passed or not processes.is_alive(pid):
                raise Failed(
                    "supervisor",
                    f"the supervisor did not start: {_last_line(output) or _last_line(places.supervisor_log)}",
                    actions=[f"read {output}"],
                )
            time.sleep(_POLL_S)

    def reload(self) -> None:
        """Makes it read its configuration again. Nothing changes for services until they are added."""
        self._call_all([("supervisor.reloadConfig", ())])

    def add(self, services: Sequence[str], *, known: Collection[str]) -> None:
        """Takes services over from the configuration; those `known` to it must have ended and are replaced."""
        calls: list[rpc.Call] = []
        for name in services:
            if name in known:
                calls.append(("supervisor.removeProcessGroup", (name,)))
            calls.append(("supervisor.addProcessGroup", (name,)))
        self._call_all(calls)

    def remove(self, services: Sequence[str]) -> None:
        self._call_all([("supervisor.removeProcessGroup", (name,)) for name in services])

    def start(self, services: Sequence[str]) -> None:
        """Starts services, all at once, and returns before they answer."""
        self._call_all([("supervisor.startProcess", (name, False)) for name in services])

    def ask_to_stop(self, services: Sequence[str]) -> None:
        """Sends the stop signal; supervisord itself kills what has not ended in its grace period."""
        self._call_all([("supervisor.stopProcess", (name, False)) for name in services])

    def wait_until_ended(self, services: Sequence[str], deadline: Deadline) -> None:
        """Returns once none of the services has a process that supervisord started; OutcomeUnknown at the deadline."""
        if not services:
            return

        def blocker() -> str | None:
            known = self.programs()
            left = [name for name in services if known and name in known and known[name].state not in ENDED]
            return f"{', '.join(left)} still running" if left else None

        wait_until(blocker, deadline, what=f"stopping {', '.join(services)}", interval_s=_POLL_S)

    def shut_down(self) -> None:
        """Ends supervisord itself; its services must have ended before."""
        root = processes.root_of(self._places.supervisor_pid)
        if root is None:
            return
        try:
            self._call("supervisor.shutdown")
        except (OSError, rpc.Fault):
            root.terminate()
        processes.kill(processes.wait_for_end([root], within_s=_ANSWER_WITHIN_S))

    def _call(self, method: str, *parameters: rpc.Value) -> rpc.Value:
        return rpc.call(self._places.socket, method, *parameters, timeout_s=_ANSWER_WITHIN_S)

    def _call_all(self, calls: Sequence[rpc.Call]) -> None:
        """Makes the calls in order. What is so already is no failure; anything else is."""
        if not calls:
            return
        try:
            answers = rpc.call_all(self._places.socket, calls, timeout_s=_ANSWER_WITHIN_S)
        except OSError as error:
            up = command_line(self._places.stack, "up")
            raise Failed("supervisor", f"the supervisor does not answer: {error}", actions=[up]) from error
        for (method, parameters), answer in zip(calls, answers, strict=True):
            if isinstance(answer, rpc.Fault) and answer.code not in set(_Refusal):
                raise Failed("supervisor", f"{method.partition('.')[2]}{parameters}: {answer}")


class _Refusal(IntEnum):
    """What supervisord calls a failure and is none here. Source: supervisor.xmlrpc.Faults."""

    SPAWN_ERROR = 50  # it is tried again
    ALREADY_STARTED = 60
    NOT_RUNNING = 70
    ALREADY_ADDED = 90


def _read_program(answer: rpc.Value) -> Program:
    if not isinstance(answer, dict):
        raise OSError(f"supervisord answered {answer!r}")
    number = {key: int(str(answer[key])) for key in ("state", "pid", "start", "exitstatus")}
    return Program(
        name=str(answer["name"]),
        state=State(number["state"]),
        pid=number["pid"],
        started_at_s=number["start"],
        exit_code=number["exitstatus"],
        problem=str(answer["spawnerr"]),
    )


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


_PASSED_ON = ("HOME", "USER", "LOGNAME", "TZ", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "PYTHONPATH", "SSL_CERT_FILE")


def clean_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What every native process inherits: nothing of the shell that happened to run `up` but who and where it is."""
    kept = {name: environ[name] for name in _PASSED_ON if name in environ}
    # glibc gives every thread its own heap otherwise: 10 MB and more in a Spoke that hardly does anything.
    return kept | {"MALLOC_ARENA_MAX": "2"}
