"""From pages of metrics to one table: who has which series, what kind it is, and how fast it grows."""

import re

import pytest

from spokectl.clients.metrics import samples
from spokectl.errors import ExitCode, UsageError
from spokectl.model import HealthProbe, Kind, Service
from spokectl.operations.metrics import Metrics, MetricsRequest, Page, metrics, read_page, table_of
from spokectl.output.metrics import metrics_notes, number_text, print_metrics

SPOKE = """
# TYPE spoke_cache_hits_total counter
spoke_cache_hits_total{{cache_type="memory"}} {hits}
# TYPE spoke_db_connections_active gauge
spoke_db_connections_active {active}
# TYPE spoke_http_server_duration_seconds histogram
spoke_http_server_duration_seconds_bucket{{le="0.1"}} 1.0
spoke_http_server_duration_seconds_bucket{{le="+Inf"}} 2.0
spoke_http_server_duration_seconds_sum 0.25
spoke_http_server_duration_seconds_count 2.0
"""
COLLECTED = """
# TYPE spoke_cache_hits_total counter
spoke_cache_hits_total{cache_type="memory",instance="spoke-1",job="spoke-registry"} 3
spoke_cache_hits_total{cache_type="memory",instance="spoke-2",job="spoke-registry"} 7
"""
COLLECTED = COLLECTED.replace("job=", 'otel_scope_name="spoke_server",otel_scope_version="",job=')
HITS = 'spoke_cache_hits_total{cache_type="memory"}'
ACTIVE, COUNT = "spoke_db_connections_active", "spoke_http_server_duration_seconds_count"


def page(name: str, at_s: float, *, hits: object = 3, active: object = 1) -> Page:
    return Page(name, Kind.SPOKE, samples(SPOKE.format(hits=hits, active=active)), at_s)


def test_a_series_is_one_row_with_a_value_for_each_instance_and_its_kind() -> None:
    found = {each.text: each for each in table_of([page("spoke-1", 0), page("spoke-2", 0, hits=4, active=2.5)])}
    assert found[HITS].values == {"spoke-1": 3, "spoke-2": 4}
    assert found[ACTIVE].values == {"spoke-1": 1, "spoke-2": 2.5}
    assert {name: found[name].kind for name in (HITS, ACTIVE, COUNT)} == {
        HITS: "counter",
        ACTIVE: "gauge",
        COUNT: "histogram",
    }
    assert list(found) == sorted(found)
    assert not any(each.per_second for each in found.values())


def test_a_collector_s_series_are_its_own_rows_by_the_instance_that_each_comes_from() -> None:
    found = table_of([Page("otel-collector", Kind.COLLECTOR, samples(COLLECTED), 0), page("spoke-1", 0)])
    spokes, collector = (each for each in found if each.text == HITS)
    assert (spokes.source, spokes.text, spokes.values) == ("spokes", HITS, {"spoke-1": 3})
    assert (collector.source, collector.text, collector.values) == ("otel-collector", HITS, {"spoke-1": 3, "spoke-2": 7})


def test_between_two_reads_what_only_grows_has_a_rate_also_when_it_began_anew_or_was_not_there() -> None:
    before = [page("spoke-1", 10), page("spoke-2", 10), Page("spoke-3", Kind.SPOKE, (), 10, "connection refused")]
    before[1] = Page("spoke-2", Kind.SPOKE, [], 10)
    now = [page("spoke-1", 12, hits=13), page("spoke-2", 14, hits=8), page("spoke-3", 12)]
    found = {each.text: each for each in table_of(now, before)}
    assert found[HITS].per_second == {"spoke-1": 5, "spoke-2": 2}
    assert found[ACTIVE].per_second == {}
    assert found[COUNT].per_second == {"spoke-1": 0, "spoke-2": 0.5}
    [restarted] = [each for each in table_of([page("spoke-1", 12, hits=2)], [page("spoke-1", 10)]) if each.text == HITS]
    assert restarted.per_second == {"spoke-1": 1}


def test_what_is_no_number_in_json_is_null() -> None:
    [nan] = [each for each in table_of([page("spoke-1", 0, active="NaN")]) if each.text == ACTIVE]
    assert nan.values == {"spoke-1": None}


@pytest.mark.parametrize(
    ("kind", "environment", "silence"),
    [
        (Kind.SPOKE, {}, "no published port 9090"),
        (Kind.COLLECTOR, {}, "no SPOKE_OTEL_METRICS_PORT"),
        (Kind.COLLECTOR, {"SPOKE_OTEL_METRICS_PORT": "8889"}, "no published port 8889"),
        (Kind.COLLECTOR, {"SPOKE_OTEL_METRICS_PORT": "x"}, "a SPOKE_OTEL_METRICS_PORT that is no number"),
    ],
)
def test_a_page_that_a_stack_file_of_ones_own_gives_no_place_is_silent(
    kind: Kind, environment: dict[str, str], silence: str
) -> None:
    service = Service("own", kind, "", HealthProbe("http", 9090), environment, "own")
    read = read_page(service)
    assert (read.samples, read.silence) == ((), f"the stack file gives it {silence}")


@pytest.mark.parametrize("text", ["a{", 'a{b="c", ="e"} 1.0', "a one", '{"status": "healthy"}'])
def test_a_page_of_another_form_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        samples(text)


def test_a_person_sees_a_column_an_instance_and_a_table_for_the_collector(capsys: pytest.CaptureFixture[str]) -> None:
    pages = [
        page("spoke-2", 2, hits=5),
        page("spoke-1", 2, hits=1234567),
        Page("otel-collector", Kind.COLLECTOR, samples(COLLECTED), 2),
    ]
    rows = [each for each in table_of(pages, [page("spoke-2", 0)]) if re.search("hits|active", each.text)]
    print_metrics(Metrics(rows, {}))
    assert [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()] == [
        ["SERIES", "KIND", "spoke-1", "spoke-2"],
        [HITS, "counter", "1234567", "5 (+1/s)"],
        [ACTIVE, "gauge", "1", "1"],
        [""],
        ["SERIES AT otel-collector", "KIND", "spoke-1", "spoke-2"],
        [HITS, "counter", "3", "7"],
    ]
    assert metrics_notes(Metrics(rows, {})) == []
    assert metrics_notes(Metrics([], {})) == ["No series matches."]
    assert metrics_notes(Metrics([], {"spoke-1": "killed"})) == []


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (1234567.0, "1234567"), (0.123456789, "0.123457"), (2.5, "2.5")])
def test_numbers_are_whole_or_have_six_digits(value: float, text: str) -> None:
    assert number_text(value) == text


def test_a_pattern_that_is_none_is_refused_before_any_stack_is_looked_at() -> None:
    with pytest.raises(UsageError, match="unterminated") as caught:
        metrics("never-was", None, MetricsRequest(match="("))
    assert (caught.value.code, caught.value.exit_code) == ("bad_pattern", ExitCode.USAGE)
