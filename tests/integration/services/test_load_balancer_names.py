"""NGINX as in containers: instances are names, and a name server says where they are, if anywhere."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.integration.leftovers import will_be_ended
from tests.ports import free_ports

from .running import Service, freeze, wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="needs more loopback addresses than 127.0.0.1"),
]


class NameServer:
    """Answers A questions from `addresses`; a name that is not there does not exist."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = int(self.socket.getsockname()[1])
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        while True:
            query, sender = self.socket.recvfrom(512)
            if query == b"stop":
                return
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]].decode())
                at += 1 + query[at]
            question = query[12 : at + 5]
            address = self.addresses.get(".".join(labels))
            flags, count = (b"\x81\x80", b"\x00\x01") if address else (b"\x81\x83", b"\x00\x00")
            answer = query[:2] + flags + b"\x00\x01" + count + b"\x00\x00\x00\x00" + question
            if address:
                # A pointer to the question's name, type A, class IN, 1 s to live, 4 bytes.
                answer += b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04" + socket.inet_aton(address)
            self.socket.sendto(answer, sender)

    def close(self) -> None:
        self.socket.sendto(b"stop", ("127.0.0.1", self.port))
        self.thread.join(10)
        self.socket.close()


class Network:
    """The load balancer, its name server and instances that move."""

    def __init__(self, place: Path, tools: Path) -> None:
        self.names = NameServer()
        [self.port, self.api_port, self.health_port] = free_ports(3)
        environment = {
            "SPOKE_NODE": "nginx",
            "SPOKE_LISTEN_ADDRESS": "127.0.0.1",
            "SPOKE_NGINX_PORT": str(self.port),
            "SPOKE_BACKENDS": f"spoke-1:{self.api_port} spoke-2:{self.api_port}",
            "SPOKE_BACKEND_HEALTH_TARGET": str(self.health_port),
            "SPOKE_NGINX_READ_TIMEOUT_S": "12",
            "SPOKE_NGINX_RESOLVER": f"127.0.0.1:{self.names.port}",
        }
        if os.getuid() == 0:
            environment["SPOKE_RUN_AS"] = "nobody"
        self.nginx = Service("load-balancer", place / "nginx", tools, environment)
        self.backends: dict[str, subprocess.Popen[bytes]] = {}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30, trust_env=False)

    def start_backend(self, name: str, address: str) -> None:
        script = Path(__file__).with_name("backend.py")
        arguments = [name, str(self.api_port), str(self.health_port), address]
        self.backends[name] = subprocess.Popen([sys.executable, str(script), *arguments], start_new_session=True)
        will_be_ended(self.backends[name])
        wait_until(lambda: self.listens(address), f"{name} listens")
        self.names.addresses[name] = address

    def listens(self, address: str) -> bool:
        with socket.create_connection((address, self.api_port), timeout=5):
            return True

    def stop_backend(self, name: str) -> None:
        """As `docker stop`: the server ends and its name no longer exists."""
        del self.names.addresses[name]
        backend = self.backends.pop(name)
        backend.kill()
        backend.wait(10)

    def answering(self) -> set[str]:
        answers = [self.ask("/") for _ in range(6)]
        return {answer.headers.get("X-Spoke-Instance", str(answer.status_code)) for answer in answers}

    def ask(self, path: str) -> httpx.Response:
        try:
            return self.client.get(path)
        except httpx.TransportError as error:
            raise ConnectionError(str(error)) from error

    def in_flight(self) -> int:
        """How many requests have come in and are not answered yet; the one that asks is not counted."""
        return int(self.ask("/nginx_status").text.split("Writing: ")[1].split()[0]) - 1

    def await_error(self, line: str) -> None:
        errors = self.nginx.folder / "log" / "error.log"
        wait_until(lambda: line in errors.read_text(), f"the error log has {line}")

    def close(self) -> None:
        self.client.close()
        self.nginx.stop(signal.SIGKILL)
        for name in list(self.backends):
            self.stop_backend(name)
        self.names.close()


