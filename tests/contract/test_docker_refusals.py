"""What the Docker runtime lacks is said in one line, with what mends it, and nothing is left behind. No engine is needed."""

import json
import os
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from spokectl.errors import ExitCode, Failed, Incomplete, Refused
from spokectl.model import HealthProbe, Kind, Service, Stack
from spokectl.runtime.docker import engine
from spokectl.runtime.docker.compose import explained
from spokectl.runtime.docker.runtime import DockerRuntime
from spokectl.settings import StackState
from spokectl.wait import Deadline

VERSIONS = {"1.40": "engine_too_old", "1.45": "no_compose"}
NO_COMPOSE = "#!/bin/sh\necho \"docker: 'compose' is not a docker command.\" >&2\nexit 1\n"
COMPOSE_V1 = "#!/bin/sh\necho 1.29.2\n"


class _Answers(BaseHTTPRequestHandler):
    """An engine that knows its version and has nothing, or only what it keeps.

    `kept`: what it does not delete, by the last part of its path, with the reason; a network of that name is there.
    `in_networks`: the containers in each of them.
    """

    api = "1.45"
    kept: Mapping[str, str] = {}
    in_networks: Mapping[str, object] = {}

    def do_GET(self) -> None:
        if self.path.endswith("/version"):
            self._answer(200, {"ApiVersion": self.api})
        elif "/images/" in self.path:
            self._answer(404, {"message": "no such image"})
        elif "/volumes" in self.path:
            self._answer(200, {"Volumes": None})
        elif "/networks/" in self.path:
            self._answer(200, {"Containers": self.in_networks})
        elif "/networks" in self.path:
            self._answer(200, [{"Id": name} for name in self.kept])
        else:
            self._answer(200, [])

    def do_DELETE(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        self._answer(409 if name in self.kept else 200, {"message": self.kept[name]} if name in self.kept else [])

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        """The test's output is its own."""


@contextmanager
def engine_of(
    api: str, kept: Mapping[str, str] | None = None, in_networks: Mapping[str, object] | None = None
) -> Iterator[str]:
    """The address of an engine that speaks this API; `kept` and `in_networks` as in `_Answers`."""
    with tempfile.TemporaryDirectory(prefix="eng", dir="/tmp") as folder:  # a socket's path is short
        handler = type("_Engine", (_Answers,), {"api": api, "kept": kept or {}, "in_networks": in_networks or {}})
        with socketserver.ThreadingUnixStreamServer(f"{folder}/s", handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"unix://{folder}/s"
            finally:
                server.shutdown()
                thread.join()


def up(tmp_path: Path, host: str, docker: str = NO_COMPOSE) -> tuple[int, dict[str, Any], str]:
    """Exit code, envelope and stderr of a first `up --runtime docker`, with a `docker` program that says what is given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "docker").write_text(docker)
    (programs / "docker").chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPOKE", "DOCKER_"))}
    environ = kept | {
        "DOCKER_HOST": host,
        "SPOKECTL_STATE_DIR": str(tmp_path / "state"),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "spokectl", "up", "--runtime", "docker", "--json"],
        capture_output=True,
        env=environ,
        timeout=60,
    )
    assert not (tmp_path / "state/spoke/stack.json").exists()
    return done.returncode, json.loads(done.stdout), done.stderr.decode()


def test_no_engine_is_refused_with_the_way_to_start_one_and_the_way_without(tmp_path: Path) -> None:
    code, answer, stderr = up(tmp_path, f"unix://{tmp_path}/none")
    assert code == 5
    assert answer["error"]["code"] == "no_engine"
    assert "No such file" in answer["error"]["message"]
    assert any("systemctl start docker" in action for action in answer["error"]["actions"])
    assert any("--runtime local" in action for action in answer["error"]["actions"])
    assert "Traceback" not in stderr


def test_a_file_that_is_no_socket_is_no_engine(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, answer, _ = up(tmp_path, f"unix://{tmp_path}/file")
    assert (code, answer["error"]["code"]) == (5, "no_engine")


def test_an_engine_that_is_too_old_is_refused_with_both_versions(tmp_path: Path) -> None:
    with engine_of("1.40") as host:
        code, answer, _ = up(tmp_path, host)
    assert (code, answer["error"]["code"]) == (5, "engine_too_old")
    assert "1.40" in answer["error"]["message"]
    assert "1.41" in answer["error"]["message"]


@pytest.mark.parametrize(("program", "said"), [(NO_COMPOSE, "not a docker command"), (COMPOSE_V1, "1.29.2")])
def test_a_missing_or_old_compose_is_refused_with_its_package(tmp_path: Path, program: str, said: str) -> None:
    with engine_of("1.45") as host:
        code, answer, _ = up(tmp_path, host, program)
    assert (code, answer["error"]["code"]) == (5, "no_compose")
    assert said in answer["error"]["message"]
    assert any("docker-compose-plugin" in action for action in answer["error"]["actions"])


def test_a_socket_that_this_user_may_not_open_is_refused_with_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    with engine_of("1.45") as host:
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(Refused) as caught:
            engine.connect({"DOCKER_HOST": host})
    assert caught.value.code == "engine_permission"
    assert any("usermod -aG docker" in action for action in caught.value.actions)


@contextmanager
def runtime_with(
    tmp_path: Path, kept: Mapping[str, str], in_networks: Mapping[str, object] | None = None
) -> Iterator[DockerRuntime]:
    """The Docker runtime of a stack of two images, on an engine that keeps these things."""
    services = {
        name: Service(name, Kind.SPOKE, "", HealthProbe("http", 8080), {}, name, image=name) for name in ("spoke", "nginx")
    }
    stack = Stack("second", (tmp_path / "stack.yml",), services, (), {})
    with engine_of("1.45", kept, in_networks) as host:
        runtime = DockerRuntime(stack, StackState("second", tmp_path), {"DOCKER_HOST": host})
        try:
            yield runtime
        finally:
            runtime._client.close()


@pytest.mark.parametrize(("volumes", "again"), [(False, "down"), (True, "down --volumes")])
def test_a_network_that_the_engine_keeps_is_named_with_the_command_to_repeat(
    tmp_path: Path, volumes: bool, again: str
) -> None:
    why = "network second_default has active endpoints"
    inside = {"decade": {"Name": "of-somebody-else"}}
    with runtime_with(tmp_path, {"c0ffee": why}, inside) as runtime, pytest.raises(Incomplete) as caught:
        runtime.tear_down(Deadline(60), volumes=volumes, notice=lambda _: None)
    assert (caught.value.code, caught.value.exit_code) == ("cannot_delete", ExitCode.INCOMPLETE)
    assert caught.value.message == f"nothing of the stack runs any more, but something is left: {why}"
    assert caught.value.actions == (f"spokectl {again} --stack second",)


def test_an_empty_network_that_the_engine_keeps_is_left_with_a_notice(tmp_path: Path) -> None:
    """Before version 28.1 an engine can count an endpoint that does not exist, and only forgets it when it is restarted."""
    notices: list[str] = []
    why = "network second_default has active endpoints"
    with runtime_with(tmp_path, {"c0ffee": why}) as runtime:
        assert runtime.tear_down(Deadline(60), volumes=True, notice=notices.append) == []
    assert notices == [f"the engine keeps an empty network until it is restarted, and the next up uses it: {why}"]


def test_an_image_that_is_in_use_stays_and_the_others_go(tmp_path: Path) -> None:
    why = "conflict: unable to remove: container c0ffee is using it"
    with runtime_with(tmp_path, {"spoke": why}) as runtime, pytest.raises(Incomplete) as caught:
        runtime.remove_images()
    assert (caught.value.code, caught.value.exit_code) == ("image_in_use", ExitCode.INCOMPLETE)
    assert caught.value.message == f"images that are in use stay: spoke: {why}"
    assert caught.value.details == {"removed": ["nginx"], "kept": [f"spoke: {why}"]}
    assert caught.value.actions == (
        "see by which containers: docker ps --all",
        "spokectl down --images --stack second",
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (
            "driver failed programming external connectivity: Bind for 127.0.0.1:8080 failed: port is already allocated",
            "port_taken",
        ),
        ("write /var/lib/docker/tmp/x: no space left on device", "disk_full"),
        (
            'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on 10.0.0.1:53: no such host',
            "image_missing",
        ),
        ("pull access denied for nowhere, repository does not exist or may require 'docker login'", "image_missing"),
        ("manifest for redis:no-such-tag not found: manifest unknown", "image_missing"),
        ("No such image: nowhere:1", "image_missing"),
        ("Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available", "too_many_cpus"),
        ('Conflict. The container name "/spoke-1" is already in use by container "abc"', "foreign_container"),
    ],
)
def test_what_compose_says_of_a_known_cause_is_a_refusal_of_its_own(line: str, code: str) -> None:
    error = explained(["Container spoke-1  Starting", f"Error response from daemon: {line}"], "start", "spokectl up")
    assert isinstance(error, Refused)
    assert error.code == code
    assert line in error.message
    assert error.actions


def test_what_compose_says_of_anything_else_is_passed_on() -> None:
    error = explained(["something odd"], "start the containers", "spokectl up")
    assert isinstance(error, Failed)
    assert error.message == "Compose could not start the containers: something odd"
