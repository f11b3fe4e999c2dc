"""`help`: every exit code is explained, every variable named, and a command's help is the same by both ways."""

import json
import re
from pathlib import Path

import pytest

from spokectl.cli.app import COMMANDS
from spokectl.cli.topics import EXIT_CODES, TOPICS
from spokectl.errors import ExitCode
from tests.contract.test_cli import spokectl

PACKAGE = Path(__file__).parents[2] / "spokectl"


def test_every_exit_code_has_a_meaning_and_what_to_do(tmp_path: Path) -> None:
    done = spokectl(tmp_path, "help", "exit-codes")
    assert (done.returncode, done.stderr) == (0, "")
    told = re.findall(r"^ +(\d+)  \S.*\n +-> \S", done.stdout, flags=re.MULTILINE)
    assert [int(code) for code in told] == [code.value for code in ExitCode]
    assert list(EXIT_CODES) == list(ExitCode)


def test_the_last_lines_of_the_help_name_every_exit_code(tmp_path: Path) -> None:
    epilog = " ".join(spokectl(tmp_path, "--help").stdout.partition("Exit codes:")[2].split())
    assert re.findall(r"\b\d+\b", epilog) == [str(code.value) for code in ExitCode]
    assert epilog.endswith("spokectl help exit-codes.")


def test_every_variable_that_is_read_is_in_the_topic_environment() -> None:
    read = {
        name for path in PACKAGE.rglob("*.py") for name in re.findall(r"\bSPOKECTL_[A-Z]+(?:_[A-Z]+)*\b", path.read_text())
    }
    told = set(re.findall(r"^  (SPOKECTL_\w+)  ", TOPICS["environment"].text, flags=re.MULTILINE))
    assert told == read


def test_topics_are_listed_and_none_hides_a_command(tmp_path: Path) -> None:
    done = spokectl(tmp_path, "help")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^  (\S+)  +\S", done.stdout, flags=re.MULTILINE) == list(TOPICS)
    assert not set(TOPICS) & set(COMMANDS)
    for topic in TOPICS:
        told = spokectl(tmp_path, "help", topic, "--json")
        assert json.loads(told.stdout)["data"] == {"subject": topic, "text": TOPICS[topic].text}
        assert topic in COMMANDS["help"].summary


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_fits_a_terminal(topic: str) -> None:
    assert max(map(len, TOPICS[topic].text.splitlines())) <= 125


@pytest.mark.parametrize("words", [["up"], ["config"], ["versions", "push"], ["help"]])
def test_help_of_a_command_is_its_own_help(tmp_path: Path, words: list[str]) -> None:
    asked, own = spokectl(tmp_path, "help", *words), spokectl(tmp_path, *words, "--help")
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, own.stdout, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exitcodes"], "there is no command 'exitcodes': did you mean 'exit-codes'?"),
        (["modules", "crate"], "there is no command 'modules crate': did you mean 'modules create'?"),
        (["up", "now"], "there is no command 'up now'"),
        ([""], "there is no command ''"),
        (["a\x1b[1m"], "there is no command 'a\\x1b[1m'"),
    ],
)
def test_help_of_what_is_not_there_names_the_nearest(tmp_path: Path, words: list[str], said: str) -> None:
    done = spokectl(tmp_path, "help", *words)
    assert (done.returncode, done.stdout, done.stderr.splitlines()[0]) == (2, "", f"error: {said}")
