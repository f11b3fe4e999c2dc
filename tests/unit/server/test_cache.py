"""The cache in memory and the breaker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spoke_server.cache import ENTRY_OVERHEAD_BYTES, Breaker, Entry, LruCache


def entry(size: int) -> Entry:
    return Entry("digest", b"x" * size)


def test_what_was_used_longest_ago_goes_first() -> None:
    cache = LruCache(3 * (100 + ENTRY_OVERHEAD_BYTES))
    for key in "abc":
        cache.put(key, entry(100))
    assert cache.get("a") is not None
    cache.put("d", entry(100))
    assert [key for key in "abcd" if cache.get(key)] == ["a", "c", "d"]
    assert cache.evictions == 1


def test_what_is_larger_than_the_cache_is_not_kept_and_costs_nothing_else() -> None:
    cache = LruCache(5000)
    cache.put("a", entry(100))
    cache.put("huge", entry(5000))
    assert cache.get("huge") is None
    assert cache.get("a") is not None


def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    cache = LruCache(0)
    cache.put("a", entry(0))
    assert len(cache) == 0


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 4000), st.booleans()), max_size=60))
def test_it_never_holds_more_than_its_bytes_and_counts_them_right(steps: list[tuple[str, int, bool]]) -> None:
    cache = LruCache(8000)
    for key, size, keep in steps:
        if keep:
            cache.put(key, entry(size))
        else:
            cache.discard(key)
        kept = [cache.get(key) for key in cache.keys()]  # noqa: SIM118 - no mapping
        assert cache.used_bytes == sum(len(each.body) + ENTRY_OVERHEAD_BYTES for each in kept if each) <= 8000


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_breaker_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(failures=3, clock=Clock())
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for _ in range(2):
        breaker.failed()
    assert breaker.allow()
    breaker.failed()
    assert breaker.is_open
    assert not breaker.allow()


def test_an_open_breaker_lets_one_try_through_each_pause() -> None:
    clock = Clock()
    breaker = Breaker(failures=1, pause_s=1.0, clock=clock)
    breaker.failed()
    clock.now_s += 0.99
    assert not breaker.allow()
    clock.now_s += 0.02
    assert [breaker.allow() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert [breaker.allow() for _ in range(3)] == [True, True, True]


def test_pauses_double_up_to_a_limit_and_start_anew_after_a_success() -> None:
    clock = Clock()
    breaker = Breaker(failures=1, pause_s=1.0, max_pause_s=4.0, clock=clock)
    breaker.failed()
    pauses = []
    for _ in range(4):
        started_s = clock.now_s
        while not breaker.allow():
            clock.now_s += 0.25
        pauses.append(clock.now_s - started_s)
        breaker.failed()
    assert pauses == [1.0, 2.0, 4.0, 4.0]
    breaker.succeeded()
    breaker.failed()
    clock.now_s += 1.0
    assert breaker.allow()
