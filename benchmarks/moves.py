"""How long clients notice a move of PostgreSQL's primary or Redis's master, and whether anything is lost by it.

Four clients push versions through NGINX and read them back, each 50 ms after its last answer; beside a move of Redis's
master four more set keys in the master that the Sentinels name. In each repeat the bare move and the operation follow each
other. Afterwards every acknowledged write is read again. A move is counted from its first entry in the stack's journal.

The times of PostgreSQL hold on a quiet machine; on a loaded one their ratio to the bare move counts.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from statistics import median

from benchmarks.bare_move import kill_and_promote, stop_and_promote
from benchmarks.stack import BenchmarkStack, benchmark_stack
from benchmarks.table import Row
from benchmarks.targets import API, CLIENTS, DOWN_AFTER_S, patient_sentinels, redis_writer
from spokectl.clients.writers import RegistryWriter, pushed
from spokectl.drills.checker import Kept, check
from spokectl.drills.gaps import first_after_s, longest_gap
from spokectl.drills.workload import Saw, Workload, clients_of, under_load

_RATIO = 2.0
_UNBOUND = float("inf")
# How long Sentinel by itself leaves an old master what it was, before it makes it a replica.
_OWN_DISCOVERY_S = 11.0


class Figures:
    """What was measured, by name, one figure a repeat; and which requests failed."""

    def __init__(self) -> None:
        self._all: dict[str, list[float]] = defaultdict(list)

    def add(self, name: str, figure: float) -> None:
        self._all[name].append(figure)

    def complain(self, name: str, keys: list[str]) -> None:
        """Counts them, and shows them: what should be none is looked into."""
        self.add(name, len(keys))
        for key in keys:
            sys.stdout.write(f"    {name}: {key}\n")

    def show_last(self) -> None:
        sys.stdout.write("    " + ", ".join(f"{name} {figures[-1]:.2f}" for name, figures in self._all.items()) + "\n")
        sys.stdout.flush()

    def times(self, name: str, bound_s: float, worst_bound_s: float, against: str | None = None) -> list[Row]:
        """Median and worst, each against the bare move's where there is one."""
        rows = []
        for word, pick, limit_s in (("median", median, bound_s), ("worst", max, worst_bound_s)):
            measured_s = pick(self._all[name])
            if against is None:
                rows.append(Row(f"{name}, {word}", measured_s, None, limit_s, "s", ""))
            else:
                bare_s = pick(self._all[against])
                rows.append(Row(f"{name}, {word}", measured_s, bare_s, _RATIO, "s", against, enough=limit_s))
        return rows

    def count(self, name: str, bound: float = 0.0) -> Row:
        return Row(name, sum(self._all[name]), None, bound, "", "")


def run(repeats: int, runtime: str) -> list[Row]:
    seen = Figures()
    with benchmark_stack(runtime) as stack:
        stack.up()
        for number in range(1, repeats + 1):
            sys.stdout.write(f"repeat {number} of {repeats}\n")
            seen.add("bare stop + promote", stop_and_promote())
            _switch_postgres(stack, seen)
            seen.add("bare kill + promote", kill_and_promote())
            _lose_postgres(stack, seen)
            _switch_redis(stack, seen)
            _lose_redis(stack, seen)
            _lose_redis_without_command(stack, seen)
            seen.show_last()
    return [
        *seen.times("switchover postgres: write gap", 0.5, 2.0, "bare stop + promote"),
        seen.count("switchover postgres: failed requests"),
        seen.count("switchover postgres: lost writes"),
        *seen.times("failover postgres: first write", 1.0, 3.0, "bare kill + promote"),
        *seen.times("failover postgres: redundant again", 5.0, _UNBOUND),
        seen.count("failover postgres: failed requests", _UNBOUND),
        seen.count("failover postgres: lost writes"),
        *seen.times("switchover redis: write gap", 1.5, 2.5),
        seen.count("switchover redis: lost writes"),
        *seen.times("failover redis: first write", 1.5, _UNBOUND),
        *seen.times("Sentinels alone: write gap", DOWN_AFTER_S + 1.5, _UNBOUND),
        *seen.times("old master a replica again", 2.0, _OWN_DISCOVERY_S),
        seen.count("moves of redis: failed requests"),
        seen.count("moves of redis: lost versions"),
    ]


