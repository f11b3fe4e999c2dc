"""The promised figures, each compared with its yardstick within one run: `python -m benchmarks [NAME...]`.

Exit 1 when a bound is missed. Times jump on a shared machine: the two sides of a comparison alternate, and medians count.
"""

import argparse
import sys

from benchmarks import bringup, memory, startup
from benchmarks.table import Row, show

BENCHMARKS = {"startup": startup.run, "bringup": bringup.run, "memory": memory.run}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], help="all when none is named")
    parser.add_argument("--repeat", type=int, default=7, help="rounds of each comparison")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name in arguments.names or BENCHMARKS:
        rows += BENCHMARKS[name](arguments.repeat)
    show(rows)
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
