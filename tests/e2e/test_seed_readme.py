"""The README that this project began with, walked from top to bottom: its commands as written, and what they promise.

Started once by plain Compose and once by spokectl. What differs from the text, and why:

- the folder of the stack file, which the text calls deployments/docker-compose, and with it the project prefix of volumes;
- `up` gets --detach, and log followers are cut after some seconds: nobody sits before the terminal;
- test-module 1.0.0 is pushed before Test 5, which reads it;
- after `docker stop spoke-1` some requests are made, so that NGINX meets it;
- sleeps become waits for what the text waits for;
- "should be faster" is shown by the response's own header and the counter, not by a clock;
- after Test 4 the roles are swapped back before the replica is recreated;
- `build --no-cache` is not run: it makes all images anew, which takes as long as all of this and only shows the network.
  The edits of "Performance Tuning" are in test_changes.py.
"""

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.compose import (
    CONTAINERS,
    Shell,
    compose_up,
    require_free_ports,
    spokectl_up,
    stack_in_containers,
)
from tests.e2e.conftest import STACK, eventually, require_docker

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(1800)]


IMAGES = {
    "SPOKE_IMAGE": "spoke",
    "SPOKE_POSTGRES_IMAGE": "spoke-postgres",
    "SPOKE_REDIS_IMAGE": "spoke-redis",
    "SPOKE_MINIO_IMAGE": "spoke-minio",
    "SPOKE_NGINX_IMAGE": "spoke-nginx",
    "SPOKE_OTEL_COLLECTOR_IMAGE": "spoke-otel-collector",
}


