"""What the idle stack costs: proportional set size of every process of it. Linux only: PSS is the kernel's figure."""

import sys
import time
from pathlib import Path

import psutil

from benchmarks.stack import BenchmarkStack, benchmark_stack
from benchmarks.table import Row

BOUND_MB = 350.0


def run(repeat: int) -> list[Row]:  # noqa: ARG001 - a benchmark's signature; this one measures once
    if not Path("/proc/self/smaps_rollup").exists():
        sys.stdout.write("memory: this system has no PSS figures: not measured\n")
        return []
    with benchmark_stack() as stack:
        stack.up()
        # Idle means that start-up is over: the figure is read when it has not grown for a while.
        figures = [_total_mb(stack)]
        while len(figures) < 5 or min(figures[-4:]) < figures[-1]:
            time.sleep(1)
            figures.append(_total_mb(stack))
            if len(figures) > 30:
                break
        for name, size in sorted(_by_program(stack).items(), key=lambda item: -item[1]):
            sys.stdout.write(f"    {size:7.1f} MB  {name}\n")
    return [Row("idle memory (PSS)", figures[-1], None, BOUND_MB, "MB", "")]


def _total_mb(stack: BenchmarkStack) -> float:
    return sum(_by_program(stack).values())


def _by_program(stack: BenchmarkStack) -> dict[str, float]:
    sizes: dict[str, float] = {}
    supervisor = psutil.Process(int((stack.state / "bench" / "supervisord.pid").read_text()))
    for process in [supervisor, *supervisor.children(recursive=True)]:
        try:
            name = " ".join(process.cmdline())[:70]
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except (psutil.Error, OSError):
            continue
        pss_kb = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        sizes[f"{process.pid} {name}"] = pss_kb / 1024
    return sizes
