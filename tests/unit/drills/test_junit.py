"""The JUnit file says of each trial what CI shows: passed, missed with what was promised and found, broken, skipped."""

from dataclasses import replace
from xml.etree import ElementTree as Xml

from hypothesis import given
from hypothesis import strategies as st

from spokectl.drills.evidence import Mark, Moment
from spokectl.drills.junit import junit
from tests.unit.drills.made_up import BEGAN_S, broken, run, skipped, trial


def cases(text: str) -> dict[str, Xml.Element]:
    return {case.attrib["name"]: case for case in Xml.fromstring(text.encode()).iter("testcase")}


def test_every_verdict_is_what_ci_knows_it_as() -> None:
    text = junit(run(trial(), trial("lossy", lost=2), broken(), skipped()))
    suite = Xml.fromstring(text.encode()).find("testsuite")
    assert suite is not None
    counts = {name: suite.attrib[name] for name in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {"tests": "4", "failures": "1", "errors": "1", "skipped": "1", "time": "60.000"}
    assert suite.attrib["timestamp"] == "2026-09-21T14:13:20"
    found = {
        name: [child.tag for child in case if child.tag in {"failure", "error", "skipped"}]
        for name, case in cases(text).items()
    }
    assert found == {"postgres-kill": [], "lossy": ["failure"], "spoke-kill": ["error"], "network-cut": ["skipped"]}


def test_a_missed_objective_names_what_was_promised_what_was_found_and_the_writes() -> None:
    failure = cases(junit(run(trial(rto=9.5, lost=2))))["postgres-kill"].find("failure")
    assert failure is not None
    assert failure.text is not None
    assert "rto: promised at most 8 s, found 9.50 s" in failure.text
    assert "lost: promised 0, found 2\n  drill-1.0\n  drill-1.1\n" in failure.text
    assert "rto was 9.5s, and at most 8s was promised" in failure.attrib["message"]


def test_reasons_of_what_was_not_carried_out_are_there() -> None:
    found = cases(junit(run(broken(why="timeout: nobody answers"), skipped(why="it needs containers"))))
    error, skip = found["spoke-kill"].find("error"), found["network-cut"].find("skipped")
    assert error is not None
    assert skip is not None
    assert (error.attrib["message"], skip.attrib["message"]) == ("timeout: nobody answers", "it needs containers")


def test_figures_and_bounds_are_properties_and_the_timeline_is_the_output() -> None:
    case = cases(junit(run(trial(rto=float("inf")))))["postgres-kill"]
    properties = {each.attrib["name"]: each.attrib["value"] for each in case.iter("property")}
    assert (properties["rto"], properties["rto.bound"], properties["lost"]) == ("without an end", "8", "0")
    out = case.findtext("system-out")
    assert out is not None
    assert "+0.00 s  fault: postgres-primary killed" in out
    assert "−2.00 s  phase: clients write" in out
    assert "+5.20 s  healed: postgres-primary killed" in out


def test_trials_of_one_drill_have_names_of_their_own() -> None:
    assert list(cases(junit(run(trial(number=1), trial(number=2))))) == ["postgres-kill (1 of 2)", "postgres-kill (2 of 2)"]


@given(st.text(alphabet=st.characters()))
def test_whatever_a_server_has_said_the_file_is_xml(said: str) -> None:
    odd = replace(broken(why=said), moments=[Moment(BEGAN_S, Mark.NOTE, said)], ids={said: [said]})
    text = junit(replace(run(odd, skipped(why=said)), words=[said]))
    assert len(cases(text.encode("utf-8").decode("utf-8"))) == 2
