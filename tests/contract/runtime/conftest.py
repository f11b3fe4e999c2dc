"""Every test of this folder runs in each runtime that this machine has."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.contract.runtime.tiny import TinyStack, free_ports, service, tiny_stack

RUNTIMES = ["local"]

MakeStack = Callable[..., TinyStack]


@pytest.fixture(params=RUNTIMES)
def runtime_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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