def _switch_postgres(stack: BenchmarkStack, seen: Figures) -> None:
    with _pushing(seen, "switchover postgres: lost writes") as load:
        stack.spokectl("switchover", "postgres")
        load.go_on()
    since_s = stack.last("switchover postgres", "started")
    seen.add("switchover postgres: write gap", longest_gap(load.writes, since_s).seconds)
    seen.complain("switchover postgres: failed requests", load.failed)
    stack.wait_until_well()


def _lose_postgres(stack: BenchmarkStack, seen: Figures) -> None:
    primary = stack.holder_of("primary")
    with _pushing(seen, "failover postgres: lost writes") as load:
        stack.spokectl("kill", primary)
        stack.spokectl("failover", "postgres")
        load.go_on()
    since_s = stack.last("failover postgres", "started")
    seen.complain("failover postgres: failed requests", load.failed)
    seen.add("failover postgres: first write", first_after_s(load.writes, since_s))
    # It ends when commits wait for the standby again.
    seen.add("failover postgres: redundant again", stack.last("failover postgres", "done") - since_s)
    stack.wait_until_well()


def _switch_redis(stack: BenchmarkStack, seen: Figures) -> None:
    with _setting(seen) as load:
        stack.spokectl("switchover", "redis")
        load.go_on()
    since_s = stack.last("switchover redis", "started")
    seen.add("switchover redis: write gap", longest_gap(load.writes, since_s).seconds)
    master = redis_writer()
    found = master.kept([write.key for write in load.writes if write.ok])
    master.close()
    seen.complain("switchover redis: lost writes", check(load.writes, map(Kept, found)).lost)
    stack.wait_until_well()


def _lose_redis(stack: BenchmarkStack, seen: Figures) -> None:
    master = stack.holder_of("master")
    with patient_sentinels(), _setting(seen) as load:
        stack.spokectl("kill", master)
        stack.spokectl("failover", "redis")
        load.go_on()
    seen.add("failover redis: first write", first_after_s(load.writes, stack.last("failover redis", "started")))
    stack.wait_until_well()


def _lose_redis_without_command(stack: BenchmarkStack, seen: Figures) -> None:
    master = stack.holder_of("master")
    with _setting(seen) as load:
        stack.spokectl("kill", master)
        load.go_on()
    seen.add("Sentinels alone: write gap", longest_gap(load.writes, stack.last("kill", "started")).seconds)
    # It returns when the node is well: it has a role, and as a replica its link to the master.
    stack.spokectl("start", master)
    seen.add("old master a replica again", stack.last("start", "done") - stack.last("start", "started"))
    if stack.holder_of("master") == master:
        raise RuntimeError(f"{master} is the master again: the Sentinels have made nobody else the master")
    stack.wait_until_well()


@contextmanager
def _pushing(seen: Figures, lost_name: str) -> Iterator[Workload]:
    """Clients of the registry; afterwards it has every version that it has acknowledged, as it was pushed."""
    saw = Saw()
    clients = clients_of(f"load-{time.time_ns()}", "api", CLIENTS, saw, lambda _: RegistryWriter(API))
    with closing(RegistryWriter(API)) as registry:
        for client in clients:
            registry.prepare(client.name)
    with under_load(clients, saw) as load:
        yield load
    found = [Kept(key, whole) for client in clients for key, whole in pushed(API, client.name)]
    findings = check(saw.requests, found)
    seen.complain(lost_name, findings.lost + findings.wrong + [read.key for read in findings.stale])


@contextmanager
def _setting(seen: Figures) -> Iterator[Workload]:
    """Clients of Redis, beside those of the registry, whose requests must not fail because of it."""
    saw = Saw()
    clients = clients_of(f"set-{time.time_ns()}", "redis", CLIENTS, saw, lambda _: redis_writer())
    with _pushing(seen, "moves of redis: lost versions") as registry, under_load(clients, saw) as load:
        yield load
    seen.complain("moves of redis: failed requests", registry.failed)
