"""Where a shell opens: in the node that has the role, or in none and why."""

import pytest

from spokectl.errors import NotFound
from spokectl.model import Kind
from spokectl.operations.health import ServiceStatus
from spokectl.operations.shell import node_with
from tests.unit.statuses import down, primary, standby


def test_the_node_that_has_the_role_now_is_taken() -> None:
    assert node_with("primary", [standby(), primary()], Kind.POSTGRES, "x") == "postgres-primary"
    assert (
        node_with("primary", [primary(name="postgres-replica"), down("postgres-primary")], Kind.POSTGRES, "x")
        == "postgres-replica"
    )


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ([down("postgres-primary"), standby()], "no node says that it is the primary (postgres-primary: stopped by hand; "),
        ([primary(), primary(name="postgres-replica")], "postgres-primary and postgres-replica both say primary"),
    ],
)
def test_without_one_such_node_it_is_said_what_each_says(statuses: list[ServiceStatus], said: str) -> None:
    with pytest.raises(NotFound) as caught:
        node_with("primary", statuses, Kind.POSTGRES, "x")
    assert said in caught.value.message
    assert "--node NAME" in caught.value.message
    assert (caught.value.code, caught.value.actions) == ("no_primary", ("spokectl postgres status --stack x",))
