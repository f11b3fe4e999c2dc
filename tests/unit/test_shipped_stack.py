"""What the shipped stack file promises of its services, whatever their images are."""

import inspect
import re

import pytest

from spokectl.clients.registry import RegistryClient
from spokectl.compose import raw_services
from spokectl.model import Kind
from spokectl.stackfile import default_stack_file, load_stack

STACK = load_stack("spoke", [default_stack_file()], shell={}, env_file={})
SPOKES = STACK.of_kind(Kind.SPOKE)


def seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)s?", text)
    assert found, text
    return float(found[1])


@pytest.mark.parametrize("name", STACK.services)
def test_a_container_s_log_is_rotated_before_it_fills_the_disk(name: str) -> None:
    logging = raw_services(default_stack_file())[name]["logging"]
    assert logging["driver"] == "json-file"
    assert set(logging["options"]) >= {"max-size", "max-file"}


def test_a_spoke_is_killed_only_after_it_has_had_the_time_to_drain() -> None:
    assert len(SPOKES) == 3
    for spoke in SPOKES:
        assert spoke.stop_grace_s > seconds(spoke.environment["SPOKE_SHUTDOWN_TIMEOUT"])


def test_nginx_is_killed_only_after_its_workers_have_given_their_requests_up() -> None:
    [nginx] = STACK.of_kind(Kind.LOAD_BALANCER)
    template = default_stack_file().parent / "services/load-balancer/nginx.conf.template"
    drain = re.search(r"^worker_shutdown_timeout (\S+);", template.read_text(), re.MULTILINE)
    assert drain
    assert nginx.stop_grace_s > seconds(drain[1])


def test_whoever_waits_for_somebody_waits_longer_than_that_one_does_itself() -> None:
    [nginx] = STACK.of_kind(Kind.LOAD_BALANCER)
    client_s = inspect.signature(RegistryClient).parameters["timeout_s"].default
    for spoke in SPOKES:
        waits_s = [
            seconds(spoke.environment["SPOKE_POSTGRES_TIMEOUT"]),
            seconds(spoke.environment["SPOKE_RETRY_BUDGET"]),
            seconds(nginx.environment["SPOKE_NGINX_READ_TIMEOUT_S"]),
            client_s,
        ]
        assert waits_s == sorted(set(waits_s))
