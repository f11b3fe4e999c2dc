"""A stack of its own for a benchmark, on free ports, in a state folder that is removed afterwards."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PORT_OFFSET = 21000


class BenchmarkStack:
    def __init__(self, state: Path) -> None:
        self.state = state
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SPOKE")}
        self.environment = clean | {"SPOKECTL_STATE_DIR": str(state), "SPOKECTL_STACK": "bench"}

    def spokectl(self, *words: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "spokectl", *words, "--json"],
            env=self.environment,
            stdout=subprocess.PIPE,
            timeout=300,
            check=True,
        )
        return json.loads(done.stdout)["data"]

    def up(self) -> Any:
        return self.spokectl("up", "--port-offset", str(PORT_OFFSET))

    def down(self, *, volumes: bool) -> None:
        self.spokectl("down", *(["--volumes", "--yes"] if volumes else []))


@contextmanager
def benchmark_stack() -> Iterator[BenchmarkStack]:
    state = Path(tempfile.mkdtemp(prefix="spokectl-bench-"))
    state.chmod(0o711)
    stack = BenchmarkStack(state)
    try:
        yield stack
    finally:
        stack.down(volumes=True)
        shutil.rmtree(state)
