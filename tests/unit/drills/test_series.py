"""Whether the series that the README names are there and move, read from pages of metrics."""

import pytest

from spokectl.clients.metrics import samples
from spokectl.drills.series import HITS, SERIES, absent, grown, still, told, totals

PAGE = """
# HELP spoke_cache_hits_total Times the bytes were found in a cache
# TYPE spoke_cache_hits_total counter
spoke_cache_hits_total{cache_type="memory"} 3.0
spoke_cache_hits_total{cache_type="redis"} 1.0
# TYPE spoke_db_connections_active gauge
spoke_db_connections_active 0.0
"""
COLLECTED = """
# TYPE spoke_cache_hits_total counter
spoke_cache_hits_total{cache_type="memory",instance="spoke-1",job="spoke-registry"} 3
spoke_cache_hits_total{cache_type="redis",instance="spoke-1",job="spoke-registry"} 1
spoke_cache_hits_total{cache_type="memory",instance="spoke-2",job="spoke-registry"} 7
"""


def test_the_page_of_an_instance_is_summed_for_it() -> None:
    assert totals(samples(PAGE), HITS, "spoke-1") == {"spoke-1": 4.0}


def test_the_page_of_a_collector_is_summed_by_the_instance_that_it_names() -> None:
    assert totals(samples(COLLECTED), HITS) == {"spoke-1": 4.0, "spoke-2": 7.0}


def test_a_series_of_another_name_is_not_there() -> None:
    renamed = totals(samples(PAGE.replace("cache_hits", "cache_found")), HITS, "spoke-1")
    assert renamed == {}
    assert absent(renamed, ["spoke-1"]) == still({}, renamed, ["spoke-1"]) == ["spoke-1"]


def test_what_does_not_change_stands_still_and_one_that_began_anew_does_not() -> None:
    before = {"spoke-1": 4.0, "spoke-2": 7.0, "spoke-3": 9.0}
    assert still(before, {"spoke-1": 5.0, "spoke-2": 7.0, "spoke-3": 1.0}, list(before)) == ["spoke-2"]


def test_a_series_that_comes_with_0_has_not_moved_yet() -> None:
    assert still({}, {"spoke-1": 0.0}, ["spoke-1"]) == ["spoke-1"]


def test_growth_is_summed_over_instances_and_told_for_each() -> None:
    before, now = {"spoke-1": 4.0}, {"spoke-1": 5.0, "spoke-2": 2.0}
    assert grown(before, now) == 3.0
    assert told(before, now) == "spoke-1 4 to 5, spoke-2 0 to 2"


def test_every_series_of_the_readme_is_looked_for() -> None:
    readme = {"http_server_requests", "http_server_duration", "db_connections_active", "cache_hits_total"}
    assert {each.readme for each in SERIES} == readme | {"cache_misses_total"}
    assert all(each.name.startswith(f"spoke_{each.readme}") for each in SERIES)


def test_a_page_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="metric name"):
        samples("<html>hello</html>")
