"""What the local runtime does beside its servers: logs, disk, collector, memory."""

import os
import shutil
from pathlib import Path

import pytest

from spokectl.errors import Failed, Refused
from spokectl.model import RunState
from spokectl.runtime.local.places import Places
from spokectl.runtime.local.runtime import LocalRuntime
from spokectl.wait import Deadline, wait_until
from tests.contract.runtime.tiny import WITHIN_S, TinyStack, service, tiny_stack
from tests.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def collector(port: int) -> dict[str, object]:
    return service(port) | {"labels": {"spokectl.kind": "collector", "spokectl.health": "http:8080/"}}


def traced(port: int) -> dict[str, object]:
    return service(port, environment={"SPOKE_OTEL_ENABLED": "true", "SPOKE_OTEL_ENDPOINT": "otel:8080"})


def use_collector(stack: TinyStack, environ: dict[str, str]) -> LocalRuntime:
    """The runtime with these settings; its collector is a tiny server."""
    services = stack.folder / "services"
    if not (services / "collector").exists():
        shutil.copytree(services / "spoke", services / "collector")
    return LocalRuntime(stack.stack, stack.state, dict(os.environ) | environ)


def test_logs_are_rotated_while_servers_write_to_them(tmp_path: Path) -> None:
    with tiny_stack("local", tmp_path, {"one": service(free_ports(1)[0])}) as stack:
        stack.up()
        stack.wait_for_answer("one")
        log = Places(stack.state).log("one")
        with log.open("a") as file:
            file.write("2026-11-23T08:00:00Z filling\n" + ("x" * 99 + "\n") * 110_000)
        rotated = log.with_name(log.name + ".1")
        wait_until(lambda: None if rotated.exists() else "not rotated", Deadline(60), what="the rotation")
        stack.ask("one", "say after the rotation")
        assert log.stat().st_size < 1000
        assert stack.log("one")[-1].endswith("after the rotation")
        assert stack.log("one")[1].endswith("filling")


def test_the_supervisor_stays_small(tmp_path: Path) -> None:
    import psutil

    with tiny_stack("local", tmp_path, {"one": service(free_ports(1)[0])}) as stack:
        stack.up()
        stack.wait_for_answer("one")
        pid = int(Places(stack.state).supervisor_pid.read_text())
        # 20 MB on Linux; with OpenSSL it would be 28.
        assert psutil.Process(pid).memory_info().rss < 26 << 20


def test_without_a_collector_it_is_left_out_with_a_reason_and_nobody_sends_to_it(tmp_path: Path) -> None:
    first, second = free_ports(2)
    with tiny_stack("local", tmp_path, {"one": traced(first), "otel": collector(second)}) as stack:
        runtime = use_collector(stack, {})
        assert "SPOKECTL_OTELCOL" in runtime.left_out()["otel"]
        stack.up()
        assert stack.wait_for_answer("one")["environment"]["SPOKE_OTEL_ENABLED"] == "false"
        assert stack.inspect("otel").state is RunState.ABSENT
        with pytest.raises(Refused, match="otel"):
            runtime.start(["otel"], Deadline(WITHIN_S))


def test_a_collector_named_once_runs_until_the_stack_goes_down(tmp_path: Path) -> None:
    first, second = free_ports(2)
    with tiny_stack("local", tmp_path, {"one": traced(first), "otel": collector(second)}) as stack:
        runtime = use_collector(stack, {"SPOKECTL_OTELCOL": "/bin/sh"})
        assert runtime.left_out() == {}
        runtime.bring_up(["one", "otel"], Deadline(WITHIN_S), stack.notices.append)
        assert stack.wait_for_answer("one")["environment"]["SPOKE_OTEL_ENABLED"] == "true"
        pid = stack.wait_for_answer("otel")["pid"]
        stack.up()
        assert stack.ask("otel")["pid"] == pid
        stack.down()
        assert "otel" in stack.runtime.left_out()


def test_what_has_no_effect_natively_is_said(tmp_path: Path) -> None:
    limited = service(free_ports(1)[0], environment={"not-a-name": "x"}, mem_limit="64m")
    with tiny_stack("local", tmp_path, {"one": limited}) as stack:
        limits, variables = stack.runtime.without_effect()
        assert "limits" in limits
        assert limits.endswith(": one")
        assert "one: a shell cannot export not-a-name" in variables
        # Said as long as it is so, not only when the supervisor starts: the file may be edited while the stack runs.
        stack.up()
        assert stack.runtime.without_effect() == [limits, variables]


def test_a_file_where_a_folder_must_be_is_one_clear_error(tmp_path: Path) -> None:
    with tiny_stack("local", tmp_path, {"one": service(free_ports(1)[0])}) as stack:
        stack.state.ensure()
        stack.state.volumes.write_text("")
        with pytest.raises(Failed) as caught:
            stack.up()
        assert caught.value.code == "cannot_write"
        assert str(stack.state.volumes) in caught.value.message
        stack.state.volumes.unlink()
        stack.up()
        stack.wait_for_answer("one")
