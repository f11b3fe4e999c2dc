"""What the doctor says of servers that run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from spokectl.facts import Follower, PostgresFacts, SentinelFacts, Slot
from spokectl.model import Kind, RunState
from spokectl.operations.balancer import ConfigurationTest
from spokectl.operations.context import Context
from spokectl.operations.doctor.findings import Finding, NotChecked, Verdict
from spokectl.operations.doctor.running import (
    Dependency,
    judge_dependencies,
    judge_load_balancer,
    judge_replication,
    judge_sentinels,
    judge_services,
    judge_slots,
)
from spokectl.operations.doctor.running_facts import dependencies_in, nginx_says_in
from spokectl.operations.health import ServiceStatus
from spokectl.runtime.base import Invocation
from spokectl.settings import StackState
from spokectl.stackfile import default_stack_file, load_stack
from tests.unit.statuses import PRIMARY, SLOT, STANDBY, STREAMING, down, primary, sentinel, service, standby
from tests.unit.test_readiness import SeenRuntime

OK, WARNING, PROBLEM = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM
TILTED = "in TILT, for 30 s after a jump of the clock"
FULL_SET = [sentinel(1), sentinel(2), sentinel(3)]


def worst_of(findings: object) -> list[tuple[Verdict, str]]:
    assert isinstance(findings, list | tuple)
    return [(each.verdict, each.found) for each in findings if each.verdict is not OK]


def require_remedies(findings: object) -> None:
    assert isinstance(findings, list | tuple)
    for each in findings:
        assert isinstance(each, Finding)
        assert each.verdict is OK or (each.why and each.actions), each


def test_why_it_matters_depends_on_who_is_left() -> None:
    def why(*statuses: ServiceStatus) -> str:
        return judge_services("spoke", statuses)[0].why

    lost, well = down("spoke-1", Kind.SPOKE), service("spoke-2", Kind.SPOKE, "instance")
    assert why(lost, well) == "the other Spokes carry its requests"
    assert why(lost, down("spoke-2", Kind.SPOKE)).startswith("no Spoke is well")
    standby_node = service("postgres-replica", Kind.POSTGRES, "standby")
    assert why(down("postgres-primary"), standby_node).startswith("no primary takes writes")
    assert why(down("postgres-replica"), primary()).startswith("without a second node")


def test_what_does_not_run_comes_first_with_the_command_that_mends_it() -> None:
    degraded = service("postgres-primary", Kind.POSTGRES, "primary", "degraded", "writes wait for a standby")
    paused = replace(down("spoke-1", Kind.SPOKE, "paused"), state=RunState.PAUSED)
    found = judge_services("spoke", [degraded, down("postgres-replica"), paused, service("nginx", Kind.LOAD_BALANCER)])
    assert [(each.verdict, each.found, each.actions[:1]) for each in found] == [
        (PROBLEM, "postgres-replica is down: stopped by hand", ("spokectl start postgres-replica",)),
        (PROBLEM, "spoke-1 is down: paused", ("spokectl unpause spoke-1",)),
        (WARNING, "postgres-primary is degraded: writes wait for a standby", ("spokectl up",)),
        (OK, "1 of 4 are well", ()),
    ]
    require_remedies(found)


def test_a_service_that_is_not_well_names_what_its_guard_advises_first() -> None:
    unwell = replace(
        service("postgres-replica", Kind.POSTGRES, "", "unhealthy", "its timeline has gone another way"),
        remedies=("spokectl postgres reinit postgres-replica",),
    )
    [finding] = judge_services("second", [unwell])
    assert finding.actions == (
        "spokectl postgres reinit postgres-replica",
        "spokectl up --stack second",
        "spokectl logs --tail 50 postgres-replica --stack second",
    )


def test_each_spoke_says_what_it_reaches() -> None:
    found = judge_dependencies(
        "spoke",
        {
            "spoke-1": [Dependency("database", "healthy"), Dependency("redis", "degraded", "no master")],
            "spoke-2": [Dependency("database", "unhealthy", "refused"), Dependency("redis", "healthy")],
            "spoke-3": "connection refused",
        },
    )
    assert [(each.verdict, each.found) for each in found] == [
        (WARNING, "spoke-1 sees its redis as degraded: no master"),
        (PROBLEM, "spoke-2 sees its database as unhealthy: refused"),
        (PROBLEM, "spoke-3 does not say what it reaches: connection refused"),
        (OK, "database: reached by spoke-1"),
        (OK, "redis: reached by spoke-2"),
    ]
    require_remedies(found)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"dependencies":{"redis":{"status":"healthy","latency_ms":1}}}', [Dependency("redis", "healthy")]),
        (b'{"dependencies":{"redis":{"status":"down","message":"no"}}}', [Dependency("redis", "down", "no")]),
        (b'{"status":"healthy"}', "its answer cannot be understood"),
        (b'{"dependencies":{"redis":"healthy"}}', "its answer cannot be understood"),
        (b'{"dependencies":[]}', "its answer cannot be understood"),
        (b"<html>", "its answer cannot be understood"),
        (b"\xff", "its answer cannot be understood"),
    ],
)
def test_a_health_answer_is_read_or_said_not_to_be_understood(body: bytes, expected: object) -> None:
    assert dependencies_in(body) == expected


class Handing(SeenRuntime):
    """Hands the command that it is asked for to the program in its place."""

    def invocation(self, service: str, argv: Sequence[str], *, terminal: bool = False) -> Invocation:
        run = super().invocation(service, argv, terminal=terminal)
        return Invocation((*run.argv, *argv), run.environment)


def test_nginx_says_what_is_wrong_with_its_configuration() -> None:
    bad = ConfigurationTest("b", False, "unknown directive", "nginx.conf", 7, "nothing;")
    found = judge_load_balancer("spoke", [ConfigurationTest("a", ok=True, message=""), bad])
    assert worst_of(found) == [(PROBLEM, "b: nginx -t says: unknown directive (nginx.conf, line 7: nothing;)")]
    require_remedies(found)


def test_the_configuration_that_is_tested_is_what_a_reload_would_load(tmp_path: Path) -> None:
    """What is rendered already had been tested a second time, and said nothing of a change."""
    ran = tmp_path / "ran"
    script = 'printf "%s" "$3" > "$0"; echo "nginx: [emerg] bad in nginx.conf:7" >&2; exit 1'
    runtime = Handing([{}], programs={"nginx": ("sh", "-c", script, str(ran))})
    stack = load_stack("spoke", [default_stack_file()], shell={}, env_file={})
    context = Context(stack, StackState("spoke", tmp_path), runtime)
    assert nginx_says_in(context, "nginx") == ConfigurationTest("nginx", False, "bad", "nginx.conf", 7, "")
    assert "--render" in ran.read_text()
    assert not nginx_says_in(context, "another").ok


def tilting(number: int) -> ServiceStatus:
    return replace(sentinel(number), facts=SentinelFacts(4, 2, 3, 1, "master", "", True, 60))


def lost(number: int) -> ServiceStatus:
    return replace(sentinel(number, "no answer", named=""), facts=None)


def knowing_four(number: int) -> ServiceStatus:
    return replace(sentinel(number), facts=SentinelFacts(4, 2, 4, 1, "master", "", False, 60))


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (FULL_SET, []),
        ([sentinel(1), sentinel(2), lost(3)], [(WARNING, "2 of 3 Sentinels can act, 2 have to agree")]),
        (
            [sentinel(1), tilting(2), sentinel(3)],
            [(WARNING, f"2 of 3 Sentinels can act, 2 have to agree; {TILTED}: redis-sentinel-2")],
        ),
        ([sentinel(1), lost(2), lost(3)], [(PROBLEM, "1 of 3 Sentinels can act, 2 have to agree")]),
        ([lost(1), lost(2), lost(3)], [(PROBLEM, "0 of 3 Sentinels can act, 2 have to agree")]),
        ([knowing_four(1), knowing_four(2), knowing_four(3)], [(WARNING, "3 of 4 Sentinels can act, 3 have to agree")]),
        (
            [sentinel(1), sentinel(2), sentinel(3, named="redis-replica")],
            [(PROBLEM, "they name different masters: redis-master, redis-replica")],
        ),
    ],
)
def test_the_quorum_of_sentinels(statuses: list[ServiceStatus], expected: list[tuple[Verdict, str]]) -> None:
    found = judge_sentinels("spoke", statuses)
    assert worst_of(found) == expected
    require_remedies(found)


def with_follower(**changes: object) -> PostgresFacts:
    return replace(PRIMARY, followers=(replace(STREAMING, **changes),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("statuses", "verdict", "named"),
    [
        ([primary(), standby()], None, ""),
        ([primary(with_follower(state="catchup")), standby()], PROBLEM, "no standby streams"),
        ([primary(replace(PRIMARY, followers=())), standby()], PROBLEM, "no standby streams from postgres-primary"),
        ([primary(replace(PRIMARY, followers=())), down("postgres-replica")], PROBLEM, "no standby streams"),
        ([primary(replace(PRIMARY, commits_wait=False)), standby()], WARNING, "does not wait"),
        ([primary(with_follower(replay_lag_bytes=100 << 20)), standby()], WARNING, "100 MiB behind"),
        ([primary(with_follower(silent_s=30.0)), standby()], WARNING, "silent for 30 s"),
        ([primary(), standby(replace(STANDBY, replay_paused=True))], WARNING, "replay is paused"),
        ([primary(), primary(name="postgres-replica")], PROBLEM, "both say"),
        ([standby()], PROBLEM, "no node says that it is the primary"),
    ],
)
def test_replication_protects_what_is_written(statuses: list[ServiceStatus], verdict: Verdict | None, named: str) -> None:
    found = judge_replication("spoke", statuses)
    bad = worst_of(found)
    require_remedies(found)
    if verdict is None:
        assert bad == []
    else:
        assert (verdict, True) in [(each, named in said) for each, said in bad]


def test_a_stack_that_is_described_with_one_node_is_no_problem_for_ever() -> None:
    found = judge_replication("spoke", [primary(replace(PRIMARY, followers=())), service("spoke-1", Kind.SPOKE)])
    assert worst_of(found) == [(WARNING, "postgres-primary is the only PostgreSQL node that the stack file describes")]
    require_remedies(found)


def slot(**changes: object) -> Slot:
    return replace(SLOT, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kept", "verdict", "named"),
    [
        (slot(), OK, "replica_slot on postgres-primary keeps 256 B"),
        (slot(active=False), WARNING, "nobody uses it"),
        (slot(retained_bytes=300, safe_bytes=200), WARNING, "more than half"),
        (slot(retained_bytes=300, safe_bytes=None), OK, "300 B"),
        (slot(wal_status="unreserved"), PROBLEM, "the next checkpoint"),
        (slot(wal_status="lost", retained_bytes=None, safe_bytes=None), PROBLEM, "it is lost"),
    ],
)
def test_a_slot_keeps_what_its_standby_needs(kept: Slot, verdict: Verdict, named: str) -> None:
    found = judge_slots("spoke", [primary(replace(PRIMARY, slots=(kept,))), standby()])
    assert [(each.verdict, named in each.found) for each in found] == [(verdict, True)], found
    require_remedies(found)


def test_an_unused_slot_of_a_standby_keeps_nothing_from_anybody() -> None:
    [finding] = judge_slots("spoke", [standby(replace(STANDBY, slots=(slot(active=False),)))])
    assert finding.verdict is OK


@pytest.mark.parametrize("judge", [judge_replication, judge_slots, judge_sentinels])
def test_where_nobody_answers_nothing_is_judged(judge: object) -> None:
    assert callable(judge)
    with pytest.raises(NotChecked):
        judge("spoke", [down("postgres-primary")])


def test_a_follower_that_streams_is_named_with_its_lag() -> None:
    assert isinstance(STREAMING, Follower)
    [finding] = judge_replication("spoke", [primary(), standby()])
    assert finding.found == "spoke_standby of postgres-primary: streaming, quorum, 0 B behind"
