"""What a bare client finds in the environment of `exec`, in each runtime."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from spokectl.model import HealthProbe, Kind, Service, Stack
from spokectl.runtime.base import clients_environment
from spokectl.runtime.docker.runtime import DockerRuntime
from spokectl.settings import StackState

POSTGRES = {"SPOKE_POSTGRES_USER": "someone", "SPOKE_POSTGRES_DATABASE": "data", "SPOKE_POSTGRES_PASSWORD": "hush"}


def service(kind: Kind, **environment: str) -> Service:
    return Service("it", kind, "", HealthProbe("job"), environment, "it")


def test_clients_are_told_who_they_are() -> None:
    assert clients_environment(service(Kind.POSTGRES, **POSTGRES)) == {"PGUSER": "someone", "PGDATABASE": "data"}
    assert clients_environment(service(Kind.REDIS, SPOKE_REDIS_PASSWORD="hush")) == {"REDISCLI_AUTH": "hush"}


@pytest.mark.parametrize("kind", [Kind.SENTINEL, Kind.SPOKE])
def test_others_that_know_the_password_of_redis_have_no_client_that_wants_it(kind: Kind) -> None:
    assert clients_environment(service(kind, SPOKE_REDIS_PASSWORD="hush")) == {}


class Containers(DockerRuntime):
    """The Docker runtime where each service runs, without an engine."""

    def _running(self, services: object, but: str = "") -> list[SimpleNamespace]:  # type: ignore[override]  # as much as is asked for
        return [SimpleNamespace(id="c0ffee")]


def test_a_secret_reaches_a_container_by_name_and_never_as_an_argument(tmp_path: Path) -> None:
    redis = service(Kind.REDIS, SPOKE_REDIS_PASSWORD="hush")
    stack = Stack("spoke", (tmp_path / "stack.yml",), {"it": redis}, (), {})
    invocation = Containers(stack, StackState("spoke", tmp_path), {}).invocation("it", ["redis-cli", "PING"])
    assert invocation.argv == ("docker", "exec", "--interactive", "--env", "REDISCLI_AUTH", "c0ffee", "redis-cli", "PING")
    assert invocation.environment["REDISCLI_AUTH"] == "hush"


def test_what_the_stack_file_says_itself_is_not_overruled(tmp_path: Path) -> None:
    redis = service(Kind.REDIS, SPOKE_REDIS_PASSWORD="hush", REDISCLI_AUTH="another")
    stack = Stack("spoke", (tmp_path / "stack.yml",), {"it": redis}, (), {})
    invocation = Containers(stack, StackState("spoke", tmp_path), {}).invocation("it", ["true"])
    assert invocation.argv == ("docker", "exec", "--interactive", "c0ffee", "true")
