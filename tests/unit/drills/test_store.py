"""Runs on disk: read as they were written; what is damaged, of another version or without an end harms no other."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from spokectl.drills.evidence import Mark, Run
from spokectl.drills.store import Store
from spokectl.errors import Failed, NotFound
from spokectl.result import plain
from spokectl.settings import StackState
from tests.unit.drills.made_up import broken, run, skipped, trial


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(StackState("spoke", tmp_path))


def kept(store: Store, *ids: str) -> list[Run]:
    runs = [run(trial(), trial("lossy", lost=2), broken(), skipped(), run_id=each) for each in ids]
    for each in runs:
        store.folder_of(each.id).mkdir(parents=True)
        store.keep(each)
        store.draw(each)
    return runs


def changed(store: Store, run_id: str, **values: object) -> None:
    path = store.folder_of(run_id) / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_run_is_read_as_it_was_kept(store: Store) -> None:
    first, second = kept(store, "20260923-120000", "20260923-120001")
    assert store.runs() == [first, second]
    assert store.run("20260923-120000") == first
    assert store.run(None) == second


def test_a_folder_has_the_run_its_junit_file_and_its_page(store: Store) -> None:
    kept(store, "20260923-120000")
    folder = store.folder_of("20260923-120000")
    assert sorted(each.name for each in folder.iterdir()) == ["junit.xml", "report.html", "run.json"]
    assert Xml.parse(folder / "junit.xml").getroot().attrib["tests"] == "4"
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert {each.stat().st_mode & 0o777 for each in folder.iterdir()} == {0o600}


def test_the_second_run_of_a_second_is_the_later_one(store: Store) -> None:
    kept(store, *(f"20260923-120000{suffix}" for suffix in ("-10", "", "-2")))
    assert [each.id for each in store.runs()] == ["20260923-120000", "20260923-120000-2", "20260923-120000-10"]


def test_runs_that_begin_within_a_second_have_folders_of_their_own(store: Store) -> None:
    begun = [store.begin() for _ in range(20)]
    assert len({each.id for each in begun}) == 20
    assert all(each.folder.is_dir() for each in begun)
    assert list(store.unreadable()) == [each.id for each in begun]


def test_without_any_run_it_says_how_to_have_one(store: Store) -> None:
    assert (store.runs(), store.unreadable()) == ([], {})
    with pytest.raises(NotFound, match="no drill has been run") as caught:
        store.run(None)
    assert caught.value.actions == ("spokectl drill run --seed-tests",)


def test_an_unknown_run_is_met_with_the_nearest_one(store: Store) -> None:
    kept(store, "20260923-120000", "20261123-120000")
    with pytest.raises(NotFound, match=r"there is no run '20260923-12000': did you mean 20260923-120000\?") as caught:
        store.run("20260923-12000")
    assert (caught.value.code, caught.value.details["runs"]) == ("no_run", ["20260923-120000", "20261123-120000"])


@pytest.mark.parametrize("name", ["..", "../20260923-120000", "", "20260923-120000/run.json"])
def test_a_run_cannot_be_a_path(store: Store, name: str) -> None:
    kept(store, "20260923-120000")
    with pytest.raises(NotFound):
        store.run(name)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"trials": 3}', '{"trials": [[]]}', '{"trials": []}', "[" * 100_000, "\xff"]
)
def test_a_damaged_run_is_named_and_harms_no_other(store: Store, text: str) -> None:
    first, _ = kept(store, "20260923-120000", "20260923-120001")
    (store.folder_of("20260923-120001") / "run.json").write_bytes(text.encode("latin-1"))
    assert store.runs() == [first]
    assert store.run(None) == first
    assert "is no run that this version can read" in store.unreadable()["20260923-120001"]
    with pytest.raises(Failed, match="the run 20260923-120001 cannot be shown") as caught:
        store.run("20260923-120001")
    assert caught.value.code == "run_damaged"


def test_a_run_that_was_killed_is_told_from_a_damaged_one(store: Store) -> None:
    store.folder_of("20260923-120000").mkdir(parents=True)
    with pytest.raises(Failed, match="it has not come to its end"):
        store.run("20260923-120000")


def test_a_run_of_an_older_version_lacks_what_was_added_since(store: Store) -> None:
    (made,) = kept(store, "20260923-120000")
    old = {name: plain(getattr(made.trials[0], name)) for name in ("drill", "number", "verdict", "began_s", "ended_s")}
    changed(store, made.id, trials=[old])
    (read,) = store.runs()
    assert (read.trials[0].drill, read.trials[0].measures) == ("postgres-kill", [])
    store.keep(read)
    assert "postgres-kill" in (store.folder_of(made.id) / "report.html").read_text()


def test_a_run_of_a_newer_version_is_read_without_what_is_new(store: Store) -> None:
    (made,) = kept(store, "20260923-120000")
    newer = plain(made.trials[0]) | {"weather": "fine"}
    newer["moments"][0] |= {"mark": "quorum lost", "weather": "rain"}
    changed(store, made.id, trials=[newer], weather="fine")
    (read,) = store.runs()
    first = replace(made.trials[0].moments[0], mark=Mark.NOTE)
    assert read == replace(made, trials=[replace(made.trials[0], moments=[first, *made.trials[0].moments[1:]])])
