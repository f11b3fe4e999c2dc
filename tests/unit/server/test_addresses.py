"""Names that no name server answers for. The cause: two such lookups filled the threads that the event loop looks names
up in, and reads failed beside a healthy standby whose name was known."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from threading import Event

import pytest

from spoke_server.storage.addresses import Addresses, look_up

WITHIN_S = 60.0


class Names:
    """A name service: knows one name, says nothing of another until it is told to, and has never heard of the rest."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.says = Event()

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host == "silent":
            self.says.wait(WITHIN_S)
        elif host != "known":
            raise OSError("never heard of it")
        return ["10.0.0.1"]


@pytest.fixture
def names() -> Iterator[Names]:
    made = Names()
    yield made
    made.says.set()


def run(check: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        await asyncio.wait_for(check(), WITHIN_S)

    asyncio.run(within())


def test_a_known_name_is_found_however_many_wait_for_silent_ones(names: Names) -> None:
    addresses = Addresses(names)

    async def check() -> None:
        waiting = [asyncio.create_task(addresses.of("silent", WITHIN_S)) for _ in range(100)]
        await asyncio.sleep(0)
        assert await addresses.of("known", WITHIN_S) == ["10.0.0.1"]
        assert not any(task.done() for task in waiting)
        names.says.set()
        assert await asyncio.gather(*waiting) == [["10.0.0.1"]] * 100
        # All of them waited for one lookup.
        assert sorted(names.asked) == ["known", "silent"]

    run(check)


def test_a_silent_name_is_given_up_in_time_and_looked_up_anew(names: Names) -> None:
    addresses = Addresses(names)

    async def check() -> None:
        with pytest.raises(OSError, match="no name server has said within"):
            await addresses.of("silent", 0.01)
        names.says.set()
        assert await addresses.of("silent", WITHIN_S) == ["10.0.0.1"]
        assert names.asked == ["silent", "silent"]

    run(check)


def test_an_unknown_name_says_so_and_every_question_is_asked_again(names: Names) -> None:
    addresses = Addresses(names)

    async def check() -> None:
        for _ in range(2):
            with pytest.raises(OSError, match="its name is not known: never heard of it"):
                await addresses.of("unknown", WITHIN_S)
        assert names.asked == ["unknown", "unknown"]

    run(check)


def test_a_process_ends_while_a_lookup_is_under_way(names: Names) -> None:
    addresses = Addresses(names)

    async def check() -> None:
        lookup = asyncio.create_task(addresses.of("silent", WITHIN_S))
        while not names.asked:
            await asyncio.sleep(0)
        assert not lookup.done()

    run(check)


def test_the_system_knows_its_own_address() -> None:
    assert list(look_up("127.0.0.1")) == ["127.0.0.1"]