@pytest.fixture
def network(place: Path, tools: Path) -> Iterator[Network]:
    network = Network(place, tools)
    try:
        yield network
    finally:
        network.close()


def test_names_that_come_go_and_move_are_followed(network: Network) -> None:
    network.nginx.start()
    wait_until(lambda: network.ask("/nginx_status").is_success, "NGINX starts although no name exists")
    assert network.answering() == {"502"}

    network.start_backend("spoke-1", "127.0.0.11")
    wait_until(lambda: network.answering() == {"spoke-1"}, "spoke-1 is found")
    network.start_backend("spoke-2", "127.0.0.12")
    wait_until(lambda: network.answering() == {"spoke-1", "spoke-2"}, "spoke-2 is found")
    assert network.ask("/health/ready").json()["port"] == network.health_port

    network.stop_backend("spoke-1")
    for _ in range(20):
        assert network.answering() == {"spoke-2"}, "no request fails while spoke-1 is away"
    errors = network.nginx.folder / "log" / "error.log"
    wait_until(lambda: "spoke-1" in errors.read_text(), "the error log names the instance that has gone")

    network.start_backend("spoke-1", "127.0.0.13")
    wait_until(lambda: network.answering() == {"spoke-1", "spoke-2"}, "spoke-1 is found at its new address")
    access = (network.nginx.folder / "log" / "access.log").read_text()
    assert f'instance="spoke-1" upstream="127.0.0.13:{network.api_port}"' in access


def test_a_frozen_instance_is_named_in_the_error_log_although_nginx_knows_only_its_address(network: Network) -> None:
    network.start_backend("spoke-1", "127.0.0.11")
    network.start_backend("spoke-2", "127.0.0.12")
    network.nginx.start()
    wait_until(lambda: network.answering() == {"spoke-1", "spoke-2"}, "both are used")
    freeze(network.backends["spoke-1"])
    assert network.answering() == {"spoke-2"}
    wait_until(lambda: network.ask("/health/ready").elapsed.total_seconds() > 1, "its health port is tried as well")
    network.backends["spoke-1"].send_signal(signal.SIGCONT)
    for port in (network.api_port, network.health_port):
        # NGINX writes the line after it has sent the answer.
        network.await_error(f'instance "spoke-1, spoke-2" answered "504, 200" at "127.0.0.11:{port}')


def test_a_name_that_goes_while_a_request_waits_for_its_instance_costs_no_request(network: Network) -> None:
    """NGINX gives up a try's successors when the name server's answer has changed meanwhile ("no live upstreams")."""
    network.start_backend("spoke-2", "127.0.0.12")
    del network.names.addresses["spoke-2"]
    network.start_backend("spoke-1", "127.0.0.11")
    network.nginx.start()
    wait_until(lambda: network.answering() == {"spoke-1"}, "spoke-1 is found")
    freeze(network.backends["spoke-1"])
    with ThreadPoolExecutor(1) as client:
        waiting = client.submit(network.client.post, "/", content=b"body")
        wait_until(lambda: network.in_flight() == 1, "the request waits for the frozen instance")
        moved_at_s = time.time()
        network.names.addresses = {"spoke-2": "127.0.0.12"}
        answer = waiting.result()
    network.names.addresses["spoke-1"] = "127.0.0.11"
    network.backends["spoke-1"].send_signal(signal.SIGCONT)
    assert answer.status_code == 200
    assert answer.headers["X-Spoke-Instance"] == "spoke-2"
    assert answer.json()["body_bytes"] == 4
    assert float(answer.json()["headers"]["x-spoke-received"]) < moved_at_s + 1, (
        "the time of arrival is that of the first try"
    )
    errors = (network.nginx.folder / "log" / "error.log").read_text()
    assert "no live upstreams" in errors, "the case that this test is about did not come up"
