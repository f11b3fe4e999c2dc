"""NGINX in front of three stand-ins for a Spoke, each a process that can be killed and frozen."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.leftovers import will_be_ended
from tests.ports import free_ports

from .running import Service, freeze, wait_until

pytestmark = pytest.mark.integration

NAMES = ["spoke-1", "spoke-2", "spoke-3"]


class Cluster:
    """The load balancer and its backends."""

    def __init__(self, place: Path, tools: Path, read_timeout_s: int = 10) -> None:
        api_ports, health_ports, [self.port] = free_ports(3), free_ports(3), free_ports(1)
        self.api = dict(zip(NAMES, api_ports, strict=True))
        self.health = dict(zip(NAMES, health_ports, strict=True))
        table = [f"{name}:8080=127.0.0.1:{self.api[name]} {name}:9090=127.0.0.1:{self.health[name]}" for name in NAMES]
        environment = {
            "SPOKE_NODE": "nginx",
            "SPOKE_LISTEN_ADDRESS": "127.0.0.1",
            "SPOKE_NGINX_PORT": str(self.port),
            "SPOKE_BACKENDS": " ".join(f"127.0.0.1:{port}" for port in api_ports),
            "SPOKE_BACKEND_HEALTH_TARGET": "9090",
            "SPOKE_ADDRESSES": " ".join(table),
            "SPOKE_NGINX_READ_TIMEOUT_S": str(read_timeout_s),
            "SPOKE_MAX_BODY_MIB": "1",
        }
        if os.getuid() == 0:
            environment["SPOKE_RUN_AS"] = "nobody"
        self.nginx = Service("load-balancer", place / "nginx", tools, environment, ("nginx",))
        self.backends: dict[str, subprocess.Popen[bytes]] = {}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30, trust_env=False)

    def start_backend(self, name: str) -> None:
        script = Path(__file__).with_name("backend.py")
        arguments = [name, str(self.api[name]), str(self.health[name])]
        self.backends[name] = subprocess.Popen([sys.executable, str(script), *arguments], start_new_session=True)
        will_be_ended(self.backends[name])
        wait_until(lambda: self.direct(name).is_success, f"{name} answers")

    def direct(self, name: str) -> httpx.Response:
        try:
            return httpx.get(f"http://127.0.0.1:{self.api[name]}/", timeout=5, trust_env=False)
        except httpx.TransportError as error:
            raise ConnectionError(str(error)) from error

    def signal_backend(self, name: str, number: signal.Signals) -> None:
        self.backends[name].send_signal(number)
        if number == signal.SIGKILL:
            self.backends.pop(name).wait(10)

    def start(self, *names: str) -> None:
        for name in names or NAMES:
            self.start_backend(name)
        self.nginx.start()
        wait_until(self.listens, "NGINX answers")

    def listens(self) -> bool:
        try:
            return self.client.get("/nginx_status").is_success
        except httpx.TransportError as error:
            raise ConnectionError(str(error)) from error

    def get(self, path: str = "/", **more: Any) -> dict[str, Any]:
        answer = self.client.get(path, **more)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def read_log(self, name: str) -> str:
        return (self.nginx.folder / "log" / name).read_text()

    def close(self) -> None:
        self.client.close()
        self.nginx.stop(signal.SIGKILL)
        for backend in self.backends.values():
            backend.kill()
            backend.wait(10)


@pytest.fixture
def cluster(place: Path, tools: Path) -> Iterator[Cluster]:
    cluster = Cluster(place, tools)
    try:
        yield cluster
    finally:
        cluster.close()


class Load:
    """Clients that read and write without a pause, and whatever they were told."""

    def __init__(self, cluster: Cluster, clients: int = 4) -> None:
        self.cluster = cluster
        self.failures: list[str] = []
        self.answers: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(clients)]

    def run(self, number: int) -> None:
        with httpx.Client(base_url=self.cluster.client.base_url, timeout=30, trust_env=False) as client:
            turn = number
            while not self.done.is_set():
                turn += 1
                began = time.monotonic()
                try:
                    answer = client.post("/modules", content=b"x" * 100) if turn % 2 else client.get("/modules")
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                else:
                    if answer.status_code == 200:
                        self.answers[answer.headers["X-Spoke-Instance"]] += 1
                    else:
                        self.failures.append(f"{answer.status_code} {answer.text[:100]}")
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def wait_for_more(self, count: int, name: str | None = None) -> None:
        def total() -> int:
            return self.answers[name] if name else self.answers.total()

        goal = total() + count
        wait_until(lambda: total() >= goal or self.failures, f"{count} more answers of {name or 'anybody'}")


@contextlib.contextmanager
def load_on(cluster: Cluster) -> Iterator[Load]:
    load = Load(cluster)
    for thread in load.threads:
        thread.start()
    try:
        load.wait_for_more(20)
        yield load
    finally:
        load.done.set()
        for thread in load.threads:
            thread.join(40)


def test_requests_go_to_every_instance_and_health_to_the_health_ports(cluster: Cluster) -> None:
    cluster.start()
    assert {cluster.get()["instance"] for _ in range(10)} == set(NAMES)
    told = [cluster.get(path) for path in ("/health", "/health/ready", "/health/live") * 3]
    assert {one["port"] for one in told} == set(cluster.health.values())
    assert [one["path"] for one in told[:3]] == ["/health", "/health/ready", "/health/live"]


def test_connections_to_the_instances_are_kept_and_used_again(cluster: Cluster) -> None:
    cluster.start()
    told = [cluster.get() for _ in range(60)]
    connections = {(each["instance"], each["from_port"]) for each in told}
    # Each of the two workers keeps its own.
    assert len(connections) <= 2 * len(NAMES)


def test_headers_are_the_load_balancers_own_and_the_path_is_the_clients(cluster: Cluster) -> None:
    cluster.start("spoke-1")
    sent = {
        "X-Spoke-Received": "1",
        "X-Forwarded-For": "10.1.1.1",
        "X-Forwarded-Host": "elsewhere",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=10.1.1.1",
        "X-Request-ID": "known-1",
        "Connection": "close",
    }
    # On the wire as it stands here: httpx would tidy it up.
    path = "/modules//a%2Fb/versions/1.0.0%2Bx/files/%7e/../c%20d?x=%2F&x=2"
    before = time.time()
    for method in ("GET", "POST"):
        wire = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=30)
        wire.request(method, path, headers=sent)
        response = wire.getresponse()
        told = json.load(response)
        headers = told["headers"]
        assert (told["method"], told["path"]) == (method, path)
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert headers["x-forwarded-proto"] == "http"
        assert headers["x-request-id"] == "known-1"
        assert before - 1 < float(headers["x-spoke-received"]) < time.time() + 1
        assert not {"x-forwarded-host", "forwarded", "connection"} & set(headers)
        assert response.getheader("X-Spoke-Instance") == "spoke-1"
        assert response.getheader("Server") == "nginx"
        wire.close()
    made_up = cluster.get(headers={"X-Request-ID": "a b\x7f"})["headers"]["x-request-id"]
    assert len(made_up) == 32


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_413_in_json(chunked: bool, cluster: Cluster) -> None:
    cluster.start("spoke-1")
    limit = 1024 * 1024
    fits = b"x" * limit
    assert cluster.client.post("/modules", content=iter([fits]) if chunked else fits).json()["body_bytes"] == limit
    over = fits + b"x"
    answer = cluster.client.post("/modules", content=iter([over]) if chunked else over)
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["code"] == "body_too_large"


def test_instances_that_come_up_after_nginx_are_used_at_once(cluster: Cluster) -> None:
    cluster.nginx.start()
    wait_until(cluster.listens, "NGINX answers")
    for _ in range(20):
        assert cluster.client.get("/").status_code == 502
    cluster.start_backend("spoke-2")
    for _ in range(20):
        assert cluster.get()["instance"] == "spoke-2"
    rows = [line.split()[1] for line in cluster.client.get("/nginx_status").text.splitlines() if line.startswith("upstream")]
    assert rows == NAMES


def test_a_503_of_an_instance_reaches_the_client_as_it_is(cluster: Cluster) -> None:
    cluster.start("spoke-1", "spoke-2")
    for _ in range(10):
        answer = cluster.client.get("/answer/503")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "7"
        assert answer.json()["instance"] in NAMES
    # And nobody is locked out by it.
    assert cluster.get("/")["instance"] in NAMES


def test_killed_frozen_and_restarted_instances_cost_no_client_a_request(cluster: Cluster) -> None:
    cluster.start()
    with load_on(cluster) as load:
        cluster.signal_backend("spoke-1", signal.SIGKILL)
        load.wait_for_more(200)
        cluster.start_backend("spoke-1")
        load.wait_for_more(20, "spoke-1")
        freeze(cluster.backends["spoke-2"])
        load.wait_for_more(200)
        wait_until(lambda: 'instance "spoke-2' in cluster.read_log("error.log"), "the frozen instance is in error.log")
        cluster.signal_backend("spoke-2", signal.SIGCONT)
        load.wait_for_more(20, "spoke-2")
    assert load.failures == []
    errors = cluster.read_log("error.log")
    assert 'instance "spoke-1' in errors
    assert "no live upstreams" not in errors
    assert load.slowest_s < 10, "a frozen instance must not hold a request for the whole read time-out"


def test_one_dead_and_one_frozen_instance_leave_the_third_to_serve_everything(cluster: Cluster) -> None:
    cluster.start()
    with load_on(cluster) as load:
        cluster.signal_backend("spoke-1", signal.SIGKILL)
        freeze(cluster.backends["spoke-2"])
        load.wait_for_more(300, "spoke-3")
    assert load.failures == []


@pytest.mark.parametrize("killed", [["spoke-1"], ["spoke-1", "spoke-2"]])
def test_a_write_that_no_instance_can_do_ends_with_their_503_whoever_else_is_dead(
    cluster: Cluster, killed: list[str]
) -> None:
    cluster.start()
    for name in killed:
        cluster.signal_backend(name, signal.SIGKILL)

    # Half of the most that a client waits, as a Spoke's budget of 15 s is of 30 s.
    def write(number: int) -> tuple[int, str | None, bool]:
        # Together and one after the other: instances that have just failed rest for a while.
        time.sleep(number % 5 * 0.4)
        began = time.monotonic()
        answer = cluster.client.post("/budget/5", content=b"x")
        return answer.status_code, answer.headers.get("Retry-After"), time.monotonic() - began < 9

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(write, range(20))) == {(503, "7", True)}


def test_a_repeated_write_keeps_the_time_at_which_it_was_received(cluster: Cluster) -> None:
    cluster.start("spoke-1", "spoke-2")
    freeze(cluster.backends["spoke-1"])

    def meets_the_frozen_one() -> bool:
        began = time.time()
        told = cluster.client.post("/modules", content=b"x").json()
        assert float(told["headers"]["x-spoke-received"]) < began + 1
        return time.time() - began > 1.5

    wait_until(meets_the_frozen_one, "a write was tried at the frozen instance first")


def test_logs_name_the_instances_in_the_order_of_the_tries(cluster: Cluster) -> None:
    cluster.start("spoke-2")
    for _ in range(3):
        cluster.get("/modules")
    lines = wait_until(lambda: [x for x in cluster.read_log("access.log").splitlines() if "GET /modules" in x], "log lines")
    assert all('spoke-2" upstream="' in line for line in lines)
    assert any('instance="spoke-1, ' in line or 'instance="spoke-3, ' in line for line in lines)
    assert re.search('instance "spoke-[13], spoke-2"', cluster.read_log("error.log"))
    assert 'GET /modules HTTP/1.1" 200' in cluster.nginx.log, "the access log goes to stdout too"
    written_at = datetime.fromisoformat(lines[0].split()[0])
    assert abs(time.time() - written_at.timestamp()) < 60


def test_log_files_that_have_grown_large_are_kept_once_and_begun_anew(cluster: Cluster) -> None:
    folder = cluster.nginx.folder / "log"
    folder.mkdir(parents=True)
    old = b"old line\n" * 1_200_000
    (folder / "access.log").write_bytes(old)
    cluster.start("spoke-1")
    wait_until(lambda: (folder / "access.log").stat().st_size < len(old), "access.log is begun anew")
    assert (folder / "access.log.1").stat().st_size >= len(old)
    cluster.get("/modules")
    wait_until(lambda: "GET /modules" in cluster.read_log("access.log"), "NGINX goes on writing")
    assert "old line" not in cluster.read_log("access.log")


def test_the_status_page_counts_connections_and_tries(cluster: Cluster) -> None:
    cluster.start()
    for _ in range(6):
        cluster.get()
    cluster.client.get("/answer/503")
    answer = cluster.client.get("/nginx_status")
    assert re.fullmatch(r"nginx/\d+\.\d+\.\d+", answer.headers["server"])
    assert cluster.client.get("/modules").headers["server"] == "nginx"
    text = answer.text
    assert text.startswith("Active connections: 1\nserver accepts handled requests\n")
    rows = {line.split()[1]: line.split() for line in text.splitlines() if line.startswith("upstream ")}
    assert set(rows) == set(NAMES)
    assert sum(int(row[3]) for row in rows.values()) == 7
    assert sum(int(row[5]) for row in rows.values()) == 1
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cluster.get, "/slow/1")
        wait_until(lambda: cluster.client.get("/nginx_status").text.startswith("Active connections: 2"), "two active")
        slow.result()


def test_a_reload_takes_new_instances_and_a_quit_finishes_what_is_under_way(cluster: Cluster) -> None:
    cluster.start()
    process = cluster.nginx.process
    assert process is not None
    configuration = cluster.nginx.folder / "run" / "nginx" / "nginx.conf"
    tested = subprocess.run(
        [cluster.nginx.tools / "nginx", "-t", "-c", configuration], capture_output=True, text=True, timeout=20
    )
    assert tested.returncode == 0, tested.stderr

    fewer = {**cluster.nginx.environment, "SPOKE_BACKENDS": f"127.0.0.1:{cluster.api['spoke-3']}"}
    rendering = Service("load-balancer", cluster.nginx.folder, cluster.nginx.tools, fewer, ("--render",))
    rendering.start()
    assert rendering.wait() == 0
    with load_on(cluster) as load:
        process.send_signal(signal.SIGHUP)
        load.wait_for_more(200)
        wait_until(lambda: {cluster.get()["instance"] for _ in range(6)} == {"spoke-3"}, "only spoke-3 is used")
    assert load.failures == []

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cluster.get, "/slow/1")
        wait_until(lambda: cluster.client.get("/nginx_status").text.startswith("Active connections: 2"), "it is under way")
        process.send_signal(signal.SIGQUIT)
        assert slow.result()["instance"] == "spoke-3"
    assert cluster.nginx.wait() == 0


def test_what_a_reload_has_taken_over_holds_for_the_next_start_until_the_service_is_made_anew(cluster: Cluster) -> None:
    """As in a container: its variables stay as it was made with, and its addresses are names, of which there is no table."""
    kept = {name: value for name, value in cluster.nginx.environment.items() if name != "SPOKE_ADDRESSES"}
    kept |= {"SPOKE_NGINX_RESOLVER": "127.0.0.1:9"}  # nobody: it is not asked before the first request
    configuration = cluster.nginx.folder / "run" / "nginx" / "upstreams.conf"
    own = [f"localhost:{port}" for port in cluster.api.values()]

    def started_with(*, backends: list[str]) -> list[str]:
        cluster.nginx.environment = kept | {"SPOKE_BACKENDS": " ".join(backends)}
        cluster.nginx.start()
        wait_until(cluster.listens, "NGINX answers")
        return [address for address in own if f"server {address} " in configuration.read_text()]

    assert started_with(backends=own) == own
    fewer = kept | {"SPOKE_BACKENDS": own[2]}
    asked = Service("load-balancer", cluster.nginx.folder, cluster.nginx.tools, fewer, ("--reload",))
    asked.start()
    assert asked.wait() == 0
    cluster.nginx.stop(signal.SIGKILL)
    assert started_with(backends=own) == own[2:]
    cluster.nginx.stop(signal.SIGKILL)
    assert started_with(backends=own[:2]) == own[:2]


def test_what_nginx_refuses_is_never_loaded_and_a_reload_that_was_killed_is_made_up_for(cluster: Cluster) -> None:
    cluster.start()
    folder = cluster.nginx.folder / "run" / "nginx"

    def reload(**changed: str) -> tuple[int, int]:
        """How it ends, and how many reloads there were until now: its log has all that was asked of it."""
        asked = Service(
            "load-balancer",
            cluster.nginx.folder,
            cluster.nginx.tools,
            {**cluster.nginx.environment, **changed},
            ("--reload",),
        )
        asked.start()
        return asked.wait(), asked.log.count("reloaded: ")

    before = (folder / "nginx.conf").read_text()
    for _ in range(2):
        assert reload(SPOKE_NGINX_PORT="99999") == (1, 0)
        assert (folder / "nginx.conf").read_text() == before
    assert reload() == (0, 0)
    # As it is left by one that is killed before NGINX is told.
    (folder / "loading").touch()
    assert (reload(), (folder / "loading").exists()) == ((0, 1), False)
    assert reload() == (0, 1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"SPOKE_BACKENDS": "127.0.0.1"}, "SPOKE_BACKENDS: '127.0.0.1' is not host:port"),
        ({"SPOKE_MAX_BODY_MIB": "1.5"}, "SPOKE_MAX_BODY_MIB=1.5: a whole number is expected"),
        ({"SPOKE_BACKENDS": ""}, "SPOKE_BACKENDS is not set"),
    ],
)
def test_a_bad_setting_is_one_clear_line(changed: dict[str, str], said: str, cluster: Cluster) -> None:
    cluster.nginx.environment = {**cluster.nginx.environment, **changed}
    cluster.nginx.start()
    assert cluster.nginx.wait() == 1
    assert said in cluster.nginx.log
    assert len(cluster.nginx.log.splitlines()) == 1
