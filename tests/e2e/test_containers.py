"""Containers that hang, go and come back elsewhere, under load: what only Docker does to a stack."""

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.clients import Reader, Writer, require_one_of_each_role
from tests.e2e.conftest import (
    STACK_FILE,
    Tool,
    eventually,
    free_offset,
    require_docker,
)

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(1200)]

# Takes what is sent to a name server, and says nothing.
_SILENT = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 53))
while True:
    server.recvfrom(65536)
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Tool]:
    """One stack for all of these tests: each leaves it to `up` to repair what it broke."""
    require_docker()
    tool = Tool(Path(f"/tmp/spokectl-e2e-{os.getpid()}-containers"), "e2e-containers", free_offset(), "docker")
    try:
        tool.up()
        yield tool
    finally:
        done = tool.run("down", "--volumes", "--yes")
        shutil.rmtree(tool.state, ignore_errors=True)
        assert done.returncode == 0, done.stderr.decode()


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def container(tool: Tool, service: str) -> str:
    return f"{tool.stack}-{service.removeprefix('spoke-')}"


def address(name: str) -> str:
    return docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)


@contextlib.contextmanager
def beside(tool: Tool, *command: str) -> Iterator[str]:
    """A further container in the stack's network; gives its name."""
    label = ["--label", "com.docker.compose.project="]
    network = ["--network", f"{tool.stack}_default"]
    entry = ["--user", "root", "--entrypoint", command[0]]
    name = docker("run", "--detach", "--init", *label, *network, *entry, "spoke:local", *command[1:])
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


@contextlib.contextmanager
def load(tool: Tool) -> Iterator[Callable[[], None]]:
    """Clients that read and write; gives what waits until each has gone on. At the end none has met a failure."""
    readers = [Reader(f"{tool.url()}/modules?limit=10") for _ in range(2)]
    writers = [Writer(tool.url(), time.monotonic_ns() + number) for number in range(2)]

    def counts() -> list[int]:
        return [reader.answers for reader in readers] + [len(writer.acknowledged) for writer in writers]

    def wait_for_more() -> None:
        before = counts()
        eventually(lambda: all(n > m + 20 for n, m in zip(counts(), before, strict=True)), "clients go on", 180)

    with contextlib.ExitStack() as clients:
        everyone: list[Reader | Writer] = [*readers, *writers]
        for client in everyone:
            client.start()
            clients.callback(client.stop)
        wait_for_more()
        yield wait_for_more
        wait_for_more()
    assert [failure for reader in readers for failure in reader.failures] == []
    assert [refusal for writer in writers for refusal in writer.refused] == []


def answers_through_the_load_balancer(tool: Tool, service: str) -> bool:
    with urllib.request.urlopen(f"{tool.url()}/modules?limit=1", timeout=60) as answer:
        return bool(answer.headers["X-Spoke-Instance"] == service)


def test_a_spoke_that_hangs_costs_no_client_a_failed_request(tool: Tool) -> None:
    with load(tool) as wait_for_more:
        docker("pause", container(tool, "spoke-2"))
        wait_for_more()
        wait_for_more()
        docker("unpause", container(tool, "spoke-2"))
        eventually(lambda: answers_through_the_load_balancer(tool, "spoke-2"), "spoke-2 is used again")


def test_a_spoke_that_comes_back_at_another_address_is_used_again_and_no_request_fails(tool: Tool) -> None:
    name = container(tool, "spoke-2")
    before = address(name)
    with load(tool) as wait_for_more:
        docker("rm", "--force", name)
        # Whether the engine gives the lowest free address or the next one: the old one is not free, or not next.
        with beside(tool, "sleep", "infinity"):
            wait_for_more()
            tool.up()
            assert address(name) != before
        eventually(lambda: answers_through_the_load_balancer(tool, "spoke-2"), "spoke-2 is used again")


def test_a_replica_that_is_removed_and_made_anew_streams_again_and_no_write_fails(tool: Tool) -> None:
    with load(tool):
        docker("rm", "--force", container(tool, "postgres-replica"))
        tool.up()

        def streams() -> bool:
            sql = "SELECT state, sync_state FROM pg_stat_replication"
            words = ("exec", "postgres-primary", "--", "psql", "-U", "spoke", "-d", "spoke", "-Atc", sql)
            return tool.ok(*words).split() == ["streaming|quorum"]

        eventually(streams, "the standby streams, and commits wait for it")
    assert tool.run("status").returncode == 0
    require_one_of_each_role(tool)


def ends(tool: Tool, since: float) -> dict[str, tuple[float, float]]:
    """When each service was told to stop, and when it had ended, as the engine tells it."""
    words = ["--since", f"{since:.9f}", "--until", f"{time.time():.9f}", "--format", "{{json .}}"]
    filters = [f"label=com.docker.compose.project={tool.stack}", "event=kill", "event=die"]
    shown = docker("events", *words, *(word for each in filters for word in ("--filter", each)))
    told: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for line in shown.splitlines():
        event = json.loads(line)
        service = event["Actor"]["Attributes"]["com.docker.compose.service"]
        told[service].setdefault(event["Action"], event["timeNano"] / 1e9)
    return {service: (times["kill"], times["die"]) for service, times in told.items()}


def test_stop_and_down_end_a_standby_before_its_primary_is_told_to_stop(tool: Tool) -> None:
    began = time.time()
    tool.ok("stop", "postgres-primary", "postgres-replica")
    seen = ends(tool, began)
    assert set(seen) == {"postgres-primary", "postgres-replica"}
    assert seen["postgres-replica"][1] <= seen["postgres-primary"][0]

    tool.up()
    began = time.time()
    tool.ok("down")
    seen = ends(tool, began)
    assert seen["postgres-replica"][1] <= seen["postgres-primary"][0]
    # And who asks before who answers.
    asking = {"nginx", "spoke-1", "spoke-2", "spoke-3"}
    assert max(seen[name][1] for name in asking) <= min(told for name, (told, _) in seen.items() if name not in asking)


def test_reads_go_on_while_the_lost_primarys_name_is_looked_up_in_vain(tool: Tool, tmp_path: Path) -> None:
    """The engine asks the machine's name server for a container that is gone. Where that one was slow a lookup lasted ten
    seconds; two of them filled the threads for lookups, and the standby's name waited behind them until reads failed."""
    with beside(tool, "python3", "-c", _SILENT) as silent:
        content = yaml.safe_load(STACK_FILE.read_text())
        for service in ("spoke-1", "spoke-2", "spoke-3"):
            content["services"][service]["dns"] = [address(silent)]
        file = tmp_path / "ha-stack.yml"
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        tool.up("--file", str(file))
        tool.ok("stop", "postgres-primary")
        for _ in range(5):
            for port in (8081, 8082, 8083):
                with urllib.request.urlopen(f"{tool.url(port)}/modules?limit=1", timeout=60) as answer:
                    assert answer.headers["X-Spoke-Read"] == "standby"
        tool.ok("start", "postgres-primary")
        tool.up("--file", str(STACK_FILE))
