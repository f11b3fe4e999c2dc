"""What an answer, the end of input and Ctrl-C at a question come to."""

import pytest

from spokectl.cli.app import main
from spokectl.cli.confirmation import confirm
from spokectl.errors import ConfirmationRequired, Interrupted
from tests.unit.cli.conftest import Terminal, Types


class CtrlC(Terminal):
    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("typed", "type_name"), [("y\n", False), (" YES \n", False), ("second\n", True), (" second \n", True), ("second", True)]
)
def test_an_operator_agrees(types: Types, typed: str, type_name: bool, capsys: pytest.CaptureFixture[str]) -> None:
    types(typed)
    confirm("Delete it", "second", type_name=type_name, yes=False)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"Delete it? [{'type second to go on' if type_name else 'y/N'}]: ")


@pytest.mark.parametrize("type_name", [True, False])
@pytest.mark.parametrize(("typed", "said"), [("", "''"), ("\n", "''"), ("no\n", "'no'")])
def test_another_answer_and_the_end_of_input_agree_to_nothing(
    types: Types, typed: str, said: str, type_name: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    types(typed)
    with pytest.raises(ConfirmationRequired, match="nothing was done") as caught:
        confirm("Delete it", "second", type_name=type_name, yes=False)
    assert caught.value.code == "not_confirmed"
    assert f"the answer was {said}" in caught.value.message
    # The terminal has shown the operator's Enter already; after Ctrl-D there is none.
    assert capsys.readouterr().err.endswith("\n") == (typed == "")


def test_ctrl_c_is_an_interruption_that_has_changed_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", CtrlC())
    with pytest.raises(Interrupted):
        confirm("Delete it", "second", type_name=True, yes=False)
    capsys.readouterr()
    assert main(["down", "--volumes"]) == 130
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[1:] == ["error: interrupted; nothing was changed"]
