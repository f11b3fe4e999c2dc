"""The stack file under plain Compose, without spokectl: who comes back by itself, who obeys a stop, what an edit does."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tests.e2e.compose import CONTAINERS, Shell, stack_in_containers
from tests.e2e.conftest import STACK_FILE, eventually
from tests.e2e.test_changes import edited

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(1200)]

KILLED = "137"
REDIS = "docker exec spoke-{node} redis-cli -a spoke-redis-password {words}"


def up(shell: Shell) -> None:
    shell("docker-compose -f ha-stack.yml up --detach")


@pytest.fixture
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    with stack_in_containers(up, tmp_path / "state", request.node) as made:
        made.wait_until_all_are_healthy()
        yield made


def kill_server(shell: Shell, container: str) -> str:
    """Kills the server itself, which runs below the container's init; gives the container's start until then."""
    started_at = shell.state(container, "StartedAt")
    for server in psutil.Process(int(shell.state(container, "Pid"))).children():
        server.kill()
    return started_at


def test_a_server_that_dies_comes_back_and_one_that_was_stopped_does_not(shell: Shell) -> None:
    shell("docker kill spoke-2 spoke-redis-sentinel-3")
    shell("docker stop spoke-3 spoke-redis-replica")
    stopped = {"spoke-2", "spoke-redis-sentinel-3", "spoke-3", "spoke-redis-replica"}

    before = {name: kill_server(shell, name) for name in CONTAINERS if name not in stopped}
    for name, started_at in before.items():
        eventually(
            lambda n=name, s=started_at: shell.state(n, "StartedAt") != s and shell.state(n, "Running") == "true",  # type: ignore[misc]
            f"{name} is started again",
        )
    assert {shell.state(name, "Status") for name in stopped} == {"exited"}

    shell(f"docker start {' '.join(stopped)}")
    shell.wait_until_all_are_healthy()
    shell("curl -sf http://localhost:8080/modules")


def test_a_server_that_is_told_to_stop_while_it_starts_stops_at_once(shell: Shell) -> None:
    """The first process of a container does not get a signal it has no handler for: without `init: true` each of these
    lasted its whole grace period, up to a minute, and ended by SIGKILL."""
    for name in CONTAINERS:
        shell(f"docker restart {name} && docker stop {name}")
        assert shell.state(name, "ExitCode") != KILLED, name
    shell(f"docker start {' '.join(CONTAINERS)}")
    shell.wait_until_all_are_healthy()
    shell("curl -sf http://localhost:8080/modules")


def test_the_edits_of_performance_tuning_take_effect(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "ha-stack.yml"
    shutil.copyfile(STACK_FILE, file)
    edited(file)
    content = yaml.safe_load(file.read_text())
    content["services"]["spoke-1"]["deploy"] = {
        "resources": {"limits": {"cpus": "1", "memory": "1G"}, "reservations": {"cpus": "0.5", "memory": "512M"}}
    }
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    shell(f"docker-compose -f {file} --project-directory . up --detach")
    shell.wait_until_all_are_healthy()

    for number in range(1, 5):
        shell.shows(
            "curl -s http://localhost:8080/modules >/dev/null; docker logs spoke-nginx", f'instance="spoke-{number}"'
        )
    shell.shows("curl -s http://localhost:9094/health/ready", '"status":"healthy"')
    limits = shell("docker inspect spoke-1 --format='{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}}'")
    assert limits.split() == ["1000000000", str(1 << 30)]
    assert shell("docker exec spoke-1 printenv SPOKE_POSTGRES_MAX_CONNS").strip() == "50"
    # The text's command has no word about passwords and replication: both stay as they were.
    for node in ("redis-master", "redis-replica"):
        assert str(256 << 20) in shell(REDIS.format(node=node, words="CONFIG GET maxmemory"))
        assert "allkeys-lru" in shell(REDIS.format(node=node, words="CONFIG GET maxmemory-policy"))
        assert "NOAUTH" in shell(f"docker exec spoke-{node} redis-cli PING")
    both = "; ".join(REDIS.format(node=node, words="INFO replication") for node in ("redis-master", "redis-replica"))
    shell.shows(both, "role:master")
    shell.shows(both, "master_link_status:up")
