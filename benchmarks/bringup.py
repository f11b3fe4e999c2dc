"""`spokectl up`, cold and warm, against the bare PostgreSQL pair that it contains, started one step after the other."""

import time
from statistics import median

from benchmarks.bare_postgres import BarePair
from benchmarks.stack import benchmark_stack
from benchmarks.table import Row


def run(repeat: int) -> list[Row]:
    cold: list[float] = []
    warm: list[float] = []
    bare: list[float] = []
    with benchmark_stack() as stack:
        # The first unpacking of binaries is not part of the promise.
        stack.up()
        stack.down(volumes=True)
        for _ in range(repeat):
            bare.append(_bare_pair())
            cold.append(_timed(stack.up))
            stack.down(volumes=False)
            warm.append(_timed(stack.up))
            stack.down(volumes=True)
    base = median(bare)
    against = "initdb + start + pg_basebackup + replica start"
    return [
        Row("cold up", median(cold), base, 3.0, "s", against),
        Row("warm up", median(warm), base, 2.0, "s", against),
    ]


def _bare_pair() -> float:
    pair = BarePair()
    try:
        return _timed(pair.start)
    finally:
        pair.remove()


def _timed(action: object) -> float:
    assert callable(action)
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
