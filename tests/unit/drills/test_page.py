"""The page of a run: the verdict first, everything on it, nothing from elsewhere, and no text that becomes markup."""

import re
from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from spokectl.drills.evidence import Check, Mark, Moment
from spokectl.drills.page import page
from tests.unit.drills.made_up import BEGAN_S, broken, run, skipped, trial

_VOID = {"meta", "br"}


class Read(HTMLParser):
    """The page's text and tags; an end that fits no begin is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_a_manager_reads_the_verdict_first() -> None:
    text = Read(page(run(trial(), trial("redis-kill", rto=0.3)))).text
    assert text.index("What was promised was held in all 2 trials") < text.index("postgres-kill")
    assert "No acknowledged write was lost." in text
    assert "Clients waited at most 1.90 s for a write to be acknowledged (postgres-kill)." in text


def test_what_was_missed_and_what_could_not_be_tried_is_in_the_first_sentence() -> None:
    text = Read(page(run(trial(), trial("lossy", lost=2), broken(), skipped()))).text
    assert "What was promised was missed in 1 and could not be tried in 1 of 3 trials" in text
    assert "2 acknowledged writes lost." in text
    assert "it needs a runtime that can cut the network" in text
    assert "lost was 2, and at most 0 was promised" in text
    assert "drill-1.1" in text


def test_a_run_that_did_nothing_does_not_say_that_all_held() -> None:
    text = Read(page(run(skipped()))).text
    assert "Nothing was carried out" in text
    assert "held" not in text


def test_repeats_are_summed_up_by_median_and_worst() -> None:
    trials = [trial(number=number, rto=rto) for number, rto in enumerate((1.0, 2.0, 6.0), 1)]
    assert "rto median 2.00 s, worst 6.00 s" in Read(page(run(*trials))).text


def test_every_trial_has_its_drawing_its_tables_and_a_link_to_it() -> None:
    read = Read(page(run(trial(number=1), trial(number=2))))
    assert [attributes.get("id") for tag, attributes in read.tags if attributes.get("class") == "trial"] == [
        "trial-1",
        "trial-2",
    ]
    links = {attributes["href"] for tag, attributes in read.tags if tag == "a"}
    assert links == {"#trial-1", "#trial-2"}
    for wanted in ("What happened", "Figures", "Checks", "What clients saw", "all is well again", "postgres-primary killed"):
        assert read.text.count(wanted) >= 2, wanted


def test_nothing_on_it_comes_from_elsewhere_or_runs() -> None:
    read = Read(page(run(trial(), broken())))
    assert not {tag for tag, _ in read.tags} & {"script", "link", "img", "iframe", "object"}
    addresses = [
        value for _, each in read.tags for name, value in each.items() if name in {"src", "href", "srcset", "action"}
    ]
    assert all(str(each).startswith("#") for each in addresses)
    assert any(each.get("content") == "default-src 'none'; style-src 'unsafe-inline'" for _, each in read.tags)


def test_texts_from_outside_stay_texts() -> None:
    evil = '</title></style><script>alert(1)</script>"onload="x'
    odd = replace(
        trial(evil),
        why=evil,
        checks=[Check(evil, ok=False, found=evil)],
        moments=[Moment(BEGAN_S, Mark.FAULT, evil)],
        ids={evil: [evil]},
        ledger=evil,
        breaks=evil,
        holds=evil,
    )
    read = Read(page(replace(run(odd), stack=evil, words=[evil], version=evil, runtime=evil)))
    assert "script" not in {tag for tag, _ in read.tags}
    assert not any("onload" in each for _, each in read.tags)


@given(st.text(alphabet=st.characters()))
def test_whatever_a_server_has_said_the_page_is_whole(said: str) -> None:
    Read(page(run(replace(trial(), why=said, breaks=said), skipped(why=said))).encode("utf-8").decode("utf-8"))
