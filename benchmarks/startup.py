"""How long commands take before they do anything, in multiples of `python -c pass`."""

import subprocess
import sys
import time
from collections.abc import Mapping
from statistics import median

from benchmarks.stack import BenchmarkStack, benchmark_stack
from benchmarks.table import Row

BOUNDS = {"--version": 3.0, "--help": 12.0, "status": 45.0}
# What Tab costs: `spokectl WORDS` with the last word begun.
COMPLETED = {"restart spoke": 20.0, "modules get ": 20.0}


def run(repeat: int) -> list[Row]:
    with benchmark_stack() as stack:
        stack.up()
        times: dict[str, list[float]] = {name: [] for name in ("pass", *BOUNDS, *COMPLETED)}
        for _ in range(max(repeat, 5) * 3):
            times["pass"].append(_timed(stack, [sys.executable, "-c", "pass"]))
            for command in BOUNDS:
                times[command].append(_timed(stack, [sys.executable, "-m", "spokectl", command]))
            for words in COMPLETED:
                asked = {"_SPOKECTL_COMPLETE": "bash_complete", "COMP_WORDS": f"spokectl {words}", "COMP_CWORD": "2"}
                times[words].append(_timed(stack, [sys.executable, "-m", "spokectl"], asked))
    base = median(times["pass"])
    shown = {command: command for command in BOUNDS} | {words: f"{words}<Tab>" for words in COMPLETED}
    return [
        Row(f"spokectl {shown[name]}", median(times[name]), base, bound, "s", "python -c pass")
        for name, bound in (BOUNDS | COMPLETED).items()
    ]


def _timed(stack: BenchmarkStack, command: list[str], variables: Mapping[str, str] | None = None) -> float:
    started = time.perf_counter()
    subprocess.run(command, env={**stack.environment, **(variables or {})}, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started
