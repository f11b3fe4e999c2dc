"""A client of a load keeps what became of each of its requests, and the load is over when all have ended."""

from pathlib import Path

import pytest

from spokectl.clients.writers import Absent, Different, WriteRefused
from spokectl.drills.history import Ledger, Outcome, Read, Write, read_ledger
from spokectl.drills.workload import Client, Saw, clients_of, under_load
from spokectl.errors import OutcomeUnknown


class Scripted:
    """Answers writes and reads as told, and then as if all were well."""

    def __init__(self, writes: list[Exception | None], reads: dict[str, Exception] | None = None) -> None:
        self._writes, self._reads = writes, reads or {}
        self.closed = False

    def write(self, key: str) -> None:
        if self._writes and (error := self._writes.pop(0)) is not None:
            raise error

    def read(self, key: str) -> None:
        if key in self._reads:
            raise self._reads[key]

    def close(self) -> None:
        self.closed = True


def test_an_acknowledged_write_a_refused_one_and_one_without_an_answer_are_told_apart() -> None:
    saw = Saw()
    client = Client("c", "api", Scripted([None, WriteRefused("409"), ConnectionResetError("by peer\nand more")]), saw)
    for key in ("a", "b", "c"):
        client.once(key)
    writes = [each for each in saw.requests if isinstance(each, Write)]
    assert [(each.key, each.outcome, each.why) for each in writes] == [
        ("a", Outcome.ACKNOWLEDGED, ""),
        ("b", Outcome.REFUSED, "409"),
        ("c", Outcome.IN_DOUBT, "by peer"),
    ]
    assert {(each.client, each.layer) for each in saw.requests} == {("c", "api")}


def test_a_read_is_answered_also_when_it_finds_nothing_or_something_else() -> None:
    saw = Saw()
    reads = {"a": Absent("404"), "b": Different("other"), "c": TimeoutError()}
    client = Client("c", "api", Scripted([], reads), saw)
    for key in ("a", "b", "c"):
        client.once(key)
    own = {each.key: each for each in saw.requests if isinstance(each, Read)}
    assert (own["a"].found, own["a"].ok) == (False, True)
    assert (own["b"].found, own["b"].whole) == (True, False)
    assert (own["c"].found, own["c"].ok, own["c"].why) == (None, False, "TimeoutError")


def test_what_was_never_acknowledged_is_not_read_back() -> None:
    saw = Saw()
    Client("c", "api", Scripted([WriteRefused("no")]), saw).once("a")
    assert [type(each) for each in saw.requests] == [Write]


def test_clients_read_what_others_wrote() -> None:
    saw = Saw()
    Client("one", "api", Scripted([]), saw).once("one.1")
    Client("two", "api", Scripted([WriteRefused("no")]), saw).once("two.1")
    assert [each.key for each in saw.requests if each.client == "two" and isinstance(each, Read)] == ["one.1"]


def test_nobody_reads_through_another_way_than_it_was_written() -> None:
    saw = Saw()
    Client("one", "api", Scripted([]), saw).once("one.1")
    Client("two", "redis", Scripted([WriteRefused("no")]), saw).once("two.1")
    assert not [each for each in saw.requests if each.client == "two" and isinstance(each, Read)]


def test_a_load_begins_and_ends_with_writes_that_go_through_and_closes_every_connection(tmp_path: Path) -> None:
    writers = [Scripted([]), Scripted([])]
    path = tmp_path / "ledger"
    with Ledger(path) as ledger:
        saw = Saw(ledger)
        given = iter(writers)
        with under_load(clients_of("load", "api", 2, saw, lambda _: next(given)), saw) as load:
            assert all(saw.good_writes(client.name) >= 10 for client in load.clients)
            began_with = saw.snapshot.acknowledged
        assert saw.snapshot.acknowledged >= began_with + 20
    assert all(writer.closed for writer in writers)
    assert not any(client.is_alive() for client in load.clients)
    assert sorted(read_ledger(path), key=str) == sorted(saw.requests, key=str)


def test_a_load_that_is_stuck_says_who_waits() -> None:
    saw = Saw()
    clients = clients_of("load", "api", 1, saw, lambda _: Scripted([]))
    with pytest.raises(OutcomeUnknown, match="load-1"), under_load(clients, saw, at_the_end=False) as load:
        load.go_on(writes=10_000_000, within_s=0.01)
    assert not clients[0].is_alive()


def test_a_snapshot_counts_what_failed_and_knows_the_last_good_write_of_each_way() -> None:
    saw = Saw()
    Client("a", "api", Scripted([None, ConnectionResetError()]), saw).once("a.1")
    Client("b", "redis", Scripted([ConnectionResetError()]), saw).once("b.1")
    snapshot = saw.snapshot
    assert (snapshot.acknowledged, snapshot.failed) == (1, 1)
    assert list(snapshot.last_good_s) == ["api"]


def test_a_ledger_that_cannot_be_written_convicts_nobody(tmp_path: Path) -> None:
    class Full(Ledger):
        def add(self, request: object) -> None:
            raise OSError(28, "No space left on device")

    with Full(tmp_path / "ledger") as ledger:
        saw = Saw(ledger)
        Client("c", "api", Scripted([]), saw).once("c.1")
    assert saw.trouble == "No space left on device"
    assert [each.key for each in saw.requests] == ["c.1", "c.1", "c.1"]


def test_what_comes_in_after_the_end_is_not_heard() -> None:
    saw = Saw()
    Client("c", "api", Scripted([]), saw).once("c.1")
    heard = saw.end()
    Client("c", "api", Scripted([]), saw).once("c.2")
    assert saw.requests == heard
