"""A stack without what it promises does not pass: each time the matching drill says so."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ROOT, Tool

OBJECTIVE_MISSED = 11
# A Spoke that believes whatever Redis holds, and asks PostgreSQL only when it holds nothing.
BELIEVING_SPOKE = """#!/bin/sh
exec "${SPOKE_PYTHON:-python3}" -c '
import runpy
from spoke_server import catalog
from spoke_server.cache import Entry
honest = catalog.Catalog.version
async def believing(self, name):
    body = await self._shared.get(*name)
    return catalog.Found(Entry("believed", body), "redis") if body else await honest(self, name)
catalog.Catalog.version = believing
runpy.run_module("spoke_server", run_name="__main__")
' "$@"
"""


@pytest.fixture
def drilled(make_tool: Callable[..., Tool]) -> Callable[..., dict[str, Any]]:
    """Brings a stack up from a copy of its folder that `change` has changed, and gives what one drill found there."""

    def run(name: str, change: Callable[[Path], None]) -> dict[str, Any]:
        tool = make_tool()
        folder = tool.state / "changed"
        shutil.copytree(ROOT / "stack", folder, ignore=shutil.ignore_patterns("wheels", "images"))
        change(folder)
        tool.up("--file", str(folder / "ha-stack.yml"))
        done = tool.run("drill", "run", name, "--json")
        assert done.returncode == OBJECTIVE_MISSED, done.stderr.decode()
        (trial,) = json.loads(done.stdout)["data"]["trials"]
        return dict(trial)

    return run


def without_retries(folder: Path) -> None:
    template = folder / "services/load-balancer/nginx.conf.template"
    text = template.read_text()
    off = re.sub(r"proxy_next_upstream [^;]*;|error_page 502 = @\w+;", "proxy_next_upstream off;", text, count=2)
    assert off.count("proxy_next_upstream off;") == 2
    template.write_text(off)


def with_spokes_that_believe_redis(folder: Path) -> None:
    (folder / "services/spoke/run").write_text(BELIEVING_SPOKE)


def test_a_load_balancer_that_does_not_try_another_spoke_is_convicted(drilled: Callable[..., dict[str, Any]]) -> None:
    trial = drilled("spoke-last-one", without_retries)
    measures = {each["name"]: each["found"] for each in trial["measures"]}
    assert measures["failed"] > 0
    # It fails clients, and lies to none.
    assert measures["lost"] == measures["stale"] == measures["duplicated"] == 0


def test_a_cache_that_shows_what_was_deleted_is_convicted(drilled: Callable[..., dict[str, Any]]) -> None:
    trial = drilled("redis-all-frozen", with_spokes_that_believe_redis)
    wrong = {each["name"]: each["found"] for each in trial["checks"] if not each["ok"]}
    assert set(wrong) == {"what was deleted is not found again"}
    assert "200" in wrong["what was deleted is not found again"]
