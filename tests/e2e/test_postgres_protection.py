"""A whole stack whose standby is lost, and whose primary role is moved by hand under it."""

import contextlib
import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.clients import Writer, create
from tests.e2e.conftest import Tool, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def services(tool: Tool) -> tuple[int, dict[str, dict[str, Any]]]:
    done = tool.run("status", "--json")
    return done.returncode, {each["service"]: each for each in json.loads(done.stdout)["data"]["services"]}


def test_a_stack_without_its_standby_says_since_where_writes_are_unprotected(
    runtime: str, make_tool: Callable[..., Tool]
) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    tool.ok("stop", "postgres-replica")
    create(tool.url(), "unprotected")
    eventually(lambda: services(tool)[1]["postgres-primary"]["reason"].startswith("degraded since"), "it is said")
    code, seen = services(tool)
    assert (code, seen["postgres-primary"]["health"]) == (10, "degraded")
    assert "writes since 0/" in seen["postgres-primary"]["reason"]
    # Alone it is all that it can be: a wait for it ends.
    tool.ok("restart", "postgres-primary")
    tool.up()
    assert services(tool)[0] == 0


def test_a_promotion_typed_while_the_old_primary_lives_ends_with_one_primary_and_every_write(
    runtime: str,
    make_tool: Callable[..., Tool],
) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    writers = [Writer(tool.url(), number) for number in range(4)]
    with contextlib.ExitStack() as stack:
        for writer in writers:
            writer.start()
            stack.callback(writer.stop)
        eventually(lambda: all(len(writer.acknowledged) > 20 for writer in writers), "writes go through")
        tool.ok("exec", "postgres-replica", "--", "sh", "-c", 'pg_ctl promote -D "$PGDATA"')
        eventually(lambda: tool.roles()["postgres-primary"] == "standby", "the old primary has joined", timeout_s=180)
        eventually(lambda: services(tool)[0] == 0, "everything is well", timeout_s=180)
        before = [len(writer.acknowledged) for writer in writers]
        eventually(lambda: all(len(w.acknowledged) > n + 20 for w, n in zip(writers, before, strict=True)), "writes go on")
    assert tool.roles()["postgres-replica"] == "primary"
    assert [refusal for writer in writers for refusal in writer.refused] == []
    with urllib.request.urlopen(f"{tool.url()}/modules", timeout=60) as answer:
        present = {each["name"] for each in json.load(answer)}
    assert {name for writer in writers for name in writer.acknowledged} <= present


def test_after_a_promotion_any_order_of_restarts_and_a_recreated_node_end_in_one_primary_with_all_data(
    runtime: str, make_tool: Callable[..., Tool]
) -> None:
    tool = make_tool(runtime=runtime)
    tool.up()
    create(tool.url(), "before")
    tool.ok("exec", "postgres-replica", "--", "sh", "-c", 'pg_ctl promote -D "$PGDATA"')
    swapped = {"postgres-primary": "standby", "postgres-replica": "primary"}
    eventually(lambda: swapped.items() <= tool.roles().items(), "the roles are swapped", timeout_s=180)
    eventually(lambda: services(tool)[0] == 0, "everything is well", timeout_s=180)
    for order in (["postgres-primary", "postgres-replica"], ["postgres-replica", "postgres-primary"]):
        tool.ok("kill", *order)
        for name in order:
            # Not `spokectl start`, which waits until it answers: the first one may have to wait for the other.
            begin(tool, name)
        tool.up()
        assert swapped.items() <= tool.roles().items()
        create(tool.url(), f"after-{order[0]}")
    with urllib.request.urlopen(f"{tool.url()}/modules", timeout=60) as answer:
        present = {each["name"] for each in json.load(answer)}
    assert present == {"before", "after-postgres-primary", "after-postgres-replica"}


def begin(tool: Tool, service: str) -> None:
    """Starts one service and leaves it to itself."""
    done = tool.run("start", service, "--timeout", "1s")
    assert done.returncode in {0, 6}, done.stderr