@pytest.fixture(params=[compose_up, spokectl_up], ids=["compose", "spokectl"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    """A shell beside a stack on the ports of the text, brought up by plain Compose or by spokectl."""
    with stack_in_containers(request.param, tmp_path / "state", request.node) as made:
        yield made


def test_every_command_of_the_readme_does_what_the_text_says(shell: Shell) -> None:
    for chapter in (
        verify_the_stack,
        try_the_api,
        scenario_1_load_balancing,
        scenario_2_instance_failure,
        scenario_3_redis_failover,
        scenario_4_postgresql_failover,
        scenario_5_cache,
        scenario_6_metrics,
        monitoring,
        troubleshooting,
    ):
        chapter(shell)


def verify_the_stack(shell: Shell) -> None:
    def all_healthy() -> bool:
        rows = [json.loads(line) for line in shell("docker-compose -f ha-stack.yml ps --format json").splitlines()]
        return {row["Name"] for row in rows if row["Health"] == "healthy"} == set(CONTAINERS)

    eventually(all_healthy, "all services show healthy", timeout_s=300)
    for port in (8080, 8081, 8082, 8083):
        shell(f"curl -sf http://localhost:{port}/modules")
    for port in (9091, 9092, 9093):
        shell(f"curl -sf http://localhost:{port}/health/ready")
    for port in (5432, 5433, 6379, 26379, 26380, 26381):
        socket.create_connection(("localhost", port), 10).close()
    assert "MinIO Console" in shell("curl -sf http://localhost:9001")
    shell("curl -sf http://localhost:8889/metrics")


def try_the_api(shell: Shell) -> None:
    shell("curl http://localhost:8080/modules")
    assert '"healthy"' in shell("curl -s http://localhost:8080/health/ready | jq .")
    created = shell("""curl -s -X POST http://localhost:8080/modules \\
  -H "Content-Type: application/json" \\
  -d '{
    "name": "test-module",
    "description": "Test module for HA stack"
  }'""")
    assert json.loads(created)["name"] == "test-module"


def scenario_1_load_balancing(shell: Shell) -> None:
    said = shell("""for i in {1..10}; do
  curl -s http://localhost:8080/modules | jq -r '.[] | .name' | head -1
  echo "Request $i completed"
done""")
    assert said.splitlines()[-1] == "Request 10 completed"
    assert said.count("test-module") == 10
    for number in (1, 2, 3):
        shell.shows(
            "curl -s http://localhost:8080/modules >/dev/null; docker logs spoke-nginx", f'instance="spoke-{number}"'
        )


def scenario_2_instance_failure(shell: Shell) -> None:
    shell("docker stop spoke-1")
    for _ in range(20):
        shell.shows("curl -s http://localhost:8080/health/ready", '"status":"healthy"')
        shell("curl -sf http://localhost:8080/modules")
    assert "spoke-1" in shell("docker exec spoke-nginx cat /var/log/nginx/error.log | grep spoke-1")
    shell("docker start spoke-1")
    shell.shows("curl -s http://localhost:9091/health/ready", '"status":"healthy"')


def scenario_3_redis_failover(shell: Shell) -> None:
    shell("docker stop spoke-redis-master")
    shell.shows(
        """docker exec spoke-redis-sentinel-1 \\
  redis-cli -p 26379 SENTINEL get-master-addr-by-name spoke-redis""",
        "redis-replica",
    )
    shell.shows("curl -s http://localhost:8080/health/ready", '"status":"healthy"')
    assert shell('docker logs spoke-redis-sentinel-1 | grep -E "failover|switch-master"')
    shell("docker start spoke-redis-master")
    shell.shows("docker exec spoke-redis-master redis-cli -a spoke-redis-password INFO replication", "role:slave")
    shell.shows("docker exec spoke-redis-master redis-cli -a spoke-redis-password INFO replication", "master_link_status:up")
    # "Spoke instances should automatically reconnect to new master": each of them, not only the one that NGINX chose.
    for port in (9091, 9092, 9093):
        shell.shows(f"curl -s http://localhost:{port}/health/ready", '{"status":"healthy"')


def scenario_4_postgresql_failover(shell: Shell) -> None:
    assert "streaming" in shell("""docker exec spoke-postgres-primary psql -U spoke -d spoke -c \\
  "SELECT * FROM pg_stat_replication;\"""")
    in_recovery = """docker exec spoke-{node} psql -U spoke -d spoke -c \\
  "SELECT pg_is_in_recovery();\""""
    assert " t\n" in shell(in_recovery.format(node="postgres-replica"))
    shell("docker exec spoke-postgres-replica pg_ctl promote -D /var/lib/postgresql/data")
    shell.shows(in_recovery.format(node="postgres-replica"), " f\n")
    # The text has the Spokes told of their new primary; they find it by themselves.
    shell("""curl -sf -X POST http://localhost:8080/modules -H "Content-Type: application/json" \\
  -d '{"name": "after-promotion"}'""")
    shell.shows(in_recovery.format(node="postgres-primary"), " t\n")
    # Swapped back, for the chapters that come.
    protected = """docker exec spoke-{node} psql -U spoke -d spoke -Atc "SELECT sync_state FROM pg_stat_replication" """
    shell.shows(protected.format(node="postgres-replica"), "quorum")
    shell.shows("docker exec spoke-postgres-primary cat /var/lib/spoke-cluster/cluster.json", '"mode": "synchronous"')
    shell("docker exec spoke-postgres-primary pg_ctl promote -D /var/lib/postgresql/data")
    shell.shows(in_recovery.format(node="postgres-replica"), " t\n")
    shell.shows(protected.format(node="postgres-primary"), "quorum")
    assert "after-promotion" in shell("curl -sf http://localhost:8080/modules")


def scenario_5_cache(shell: Shell) -> None:
    shell("""curl -sf -X POST http://localhost:8080/modules/test-module/versions -H "Content-Type: application/json" -d \\
'{"version": "1.0.0", "files": [{"path": "test.proto", "content": "syntax = \\"proto3\\";"}]}'""")
    hits = cache_hits(shell)
    read = "time curl -s http://localhost:8080/modules/test-module/versions/1.0.0"
    for _ in range(2):
        assert '"test.proto"' in shell(read)
    shell.shows("curl -si http://localhost:8080/modules/test-module/versions/1.0.0", "x-spoke-cache: memory")
    eventually(lambda: cache_hits(shell) > hits, "the counter of cache hits moves")
    # Whichever of the two nodes is the master by now has what the cache keeps, and the other a copy of it.
    keys = """docker exec spoke-redis-master redis-cli -a spoke-redis-password \\
  KEYS "version:*\""""
    shell.shows(keys, "version:test-module:1.0.0")


def cache_hits(shell: Shell) -> float:
    lines = "".join(shell(f"curl -s http://localhost:{port}/metrics") for port in (9091, 9092, 9093))
    return sum(float(line.split()[-1]) for line in lines.splitlines() if line.startswith("spoke_cache_hits_total"))


def scenario_6_metrics(shell: Shell) -> None:
    for series in (
        *("http_server_requests", "http_server_duration", "db_connections_active"),
        *("cache_hits_total", "cache_misses_total"),
    ):
        shell.shows("curl -s http://localhost:8889/metrics | grep spoke", f"spoke_{series}")


def monitoring(shell: Shell) -> None:
    for follower in (
        "docker-compose -f ha-stack.yml logs -f",
        "docker-compose -f ha-stack.yml logs -f spoke-1",
        "docker exec spoke-nginx tail -f /var/log/nginx/access.log",
    ):
        done = shell.run(f"timeout 5 {follower}")
        assert done.returncode == 124, done.stdout
        assert done.stdout
    shell("docker-compose -f ha-stack.yml ps")
    assert "healthy" in shell("docker inspect spoke-1 --format='{{.State.Health.Status}}'")
    assert "streaming" in shell("""docker exec spoke-postgres-primary psql -U spoke -d spoke -c \\
  "SELECT client_addr, state, replay_lag FROM pg_stat_replication;\"""")
    assert "count" in shell("""docker exec spoke-postgres-primary psql -U spoke -d spoke -c \\
  "SELECT count(*) FROM pg_stat_activity;\"""")
    assert "role:" in shell("docker exec spoke-redis-master redis-cli -a spoke-redis-password INFO replication")
    assert "spoke-redis" in shell("docker exec spoke-redis-sentinel-1 redis-cli -p 26379 SENTINEL masters")
    assert "used_memory" in shell("docker exec spoke-redis-master redis-cli -a spoke-redis-password INFO memory")


def troubleshooting(shell: Shell) -> None:
    shell("docker-compose -f ha-stack.yml logs spoke-2")
    shell("docker logs spoke-postgres-replica")
    assert "replica_slot" in shell("""docker exec spoke-postgres-primary psql -U spoke -d spoke -c \\
  "SELECT * FROM pg_replication_slots;\"""")
    shell("docker-compose -f ha-stack.yml stop postgres-replica")
    shell("docker-compose -f ha-stack.yml rm -f postgres-replica")
    shell("docker volume rm spoke_postgres-replica-data")
    shell("docker-compose -f ha-stack.yml up -d postgres-replica")
    shell.shows(
        'docker exec spoke-postgres-primary psql -U spoke -d spoke -c "SELECT state FROM pg_stat_replication;"', "streaming"
    )
    shell("docker-compose -f ha-stack.yml restart redis-sentinel-1 redis-sentinel-2 redis-sentinel-3")
    shell.shows("docker exec spoke-redis-sentinel-1 redis-cli -p 26379 SENTINEL ckquorum spoke-redis", "OK 3 usable")
    shell("docker logs spoke-1")
    for target in ("postgres-primary:5432", "redis-master:6379", "minio:9000"):
        assert "connected" in shell(f'docker exec spoke-1 wget -O- http://{target} || echo "unreachable"')
    assert "test is successful" in shell("docker exec spoke-nginx nginx -t")
    shell("curl -sf http://localhost:8080/nginx_status")
    for port in (9091, 9092, 9093):
        assert '"healthy"' in shell(f"curl -s http://localhost:{port}/health/ready | jq .")


@pytest.mark.parametrize(
    "up",
    ["docker-compose -f ha-stack.yml up --detach --wait", f"{sys.executable} -m spokectl up"],
    ids=["compose", "spokectl"],
)
def test_cleanup_removes_what_the_text_says_and_no_more(up: str, tmp_path: Path) -> None:
    require_docker()
    require_free_ports()
    shell = Shell(tmp_path / "state")
    # Under tags of this test's own: the last command deletes images, and other stacks of this machine use the real ones.
    for variable, image in IMAGES.items():
        shell.environment[variable] = f"{image}:cleanup-test"
        shell(f"docker tag {image}:local {image}:cleanup-test")
    tagged = "docker images --quiet --filter reference='*:cleanup-test'"

    def left(what: str) -> list[str]:
        return shell(f"docker {what} --quiet --filter label=com.docker.compose.project=spoke").split()

    try:
        shell(up)
        shell("docker-compose -f ha-stack.yml down")
        assert left("ps --all") == []
        assert len(left("volume ls")) == len(STACK.volumes)

        shell("docker-compose -f ha-stack.yml down -v")
        assert left("volume ls") == []
        assert len(shell(tagged).split()) == len(IMAGES)

        shell("docker-compose -f ha-stack.yml up --detach")
    finally:
        shell("docker-compose -f ha-stack.yml down --rmi all -v")
    assert left("ps --all") == left("volume ls") == left("network ls") == []
    assert shell(tagged) == ""
