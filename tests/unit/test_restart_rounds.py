from spokectl.operations.services import rounds
from spokectl.stackfile import default_stack_file, load_stack

STACK = load_stack("spoke", [default_stack_file()], shell={}, env_file={})


def test_peers_are_restarted_one_after_the_other_in_the_order_they_are_named() -> None:
    assert rounds(STACK, ["spoke-3", "spoke-1", "spoke-2"]) == [["spoke-3"], ["spoke-1"], ["spoke-2"]]


def test_what_is_not_a_peer_is_restarted_beside_them() -> None:
    named = ["nginx", "spoke-1", "redis-replica", "spoke-2", "redis-master"]
    assert rounds(STACK, named) == [["nginx", "spoke-1", "redis-replica"], ["spoke-2", "redis-master"]]


def test_everybody_has_a_turn_exactly_once() -> None:
    found = rounds(STACK, STACK.services)
    assert sorted(name for names in found for name in names) == sorted(STACK.services)
    assert all(len({STACK.services[name].kind for name in names}) == len(names) for names in found)
