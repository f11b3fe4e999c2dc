"""Sentinels are reset one after another, over their own protocol; these forget, and find everybody again only later."""

from collections import Counter

import pytest

from spokectl.errors import Incomplete, OutcomeUnknown, Refused
from spokectl.operations.context import Context
from spokectl.operations.redis.reset import reset_each
from spokectl.wait import Deadline
from tests.contract.test_redis_agreement import NODES, SENTINELS, Said, bulk, context

__all__ = ["context"]
pytestmark = pytest.mark.timeout(180)
FORGETS_FOR = 2
INFO = "role:{role}\r\nconnected_slaves:1\r\nslave0:ip=redis-replica,port=6379,state=online,offset=1,lag=0\r\n"


class Forgetful(Said):
    """`story` tells what happened in which order; `kept` how often a Sentinel still says that it knows nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.story: list[tuple[str, str]] = []
        self.kept: Counter[str] = Counter()
        self.forgets_for = FORGETS_FOR
        self.master_dies_after = ""

    def answer(self, name: str, words: list[str]) -> bytes:
        match [word.upper() for word in words]:
            case ["SENTINEL", "RESET", _]:
                self.story.append(("reset", name))
                self.kept[name] = self.forgets_for
                return b":1\r\n"
            case ["SENTINEL", "MASTER", _]:
                return self._known(name)
            case ["INFO"] if name in NODES:
                return bulk(INFO.format(role="master" if name in self.masters else "slave"))
        return super().answer(name, words)

    def _known(self, name: str) -> bytes:
        forgot = self.kept[name] > 0
        self.kept[name] -= 1
        if not forgot and self.story[-1:] == [("reset", name)]:
            self.story.append(("found", name))
            if name == self.master_dies_after:
                self.masters = set()
        known = {"num-slaves": 0 if forgot else 1, "num-other-sentinels": 0 if forgot else 2, "quorum": 2}
        return b"*6\r\n" + b"".join(bulk(word) + bulk(str(count)) for word, count in known.items())


@pytest.fixture
def said() -> Forgetful:
    return Forgetful()


def test_the_next_one_s_turn_comes_when_one_knows_everybody_again(context: Context, said: Forgetful) -> None:
    reports: list[tuple[str, str]] = []
    done = reset_each(context, Deadline(120), lambda subject, state, _="": reports.append((subject, state)))
    assert done == list(SENTINELS)
    assert said.story == [(what, name) for name in SENTINELS for what in ("reset", "found")]
    assert reports == [(name, state) for name in SENTINELS for state in ("resetting", "healthy")]


def test_nothing_is_reset_without_a_master(context: Context, said: Forgetful) -> None:
    said.masters = set()
    with pytest.raises(Refused, match="nothing was reset: there is no master"):
        reset_each(context, Deadline(60), lambda *_: None)
    assert said.story == []


def test_a_master_that_dies_meanwhile_saves_the_others_from_being_reset(context: Context, said: Forgetful) -> None:
    said.master_dies_after = SENTINELS[0]
    with pytest.raises(Incomplete, match=f"only {SENTINELS[0]} were reset: there is no master"):
        reset_each(context, Deadline(60), lambda *_: None)
    assert said.story == [("reset", SENTINELS[0]), ("found", SENTINELS[0])]


def test_one_that_finds_nobody_ends_the_wait_with_what_it_lacks(context: Context, said: Forgetful) -> None:
    said.forgets_for = 1_000_000
    with pytest.raises(OutcomeUnknown, match="it knows 0 of 1 replicas and 1 of 3 Sentinels"):
        reset_each(context, Deadline(1), lambda *_: None)
    assert said.story == [("reset", SENTINELS[0])]
