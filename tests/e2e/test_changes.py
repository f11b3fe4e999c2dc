"""`up` after an edit of the stack file or of settings, under load: applied one service at a time, and no request fails."""

import contextlib
import json
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.e2e.clients import Reader, Writer
from tests.e2e.conftest import STACK_FILE, Tool, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


def edited(file: Path) -> None:
    """What the seed's chapter on performance tuning does to the file: a fourth Spoke, a limit, connections, memory."""
    content = yaml.safe_load(file.read_text())
    services = content["services"]
    fourth = json.loads(json.dumps(services["spoke-1"]))
    fourth["container_name"] = fourth["container_name"].replace("-1", "-4")
    fourth["environment"]["SPOKE_NODE"] = "spoke-4"
    fourth["ports"] = [
        port.replace("_1_", "_4_").replace(":-8081", ":-8084").replace(":-9091", ":-9094") for port in fourth["ports"]
    ]
    services["spoke-4"] = fourth
    services["nginx"]["environment"]["SPOKE_BACKENDS"] += " spoke-4:8080"
    services["spoke-1"]["deploy"] = {"resources": {"limits": {"memory": "1G"}}}
    for name in ("spoke-1", "spoke-2", "spoke-3", "spoke-4"):
        services[name]["environment"]["SPOKE_POSTGRES_MAX_CONNS"] = "50"
    for name in ("redis-master", "redis-replica"):
        services[name]["command"] = "redis-server --maxmemory 256mb --maxmemory-policy allkeys-lru\n"
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def redis_says(tool: Tool, node: str, *words: str) -> list[str]:
    port = "6379" if tool.runtime == "docker" else str(tool.port({"redis-master": 6379, "redis-replica": 6380}[node]))
    script = f'REDISCLI_AUTH="$SPOKE_REDIS_PASSWORD" exec redis-cli -p {port} "$@"'
    return tool.ok("exec", node, "--", "sh", "-c", script, "sh", *words).split()


def postgres_says(tool: Tool, node: str, sql: str) -> str:
    return tool.ok("exec", node, "--", "psql", "-U", "spoke", "-d", "spoke", "-Atc", sql).strip()


def test_an_edit_is_applied_one_service_at_a_time_and_no_request_fails(
    runtime: str, make_tool: Callable[..., Tool], tmp_path: Path
) -> None:
    tool = make_tool(runtime=runtime)
    file = tmp_path / "ha-stack.yml"
    shutil.copyfile(STACK_FILE, file)
    tool.up("--file", str(file))
    before = tool.pids()
    writers = [Writer(tool.url(), number) for number in range(3)]
    reader = Reader(f"{tool.url()}/modules")
    everyone: list[Writer | Reader] = [*writers, reader]
    with contextlib.ExitStack() as clients:
        for client in everyone:
            client.start()
            clients.callback(client.stop)
        eventually(lambda: all(len(writer.acknowledged) > 10 for writer in writers), "writes go through")

        edited(file)
        tool.up()
        after = tool.pids()
        changed = {name for name in before if before[name] != after[name] and name != "minio-init"}
        assert changed == {"spoke-1", "spoke-2", "spoke-3", "redis-master", "redis-replica"}
        seen: set[str] = set()

        def ask() -> bool:
            with urllib.request.urlopen(f"{tool.url()}/modules", timeout=60) as answer:
                seen.add(answer.headers["X-Spoke-Instance"])
            return seen == {f"spoke-{number}" for number in range(1, 5)}

        eventually(ask, "all four answer through the load balancer")
        for node in ("redis-master", "redis-replica"):
            assert redis_says(tool, node, "CONFIG", "GET", "maxmemory")[1] == str(256 << 20)
        # The master gave its role away before it was restarted, so the cache lost nothing.
        events = [json.loads(line) for line in tool.ok("events", "--json").splitlines()]
        handed_over = [each["outcome"] for each in events if each["what"] == "switchover redis"]
        assert len(handed_over) == 1
        assert handed_over[0].startswith("done")

        # More connections than PostgreSQL allows are refused before anything is touched.
        refused = tool.run("config", "set", "SPOKE_POSTGRES_MAX_CONNECTIONS=100")
        assert refused.returncode == 0
        done = tool.run("up", "--json")
        assert done.returncode == 5
        error = json.loads(done.stdout)["error"]
        assert error["code"] == "too_many_connections"
        assert any("SPOKE_POSTGRES_MAX_CONNECTIONS=216" in action for action in error["actions"])
        assert tool.pids() == after

        # More: the standby is restarted and takes over. Fewer: the primary goes first, and stays one; its restart may
        # outlast SPOKE_POSTGRES_TIMEOUT: reads go to the standby, writes wait.
        for limit, primary in (("300", "postgres-replica"), ("220", "postgres-replica")):
            tool.ok("config", "set", f"SPOKE_POSTGRES_MAX_CONNECTIONS={limit}")
            tool.up()
            for node in ("postgres-primary", "postgres-replica"):
                assert postgres_says(tool, node, "SHOW max_connections") == limit
            assert tool.roles()[primary] == "primary"
        counts, answers = [len(writer.acknowledged) for writer in writers], reader.answers
        eventually(
            lambda: all(len(w.acknowledged) > count + 10 for w, count in zip(writers, counts, strict=True)), "writes go on"
        )
        eventually(lambda: reader.answers > answers + 10, "reads go on")
    assert reader.failures == []
    assert [refusal for writer in writers for refusal in writer.refused] == []
    with urllib.request.urlopen(f"{tool.url()}/modules", timeout=60) as answer:
        present = {each["name"] for each in json.load(answer)}
    assert {name for writer in writers for name in writer.acknowledged} <= present
