"""More Spokes, fewer, and a reload, under load: no request fails, and no Spoke leaves before NGINX has let it go."""

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.clients import Reader, Writer
from tests.e2e.conftest import STACK_FILE, Tool, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

_TEMPLATE = "services/load-balancer/nginx.conf.template"


@pytest.fixture
def folder(runtime: str, tmp_path: Path) -> Path:
    """A copy of the stack's folder whose template of NGINX's configuration can be spoilt, in either runtime."""
    folder = tmp_path / "stack"
    folder.mkdir()
    shutil.copytree(STACK_FILE.parent / "services", folder / "services")
    content = yaml.safe_load(STACK_FILE.read_text())
    if runtime == "docker":
        content["services"]["nginx"]["volumes"] = [f"./{_TEMPLATE}:/opt/spoke/{_TEMPLATE}:ro"]
    (folder / STACK_FILE.name).write_text(yaml.safe_dump(content, sort_keys=False))
    for path in (tmp_path, folder):
        path.chmod(0o755)
    return folder


def upstreams(tool: Tool) -> dict[str, dict[str, Any]]:
    """A Spoke that is slow to say how it is makes the answer a degraded one."""
    done = tool.run("lb", "status", "--json")
    assert done.returncode in {0, 10}, done.stdout
    return {each["service"]: each for each in json.loads(done.stdout)["data"]["upstreams"]}


def served_by(tool: Tool, count: int) -> bool:
    """Whether NGINX uses so many Spokes, and each has had some of the requests."""
    seen = upstreams(tool)
    assert list(seen) == [f"spoke-{number}" for number in range(1, count + 1)]
    return all(each["in_use"] and each["ready"] and each["requests"] > 0 for each in seen.values())


def test_spokes_come_and_go_under_load_and_no_request_fails(
    runtime: str, make_tool: Callable[..., Tool], folder: Path
) -> None:
    tool = make_tool(runtime=runtime)
    tool.up("--file", str(folder / STACK_FILE.name))
    before = tool.pids()
    writers = [Writer(tool.url(), number) for number in range(3)]
    readers = [Reader(f"{tool.url()}/modules"), Reader(f"{tool.url()}/health/ready")]
    clients: list[Writer | Reader] = [*writers, *readers]
    with contextlib.ExitStack() as running:
        for client in clients:
            client.start()
            running.callback(client.stop)

        def goes_on(so_far: int) -> bool:
            return all(len(writer.acknowledged) > so_far for writer in writers)

        eventually(lambda: goes_on(10), "writes go through")
        more = tool.json("scale", "5")
        assert (more["outcome"], more["added"], more["removed"]) == ("done", ["spoke-4", "spoke-5"], [])
        eventually(lambda: served_by(tool, 5), "all five get requests")
        assert tool.json("scale", "5")["outcome"] == "unchanged"

        fewer = tool.json("scale", "1")
        assert fewer["removed"] == ["spoke-2", "spoke-3", "spoke-4", "spoke-5"]
        assert served_by(tool, 1)
        assert {"spoke-2", "spoke-5"}.isdisjoint(tool.pids())
        # It is remembered; and a plain `up` finds nothing to do.
        assert tool.up()["scaled"] == {"spokes": 1, "in_file": 3}

        reloaded = tool.json("lb", "reload")
        assert set(reloaded["workers"]).isdisjoint(reloaded["workers_before"])
        assert sorted(tool.json("lb", "status")["workers"]) == reloaded["workers"]

        template = folder / _TEMPLATE
        good = template.read_text()
        template.write_text(good.replace("server_tokens off;", "server_tokens perhaps;"))
        try:
            tested, refused = tool.run("lb", "test", "--json"), tool.run("lb", "reload", "--json")
        finally:
            template.write_text(good)
        line = good.splitlines().index("    server_tokens off;") + 1
        found = json.loads(tested.stdout)["data"]
        assert (tested.returncode, found["ok"], found["file"], found["line"]) == (1, False, "nginx.conf", line)
        assert found["text"] == "server_tokens perhaps;"
        assert (refused.returncode, json.loads(refused.stdout)["error"]["code"]) == (5, "bad_configuration")
        assert sorted(tool.json("lb", "status")["workers"]) == reloaded["workers"]
        assert tool.json("lb", "test")["ok"]

        # The other way there: one path for both. And back down by it, while requests go on.
        assert tool.up("--spokes", "3")["scaled"] is None
        eventually(lambda: served_by(tool, 3), "all three get requests")
        tool.up("--spokes", "2")
        assert served_by(tool, 2)
        so_far = min(len(writer.acknowledged) for writer in writers)
        eventually(lambda: goes_on(so_far + 10), "writes go on")
    assert [reader.failures for reader in readers] == [[], []]
    assert [refusal for writer in writers for refusal in writer.refused] == []
    # Nobody was even sent to a Spoke that was stopped already, and then elsewhere.
    assert re.findall(r'.*upstream_status="[^"]*502.*', tool.ok("logs", "nginx")) == []
    untouched = {name for name, pid in tool.pids().items() if name in before and pid == before[name]}
    assert {"nginx", "spoke-1", "postgres-primary", "postgres-replica", "redis-master", "minio"} <= untouched
    done = [json.loads(line) for line in tool.ok("events", "--json").splitlines()]
    assert [each["why"] for each in done if each["what"] == "scale"] == [
        "spokes: 5; 3 -> 5",
        "spokes: 5; 5 -> 5",
        "spokes: 1; 5 -> 1",
    ]
    assert [each["outcome"].split()[0] for each in done if each["what"] == "lb reload"] == ["done", "refused"]
    # In a container too, which keeps the variables that it was made with, NGINX starts with the Spokes that there are now:
    # also where the engine starts it.
    if runtime == "docker":
        subprocess.run(["docker", "restart", f"{tool.stack}-nginx"], check=True, capture_output=True, timeout=300)
        eventually(lambda: list(upstreams(tool)) == ["spoke-1", "spoke-2"], "NGINX knows two Spokes")
    tool.ok("restart", "nginx")
    eventually(lambda: list(upstreams(tool)) == ["spoke-1", "spoke-2"], "NGINX knows two Spokes")
