"""A client of a load keeps what became of each of its writes."""

from benchmarks.load import Client, Load, WriteRefused
from spokectl.drills.history import Outcome


class Scripted:
    """Answers the writes as told, and reads nothing that it was told to forget."""

    def __init__(self, answers: list[Exception | None], forgets: str = "") -> None:
        self._answers, self._forgets = answers, forgets

    def write(self, key: str) -> None:
        if (error := self._answers.pop(0)) is not None:
            raise error

    def read(self, key: str) -> None:
        if key == self._forgets:
            raise ValueError("it is not there")

    def close(self) -> None:
        pass


def test_an_acknowledged_write_a_refused_one_and_one_without_an_answer_are_told_apart() -> None:
    client = Client("c", Scripted([None, WriteRefused("409"), ConnectionResetError()]))
    for key in ("a", "b", "c"):
        client.once(key)
    assert [(each.key, each.outcome) for each in client.writes] == [
        ("a", Outcome.ACKNOWLEDGED),
        ("b", Outcome.REFUSED),
        ("c", Outcome.IN_DOUBT),
    ]


def test_failed_requests_are_the_writes_without_acknowledgement_and_the_reads_that_show_another_state() -> None:
    client = Client("c", Scripted([None, None, ConnectionResetError()], forgets="b"))
    for key in ("a", "b", "c"):
        client.once(key)
    assert [reason.partition(":")[0] for reason in Load([client]).failed] == ["c", "b"]
