from dataclasses import replace
from pathlib import Path

import pytest

from spokectl.errors import ExitCode, Failed, Refused
from spokectl.model import Inspection, Kind, RunState, Stack
from spokectl.operations.balancer import take_over_changes
from spokectl.operations.context import Context
from spokectl.operations.rollout import change_order, require_enough_connections, why_at_once
from spokectl.settings import StackState
from spokectl.stackfile import default_stack_file, load_stack
from spokectl.wait import Deadline
from tests.unit.test_readiness import SeenRuntime

ROLES = {"postgres-primary": "standby", "postgres-replica": "primary", "redis-master": "master", "redis-replica": "replica"}


def stack(**settings: str) -> Stack:
    return load_stack("spoke", [default_stack_file()], shell=settings, env_file={})


def order(*names: str, fewer_connections: bool = False) -> list[str]:
    services = stack().services
    return change_order([services[name] for name in names], ROLES, fewer_connections=fewer_connections)


def test_followers_go_before_leaders_by_the_role_that_they_have_now() -> None:
    assert order("postgres-replica", "postgres-primary") == ["postgres-primary", "postgres-replica"]
    assert order("redis-master", "redis-replica") == ["redis-replica", "redis-master"]


def test_with_fewer_connections_the_primary_goes_first_and_redis_as_ever() -> None:
    assert order("postgres-primary", "postgres-replica", fewer_connections=True) == ["postgres-replica", "postgres-primary"]
    assert order("redis-master", "redis-replica", fewer_connections=True) == ["redis-replica", "redis-master"]


def test_the_load_balancer_goes_last_and_every_kind_has_its_place() -> None:
    everything = order(*stack().services)
    assert everything[-1] == "nginx"
    assert everything.index("spoke-1") > everything.index("postgres-replica")
    assert sorted(everything) == sorted(stack().services)
    assert {service.kind for service in stack().services.values()} == set(Kind)


def test_what_only_the_service_itself_sees_is_changed_one_by_one() -> None:
    assert why_at_once(stack(), stack(SPOKE_POSTGRES_MAX_CONNS="30", SPOKE_LOG_LEVEL="debug")) == ""
    assert why_at_once(Stack("spoke", (Path("/nowhere"),), {}, (), {}), stack()) == ""


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("SPOKE_REDIS_PASSWORD", "passwords"),
        ("SPOKE_S3_SECRET_KEY", "passwords"),
        ("SPOKE_POSTGRES_REPLICATION_USER", "passwords"),
    ],
)
def test_what_peers_must_agree_on_is_changed_at_once(setting: str, reason: str) -> None:
    assert why_at_once(stack(), stack(**{setting: "another"})) == f"{reason} have changed"


def test_other_ports_are_changed_at_once() -> None:
    assert why_at_once(stack(), stack(SPOKE_POSTGRES_PRIMARY_PORT="6432")) == "addresses have changed"


def test_a_server_that_cannot_take_over_its_new_settings_is_named_with_its_own_words(tmp_path: Path) -> None:
    described = replace(stack(), name="second")
    seen = {name: Inspection(name, RunState.RUNNING if name == "nginx" else RunState.STOPPED) for name in described.services}
    complains = ("sh", "-c", "echo 'nginx: [emerg] no host' >&2; echo '  in upstream' >&2; exit 1")
    context = Context(described, StackState("second", tmp_path), SeenRuntime([seen], programs={"nginx": complains}))
    with pytest.raises(Failed) as caught:
        take_over_changes(context, Deadline(60))
    assert (caught.value.code, caught.value.exit_code) == ("reload_failed", ExitCode.FAILED)
    assert caught.value.message == "nginx cannot take over its new settings: nginx: [emerg] no host in upstream"
    assert caught.value.actions == ("spokectl restart nginx --stack second",)


def test_as_many_connections_as_postgresql_allows_pass_and_one_more_is_refused_with_the_number() -> None:
    exactly = {"SPOKE_POSTGRES_MAX_CONNS": "50", "SPOKE_POSTGRES_MAX_CONNECTIONS": "166"}
    require_enough_connections(stack(**exactly))
    with pytest.raises(Refused) as caught:
        require_enough_connections(stack(**exactly | {"SPOKE_POSTGRES_MAX_CONNECTIONS": "165"}))
    assert caught.value.code == "too_many_connections"
    assert caught.value.actions[0].endswith("config set SPOKE_POSTGRES_MAX_CONNECTIONS=166")


def test_a_limit_that_is_no_number_is_left_to_postgresql() -> None:
    odd = stack()
    services = {
        name: replace(service, environment=service.environment | {"SPOKE_POSTGRES_MAX_CONNECTIONS": "many"})
        for name, service in odd.services.items()
    }
    require_enough_connections(replace(odd, services=services))
