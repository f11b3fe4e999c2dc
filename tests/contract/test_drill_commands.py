"""`drill list`, `show` and `compare` on a machine where nothing runs: by what runs have left on disk."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from spokectl.drills.catalog import all_drills
from spokectl.drills.evidence import Run
from spokectl.drills.store import Store
from spokectl.drills.trend import listed
from spokectl.output.drill_reports import entry
from spokectl.settings import StackState
from tests.contract.test_cli import ENVELOPE, spokectl
from tests.unit.drills.made_up import run, skipped, trial

pytestmark = pytest.mark.timeout(300)
FIRST, SECOND = "20260923-120000", "20260924-120000"


def kept(tmp_path: Path, *runs: Run) -> Store:
    store = Store(StackState("spoke", tmp_path / "state"))
    for each in runs:
        store.folder_of(each.id).mkdir(parents=True)
        store.keep(each)
        store.draw(each)
    return store


def two_runs(tmp_path: Path) -> Store:
    first = run(*(trial(number=number, rto=rto) for number, rto in enumerate((1.0, 1.1, 1.2), 1)), run_id=FIRST)
    second = run(*(trial(number=number, rto=rto, lost=1) for number, rto in enumerate((3.0, 3.1, 3.2), 1)), run_id=SECOND)
    return kept(tmp_path, first, second)


def data(tmp_path: Path, *words: str) -> object:
    done = spokectl(tmp_path, *words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert list(answer) == ENVELOPE
    return answer["data"]


def test_the_list_needs_neither_a_stack_nor_a_history(tmp_path: Path) -> None:
    done = spokectl(tmp_path, "drill", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nPostgreSQL\n" in done.stdout
    rows = data(tmp_path, "drill", "list")
    assert isinstance(rows, list)
    assert {each["drill"] for each in rows} >= {"spoke-kill", "postgres-kill", "redis-kill"}
    assert all(each["past"] == [] and each["runtimes"] for each in rows)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_on_a_terminal_each_drill_of_the_list_is_some_lines_no_wider_than_that(width: int) -> None:
    for each in listed(all_drills().values(), []):
        lines = entry(each, width)
        assert lines[0] == f"  {each.drill}"
        assert max(map(len, lines)) <= width
        said = " ".join(" ".join(lines).split())
        assert f"breaks {each.breaks} must hold {each.holds} objective {each.objective.split()[0]}" in said


def test_the_list_has_the_last_verdict_median_worst_and_trend(tmp_path: Path) -> None:
    two_runs(tmp_path)
    line = next(
        line for line in spokectl(tmp_path, "drill", "list").stdout.splitlines() if line.startswith("postgres-kill ")
    )
    for wanted in ("✗ missed", "rto 2.10 s", "3.20 s", "missed, held the time before", "rto=8s,lost=0", "both"):
        assert wanted in line


def test_the_last_run_is_shown_with_its_timeline_figures_and_where_its_page_is(tmp_path: Path) -> None:
    store = two_runs(tmp_path)
    done = spokectl(tmp_path, "drill", "show")
    assert done.returncode == 0
    for wanted in (
        "✗ What was promised was missed in 3 of 3 trials: 3 missed",
        "postgres-kill (1 of 3): missed",
        "missed: lost was 1, and at most 0 was promised",
        "F  +0.00 s  fault             postgres-primary killed",
        "H  +5.20 s  healed            postgres-primary killed",
        "at most 8 s  ✓ held",
        "lost: drill-1.0",
        "ALL OF postgres-kill",
    ):
        assert wanted in done.stdout, wanted
    assert str(store.folder_of(SECOND) / "report.html") in done.stderr


def test_the_drawing_has_a_letter_below_each_moment(tmp_path: Path) -> None:
    kept(tmp_path, run(trial(), run_id=FIRST))
    lines = spokectl(tmp_path, "drill", "show").stdout.splitlines()
    writes = next(number for number, line in enumerate(lines) if line.startswith("  writes  "))
    bars, letters = lines[writes], lines[writes + 3]
    assert bars[10:30] == "█" * 20
    assert set(bars[30:49]) == {" "}
    assert letters.index("F") == 30
    assert "".join(letters.split()) == "FCDPWRH"
    assert lines[writes + 4].split() == ["−2.00", "s", "0", "+7.00", "s"]


def test_a_run_is_the_same_as_json(tmp_path: Path) -> None:
    two_runs(tmp_path)
    shown = data(tmp_path, "drill", "show", FIRST)
    assert isinstance(shown, dict)
    assert (shown["id"], shown["verdict"], len(shown["trials"]), shown["trials"][0]["missed"]) == (FIRST, "held", 3, [])
    assert Path(shown["files"]["html"]).is_file()
    assert Path(shown["files"]["junit"]).is_file()


def test_every_run_is_listed_also_what_cannot_be_read(tmp_path: Path) -> None:
    store = two_runs(tmp_path)
    (store.folder_of(FIRST) / "run.json").write_text("{")
    store.folder_of("20260925-120000").mkdir()
    listed = data(tmp_path, "drill", "show", "--list")
    assert isinstance(listed, dict)
    assert [each["id"] for each in listed["runs"]] == [SECOND]
    assert list(listed["unreadable"]) == [FIRST, "20260925-120000"]
    lines = spokectl(tmp_path, "drill", "show", "--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["RUN", FIRST, SECOND, "20260925-120000"]


def test_files_for_ci_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    two_runs(tmp_path)
    done = spokectl(tmp_path, "drill", "show", FIRST, "--junit", "out.xml", "--html", "out.html")
    assert done.returncode == 0, done.stderr
    assert Xml.parse(tmp_path / "out.xml").getroot().attrib["tests"] == "3"
    assert (tmp_path / "out.html").read_text().startswith("<!DOCTYPE html>")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.html", "out.xml", "state"]


def test_two_runs_are_compared(tmp_path: Path) -> None:
    two_runs(tmp_path)
    done = spokectl(tmp_path, "drill", "compare", FIRST)
    assert done.returncode == 0
    assert done.stdout.startswith("postgres-kill: held → missed (3 and 3 trials)\n")
    assert "rto     1.10 s    3.10 s    2.82   1.20 s   3.20 s   slower" in done.stdout
    found = data(tmp_path, "drill", "compare", FIRST, SECOND)
    assert isinstance(found, dict)
    assert found["drills"][0]["figures"][0]["ratio"] == pytest.approx(3.1 / 1.1)


def test_runs_of_other_drills_are_not_compared_and_it_says_so(tmp_path: Path) -> None:
    kept(tmp_path, run(trial(), run_id=FIRST), run(skipped(), run_id=SECOND))
    done = spokectl(tmp_path, "drill", "compare", FIRST, SECOND)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert done.stdout.startswith("Nothing can be compared: no drill was carried out in both.")


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        (["show", "20260923-12000"], "no_run", 4),
        (["show", "../../x"], "no_run", 4),
        (["show", SECOND], "run_damaged", 1),
        (["show", FIRST, "--list"], "list_and_run", 2),
        (["show", "--junit", "no/such/folder.xml"], "cannot_write", 2),
        (["show", "--html", "."], "cannot_write", 2),
        (["compare"], "usage", 2),
        (["compare", FIRST, "yesterday"], "no_run", 4),
        (["compare", SECOND, FIRST], "run_damaged", 1),
        (["run", "spoke-kill", "--junit", "no/such/folder.xml"], "cannot_write", 2),
        (["run", "spoke-kil"], "unknown_drill", 4),
        (["run"], "no_drill", 2),
        (["show", "--stack", "other"], "no_run", 4),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, words: list[str], code: str, exit_code: int) -> None:
    store = two_runs(tmp_path)
    (store.folder_of(SECOND) / "run.json").write_text("[]")
    done = spokectl(tmp_path, "drill", *words, "--json")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"], done.stderr) == (exit_code, code, "")


def test_escapes_of_a_terminal_in_a_run_stay_letters(tmp_path: Path) -> None:
    kept(tmp_path, run(skipped("evil\x1b[2J", why="\x1b]0;title\x07"), run_id=FIRST))
    done = spokectl(tmp_path, "drill", "show")
    assert "\x1b" not in done.stdout
    assert "evil\\x1b[2J" in done.stdout


def test_it_fits_a_terminal_of_eighty_columns(tmp_path: Path) -> None:
    two_runs(tmp_path)
    shown = on_a_terminal(tmp_path, "drill", "show")
    assert "█" in shown
    assert max(len(line) for line in shown.splitlines() if str(tmp_path) not in line) <= 80
    assert "postgres-kill" in on_a_terminal(tmp_path, "drill", "list")


def on_a_terminal(tmp_path: Path, *words: str) -> str:
    """What the command writes on a terminal of eighty columns, without colour."""
    script = f"import os, pty, sys; sys.exit(pty.spawn([sys.executable, '-m', 'spokectl', *{list(words)!r}]))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=True,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "SPOKECTL_STATE_DIR": str(tmp_path / "state"),
            "COLUMNS": "80",
            "NO_COLOR": "1",
            "TERM": "xterm",
        },
    )
    return done.stdout.decode()
