"""The promised figures, each compared with its yardstick within one run: `python -m benchmarks [NAME...]`.

Exit 1 when a bound is missed. Times jump on a shared machine: the two sides of a comparison alternate, and medians count.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks import bringup, containers, memory, moves, startup
from benchmarks.table import Row, show


class Benchmark(NamedTuple):
    """`only_named`: not among those that are run when none is named."""

    run: Callable[[int], list[Row]]
    repeats: int = 7
    only_named: bool = False


def benchmarks(runtime: str) -> dict[str, Benchmark]:
    return {
        "startup": Benchmark(startup.run),
        "bringup": Benchmark(bringup.run),
        "memory": Benchmark(memory.run),
        # Needs a Docker engine.
        "containers": Benchmark(containers.run, only_named=True),
        # Takes half an hour.
        "moves": Benchmark(partial(moves.run, runtime=runtime), repeats=20, only_named=True),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[[], *benchmarks("local")], help="all but containers and moves when none is named"
    )
    parser.add_argument("--repeats", type=int, help="rounds of each comparison: 7, or 20 of moves")
    parser.add_argument("--runtime", choices=["local", "docker"], default="local", help="of the stack in moves")
    arguments = parser.parse_args()
    all_of_them = benchmarks(arguments.runtime)
    rows: list[Row] = []
    for name in arguments.names or [name for name, each in all_of_them.items() if not each.only_named]:
        rows += all_of_them[name].run(arguments.repeats or all_of_them[name].repeats)
    show(rows)
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
