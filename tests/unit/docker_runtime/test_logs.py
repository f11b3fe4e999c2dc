from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from docker import APIClient

from spokectl.runtime.docker import logs

LINES = 5 * logs.MAX_WAITING
_BEGIN = datetime(2100, 1, 1, tzinfo=UTC)  # later than the moment from which on it is followed


class Engine:
    """An engine whose one container has said much, and counts what of it has been read."""

    def __init__(self) -> None:
        self.read = 0

    def logs(self, _id: str, *, follow: bool, since: float | None, **_: Any) -> Iterator[bytes]:
        if not follow:
            return
        for number in range(LINES):
            moment = _BEGIN + timedelta(milliseconds=number)
            if since is None or moment.timestamp() >= since:
                self.read += 1
                yield f"{moment:%Y-%m-%dT%H:%M:%S.%f}000Z line {number}\n".encode()

    def close(self) -> None:
        pass


def test_a_slow_reader_keeps_the_engine_waiting_and_misses_no_line() -> None:
    engine = Engine()
    client = cast("APIClient", engine)
    following = logs.follow(lambda: client, ["one"], lambda: {"one": "id"}, since=None, tail=None)
    for number in range(LINES):
        assert next(following).text == f"line {number}"
        # One line may be on its way besides those that wait.
        assert engine.read <= number + 1 + logs.MAX_WAITING + 1
    following.close()  # type: ignore[attr-defined]
