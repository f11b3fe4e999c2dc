"""What is refused after a broken-off move has been ended does not say that nothing was changed."""

import pytest

from spokectl.errors import Refused
from spokectl.operations.moves import Settled, after
from spokectl.operations.postgres import reinit
from spokectl.operations.postgres.reinit import ReinitRequest
from tests.unit.postgres import test_refusals
from tests.unit.postgres.test_refusals import NEW, SILENT, MakePair

make_pair = test_refusals.make_pair
SETTLED = Settled("switchover postgres", "postgres-primary", "postgres-replica", finished=True)


def refusal(settled: Settled | None) -> str:
    with pytest.raises(Refused) as caught, after(settled):
        raise Refused("primary", "nothing was changed: it is the primary")
    assert str(caught.value) == caught.value.message
    return caught.value.message


def test_a_refusal_tells_of_the_move_that_was_ended_before() -> None:
    assert refusal(None) == "nothing was changed: it is the primary"
    assert refusal(SETTLED) == (
        "switchover postgres was broken off and is finished: postgres-replica has the role; "
        "nothing else was changed: it is the primary"
    )


def test_reinit_tells_of_it(make_pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    context = make_pair({}, SILENT)
    monkeypatch.setattr(reinit, "settle_unfinished", lambda *_: SETTLED)
    with pytest.raises(Refused, match=r"was broken off and is finished.*nothing else was changed"):
        reinit.look(context, ReinitRequest(NEW), lambda *_: None)
