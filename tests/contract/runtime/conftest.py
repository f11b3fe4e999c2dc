"""Every test of this folder runs in each runtime that this machine has."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from spokectl.runtime.docker.engine import why_not_ready
from tests.contract.runtime.tiny import IMAGE, TinyStack, service, tiny_stack
from tests.ports import free_ports

RUNTIMES = ["local", pytest.param("docker", marks=pytest.mark.docker)]

MakeStack = Callable[..., TinyStack]


@pytest.fixture(params=RUNTIMES)
def runtime_name(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if name == "docker":
        lacking = why_not_ready([IMAGE])
        if lacking:
            pytest.skip(f"{lacking}: make engine images")
    return name


@pytest.fixture
def make_stack(runtime_name: str, tmp_path: Path) -> Iterator[MakeStack]:
    """Makes stacks of given services; all of them are taken down after the test."""
    with ExitStack() as stacks:

        def make(services: dict[str, dict[str, Any]], name: str = "tiny") -> TinyStack:
            return stacks.enter_context(tiny_stack(runtime_name, tmp_path / name, services, name))

        yield make


@pytest.fixture
def pair(make_stack: MakeStack) -> TinyStack:
    """Two tiny servers, up and answering."""
    first, second = free_ports(2)
    stack = make_stack({"one": service(first), "two": service(second)})
    stack.up()
    stack.wait_for_answers("one", "two")
    return stack
