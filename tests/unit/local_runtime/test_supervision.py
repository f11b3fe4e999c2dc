"""supervisord's configuration, its answers, and what is made of them."""

import configparser
import os
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from spokectl.model import Inspection, Kind, RunState, Service
from spokectl.runtime.local import processes
from spokectl.runtime.local.inspection import Exit, exits_in, judge
from spokectl.runtime.local.places import Places
from spokectl.runtime.local.rpc import Fault, Value, _Reader, _write
from spokectl.runtime.local.supervisor import Program, State, configuration
from spokectl.runtime.order import stop_stages
from spokectl.settings import StackState
from tests.unit.local_runtime.conftest import MakeService, build_service


def program_section(service: Service, tmp_path: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser()
    parser.read_string(configuration([service], Places(StackState("s", tmp_path))))
    return parser[f"program:{service.name}"]


@pytest.mark.parametrize(
    ("restart", "autorestart"),
    [("unless-stopped", "true"), ("always", "true"), ("no", "false"), ("on-failure", "false"), ("on-failure:3", "false")],
)
def test_the_restart_policy_decides_who_restarts(
    make_service: MakeService, tmp_path: Path, restart: str, autorestart: str
) -> None:
    assert program_section(make_service(restart=restart), tmp_path)["autorestart"] == autorestart


@pytest.mark.parametrize(("grace_s", "seconds"), [(60.0, "60"), (0.5, "1"), (10.2, "11"), (0.0, "1")])
def test_the_grace_period_is_never_shortened(
    make_service: MakeService, tmp_path: Path, grace_s: float, seconds: str
) -> None:
    assert program_section(make_service(stop_grace_s=grace_s), tmp_path)["stopwaitsecs"] == seconds


def test_the_stop_signal_reaches_the_root_alone_and_the_last_resort_everybody(
    make_service: MakeService, tmp_path: Path
) -> None:
    section = program_section(make_service("postgres-primary", Kind.POSTGRES), tmp_path)
    assert (section["stopasgroup"], section["killasgroup"]) == ("false", "true")


@pytest.mark.parametrize("folder", ["x" * 80, "a b", "a;b", "a%b"])
def test_sockets_get_a_short_plain_path_where_the_state_folder_has_none(folder: str) -> None:
    places = Places(StackState("s", Path("/tmp") / folder))
    assert str(places.run).startswith("/tmp/spokectl-")
    assert places.run == Places(StackState("s", Path("/tmp") / folder)).run
    assert places.run != Places(StackState("t", Path("/tmp") / folder)).run
    assert len(str(places.socket)) < 100


def test_sockets_lie_in_the_state_folder_where_its_path_is_short() -> None:
    assert Places(StackState("s", Path("/var/lib/spokectl"))).run == Path("/var/lib/spokectl/s/run")


def program(state: State, pid: int = 0, exit_code: int = 0, started_at_s: int = 1_000, problem: str = "") -> Program:
    return Program("spoke-1", state, pid, started_at_s, exit_code, problem)


STARTED = datetime.fromtimestamp(1_000, UTC)


@pytest.mark.parametrize(
    ("restart", "kind", "seen", "expected"),
    [
        ("unless-stopped", Kind.SPOKE, None, RunState.ABSENT),
        ("unless-stopped", Kind.SPOKE, program(State.STOPPED, started_at_s=0), RunState.ABSENT),
        ("unless-stopped", Kind.SPOKE, program(State.STOPPED), RunState.STOPPED),
        ("unless-stopped", Kind.SPOKE, program(State.STARTING, 7), RunState.RUNNING),
        ("unless-stopped", Kind.SPOKE, program(State.RUNNING, 7), RunState.RUNNING),
        ("unless-stopped", Kind.SPOKE, program(State.RUNNING, 8), RunState.PAUSED),
        ("unless-stopped", Kind.SPOKE, program(State.STOPPING, 7), RunState.RUNNING),
        ("unless-stopped", Kind.SPOKE, program(State.BACKOFF, problem="Exited too quickly"), RunState.RESTARTING),
        ("unless-stopped", Kind.SPOKE, program(State.EXITED, exit_code=1), RunState.RESTARTING),
        ("unless-stopped", Kind.SPOKE, program(State.FATAL, problem="gave up"), RunState.FAILED),
        ("unless-stopped", Kind.SPOKE, program(State.UNKNOWN), RunState.FAILED),
        ("no", Kind.SPOKE, program(State.EXITED, exit_code=0), RunState.STOPPED),
        ("no", Kind.SPOKE, program(State.EXITED, exit_code=-1), RunState.FAILED),
        ("on-failure", Kind.JOB, program(State.EXITED, exit_code=0), RunState.DONE),
        ("no", Kind.JOB, program(State.EXITED, exit_code=3), RunState.FAILED),
    ],
)
def test_the_state_of_a_service(restart: str, kind: Kind, seen: Program | None, expected: RunState) -> None:
    service = build_service(kind=kind, restart=restart)
    found = judge(service, seen, is_frozen=lambda pid: pid == 8)
    assert found.state is expected
    if expected is RunState.FAILED:
        assert found.detail
    assert found.exit_code != -1


def test_a_failing_start_says_how_it_ended(make_service: MakeService) -> None:
    service = make_service(restart="unless-stopped")
    found = judge(service, program(State.BACKOFF), is_frozen=lambda _: False, last_exit=Exit(3))
    assert found == Inspection(
        "spoke-1", RunState.RESTARTING, None, STARTED, 3, "ended with exit code 3; it is started again"
    )


def test_what_was_killed_is_not_said_to_have_been_stopped(make_service: MakeService) -> None:
    def detail(last_exit: Exit | None) -> str:
        return judge(make_service(), program(State.STOPPED), is_frozen=lambda _: False, last_exit=last_exit).detail

    assert detail(Exit(None, "terminated by SIGKILL")) == "killed"
    assert [detail(Exit(0)), detail(Exit(None, "terminated by SIGTERM")), detail(None)] == ["", "", ""]


def test_a_job_that_waits_for_its_next_try_is_restarting(make_service: MakeService) -> None:
    service = make_service(kind=Kind.JOB, restart="on-failure")
    found = judge(service, program(State.RUNNING, 7), is_frozen=lambda _: False, pausing_after=7)
    assert (found.state, found.exit_code, found.pid) == (RunState.RESTARTING, 7, 7)


def test_the_last_exit_of_each_service_is_read_from_the_log() -> None:
    log = """
2026-11-23 08:00:00,000 WARN exited: spoke-1 (exit status 1; not expected)
2026-11-23 08:00:01,000 INFO spawned: 'spoke-1' with pid 7
2026-11-23 08:00:02,000 WARN exited: minio (terminated by SIGSEGV (core dumped); not expected)
2026-11-23 08:00:02,000 WARN exited: nginx (terminated by SIGKILL; not expected)
2026-11-23 08:00:03,000 WARN exited: spoke-1 (exit status 2; not expected)
2026-11-23 08:00:04,000 WARN exited: spoke-2 (terminated by SIGKILL; not expected)
2026-11-23 08:00:05,000 INFO stopped: spoke-2 (exit status 0)
2026-11-23 08:00:06,000 WARN stopped: spoke-3 (terminated by SIGKILL)
"""
    assert exits_in(log) == {
        "spoke-1": Exit(2),
        "minio": Exit(None, "terminated by SIGSEGV"),
        "nginx": Exit(None, "terminated by SIGKILL"),
        "spoke-2": Exit(0),
        "spoke-3": Exit(None, "terminated by SIGKILL"),
    }
    assert str(exits_in(log)["nginx"]) == "terminated by SIGKILL"


def test_who_asks_stops_before_who_answers_and_the_standby_before_the_primary() -> None:
    services = [
        build_service(name, kind)
        for name, kind in [
            ("postgres-primary", Kind.POSTGRES),
            ("postgres-replica", Kind.POSTGRES),
            ("redis-master", Kind.REDIS),
            ("redis-sentinel-1", Kind.SENTINEL),
            ("minio", Kind.S3),
            ("minio-init", Kind.JOB),
            ("spoke-1", Kind.SPOKE),
            ("nginx", Kind.LOAD_BALANCER),
        ]
    ]
    # After a failover the node called primary is the standby.
    stages = stop_stages(services, lambda service: service.name == "postgres-primary")
    assert stages == [
        ["minio-init", "spoke-1", "nginx"],
        ["postgres-primary", "redis-master", "redis-sentinel-1", "minio"],
        ["postgres-replica"],
    ]
    assert stop_stages([], lambda _: False) == []


def test_answers_of_every_shape_are_read() -> None:
    value: Value = {"a": 1, "b": [True, "x & <y>", {}, []], "c": {"d": -5}, "e": ""}
    document = f"<?xml version='1.0'?><methodResponse><params><param>{_write(value)}</param></params></methodResponse>"
    assert _Reader().read(document.encode()) == value


def test_a_refusal_is_read_as_a_fault() -> None:
    fault = _write({"faultCode": 10, "faultString": "BAD_NAME: x"})
    found = _Reader().read(f"<methodResponse><fault>{fault}</fault></methodResponse>".encode())
    assert isinstance(found, Fault)
    assert (found.code, str(found)) == (10, "BAD_NAME: x")


def test_an_answer_that_is_no_xml_is_an_error_of_the_wire() -> None:
    with pytest.raises(OSError, match="cannot be read"):
        _Reader().read(b"<html><not closed>")


def test_another_users_process_is_there_and_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: psutil.Process) -> str:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "status", denied)
    pid_file = tmp_path / "pid"
    pid_file.write_text(str(os.getpid()))
    assert processes.is_alive(os.getpid())
    assert processes.root_of(pid_file) is None
