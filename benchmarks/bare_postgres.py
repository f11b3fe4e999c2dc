"""The yardstick: a PostgreSQL primary and its standby with nothing around them, one step after the other."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from spokectl.model import Kind
from spokectl.runtime.local.binaries import find_binaries

_DEADLINE_S = 120.0


class BarePair:
    """`start` does the four steps; `remove` stops both and deletes their files."""

    def __init__(self) -> None:
        self._programs = find_binaries([Kind.POSTGRES], os.environ).folders[0]
        self._root = Path(tempfile.mkdtemp(prefix="spokectl-bare-", dir="/tmp"))
        # PostgreSQL refuses to run as root.
        self._switch_to = "nobody" if os.geteuid() == 0 else None
        if self._switch_to:
            owner = pwd.getpwnam(self._switch_to)
            os.chown(self._root, owner.pw_uid, owner.pw_gid)
        self._servers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        primary, standby = self._root / "primary", self._root / "standby"
        self._run(
            "initdb", "-D", str(primary), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-instructions"
        )
        port = self._serve(primary)
        self._run(
            "pg_basebackup", "-D", str(standby), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-R", "-c", "fast"
        )
        self._serve(standby)

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

    def _serve(self, data: Path) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        words = ["-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
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
        return port
