"""What the answer of a guard means that was asked for a copy, and how its progress is said."""

from dataclasses import replace

import pytest

from spokectl.clients.postgres_session import Copied
from spokectl.errors import ExitCode
from spokectl.model import RunState
from spokectl.operations.postgres.copying import how_far, refusal
from spokectl.operations.postgres.pair import Node

ASKED = Node("postgres-replica", RunState.RUNNING, "waiting", message="waiting for postgres-primary")


@pytest.mark.parametrize(
    ("word", "discard", "code", "exit_code", "action"),
    [
        (
            replace(ASKED, state="refused", command="spokectl postgres reinit postgres-replica --discard"),
            False,
            "guard_refuses",
            ExitCode.REFUSED,
            "spokectl postgres reinit postgres-replica --discard --stack s",
        ),
        # Its data cannot be read, say: that may be given up.
        (
            replace(ASKED, state="failed"),
            False,
            "copy_failed",
            ExitCode.FAILED,
            "spokectl postgres reinit postgres-replica --discard --stack s",
        ),
        (
            replace(ASKED, state="running"),
            False,
            "not_copied",
            ExitCode.FAILED,
            "spokectl postgres reinit postgres-replica --stack s",
        ),
        (
            replace(ASKED, state="running"),
            True,
            "not_copied",
            ExitCode.FAILED,
            "spokectl postgres reinit postgres-replica --discard --stack s",
        ),
    ],
)
def test_a_guard_that_does_not_copy_ends_the_command_with_what_to_type(
    word: Node, discard: bool, code: str, exit_code: ExitCode, action: str
) -> None:
    error = refusal("s", word, "postgres-primary", discard=discard)
    assert error is not None
    assert (error.code, error.exit_code, error.actions) == (code, exit_code, (action,))


def test_a_guard_that_waits_is_waited_for() -> None:
    assert refusal("s", ASKED, "postgres-primary", discard=False) is None


@pytest.mark.parametrize(
    ("copied", "said"),
    [
        (Copied(0, None), "the primary reckons how much there is"),
        (Copied(0, 1000), "0 % of 1000 B"),
        (Copied(999, 1000), "95 % of 1000 B"),
        # What is written meanwhile is copied too: more than was reckoned.
        (Copied(1200, 1000), "100 % of 1000 B"),
    ],
)
def test_progress_is_said_in_steps_of_five_percent(copied: Copied, said: str) -> None:
    assert how_far(copied) == said
