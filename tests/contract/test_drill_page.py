"""The page of a run in a real browser: narrow and wide, light and dark, on paper; it asks nobody for anything."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spokectl.drills.evidence import Mark, Moment, Run
from spokectl.drills.page import page
from tests.browser import Page, browser
from tests.unit.drills.made_up import FAULT_S, broken, run, skipped, trial

pytestmark = pytest.mark.timeout(600)

WIDTHS = (400, 800, 1200)
LONG = "a-name-without-any-place-to-break-it-" * 8


def runs() -> dict[str, Run]:
    crowded = [Moment(FAULT_S + number / 7, Mark.FAULT, f"spoke-{number} killed") for number in range(40)]
    late = [Moment(FAULT_S + 6.5 + number / 20, Mark.HEALED, f"healed: spoke-{number} killed") for number in range(5)]
    return {
        "held": run(*(trial(number=number, rto=rto) for number, rto in enumerate((1.2, 1.9, 3.1), 1))),
        "missed": run(trial(rto=9.5, lost=40), broken(), skipped(), trial("endless", rto=float("inf"))),
        "crowded": run(replace(trial(), moments=crowded), replace(trial("late"), moments=[*trial().moments, *late])),
        "long": replace(run(replace(trial(LONG, lost=1), why=LONG, ids={"lost": [LONG]})), words=[LONG], stack="s" * 63),
    }


RUNS = runs()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, made in RUNS.items():
        (folder / f"{name}.html").write_text(page(made), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in RUNS}


# The texts of all drawings that show, as rectangles on the screen: left, top, right, bottom.
BOXES = """[...document.querySelectorAll('svg')].filter(svg => svg.getClientRects().length).map(svg =>
  [...svg.querySelectorAll('SELECTOR')].map(each => {
    const box = each.getBoundingClientRect();
    return {text: each.textContent, box: [box.left, box.top, box.right, box.bottom]};
  }))"""


def boxes(shown: Page, selector: str) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = shown.ask(BOXES.replace("SELECTOR", selector))
    return found


def overlapping(texts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    found = []
    for number, one in enumerate(texts):
        for other in texts[number + 1 :]:
            (a, b, c, d), (e, f, g, h) = one["box"], other["box"]
            # Boxes of letters are a little higher than the letters.
            if min(c, g) - max(a, e) > 0.5 and min(d, h) - max(b, f) > 3:
                found.append((one["text"], other["text"]))
    return found


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(shown: Page, pages: dict[str, Path], name: str, width: int) -> None:
    shown.show(pages[name], width)
    assert shown.ask("document.documentElement.scrollWidth") <= width
    outside = shown.ask(
        """[...document.querySelectorAll('main *')].filter(each => {
          const box = each.getBoundingClientRect();
          return box.width && !each.closest('.scroll, svg') && (box.left < 0 || box.right > innerWidth + 0.5);
        }).map(each => each.tagName + ' ' + each.textContent.slice(0, 40))"""
    )
    assert outside == []


@pytest.mark.parametrize("name", ["held", "missed"])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_table_has_to_be_scrolled_sideways(shown: Page, pages: dict[str, Path], name: str, width: int) -> None:
    shown.show(pages[name], width)
    wide = """[...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > each.clientWidth)
      .map(each => each.textContent.slice(0, 60))"""
    assert shown.ask(wide) == []


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("width", WIDTHS)
def test_labels_stand_clear_of_one_another_and_within_their_drawing(
    shown: Page, pages: dict[str, Path], name: str, width: int
) -> None:
    shown.show(pages[name], width)
    drawn = sum(bool(each.ticks) for each in RUNS[name].trials)
    texts, frames = boxes(shown, "text"), shown.ask("[...document.querySelectorAll('svg')].map(each => each.clientWidth)")
    assert len(texts) == drawn  # one of the widths of each, not two and not none
    assert sum(each > 0 for each in frames) == drawn
    for drawing in texts:
        assert len(drawing) > 5
        assert overlapping(drawing) == []
        assert all(each["box"][0] >= 0 and each["box"][2] <= width for each in drawing)
        assert all(each["box"][3] - each["box"][1] >= 9 for each in drawing)  # large enough to be read


@pytest.mark.parametrize("width", WIDTHS)
def test_a_label_has_room_for_its_letters(shown: Page, pages: dict[str, Path], width: int) -> None:
    shown.show(pages["held"], width)
    for texts, frames in zip(boxes(shown, "text.label"), boxes(shown, "rect.label"), strict=True):
        for text, frame in zip(texts, frames, strict=True):
            assert frame["box"][0] <= text["box"][0]
            assert text["box"][2] <= frame["box"][2] + 0.5, text["text"]


def colours(shown: Page) -> dict[str, tuple[int, ...]]:
    found = shown.ask(
        """({paper: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
             verdict: getComputedStyle(document.querySelector('.verdict')).backgroundColor,
             verdict_ink: getComputedStyle(document.querySelector('h1')).color,
             label: getComputedStyle(document.querySelector('text.label')).fill,
             bars: getComputedStyle(document.querySelector('.bars.writes')).fill,
             quiet: getComputedStyle(document.querySelector('figcaption')).color})"""
    )
    return {name: tuple(map(int, re.findall(r"\d+", colour)[:3])) for name, colour in found.items()}


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Source: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: tuple[int, ...]) -> float:
    parts = [each / 255 / 12.92 if each / 255 <= 0.04045 else ((each / 255 + 0.055) / 1.055) ** 2.4 for each in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("name", ["held", "missed"])
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_light_or_dark_as_the_reader_wants_and_can_be_read(
    shown: Page, pages: dict[str, Path], name: str, dark: bool
) -> None:
    shown.show(pages[name], 1200, dark=dark)
    found = colours(shown)
    assert (luminance(found["paper"]) < 0.05) is dark
    for ink, paper in (("ink", "paper"), ("quiet", "paper"), ("label", "paper"), ("verdict_ink", "verdict")):
        assert contrast(found[ink], found[paper]) >= 4.5, (ink, found)
    assert contrast(found["bars"], found["paper"]) >= 3


def test_it_complains_of_nothing_and_asks_nobody(shown: Page, pages: dict[str, Path]) -> None:
    shown.complaints.clear()
    shown.asked_for.clear()
    for path in pages.values():
        shown.show(path, 1200)
    assert shown.complaints == []
    assert shown.asked_for == [path.as_uri() for path in pages.values()]


def test_its_own_policy_keeps_it_from_running_or_asking_for_anything(shown: Page, pages: dict[str, Path]) -> None:
    evil = pages["held"].with_name("evil.html")
    more = '<script>document.title = "ran"</script><img src="http://127.0.0.1:9/x.png"></main>'
    evil.write_text(page(RUNS["held"]).replace("</main>", more), encoding="utf-8")
    shown.blocked.clear()
    shown.show(evil, 1200)
    assert shown.ask("document.title") != "ran"
    assert shown.blocked == ["csp"]  # the picture


def test_whoever_does_not_see_it_hears_what_it_shows(shown: Page, pages: dict[str, Path]) -> None:
    shown.show(pages["missed"], 800)
    tree = shown.call("Accessibility.getFullAXTree")["nodes"]
    heard = [(each["role"]["value"], each.get("name", {}).get("value", "")) for each in tree if not each.get("ignored")]
    drawn = [name for role, name in heard if role in {"image", "img"}]
    assert drawn == ["Timeline of postgres-kill", "Timeline of endless"]
    assert any(role == "heading" and "missed in 2" in name for role, name in heard)
    assert sum(role == "table" for role, _ in heard) >= 5
    shown.show(pages["missed"], 400)  # where the first table is laid out otherwise
    tree = shown.call("Accessibility.getFullAXTree")["nodes"]
    narrow = [(each["role"]["value"], each.get("name", {}).get("value", "")) for each in tree if not each.get("ignored")]
    for role in ("table", "row", "cell", "columnheader"):
        assert sorted(each for each in narrow if each[0] == role) == sorted(each for each in heard if each[0] == role)


def test_on_paper_every_trial_is_whole(shown: Page, pages: dict[str, Path]) -> None:
    shown.show(pages["held"], 700, medium="print")
    printed = shown.call("Page.printToPDF", printBackground=True)
    assert len(printed["data"]) > 10_000
    assert shown.ask("document.querySelectorAll('.trial').length") == 3
    assert all(boxes(shown, "text"))
