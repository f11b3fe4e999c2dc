"""How long commands take before they do anything, in multiples of `python -c pass`."""

import subprocess
import sys
import time
from statistics import median

from benchmarks.stack import BenchmarkStack, benchmark_stack
from benchmarks.table import Row

BOUNDS = {"--version": 3.0, "--help": 12.0, "status": 45.0}


def run(repeat: int) -> list[Row]:
    with benchmark_stack() as stack:
        stack.up()
        times: dict[str, list[float]] = {name: [] for name in ("pass", *BOUNDS)}
        for _ in range(max(repeat, 5) * 3):
            times["pass"].append(_timed(stack, [sys.executable, "-c", "pass"]))
            for command in BOUNDS:
                times[command].append(_timed(stack, [sys.executable, "-m", "spokectl", command]))
    base = median(times["pass"])
    return [
        Row(f"spokectl {command}", median(times[command]), base, bound, "s", "python -c pass")
        for command, bound in BOUNDS.items()
    ]


def _timed(stack: BenchmarkStack, command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=stack.environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started
