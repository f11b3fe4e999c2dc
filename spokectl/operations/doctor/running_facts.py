"""Asks a stack that runs. It changes nothing."""

import json
from collections.abc import Sequence

from spokectl.errors import SpokectlError
from spokectl.model import Kind, Service
from spokectl.operations.balancer import ConfigurationTest, tested
from spokectl.operations.context import Context
from spokectl.operations.doctor.running import Dependency
from spokectl.operations.doctor.scene import Scene
from spokectl.operations.health import PROBE_TIMEOUT_S
from spokectl.wait import Deadline

_TEST_TIMEOUT_S = 20.0


def dependencies(scene: Scene) -> dict[str, Sequence[Dependency] | str]:
    """What each Spoke that runs says of its database, its store and its cache."""
    return {service.name: _seen_by(service) for service in scene.running(Kind.SPOKE)}


def _seen_by(service: Service) -> Sequence[Dependency] | str:
    from spokectl.clients.probe import NoAnswer, get

    try:
        answer = get(*service.address(service.health.port), service.health.path or "/health", timeout_s=PROBE_TIMEOUT_S)
    except NoAnswer as error:
        return str(error)
    return dependencies_in(answer.body)


def dependencies_in(body: bytes) -> Sequence[Dependency] | str:
    """Reads a Spoke's health answer (docs/registry-api.md). Pure."""
    try:
        said = json.loads(body)["dependencies"]
        return [Dependency(name, str(each["status"]), str(each.get("message") or "")) for name, each in said.items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its answer cannot be understood"


def load_balancer_tests(scene: Scene) -> list[ConfigurationTest]:
    return [nginx_says_in(scene.context, service.name) for service in scene.running(Kind.LOAD_BALANCER)]


def nginx_says_in(context: Context, name: str) -> ConfigurationTest:
    """As `lb test`; one that cannot be made is not passed."""
    try:
        return tested(context, name, Deadline(_TEST_TIMEOUT_S))
    except SpokectlError as error:
        return ConfigurationTest(name, ok=False, message=error.message)
