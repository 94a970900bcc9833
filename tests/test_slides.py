"""``tools/slides.py``: what the decks name exists, their numbers are the chapters', and every slide fits the screen."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bs4 import BeautifulSoup

import slides

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parent.parent
DECKS = sorted((ROOT / "slides").glob("session_*.md"))
GUIDE = (ROOT / "book" / "guide.md").read_text("utf-8")
each_deck = pytest.mark.parametrize("source", DECKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("slides") / "slides"
    slides.build(out)
    return out


def cells(chapter: str) -> dict[str, dict[str, Any]]:
    stored = json.loads((ROOT / "book" / f"{chapter}.ipynb").read_text("utf-8"))["cells"]
    return {cell["id"]: cell for cell in stored}


def said_by(chapter: str) -> str:
    """The text, the code and the printed outputs of a chapter; of its figures, what is said in place of them."""
    parts: list[str] = []
    for cell in cells(chapter).values():
        parts += cell["source"]
        for output in cell.get("outputs", []):
            parts += output.get("text", []) + output.get("data", {}).get("text/plain", [])
    return "".join(parts)


def page(built: Path, source: Path) -> BeautifulSoup:
    return BeautifulSoup((built / f"{source.stem}.html").read_text("utf-8"), "html.parser")


# --- what is brought in


def test_the_decks_are_those_of_three_sessions_and_the_index_leads_to_them(built: Path) -> None:
    assert [path.stem for path in DECKS] == ["session_1", "session_2", "session_5"]
    index = BeautifulSoup((built / "index.html").read_text("utf-8"), "html.parser")
    assert [link["href"] for link in index.select("li a")] == [f"{path.stem}.html" for path in DECKS]


@each_deck
def test_a_figure_is_the_one_that_the_notebook_stores(built: Path, source: Path) -> None:
    shown = {image["src"]: image["alt"] for image in page(built, source).select("img.figure")}
    named = re.findall(r"^\{figure (\w+)#([\w-]+)\}$", source.read_text("utf-8"), flags=re.MULTILINE)
    played = page(built, source).select("figure.interactive")
    assert len(shown) + len(played) == len(named) >= 4
    for chapter, name in named:
        output = cells(chapter)[name]["outputs"][0]
        if "image/png" in output["data"]:
            path = f"figures/{chapter}-{name}.png"
            assert shown[path] == output["metadata"]["image/png"]["alt"]
            assert (built / path).read_bytes() == base64.b64decode("".join(output["data"]["image/png"]))


@each_deck
def test_a_cell_that_the_guide_runs_live_is_in_the_deck(source: Path) -> None:
    text = source.read_text("utf-8")
    part = GUIDE.partition(f"## {text.partition(chr(10))[0][2:]}\n")[2].partition("\n## ")[0]
    live = re.findall(r"^- \[`([\w-]+)`\]", part, flags=re.MULTILINE)
    assert len(live) >= 3
    assert [name for name in live if not re.search(rf"[#`]{name}\b", text)] == []


@each_deck
def test_code_stands_as_it_does_in_the_notebook_with_its_empty_lines(built: Path, source: Path) -> None:
    whole = re.findall(r"^\{code (\w+)#([\w-]+)\}$", source.read_text("utf-8"), flags=re.MULTILINE)
    shown = [pre.get_text().strip() for pre in page(built, source).select("pre.code")]
    for chapter, name in whole:
        assert "".join(cells(chapter)[name]["source"]).strip() in shown


@each_deck
def test_every_number_of_a_slide_stands_in_a_chapter_that_the_deck_names(source: Path) -> None:
    text = source.read_text("utf-8")
    known = GUIDE
    for chapter in set(re.findall(r"\b(\d\d_\w+)(?:#|\.ipynb)", text)):
        known += said_by(chapter)
    said = re.sub(r"^Notes, \d+ minutes?\.|\{[^}]+\}|\]\([^)]*\)", "", text, flags=re.MULTILINE)
    numbers = set(re.findall(r"−?\d+(?:\.\d+)?", said))
    stands = set(re.findall(r"(?<![\d.])\d+(?:\.\d+)?(?![\d])", known))
    assert len(numbers) > 5
    assert {number for number in numbers if number.removeprefix("−") not in stands} == set()


@each_deck
def test_the_key_comes_after_its_question_near_the_end_and_the_minutes_fit_a_meeting(source: Path) -> None:
    deck = slides.read(source)
    asked = [number for number, slide in enumerate(deck) if "{guide Exam question}" in slide.text]
    assert len(asked) == 1
    assert len(deck) - 4 <= asked[0]
    assert "{guide Key}" in deck[asked[0] + 1].text
    assert "{guide Key}" not in deck[asked[0]].text
    assert "{guide Aims}" in deck[1].text
    assert 60 <= sum(slide.minutes for slide in deck) <= 90


@each_deck
def test_a_link_leads_to_a_page_of_the_book_and_a_place_in_it(site: Path, built: Path, source: Path) -> None:
    links = {link["href"] for link in page(built, source).select("a[href]")}
    assert any("#cell-" in link for link in links)
    for link in links:
        name, _, place = str(link).removeprefix("../html/").partition("#")
        assert (site / name).is_file(), link
        assert not place or f'id="{place}"' in (site / name).read_text("utf-8"), link


def test_the_guide_says_how_long_the_decks_are() -> None:
    minutes = [sum(slide.minutes for slide in slides.read(source)) for source in DECKS]
    assert f"fill {min(minutes)} to {max(minutes)} minutes" in GUIDE


# --- what is missing is named

GOOD = "# Session 2: attention\n\n{}\n\nNotes, 1 minute. Said.\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (GOOD.format("{figure 11_matcher#fig-setling}"), ["slide 1", "11_matcher#fig-setling", "fig-settling"]),
        (GOOD.format("{code 99_nowhere#cell}"), ["slide 1", "book/99_nowhere.ipynb"]),
        (GOOD.format("{figure 11_matcher#settling}"), ["11_matcher#settling", "stored no figure"]),
        (GOOD.format("{output 02_attention#tensors}"), ["02_attention#tensors", "printed nothing"]),
        (GOOD.format("{guide Aim}"), ["{guide Aim}", "Session 2: attention"]),
        (GOOD.format("{picture 11_matcher#fig-settling}"), ["{picture", "figure, code, output, guide"]),
        (GOOD.format("A slide.\n---\n## Another"), ["slide 1", "Notes, 3 minutes."]),
        ("## Attention\n\nNotes, 1 minute. Said.\n", ["session_9.md", "heading"]),
        ("# Session 99: no\n\n{guide Aims}\n\nNotes, 1 minute. Said.\n", ["Session 99: no", "book/guide.md"]),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, source: str, said: list[str]) -> None:
    (tmp_path / "session_9.md").write_text(source)
    with pytest.raises(slides.DeckError) as caught:
        slides.build(tmp_path / "out", sources=tmp_path)
    for words in ("slides/session_9.md", *said):
        assert words in str(caught.value)


# --- in a browser

# Of the slide that is shown: what leaves it or runs into its last line, and text too small to be read from afar.
LOOK = """() => {
    const slide = Reveal.getCurrentSlide(), faults = [], named = e => e.className || e.tagName;
    const bottom = slide.querySelector(':scope > .source')?.getBoundingClientRect().top ?? 720;
    const shown = [...slide.querySelectorAll(':scope > *, figure *')].filter(e => e.checkVisibility());
    for (const e of shown.filter(e => !e.matches('.source, aside'))) {
        const {left, top, right, bottom: low} = e.getBoundingClientRect();
        if (left < 0 || top < 0 || right > 1280 || low > bottom + 0.5)
            faults.push(`${named(e)} ends at ${right}, ${low}`);
    }
    for (const e of slide.querySelectorAll('pre, table'))
        if (e.scrollWidth > e.clientWidth) faults.push(`${named(e)} scrolls sideways`);
    const walk = document.createTreeWalker(slide, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const parent = walk.currentNode.parentElement, size = parseFloat(getComputedStyle(parent).fontSize);
        if (walk.currentNode.data.trim() && parent.checkVisibility() && size < 24)
            faults.push(`${size} pixels: ${walk.currentNode.data.trim().slice(0, 30)}`);
    }
    for (const i of slide.querySelectorAll('img')) {
        if (!i.alt.trim()) faults.push('no alternative text: ' + i.src.slice(-60));
        if (!i.naturalWidth) faults.push('not loaded: ' + i.src.slice(-60));
    }
    return faults;
}"""


def opened(browser: Browser, built: Path, source: Path, width: int, height: int) -> tuple[Page, list[str]]:
    from browser import watch

    tab = browser.new_page(viewport={"width": width, "height": height})
    faults = watch(tab, built.as_uri())
    tab.goto((built / f"{source.stem}.html").as_uri())
    return tab, faults


@pytest.mark.browser
@each_deck
def test_every_slide_fits_is_large_enough_and_fetches_nothing(browser: Browser, built: Path, source: Path) -> None:
    tab, faults = opened(browser, built, source, 1280, 720)
    tab.wait_for_function("Reveal.isReady()")
    count = len(slides.read(source))
    assert tab.evaluate("Reveal.getTotalSlides()") == count
    for number in range(count):
        assert tab.evaluate("Reveal.getIndices().h") == number
        tab.wait_for_function("[...Reveal.getCurrentSlide().querySelectorAll('img')].every(i => i.complete)")
        assert tab.evaluate(LOOK) == [], f"slide {number + 1}"
        tab.keyboard.press("ArrowRight" if number % 2 else "Space")
    assert faults == []
    tab.close()


@pytest.mark.browser
def test_arrow_keys_in_a_figure_are_the_figures(browser: Browser, built: Path) -> None:
    tab, _ = opened(browser, built, ROOT / "slides" / "session_2.md", 1280, 720)
    tab.wait_for_function("Reveal.isReady()")
    tab.evaluate("Reveal.slide(Reveal.getSlides().findIndex(s => s.querySelector('.panels')))")
    figure = tab.locator("section.present figure")
    before, said = tab.evaluate("Reveal.getIndices().h"), figure.inner_text()
    figure.locator(".panels").press("ArrowLeft")
    assert figure.inner_text() != said
    assert tab.evaluate("Reveal.getIndices().h") == before
    tab.close()


@pytest.mark.browser
def test_the_speaker_has_the_notes_of_the_slide_that_is_shown(browser: Browser, built: Path) -> None:
    from playwright.sync_api import expect

    tab, _ = opened(browser, built, DECKS[0], 1280, 720)
    tab.wait_for_function("Reveal.isReady()")
    with tab.expect_popup() as popup:
        tab.keyboard.press("s")
    begin = 0
    for number, slide in enumerate(slides.read(DECKS[0])[:4], start=1):
        said = popup.value.locator("body")
        expect(said).to_contain_text(f"Slide {number} of ")
        expect(said).to_contain_text(f"Planned to begin after {begin} minutes")
        notes = BeautifulSoup(slides.MARKDOWN.render(slide.notes), "html.parser")
        expect(said).to_contain_text(notes.get_text().strip())
        begin += slide.minutes
        (tab if number % 2 else popup.value).keyboard.press("ArrowRight")
    tab.close()


@pytest.mark.browser
@each_deck
def test_on_a_phone_a_deck_is_one_page_that_does_not_scroll_sideways(
    browser: Browser, built: Path, source: Path
) -> None:
    tab, faults = opened(browser, built, source, 390, 844)
    assert tab.locator("section h1, section h2").evaluate_all("all => all.every(e => e.checkVisibility())")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    cut = "all => all.filter(e => e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1).length"
    assert tab.locator("section").evaluate_all(cut) == 0
    assert tab.locator("p.source").evaluate_all("all => all.every(e => getComputedStyle(e).position === 'static')")
    assert faults == []
    tab.close()
