"""The checker lets true histories pass and convicts each kind of lie, by the key that it is about."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spokectl.drills.checker import Findings, Kept, check
from spokectl.drills.history import Outcome, Read, Request, Write

A = Write("a", 1.0, 2.0, Outcome.ACKNOWLEDGED)
REFUSED = Write("r", 1.0, 2.0, Outcome.REFUSED)
DOUBT = Write("d", 1.0, 2.0, Outcome.IN_DOUBT)


def read(key: str, began_s: float, ended_s: float, *, found: bool | None = True, whole: bool = True) -> Read:
    return Read(key, began_s, ended_s, found, whole)


def kept(*keys: str) -> list[Kept]:
    return [Kept(key) for key in keys]


def test_a_registry_that_keeps_its_word_is_clean() -> None:
    history = [A, REFUSED, DOUBT, read("a", 2.5, 3.0), read("r", 2.5, 3.0, found=False), read("d", 2.5, 3.0, found=False)]
    found = check(history, kept("a"))
    assert found.clean
    assert (found.in_doubt, found.in_doubt_kept) == (["d"], 0)
    assert check(history, kept("a", "d")).in_doubt_kept == 1


def test_an_acknowledged_write_that_is_not_there_is_lost() -> None:
    assert check([A], kept()) == Findings(lost=["a"])


def test_a_write_in_doubt_that_somebody_has_read_is_lost_when_it_is_gone() -> None:
    seen = [DOUBT, read("d", 2.5, 3.0)]
    assert check(seen, kept()).lost == ["d"]
    assert check(seen, kept("d")).clean


def test_a_read_that_began_after_the_acknowledgement_and_finds_nothing_is_stale() -> None:
    late = read("a", 2.1, 2.2, found=False)
    assert check([A, late], kept("a")) == Findings(stale=[late])


@pytest.mark.parametrize(("began_s", "ended_s"), [(0.1, 0.2), (1.5, 5.0), (2.0, 2.1)])
def test_a_read_that_overlaps_the_write_proves_nothing(began_s: float, ended_s: float) -> None:
    assert check([A, read("a", began_s, ended_s, found=False)], kept("a")).clean


def test_what_one_client_has_read_the_next_one_must_find() -> None:
    gone = read("d", 3.1, 3.2, found=False)
    assert check([DOUBT, read("d", 2.5, 3.0), gone], kept("d")).stale == [gone]
    at_once = read("d", 2.9, 3.2, found=False)
    assert check([DOUBT, read("d", 2.5, 3.0), at_once], kept("d")).clean


def test_a_read_without_an_answer_proves_nothing() -> None:
    assert check([A, read("a", 2.5, 3.0, found=None)], kept("a")).clean


def test_another_content_than_what_was_written_is_found_at_the_end_and_in_a_read() -> None:
    torn = read("a", 2.5, 3.0, whole=False)
    assert check([A, torn], [Kept("a", whole=False)]) == Findings(wrong=["a"], stale=[torn])


def test_what_was_refused_written_twice_or_by_nobody_is_named() -> None:
    found = check([A, REFUSED], kept("a", "a", "r", "x"))
    assert found == Findings(duplicated=["a"], unwanted=["r"], foreign=["x"])


def test_writes_that_cannot_be_told_apart_are_no_history() -> None:
    with pytest.raises(ValueError, match="a was written twice"):
        check([A, replace(A, began_s=5.0, ended_s=6.0)], kept("a"))


@dataclass
class Registry:
    """A registry that keeps its word, under clients of which each request takes some time and takes effect within it."""

    random: Random
    there_since: dict[str, float] = field(default_factory=dict)

    def history(self, count: int) -> list[Request]:
        requests: list[Request] = []
        for number in range(count):
            began_s = self.random.uniform(0, 100)
            ended_s = began_s + self.random.expovariate(1)
            requests.append(self._write(f"key-{number}", began_s, ended_s))
        keys = [request.key for request in requests]
        return requests + [self._read(self.random.choice(keys)) for _ in range(3 * count)]

    def _write(self, key: str, began_s: float, ended_s: float) -> Write:
        outcome = self.random.choice(list(Outcome))
        if outcome is Outcome.ACKNOWLEDGED:
            self.there_since[key] = self.random.uniform(began_s, ended_s)
        elif outcome is Outcome.IN_DOUBT and self.random.random() < 0.5:
            # It may take effect long after the client has given up.
            self.there_since[key] = self.random.uniform(began_s, ended_s + 20)
        return Write(key, began_s, ended_s, outcome)

    def _read(self, key: str) -> Read:
        began_s = self.random.uniform(0, 130)
        ended_s = began_s + self.random.expovariate(1)
        looked_s = self.random.uniform(began_s, ended_s)
        return Read(key, began_s, ended_s, found=looked_s >= self.there_since.get(key, float("inf")))


def true_history(seed: int) -> tuple[list[Request], list[str]]:
    registry = Registry(Random(seed))
    history = registry.history(12)
    registry.random.shuffle(history)
    return history, list(registry.there_since)


def acknowledged(history: Iterable[Request]) -> list[Write]:
    return [each for each in history if isinstance(each, Write) and each.ok]


@given(st.integers())
def test_whatever_a_true_registry_does_is_clean(seed: int) -> None:
    history, keys = true_history(seed)
    assert check(history, kept(*keys)).clean


@given(st.integers(), st.data())
def test_each_acknowledged_write_that_is_taken_away_is_convicted_alone(seed: int, data: st.DataObject) -> None:
    history, keys = true_history(seed)
    if not acknowledged(history):
        return
    gone = data.draw(st.sampled_from(acknowledged(history))).key
    assert check(history, kept(*(key for key in keys if key != gone))) == replace(check(history, kept(*keys)), lost=[gone])


@given(st.integers(), st.data())
def test_each_answer_that_is_turned_round_after_the_write_is_convicted_alone(seed: int, data: st.DataObject) -> None:
    history, keys = true_history(seed)
    ends = {write.key: write.ended_s for write in acknowledged(history)}
    late = [each for each in history if isinstance(each, Read) and each.began_s > ends.get(each.key, float("inf"))]
    if not late:
        return
    chosen = data.draw(st.sampled_from(late))
    lie = replace(chosen, found=False)
    told = [lie if each is chosen else each for each in history]
    assert check(told, kept(*keys)).stale == [lie]
