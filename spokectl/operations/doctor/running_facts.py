"""Asks a stack that runs. It changes nothing."""

import json
import subprocess
from collections.abc import Sequence

from spokectl.errors import SpokectlError
from spokectl.model import Kind, Service
from spokectl.operations.doctor.running import Dependency
from spokectl.operations.doctor.scene import Scene
from spokectl.operations.health import PROBE_TIMEOUT_S

_TEST_TIMEOUT_S = 20.0
# Natively the configuration lies in the service's own folder; in a container where NGINX looks by itself.
_NGINX_TEST = """
if [ -n "${SPOKE_RUN_DIR:-}" ]; then set -- -p "$SPOKE_RUN_DIR/nginx" -c "$SPOKE_RUN_DIR/nginx/nginx.conf"
else set -- -p /tmp/spoke/nginx -c /tmp/spoke/nginx/nginx.conf; fi
exec nginx "$@" -e stderr -t -q
"""


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


def load_balancer_tests(scene: Scene) -> dict[str, tuple[int, str]]:
    return {service.name: _tested(scene, service.name) for service in scene.running(Kind.LOAD_BALANCER)}


def _tested(scene: Scene, name: str) -> tuple[int, str]:
    try:
        done = scene.context.runtime.invocation(name, ["sh", "-c", _NGINX_TEST]).run(_TEST_TIMEOUT_S)
    except SpokectlError as error:
        return 1, error.message
    except subprocess.TimeoutExpired:
        return 1, f"nothing within {_TEST_TIMEOUT_S:g} s"
    return done.returncode, " ".join((done.stderr + done.stdout).split())
