"""`--query`: what a shell user gets of an answer, bare; and that a wrong expression is found before anything is done."""

import json
from pathlib import Path

import pytest

from spokectl.cli.command import Answer, Call, write
from spokectl.cli.query import Query
from spokectl.errors import Degraded, ExitCode, Failed, UsageError
from spokectl.result import Result
from spokectl.settings import StackRecord, StackState
from spokectl.stackfile import default_stack_file
from tests.contract.test_cli import spokectl

LEVEL = "[?name=='SPOKE_LOG_LEVEL'].value | [0]"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--query", LEVEL], "info"),
        ([f"--query={LEVEL}", "-q"], "info"),
        (["--query", LEVEL, "--json"], '"info"'),
        (["--query", "[?name=='SPOKE_LOG_LEVEL'].[name, value]"], '[["SPOKE_LOG_LEVEL","info"]]'),
        (["--query", "[?name=='SPOKE_LOG_LEVEL'].{it: name} | [0]"], '{"it":"SPOKE_LOG_LEVEL"}'),
        (["--query", "length([?name=='SPOKE_LOG_LEVEL'])"], "1"),
        (["--query", "[0].nothing"], "null"),
        (["--query", "join(`\"\\n\"`, [?starts_with(name, 'SPOKE_LOG')].name)"], "SPOKE_LOG_LEVEL"),
    ],
)
def test_stdout_is_what_the_expression_finds_a_text_without_quotes(tmp_path: Path, words: list[str], line: str) -> None:
    done = spokectl(tmp_path, "config", "list", *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{line}\n", "")


def test_the_data_is_what_stands_under_data_in_the_envelope(tmp_path: Path) -> None:
    data = json.loads(spokectl(tmp_path, "config", "list", "--json").stdout)["data"]
    assert json.loads(spokectl(tmp_path, "config", "list", "--query", "@").stdout) == data


@pytest.mark.parametrize(
    "expression",
    [
        *("", "a[", "a b", "'x", "nosuch(@)", "[?starts_with(name)]", "length(@, @)", "sum()", "\x1b[1m", "\n", "(" * 5000),
        *("[::0]", "a[?b[1:2:0]]", "sort_by(@, &a[::0])", f"[{'1' * 5000}]"),
    ],
)
@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_a_wrong_expression_is_found_before_anything_is_done(tmp_path: Path, expression: str, json_too: list[str]) -> None:
    done = spokectl(tmp_path, "config", "set", "SPOKE_LOG_LEVEL=debug", "--query", expression, *json_too)
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert first.startswith("error: --query: ")
    assert first.isprintable()
    assert second == "  try: spokectl help query"
    assert spokectl(tmp_path, "config", "get", "SPOKE_LOG_LEVEL").stdout == "info\n"


# The library raises errors of its own for the first, and lets Python's through for the others.
UNFIT = ["sum(stack)", "stack > `1`", "ceil(to_number('inf'))"]


@pytest.mark.parametrize("expression", UNFIT)
def test_an_answer_of_another_form_is_told_from_what_the_command_did(tmp_path: Path, expression: str) -> None:
    done = spokectl(tmp_path, "down", "--query", expression)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: --query: {expression!r} does not fit the answer: ")


@pytest.mark.parametrize("expression", UNFIT)
def test_what_the_command_did_keeps_its_exit_code(expression: str, capsys: pytest.CaptureFixture[str]) -> None:
    query = Query(expression)
    call = Call("up", "spoke", False, None, json=True, query=query, bare=True, quiet=False, verbose=False, no_input=True)
    degraded = Result({"stack": "spoke"}, exit_code=ExitCode.DEGRADED, error=Degraded("degraded", "spoke-1 is down"))
    assert write(call, Answer(degraded)) is ExitCode.DEGRADED
    said = capsys.readouterr()
    assert (said.out, "error: spoke-1 is down" in said.err, "does not fit the answer" in said.err) == ("", True, True)


def test_what_is_no_number_of_json_is_null() -> None:
    """JMESPath lets `to_number` give null for a text that is no number; the library takes Python's word for what is one."""
    expression = "[to_number('nan'), to_number('-inf'), `1e999`, to_number('1.5')]"
    assert Query(expression).line({}, as_json=False) == "[null,null,null,1.5]"


def test_an_error_is_for_people_also_beside_json(tmp_path: Path) -> None:
    for words in (["--query", "x"], ["--query=x", "--json"]):
        done = spokectl(tmp_path, "status", *words)
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr.startswith("error: ")


@pytest.mark.parametrize("words", [["shell", "s3", "--query", "x"], ["exec", "spoke-1", "--query", "x", "--", "true"]])
def test_what_passes_another_programs_output_through_has_no_query(tmp_path: Path, words: list[str]) -> None:
    done = spokectl(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no --query" in done.stderr


def test_of_a_stream_each_line_is_asked(tmp_path: Path) -> None:
    state = StackState("spoke", tmp_path / "state")
    state.ensure()
    state.write_record(StackRecord("local", str(default_stack_file()), "2026-01-01T00:00:00+00:00"))
    said = '{"time":"2026-01-31T12:00:0%d.000+00:00","operation":"up","phase":"%s","actor":"ann","pid":7}\n'
    state.events_file.write_text("".join(said % each for each in enumerate(("started", "done") * 2)))
    done = spokectl(tmp_path, "events", "--query", "[what, source]")
    assert (done.returncode, len(done.stdout.splitlines()), done.stderr) == (0, 2, "")
    assert all(len(json.loads(line)) == 2 for line in done.stdout.splitlines())
    assert spokectl(tmp_path, "events", "--query", "time").stdout.splitlines()[0].startswith("2026-01-31T12:00:00.000")


def test_functions_with_any_number_of_arguments_are_checked_too() -> None:
    assert Query('merge(@, `{"b": 2}`, `{"c": 3}`)').line({"a": 1}, as_json=False) == '{"a":1,"b":2,"c":3}'
    with pytest.raises(UsageError):
        Query("[*].merge()")
    with pytest.raises(Failed):
        Query("abs(@)").line("text", as_json=False)
