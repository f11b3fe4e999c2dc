"""The yardstick of a move: the primary of two bare PostgreSQL servers is stopped or killed, the standby promoted at once.

Nobody checks anything, nothing is written down, and the old primary does not come back. The servers replicate as the
stack's do (commits wait for the standby, a lost sender is looked for every 200 ms), and are under the same number of
clients, who know both and go to the one that takes writes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from benchmarks.bare_postgres import BarePair
from benchmarks.targets import CLIENTS, BareServers
from spokectl.drills.gaps import first_after_s, longest_gap
from spokectl.drills.workload import Client, Saw, clients_of, under_load


def stop_and_promote() -> float:
    """The longest time (s) without an acknowledged write, when the stop is planned; its checkpoint is made before."""
    with _pair() as pair, under_load(*_clients(pair)) as load:
        with _login(pair.ports[0]) as primary:
            primary.execute("CHECKPOINT")
        since_s = time.time()
        _promote(pair, pair.stop_primary)
        load.go_on()
    return longest_gap(load.writes, since_s).seconds


def kill_and_promote() -> float:
    """How long (s) after the promotion was ordered a write was acknowledged again, when the primary has been killed."""
    with _pair() as pair, under_load(*_clients(pair)) as load:
        since_s = _promote(pair, pair.kill_primary)
        load.go_on()
    return first_after_s(load.writes, since_s)


def _promote(pair: BarePair, put_down: Callable[[], None]) -> float:
    with _login(pair.ports[1]) as standby:
        put_down()
        ordered_s = time.time()
        standby.execute("SELECT pg_promote(true, 60)")
    return ordered_s


@contextmanager
def _pair() -> Iterator[BarePair]:
    pair = BarePair(options=["wal_retrieve_retry_interval=200ms"])
    try:
        pair.start(primary_options=["synchronous_standby_names=*"])
        with _login(pair.ports[0]) as primary:
            primary.execute("CREATE TABLE load (key text PRIMARY KEY)")
        yield pair
    finally:
        pair.remove()


def _clients(pair: BarePair) -> tuple[list[Client], Saw]:
    ports = ",".join(map(str, pair.ports))
    conninfo = f"host=127.0.0.1,127.0.0.1 port={ports} user=postgres dbname=postgres target_session_attrs=read-write"
    saw = Saw()
    return clients_of("bare", "postgres", CLIENTS, saw, lambda _: BareServers(conninfo)), saw


def _login(port: int) -> psycopg.Connection:
    return psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=postgres", autocommit=True)
