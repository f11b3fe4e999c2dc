"""`spokectl up` in containers, cold and warm, against plain Compose on the same file with the same probes after it."""

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

from benchmarks.stack import STACK_FILE, BenchmarkStack, benchmark_stack
from benchmarks.table import Row

# Reads the stack as Compose has brought it up, and returns when every server has answered: what `up` does at its end.
_PROBES = """
from spokectl.operations.context import open_context
from spokectl.operations.readiness import wait_until_ready
from spokectl.wait import Deadline
context = open_context("bench", None)
wait_until_ready(context, list(context.stack.services), Deadline(240.0), lambda *_: None)
"""


def run(repeat: int) -> list[Row]:
    with benchmark_stack("docker") as stack:
        stack.up()
        compose = _Compose(stack)
        contenders: dict[str, Callable[[], object]] = {
            "spokectl": stack.up,
            "compose": compose.up_and_probe,
            "wait": compose.up_and_wait,
        }
        cold: dict[str, list[float]] = {name: [] for name in contenders}
        warm: dict[str, list[float]] = {name: [] for name in contenders}
        stack.down(volumes=True)
        for _ in range(repeat):
            for name, up in contenders.items():
                cold[name].append(_timed(up))
                stack.down(volumes=False)
                warm[name].append(_timed(up))
                stack.down(volumes=True)
    rows = []
    for label, times in (("cold", cold), ("warm", warm)):
        mine, compose_s, wait_s = (median(times[name]) for name in ("spokectl", "compose", "wait"))
        rows.append(Row(f"{label} up, docker", mine, compose_s, 1.15, "s", "docker compose up -d, then the same probes"))
        rows.append(Row(f"{label} up, docker", mine, wait_s, float("inf"), "s", "docker compose up -d --wait"))
    return rows


class _Compose:
    """Plain Compose on the benchmark's stack, with its ports."""

    def __init__(self, stack: BenchmarkStack) -> None:
        self._stack = stack
        settings = [path for path in (STACK_FILE.with_name(".env"), stack.state / "bench/stack.env") if path.exists()]
        files = [word for path in settings for word in ("--env-file", str(path))]
        self._up = ["docker", "compose", *files, "--file", str(STACK_FILE), "up", "--detach", "--no-build"]
        self._environment = stack.environment | {"SPOKE_STACK": "bench"}

    def up_and_probe(self) -> None:
        self._run(self._up)
        self._run([sys.executable, "-c", _PROBES])

    def up_and_wait(self) -> None:
        self._run([*self._up, "--wait"])

    def _run(self, words: list[str]) -> None:
        subprocess.run(words, env=self._environment, capture_output=True, check=True, timeout=300)


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
