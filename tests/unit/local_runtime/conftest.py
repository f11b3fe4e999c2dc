"""Builds services and stacks without a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spokectl.model import HealthProbe, Kind, Port, Service, Stack

MakeService = Callable[..., Service]
MakeStack = Callable[..., Stack]


def build_service(name: str = "spoke-1", kind: Kind = Kind.SPOKE, **given: Any) -> Service:
    return Service(
        name=name,
        kind=kind,
        first_role="",
        health=HealthProbe("http", 8080),
        environment=given.pop("environment", {}),
        container_name=name,
        **given,
    )


def build_stack(*services: Service, folder: Path = Path("/stack")) -> Stack:
    return Stack(
        name="spoke",
        files=(folder / "ha-stack.yml",),
        services={service.name: service for service in services},
        volumes=(),
        settings={},
    )


@pytest.fixture
def make_service() -> MakeService:
    return build_service


@pytest.fixture
def make_stack() -> MakeStack:
    return build_stack


@pytest.fixture
def redis_master() -> Service:
    return build_service(
        "redis-master", Kind.REDIS, environment={"SPOKE_REDIS_PORT": "6379"}, ports=(Port("127.0.0.1", 16379, 6379),)
    )
