"""A stack of its own for a benchmark, on free ports, in a state folder that is removed afterwards."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from spokectl.wait import Deadline, wait_until

# The highest that keeps every port below the range that the system lends to outgoing connections (32768 and up on Linux).
PORT_OFFSET = int(os.environ.get("SPOKECTL_BENCHMARKS_PORT_OFFSET", "6300"))
STACK_FILE = Path(__file__).parents[1] / "stack" / "ha-stack.yml"


class BenchmarkStack:
    def __init__(self, state: Path, runtime: str) -> None:
        self.state = state
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SPOKE")}
        self.environment = clean | {
            "SPOKECTL_STATE_DIR": str(state),
            "SPOKECTL_STACK": "bench",
            "SPOKECTL_RUNTIME": runtime,
        }

    def spokectl(self, *words: str) -> Any:
        done = self._run(*words)
        if done.returncode:
            raise RuntimeError(f"spokectl {' '.join(words)} ended with {done.returncode}: {done.stdout.decode()}")
        return json.loads(done.stdout)["data"]

    def last(self, operation: str, phase: str) -> float:
        """When (seconds since 1970) the ledger of events says that the last such operation `started`, or was `done`."""
        events = [json.loads(line) for line in (self.state / "bench" / "events.jsonl").read_text().splitlines()]
        found = [each["time"] for each in events if (each["operation"], each["phase"]) == (operation, phase)]
        return datetime.fromisoformat(found[-1]).timestamp()

    def holder_of(self, role: str) -> str:
        """The service that says it has the role."""
        services = self.spokectl("status")["services"]
        return str(next(each["service"] for each in services if each["role"] == role))

    def wait_until_well(self) -> None:
        def blocker() -> str | None:
            done = self._run("status")
            return None if done.returncode == 0 else done.stdout.decode()

        wait_until(blocker, Deadline(120.0), what="all is well")

    def _run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "spokectl", *words, "--json"],
            env=self.environment,
            stdout=subprocess.PIPE,
            timeout=300,
            check=False,
        )

    def up(self) -> Any:
        return self.spokectl("up", "--port-offset", str(PORT_OFFSET))

    def down(self, *, volumes: bool) -> None:
        self.spokectl("down", *(["--volumes", "--yes"] if volumes else []))


@contextmanager
def benchmark_stack(runtime: str = "local") -> Iterator[BenchmarkStack]:
    state = Path(tempfile.mkdtemp(prefix="spokectl-bench-"))
    state.chmod(0o711)
    stack = BenchmarkStack(state, runtime)
    try:
        yield stack
    finally:
        stack.down(volumes=True)
        shutil.rmtree(state)
