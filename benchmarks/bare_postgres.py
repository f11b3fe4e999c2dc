"""The yardstick: a PostgreSQL primary and its standby with nothing around them, one step after the other."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from spokectl.model import Kind
from spokectl.runtime.local.binaries import find_binaries

_DEADLINE_S = 120.0


class BarePair:
    """`start` does the four steps; `remove` stops both and deletes their files. `options` are for both servers."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        self.ports: list[int] = []
        self._options = options
        self._programs = find_binaries([Kind.POSTGRES], os.environ).folders[0]
        self._root = Path(tempfile.mkdtemp(prefix="spokectl-bare-", dir="/tmp"))
        # PostgreSQL refuses to run as root.
        self._switch_to = "nobody" if os.geteuid() == 0 else None
        if self._switch_to:
            owner = pwd.getpwnam(self._switch_to)
            os.chown(self._root, owner.pw_uid, owner.pw_gid)
        self._servers: list[subprocess.Popen[bytes]] = []

    def start(self, primary_options: Sequence[str] = ()) -> None:
        primary, standby = self._root / "primary", self._root / "standby"
        self._run(
            "initdb", "-D", str(primary), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-instructions"
        )
        port = self._serve(primary, primary_options)
        self._run(
            "pg_basebackup", "-D", str(standby), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-R", "-c", "fast"
        )
        self._serve(standby)

    def stop_primary(self) -> None:
        """A fast stop: it ends when the standby has received everything."""
        self._servers[0].send_signal(signal.SIGINT)
        self._servers[0].wait(timeout=_DEADLINE_S)

    def kill_primary(self) -> None:
        self._servers[0].kill()
        self._servers[0].wait(timeout=_DEADLINE_S)

    def remove(self) -> None:
        for server in reversed(self._servers):
            server.terminate()
            server.wait(timeout=_DEADLINE_S)
        shutil.rmtree(self._root)

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [str(self._programs / program), *words],
            check=True,
            capture_output=True,
            cwd=self._root,
            timeout=_DEADLINE_S,
            user=self._switch_to,
            extra_groups=[] if self._switch_to else None,
        )

    def _serve(self, data: Path, options: Sequence[str] = ()) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        words = ["-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        words += [word for option in (*self._options, *options) for word in ("-c", option)]
        self._servers.append(
            subprocess.Popen(
                [str(self._programs / "postgres"), *words],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self._root,
                user=self._switch_to,
                extra_groups=[] if self._switch_to else None,
            )
        )
        end = time.monotonic() + _DEADLINE_S
        # The last line of the pid file says "ready" as soon as connections are taken.
        while not (data / "postmaster.pid").exists() or "ready" not in (data / "postmaster.pid").read_text():
            if time.monotonic() > end or self._servers[-1].poll() is not None:
                raise RuntimeError(f"the bare PostgreSQL in {data} did not start")
            time.sleep(0.005)
        self.ports.append(port)
        return port
