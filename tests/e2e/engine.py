"""A Docker engine of a test's own, which can lose its power without hurting the containers of others."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from spokectl.stackfile import load_stack
from tests.e2e.conftest import STACK_FILE, eventually, require_docker

STARTS_WITHIN_S = 120.0
STOPS_WITHIN_S = 300.0
LOADS_WITHIN_S = 900.0


class Machine:
    """An engine with a network, processes, mounts and images of its own: to its containers a machine that can be restarted.

    Its published ports are on the loopback address of that network: `getting_there` is what a command begins with that
    wants to reach them.
    """

    def __init__(self, folder: Path, driver: str) -> None:
        self.folder = folder
        self._driver = driver
        self._shell: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"unix://{self.folder}/socket"

    @property
    def getting_there(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._engine().pid}/ns/net", "--"]

    def docker(self, *words: str) -> str:
        """What a `docker` command prints; it must end with 0."""
        done = subprocess.run(["docker", "--host", self.address, *words], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Starts the engine; returns once it answers."""
        # What a machine that lost its power finds at its next start: the pid may be another process's by then.
        (self.folder / "pid").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        words = ["dockerd", "--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/run"]
        words += ["--pidfile", f"{self.folder}/pid", "--host", self.address, "--storage-driver", self._driver]
        # systemd knows nothing of processes in here.
        words += ["--exec-opt", "native.cgroupdriver=cgroupfs"]
        apart = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
        with (self.folder / "log").open("ab") as log:
            self._shell = subprocess.Popen(
                [*apart, "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._answers, f"the engine answers\n{self.log()[-2000:]}", STARTS_WITHIN_S)

    def stop(self) -> None:
        """Ends the engine as `systemctl stop` would: it stops its containers first."""
        self._end(signal.SIGTERM)

    def lose_power(self) -> None:
        """Ends every process at once: with the first of them the kernel ends all of its namespace."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Ends it, if it runs, and deletes it."""
        if self._shell is not None and self._shell.poll() is None:
            self.lose_power()
        shutil.rmtree(self.folder)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _answers(self) -> bool:
        assert self._shell is not None
        assert self._shell.poll() is None, self.log()[-2000:]
        done = subprocess.run(["docker", "--host", self.address, "version"], capture_output=True, timeout=60)
        return done.returncode == 0

    def _engine(self) -> psutil.Process:
        """The first process of the machine."""
        assert self._shell is not None
        (engine,) = psutil.Process(self._shell.pid).children()
        return engine

    def _end(self, number: int) -> None:
        assert self._shell is not None
        self._engine().send_signal(number)
        self._shell.wait(STOPS_WITHIN_S)
        self._shell = None


def machine_with_the_images() -> Machine:
    """A started machine that has the images of the stack. Skips, with the reason, where there can be none."""
    require_docker()
    missing = [program for program in ("dockerd", "unshare", "nsenter", "ip") if shutil.which(program) is None]
    if sys.platform != "linux" or os.geteuid() != 0 or missing:
        lacking = f"no program {missing[0]}" if missing else "not root on Linux"
        pytest.skip(f"{lacking}: an engine of the test's own cannot be started")
    shown = subprocess.run(["docker", "info", "--format", "{{json .}}"], capture_output=True, check=True, timeout=60)
    engine = json.loads(shown.stdout)
    # Beside the engine's own data: what works there works here.
    beside = Path(engine["DockerRootDir"]).parent
    made = Machine(Path(tempfile.mkdtemp(prefix="spoke-engine-", dir=beside)), engine["Driver"])
    try:
        made.start()
        images = {service.image for service in load_stack("e2e", [STACK_FILE], shell={}, env_file={}).services.values()}
        with subprocess.Popen(["docker", "save", *sorted(images)], stdout=subprocess.PIPE) as save:
            load = ["docker", "--host", made.address, "load", "--quiet"]
            subprocess.run(load, stdin=save.stdout, stdout=subprocess.DEVNULL, check=True, timeout=LOADS_WITHIN_S)
        assert save.returncode == 0
    except BaseException:
        made.close()
        raise
    return made
