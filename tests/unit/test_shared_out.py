"""Processes that run tests beside each other never choose the same ports."""

from itertools import combinations

from tests.e2e.conftest import MORE_PORTS, PORTS
from tests.ports import disjoint_offsets, free_ports, share


def test_each_number_is_in_the_part_of_one_process() -> None:
    parts = [share(range(100), process, 3) for process in range(3)]
    assert sorted(number for part in parts for number in part) == list(range(100))


def test_stacks_at_two_offsets_and_a_stack_at_none_have_no_port_in_common() -> None:
    ports = [*PORTS, *MORE_PORTS]
    stacks = [{port + offset for port in ports} for offset in (0, *disjoint_offsets(ports))]
    assert len(stacks) > 100
    assert [(one, other) for one, other in combinations(stacks, 2) if one & other] == []


def test_a_single_servers_port_is_in_no_stack() -> None:
    ports = [*PORTS, *MORE_PORTS]
    in_stacks = {port + offset for port in ports for offset in (0, *disjoint_offsets(ports))}
    assert max(in_stacks) < 32_768
    assert in_stacks.isdisjoint(range(19_500, 26_000))
    assert set(free_ports(50)) <= set(range(19_500, 26_000))
