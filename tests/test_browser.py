"""The rendered book in headless Chromium, as readers use it: every page, every figure to play with, all of the theme.

What there should be is read from ``_toc.yml`` and from the notebooks' stored outputs, so that what the page has lost is
missed here. Nothing outside this machine can be reached, and each attempt is a fault.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from browser import (
    HEIGHT,
    THEMES,
    WIDTHS,
    inspect,
    served,
    settle,
    transferred,
    wait_for_colours,
    watch,
)
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from detr_mini.teaching.diagram import CHAPTERS, PARTS

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((ROOT / "book").glob("*.ipynb"))}
FIRST_VIEW = 2_000_000  # bytes

pytestmark = pytest.mark.browser
each_chapter = pytest.mark.parametrize("chapter", NOTEBOOKS)


# --- what the book should have


def pages_in_order() -> list[str]:
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    return [contents["root"], *(chapter["file"] for part in contents["parts"] for chapter in part["chapters"])]


PAGES = pages_in_order()


@dataclass(frozen=True)
class Figure:
    """A figure to play with as the notebook stores it: where it is, its kind, and what it can show."""

    page: str
    name: str
    kind: str
    stored: dict[str, Any]

    @property
    def controls(self) -> int:
        """How many there are: the pickers' grids are one each."""
        if self.kind == "cell picker":
            return 2 if len(self.stored["sheets"]) > 1 else 1
        if self.kind == "word picker":
            return 2 if self.stored["maps"] > 1 else 1
        if self.kind == "point picker":
            return 1 + (len(self.stored["names"]) > 1) + (len(self.stored["colours"]) > 1)
        if self.kind == "exhibit":
            return len(self.stored["evidence"]) + 2  # and the choice of causes, and the button that names one
        return 2 if self.kind == "slot picker" else 1

    def __str__(self) -> str:
        return f"{self.page.removeprefix('book/')}-{self.name}"


KINDS = {
    "frames": "slider",
    "sheets": "cell picker",
    "points": "slot picker",
    "weights": "word picker",
    "spots": "point picker",
    "evidence": "exhibit",
}


def html_outputs(notebook: dict[str, Any]) -> list[str]:
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]


def stored_figures() -> list[Figure]:
    found = []
    for chapter, notebook in NOTEBOOKS.items():
        for html in html_outputs(notebook):
            if name := re.search(r'<figure class="interactive" data-name="([^"]+)"', html):
                data = re.search(r'<script type="application/json">(.*?)</script>', html, flags=re.S)
                assert data, f"{chapter}: figure {name[1]} stores nothing"
                stored = json.loads(data[1])
                kind = next(kind for key, kind in KINDS.items() if key in stored)
                found.append(Figure(f"book/{chapter}", name[1], kind, stored))
    return found


FIGURES = stored_figures()


def one_of_each_kind() -> list[Figure]:
    return [next(figure for figure in FIGURES if figure.kind == kind) for kind in KINDS.values()]


def each_figure(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("figure", [f for f in FIGURES if f.kind == kind], ids=str)


# --- a browser, and pages in it


@pytest.fixture(scope="module")
def address(browser: Browser, site: Path) -> Iterator[str]:
    with served(site) as where:
        yield where


Opener = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Opener]:
    """Opens pages such as ``book/index``; what goes wrong on one of them fails the test at its end."""
    contexts, faults = [], []

    def open_one(name: str, width: int = WIDTHS["desktop"], at: str = address, **options: Any) -> Page:
        viewport = {"width": width, "height": HEIGHT}
        context = browser.new_context(viewport=viewport, reduced_motion="reduce", **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        faults.append(watch(page, at))
        page.goto(f"{at}{name}.html")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not [fault for each in faults for fault in each]


@pytest.fixture(params=["desktop", "phone"])
def view(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of a mouse's wide page, and of a finger's narrow one."""
    touch = request.param == "phone"
    return {"width": WIDTHS[request.param], "has_touch": touch, "is_mobile": touch}


# --- every page


AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def thin_out_code(page: Page) -> None:
    """Of ten thousand words of colored code leave one of each kind in its color: axe has a fifth of the work.

    The shade at the edge of long lines goes, too: over a gradient axe cannot tell the contrast, and says nothing.
    """
    page.add_style_tag(content="pre { background-image: none !important; }")
    page.evaluate(
        """() => {
            const seen = new Set();
            document.querySelectorAll('.highlight span, .sig span').forEach(word => {
                let kind = '';
                for (let e = word; e && e.tagName !== 'ARTICLE'; e = e.parentElement) kind += e.className + '/';
                if (seen.has(kind)) word.replaceWith(...word.childNodes); else seen.add(kind);
            });
        }"""
    )


def mark_kinds_of_words(page: Page) -> None:
    """Mark three elements of all whose words have the same color and size on the same ground.

    One would do, but axe cannot judge an element that another one covers in part.
    """
    page.evaluate(
        """() => {
            const grounds = new Map([[null, '']]), seen = new Map();
            function ground(e) {
                if (!grounds.has(e)) {
                    const { backgroundColor, backgroundImage, opacity, filter } = getComputedStyle(e);
                    const own = [backgroundColor, backgroundImage.length, opacity, filter].join();
                    grounds.set(e, ground(e.parentElement) + '/' + own);
                }
                return grounds.get(e);
            }
            document.querySelectorAll('body *').forEach(e => {
                delete e.dataset.words;
                const words = [...e.childNodes].some(child => child.nodeType === Node.TEXT_NODE && child.data.trim());
                if (!words || !e.checkVisibility()) return;
                const { color, fontSize, fontWeight } = getComputedStyle(e);
                const kind = [color, fontSize, fontWeight, ground(e)].join();
                seen.set(kind, (seen.get(kind) || 0) + 1);
                if (seen.get(kind) <= 3) e.dataset.words = '';
            });
        }"""
    )


def barriers(page: Page, context: dict[str, Any] | None = None, **options: Any) -> list[str]:
    """What axe-core finds serious or critical."""
    # Without preload: it would fetch style sheets again, some from where they are not.
    options |= {"resultTypes": ["violations"], "preload": False}
    return [
        f"{violation['id']} ({violation['impact']}), {len(violation['nodes'])} times, such as "
        + "; ".join(f"{node['html'][:150]} {node['failureSummary'][:250]}" for node in violation["nodes"][:2])
        for violation in Axe().run(page, context=context, options=options).response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("name", [*PAGES, "search", "genindex"])
def test_a_page_is_sound_at_every_width_and_in_both_themes(open_page: Opener, name: str) -> None:
    page = open_page(name, WIDTHS["phone"], color_scheme="light")
    faults = []
    for size, width in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": HEIGHT})
        page.wait_for_timeout(400)  # the theme notes a little later which boxes can be scrolled now
        settle(page)
        thin_out_code(page)
        not_contrast = {"color-contrast": {"enabled": False}}  # of all rules, the one that depends on the theme
        found = barriers(page, runOnly={"type": "tag", "values": AXE_TAGS}, rules=not_contrast)
        faults += [f"{size}: {fault}" for fault in found]
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            # On a busy machine the browser may not tell a page that the system's scheme changed; what that leads to,
            # the test of the theme button asks for itself.
            page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            wait_for_colours(page)
            mark_kinds_of_words(page)
            found = inspect(page) + barriers(page, {"include": [["[data-words]"]]}, runOnly=["color-contrast"])
            faults += [f"{size}, {theme}: {fault}" for fault in found]
    assert not faults, "\n".join(faults)


def test_every_page_is_looked_at(site: Path) -> None:
    built = {
        str(path.relative_to(site).with_suffix("")) for path in site.rglob("*.html") if "_static" not in path.parts
    }
    assert built == {*PAGES, "search", "genindex", "index"}


def test_the_address_of_the_site_leads_to_the_title_page(open_page: Opener) -> None:
    page = open_page("index")
    page.wait_for_url(f"**/{PAGES[0]}.html")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


@each_chapter
def test_the_first_view_of_a_chapter_is_light(open_page: Opener, chapter: str) -> None:
    page = open_page(f"book/{chapter}")
    page.wait_for_timeout(1000)
    assert transferred(page) <= FIRST_VIEW


# --- figures to play with


def located(page: Page, figure: Figure) -> Locator:
    found = page.locator(f'figure.interactive[data-name="{figure.name}"]')
    expect(found).to_have_count(1)
    found.evaluate("element => element.scrollIntoView({block: 'center', behavior: 'instant'})")
    expect(found.locator("canvas, label:has(input), .controls").first).to_be_visible()  # what the script shows
    return found


def file_at(url: str, site: Path) -> bytes:
    """What the page was given under this address: in it, of the site, or of the file system."""
    if url.startswith("data:"):
        return base64.b64decode(url.partition(",")[2])
    path = unquote(urlsplit(url).path)
    return Path(path if url.startswith("file:") else site / path.lstrip("/")).read_bytes()


def numbers(words: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", words)]


def assert_frame(shown: Locator, figure: Figure, number: int, site: Path) -> None:
    """The slider stands at a frame: number, words and picture say so."""
    label = figure.stored["labels"][number]
    control, picture = shown.locator("input"), shown.locator("img")
    expect(control).to_have_value(str(number))
    expect(control).to_have_attribute("aria-valuetext", label)
    expect(shown.locator("output")).to_have_text(label)
    url, width, alt = picture.evaluate(
        "async image => (await image.decode(), [image.currentSrc, image.width, image.alt])"
    )
    assert file_at(url, site) == file_at(figure.stored["frames"][number], site)
    assert width > 100
    assert label in alt.removesuffix(".").split(" Now: ")[-1]


def position_of(control: Locator, number: int) -> dict[str, float]:
    """Where the thumb of a slider stands at a value."""
    box, thumb = control.bounding_box(), 16
    assert box is not None
    share = number / int(control.get_attribute("max") or 1)
    return {"x": thumb / 2 + share * (box["width"] - thumb), "y": box["height"] / 2}


@each_figure("slider")
def test_a_slider_shows_the_frame_it_names(open_page: Opener, site: Path, figure: Figure, view: dict[str, Any]) -> None:
    shown = located(open_page(figure.page, **view), figure)
    control, last = shown.locator("input"), len(figure.stored["frames"]) - 1
    start = figure.stored["labels"][int(control.input_value())]
    expect(shown.locator("output")).to_have_text(start)
    expect(control).to_have_attribute("aria-valuetext", start)
    control.focus()
    if control.input_value() != "0":
        shown.page.keyboard.press("Home")
        assert_frame(shown, figure, 0, site)
    for key, number in [("End", last), ("Home", 0), ("ArrowRight", 1), ("ArrowUp", 2), ("ArrowLeft", 1)]:
        shown.page.keyboard.press(key)
        assert_frame(shown, figure, number, site)
    for number in (last - 1, 2):
        (control.tap if view["has_touch"] else control.click)(position=position_of(control, number))
        assert_frame(shown, figure, number, site)
    if not view["has_touch"]:
        control.drag_to(control, source_position=position_of(control, 2), target_position=position_of(control, last))
        assert_frame(shown, figure, last, site)


def assert_cell(shown: Locator, figure: Figure, sheet: str, row: int, column: int, site: Path) -> None:
    """The cell is named, marked on both panels, and its map stands on the right one."""
    assert numbers(shown.locator("output").inner_text()) == [row, column]
    panels = shown.locator(".panels > div")
    for panel, mark in zip(panels.all(), shown.locator(".marked").all(), strict=True):
        area, marked = panel.bounding_box(), mark.bounding_box()
        assert area is not None
        assert marked is not None
        cell = cell_of(figure, area["width"], area["height"], row, column)
        place = [marked["x"] - area["x"], marked["y"] - area["y"], marked["width"], marked["height"]]
        np.testing.assert_allclose(place, cell, atol=1.5)
    wanted, seen = tile(figure, sheet, row, column, site), cell_colours(panels.nth(1).screenshot(), figure)
    wanted[row, column] = seen[row, column]  # under the mark
    np.testing.assert_allclose(seen, wanted, atol=6)


def cell_of(figure: Figure, width: float, height: float, row: int, column: int) -> list[float]:
    """Left, top, width and height of a cell, in pixels of its panel."""
    w, h = width / figure.stored["w"], height / figure.stored["h"]
    return [column * w, row * h, w, h]


def tile(figure: Figure, sheet: str, row: int, column: int, site: Path) -> np.ndarray:
    h, w = figure.stored["h"], figure.stored["w"]
    picture = Image.open(io.BytesIO(file_at(figure.stored["sheets"][sheet], site))).convert("RGB")
    return np.asarray(picture.crop((column * w, row * h, column * w + w, row * h + h)), dtype=int).copy()


def cell_colours(screenshot: bytes, figure: Figure) -> np.ndarray:
    """The color in the middle of each cell of a panel."""
    pixels = np.asarray(Image.open(io.BytesIO(screenshot)).convert("RGB"), dtype=int)
    rows, columns = (
        ((np.arange(count) + 0.5) * size / count).astype(int)
        for count, size in zip((figure.stored["h"], figure.stored["w"]), pixels.shape, strict=False)
    )
    return pixels[np.ix_(rows, columns)]


def press_on(panel: Locator, figure: Figure, row: int, column: int, touch: bool) -> None:
    area = panel.bounding_box()
    assert area is not None
    left, top, width, height = cell_of(figure, area["width"], area["height"], row, column)
    (panel.tap if touch else panel.click)(position={"x": left + width / 2, "y": top + height / 2})


@each_figure("cell picker")
def test_a_cell_picker_shows_the_map_of_the_cell(
    open_page: Opener, site: Path, figure: Figure, view: dict[str, Any]
) -> None:
    shown = located(open_page(figure.page, color_scheme="light", **view), figure)
    h, w, sheets = figure.stored["h"], figure.stored["w"], list(figure.stored["sheets"])
    assert_cell(shown, figure, sheets[0], figure.stored["row"], figure.stored["column"], site)
    panels, keyboard = shown.locator(".panels > div"), shown.page.keyboard
    for number, row, column in [(0, 0, w - 1), (1, h - 2, 1), (0, 3, 5)]:
        press_on(panels.nth(number), figure, row, column, view["has_touch"])
        assert_cell(shown, figure, sheets[0], row, column, site)
    shown.locator(".panels").focus()
    for key, row, column in [("ArrowRight", 3, 6), ("ArrowDown", 4, 6), ("ArrowLeft", 4, 5), ("ArrowUp", 3, 5)]:
        keyboard.press(key)
        assert_cell(shown, figure, sheets[0], row, column, site)
    for _ in range(4):
        keyboard.press("ArrowUp")
    assert_cell(shown, figure, sheets[0], 0, 5, site)
    if len(sheets) > 1:
        assert_choice_of_maps(shown, figure, site)


def assert_choice_of_maps(shown: Locator, figure: Figure, site: Path) -> None:
    """By keyboard down the list, and by its entries; the last of them too."""
    choice, sheets = shown.locator("select"), list(figure.stored["sheets"])
    expect(choice.locator("option")).to_have_text(sheets)
    choice.focus()
    shown.page.keyboard.press("ArrowDown")
    expect(choice).to_have_value(sheets[1])
    assert_cell(shown, figure, sheets[1], 0, 5, site)
    for sheet in (sheets[-1], sheets[0]):
        choice.select_option(sheet)
        assert_cell(shown, figure, sheet, 0, 5, site)


def test_figures_of_every_kind_are_in_the_book() -> None:
    assert {figure.kind for figure in FIGURES} == set(KINDS.values())


# --- the slots


def slot_points(figure: Figure, moment: int, query: int) -> np.ndarray:
    """The stored centers of one query at one moment, ``(P, 2)`` in [0, 1]."""
    stored = figure.stored
    every = np.frombuffer(base64.b64decode(stored["points"]), dtype=np.uint8)
    return every.reshape(len(stored["labels"]), -1, stored["pictures"], 2)[moment, query] / 255


def drawn(panel: Locator) -> np.ndarray:
    """The pixels of a panel's canvas."""
    url = panel.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"), dtype=int)


def assert_slot(shown: Locator, figure: Figure, moment: int, query: int) -> None:
    """The query is named, its points are drawn at large, they alone, and its box lies on the picture."""
    said, label = shown.locator("output").inner_text(), figure.stored["labels"][moment]
    assert re.search(rf"\b{query}\b.*\b{re.escape(label)}\b", said), said
    expect(shown.locator("input")).to_have_attribute("aria-valuetext", label)
    pixels = drawn(shown.locator(".large"))
    coloured = np.ptp(pixels, axis=-1) > 40  # the ring around the center on the shown picture is gray
    empty = np.abs(pixels - pixels[-3, 3]).max(axis=-1) < 40
    height, width = coloured.shape
    at = np.round(slot_points(figure, moment, query) * [width - 1, height - 1]).astype(int)
    points = np.zeros_like(coloured)
    points[at[:, 1], at[:, 0]] = True
    assert not empty[points].any(), f"query {query} at {label}: points are missing"
    assert near(points, 7)[coloured].all(), f"query {query} at {label}: other points are there"
    assert_box(shown, figure, moment, query)


def near(points: np.ndarray, distance: int) -> np.ndarray:
    """Where a point is at most this many pixels away, along rows and along columns."""
    padded = np.pad(points, distance)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * distance + 1, 2 * distance + 1))
    return windows.any(axis=(2, 3))


def assert_box(shown: Locator, figure: Figure, moment: int, query: int) -> None:
    own = np.frombuffer(base64.b64decode(figure.stored["own"]), dtype=np.uint8)
    cx, cy, w, h, score = own.reshape(len(figure.stored["labels"]), -1, 5)[moment, query] / 255
    scene, box = shown.locator(".scene").bounding_box(), shown.locator(".box")
    placed = box.bounding_box()
    assert scene is not None
    assert placed is not None
    place = [placed["x"] - scene["x"], placed["y"] - scene["y"], placed["width"], placed["height"]]
    wanted = np.array([cx - w / 2, cy - h / 2, w, h]) * ([scene["width"], scene["height"]] * 2)
    np.testing.assert_allclose(place, wanted, atol=2)
    expect(box).to_have_css("border-top-style", "solid" if score > 0.5 else "dashed")


@each_figure("slot picker")
def test_a_slot_picker_shows_the_query_and_the_moment(open_page: Opener, figure: Figure, view: dict[str, Any]) -> None:
    shown = located(open_page(figure.page, color_scheme="light", **view), figure)
    stored, keyboard, grid, control = figure.stored, shown.page.keyboard, shown.locator(".grid"), shown.locator("input")
    columns, queries, last = stored["columns"], len(stored["counts"][0]), len(stored["labels"]) - 1
    assert_slot(shown, figure, stored["moment"], stored["query"])
    for query in (0, columns + 1, queries - 1):
        before, area = drawn(grid), grid.bounding_box()
        assert area is not None
        across, down = area["width"] / columns, area["height"] / -(-queries // columns)
        at = {"x": (query % columns + 0.5) * across, "y": (query // columns + 0.5) * down}
        (grid.tap if view["has_touch"] else grid.click)(position=at)
        assert_slot(shown, figure, stored["moment"], query)
        assert (drawn(grid) != before).any()
    grid.focus()
    for key, query in [("ArrowUp", queries - 1 - columns), ("ArrowLeft", queries - 2 - columns)]:
        keyboard.press(key)
        assert_slot(shown, figure, stored["moment"], query)
    for key, moment in [("Home", 0), ("ArrowRight", 1), ("End", last)]:
        before = drawn(grid)
        control.focus()
        keyboard.press(key)
        assert_slot(shown, figure, moment, queries - 2 - columns)
        assert (drawn(grid) != before).any()
    (control.tap if view["has_touch"] else control.click)(position=position_of(control, 2))
    assert_slot(shown, figure, 2, queries - 2 - columns)


# --- the words


def word_weights(figure: Figure) -> np.ndarray:
    """All maps as hundredths, ``(maps, Lq, Lk)``."""
    bitmap = Image.open(io.BytesIO(base64.b64decode(figure.stored["weights"].partition(",")[2])))
    rows = np.asarray(bitmap) // 2
    return rows.reshape(figure.stored["maps"], -1, rows.shape[-1])


def assert_word(shown: Locator, figure: Figure, chosen: int, query: int) -> None:
    """The word is marked and named; each word below has its number, and a shade that grows with it."""
    weights = word_weights(figure)[chosen, query].astype(int)
    expect(shown.locator(".read .weight")).to_have_text([f"{weight / 100:.2f}" for weight in weights])
    word = shown.locator(".asks > .word").nth(query)
    said, most = shown.locator("output").inner_text(), weights.max()
    assert said.startswith(f"{word.inner_text()} reads "), said
    assert f"{most / 100:.2f}" in said if most else said.endswith("nothing"), said
    marked = [one.evaluate("word => word.style.boxShadow") for one in shown.locator(".asks > .word").all()]
    assert [i for i, style in enumerate(marked) if "3px" in style] == [query]
    shades = shown.locator(".read > .word").evaluate_all("all => all.map(word => word.style.backgroundColor)")
    blue = [int(re.findall(r"\d+", shade)[2]) for shade in shades]  # falls from the card's to full orange's, 0
    ends = [int(figure.stored["inks"][name][-2:], 16) for name in ("card", "full")]
    np.testing.assert_allclose(blue, ends[0] + (ends[1] - ends[0]) * weights / 100, atol=1)


@each_figure("word picker")
def test_a_word_picker_shows_what_the_word_reads(open_page: Opener, figure: Figure, view: dict[str, Any]) -> None:
    shown = located(open_page(figure.page, **view), figure)
    words, keyboard = shown.locator(".asks > .word"), shown.page.keyboard
    last = words.count() - 1
    assert_word(shown, figure, 0, figure.stored["query"])
    for query in (last, 0, 1):
        (words.nth(query).tap if view["has_touch"] else words.nth(query).click)()
        assert_word(shown, figure, 0, query)
    if not view["has_touch"]:
        words.nth(2).hover()
        assert_word(shown, figure, 0, 2)
        words.nth(1).hover()
    shown.locator(".panels").focus()
    for key, query in [("ArrowLeft", 0), ("ArrowLeft", 0), ("ArrowRight", 1), ("ArrowDown", 2), ("ArrowUp", 1)]:
        keyboard.press(key)
        assert_word(shown, figure, 0, query)
    for number in range(1, figure.stored["maps"]):
        shown.locator("select").select_option(index=number)
        assert_word(shown, figure, number, 1)


# --- the points


def cell_points(figure: Figure, which: int, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a cell reads on each level, ``(L, n, 2)`` as shares of the picture, and with which weights ``(L, n)``."""
    stored = figure.stored
    shape = (len(stored["names"]), stored["h"], stored["w"], len(stored["colours"]), -1)
    spots = np.frombuffer(base64.b64decode(stored["spots"]), dtype="<u2").reshape(*shape, 2)
    sizes = np.frombuffer(base64.b64decode(stored["sizes"]), dtype=np.uint8).reshape(shape)
    return spots[which, row, column] / 65535 * 2 - 0.5, (sizes[which, row, column] / 255) ** 2


def assert_points(shown: Locator, figure: Figure, which: int, row: int, column: int, level: int | None = None) -> None:
    """The cell is named, with its weights by level; dots of the shown levels lie where it reads, and there alone."""
    places, weights = cell_points(figure, which, row, column)
    said, levels = shown.locator("output").inner_text(), range(len(places))
    assert said.startswith(f"Row {row}, column {column}: "), said
    told = [int(share) for share in re.findall(r"(\d+) % on level", said)]
    np.testing.assert_allclose(told, 100 * weights.sum(1) / weights.sum() if len(places) > 1 else [], atol=0.51)
    url = shown.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA"), dtype=int)
    height, width = pixels.shape[:2]
    margin, whole = figure.stored["margin"], 1 + 2 * figure.stored["margin"]
    near = np.zeros((height, width), dtype=bool)
    down, across = np.mgrid[:height, :width]
    for number in levels if level is None else [level]:
        colour = np.array(list(bytes.fromhex(figure.stored["colours"][number][1:])))
        own = (np.abs(pixels[..., :3] - colour).max(-1) < 12) & (pixels[..., 3] > 250)
        for place, weight in zip(places[number], weights[number], strict=True):
            x, y = (place + margin) / whole * [width, height]
            radius = figure.stored["whole"] * width * weight**0.5
            distance = ((across - x) ** 2 + (down - y) ** 2) ** 0.5
            near |= distance <= radius + 3
            if level == number and radius > 4 and 0 <= x < width and 0 <= y < height:
                assert own[distance <= radius].any(), f"no dot at {place}"  # the mark may cover its middle
        assert not (own & ~near).any()
    for number in set(levels) - ({level} if level is not None else set(levels)):
        colour = np.array(list(bytes.fromhex(figure.stored["colours"][number][1:])))
        assert not ((np.abs(pixels[..., :3] - colour).max(-1) < 12) & (pixels[..., 3] > 250)).any()


@each_figure("point picker")
def test_a_point_picker_shows_the_points_of_the_cell(open_page: Opener, figure: Figure, view: dict[str, Any]) -> None:
    shown = located(open_page(figure.page, color_scheme="light", **view), figure)
    stored, panel, keyboard = figure.stored, shown.locator(".panels"), shown.page.keyboard
    h, w, whole = stored["h"], stored["w"], 1 + 2 * stored["margin"]
    assert_points(shown, figure, 0, stored["row"], stored["column"])
    area = panel.bounding_box()
    assert area is not None
    for row, column in [(0, w - 1), (h - 1, 0), (2, 3)]:
        at = {
            "x": ((column + 0.5) / w + stored["margin"]) / whole * area["width"],
            "y": ((row + 0.5) / h + stored["margin"]) / whole * area["height"],
        }
        (panel.tap if view["has_touch"] else panel.click)(position=at)
        assert_points(shown, figure, 0, row, column)
    panel.focus()
    for key, row, column in [("ArrowRight", 2, 4), ("ArrowDown", 3, 4), ("ArrowLeft", 3, 3), ("ArrowUp", 2, 3)]:
        keyboard.press(key)
        assert_points(shown, figure, 0, row, column)
    for which in range(1, len(stored["names"])):
        shown.locator("select.which").select_option(index=which)
        assert_points(shown, figure, which, 2, 3)
    if len(stored["colours"]) > 1:
        for level in range(len(stored["colours"])):
            shown.locator("select.level").select_option(index=level + 1)
            assert_points(shown, figure, len(stored["names"]) - 1, 2, 3, level)


# --- the exhibits


def assert_piece(shown: Locator, figure: Figure, number: int, asked: int) -> None:
    """One piece of evidence is to be seen, its button says so, and the others are counted."""
    titles = figure.stored["evidence"]
    pressed = shown.locator('.ask[aria-pressed="true"]')
    expect(pressed).to_have_text([titles[number]])
    expect(shown.locator(".piece:visible")).to_have_count(1)
    picture = shown.locator(".piece").nth(number).locator("img")
    expect(picture).to_be_visible()
    assert picture.evaluate("async image => (await image.decode(), image.naturalWidth)") > 100
    expect(shown.locator(".count")).to_have_text(f"{asked} of {len(titles)} pieces of evidence asked for.")


def assert_said(shown: Locator, figure: Figure, cause: str) -> None:
    """The answer to a cause is there; what the case teaches only after the right one."""
    verdict = figure.stored["verdicts"][cause]
    said = shown.locator("output").inner_text()
    assert said.startswith(f"{'Right' if verdict['right'] else 'Not this'}. {verdict['text']}"), said
    expect(shown.locator(".solved")).to_be_visible(visible=verdict["right"])


# All are made by one function, with one right cause each (tests/test_museum.py): the first and the last stand for them.
EXHIBITS = [figure for figure in FIGURES if figure.kind == "exhibit"]


@pytest.mark.parametrize("figure", [EXHIBITS[0], EXHIBITS[-1]], ids=str)
def test_an_exhibit_is_solved(open_page: Opener, figure: Figure, view: dict[str, Any]) -> None:
    shown = located(open_page(figure.page, **view), figure)
    stored, asks, choice, judge = figure.stored, shown.locator(".ask"), shown.locator("select"), shown.locator(".judge")
    assert_piece(shown, figure, 0, 1)
    for asked, number in enumerate(range(asks.count() - 1, 0, -1), start=2):
        (asks.nth(number).tap if view["has_touch"] else asks.nth(number).click)()
        assert_piece(shown, figure, number, asked)
    asks.nth(0).focus()
    shown.page.keyboard.press("Enter")
    assert_piece(shown, figure, 0, asks.count())
    judge.press("Space")
    expect(shown.locator("output")).to_have_text("Choose a cause first.")
    wrong = [cause for cause, verdict in stored["verdicts"].items() if not verdict["right"]]
    for number, cause in enumerate(wrong[: stored["patience"]]):
        expect(shown.locator(".tell")).to_be_hidden()
        choice.select_option(cause)
        (judge.tap if view["has_touch"] else judge.click)()
        assert_said(shown, figure, cause)
        assert number < stored["patience"]
    expect(shown.locator(".tell")).to_be_visible()
    (right,) = stored["verdicts"].keys() - set(wrong)
    choice.select_option(right)
    judge.press("Enter")
    assert_said(shown, figure, right)
    assert "4 causes named" in shown.locator("output").inner_text()
    expect(shown.locator(".tell")).to_be_hidden()


def test_an_exhibit_that_defeats_a_reader_is_told(open_page: Opener) -> None:
    figure = EXHIBITS[0]
    shown = located(open_page(figure.page), figure)
    verdicts = figure.stored["verdicts"]
    for cause in [cause for cause, verdict in verdicts.items() if not verdict["right"]][: figure.stored["patience"]]:
        shown.locator("select").select_option(cause)
        shown.locator(".judge").click()
    shown.locator(".tell").click()
    (right,) = (cause for cause, verdict in verdicts.items() if verdict["right"])
    expect(shown.locator("output")).to_contain_text(f"It is: {right}.")
    link = shown.locator(".solved a.cell").first
    expect(link).to_be_visible()
    link.click()
    shown.page.wait_for_url(re.compile(r"\.html#cell-[\w-]+$"))
    expect(shown.page.locator(f"#{urlsplit(shown.page.url).fragment}")).to_have_count(1)


# --- from the file system


@pytest.mark.parametrize("figure", one_of_each_kind(), ids=lambda figure: figure.kind)
def test_a_chapter_works_from_the_file_system(open_page: Opener, site: Path, figure: Figure) -> None:
    page = open_page(figure.page, at=f"{site.as_uri()}/")
    settle(page)
    assert not inspect(page)
    shown = located(page, figure)
    if figure.kind == "slider":
        shown.locator("input").press("End")
        assert_frame(shown, figure, len(figure.stored["frames"]) - 1, site)
    elif figure.kind == "cell picker":
        press_on(shown.locator(".panels > div").first, figure, 2, 3, touch=False)
        assert_cell(shown, figure, next(iter(figure.stored["sheets"])), 2, 3, site)
    elif figure.kind == "word picker":
        shown.locator(".panels").press("ArrowLeft")
        assert_word(shown, figure, 0, figure.stored["query"] - 1)
    elif figure.kind == "point picker":
        shown.locator(".panels").press("ArrowLeft")
        assert_points(shown, figure, 0, figure.stored["row"], figure.stored["column"] - 1)
    elif figure.kind == "exhibit":
        shown.locator(".ask").nth(1).press("Enter")
        assert_piece(shown, figure, 1, 2)
    else:
        shown.locator("input").press("End")
        assert_slot(shown, figure, len(figure.stored["labels"]) - 1, figure.stored["query"])


# --- the keyboard


TAB_STOP = """() => {
    const element = document.activeElement, style = getComputedStyle(element);
    const outline = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1;
    const key = element.closest('figure.interactive')?.dataset.name;
    element.dataset.stop ??= document.querySelectorAll('[data-stop]').length;
    return [element.dataset.stop, element.tagName, element.outerHTML.slice(0, 150), key,
            outline || style.boxShadow !== element.dataset.shadow];
}"""


# The title page, the search, a figure of each kind, and one with a choice of maps.
WITH_CONTROLS = {PAGES[0], "search", *(figure.page for figure in one_of_each_kind()), "book/17_attention_maps"}


@pytest.mark.parametrize("name", sorted(WITH_CONTROLS))
def test_every_control_is_reached_by_tab_and_shows_it(open_page: Opener, name: str) -> None:
    page = open_page(name)
    settle(page)
    page.evaluate("document.querySelectorAll('*').forEach(e => { e.dataset.shadow = getComputedStyle(e).boxShadow; })")
    stops: dict[str, list[Any]] = {}
    while len(stops) < 1000:
        page.keyboard.press("Tab")
        number, *stop = page.evaluate(TAB_STOP)
        if number in stops or stop[0] == "BODY":
            break
        stops[number] = stop
    assert not [html for _, html, _, visible in stops.values() if not visible]
    reached = Counter(figure for _, _, figure, _ in stops.values() if figure)
    assert reached == {figure.name: figure.controls for figure in FIGURES if figure.page == name}


# --- the diagram


WITH_DIAGRAM = [
    f"book/{name}" for name, notebook in NOTEBOOKS.items() if "detr-diagram" in "".join(html_outputs(notebook))
]


@pytest.mark.parametrize("name", [PAGES[0], *WITH_DIAGRAM])
def test_the_parts_of_the_diagram_lead_to_their_chapters(open_page: Opener, address: str, name: str) -> None:
    page = open_page(name)
    links = page.locator(".detr-diagram a")
    targets = links.evaluate_all("all => all.map(a => new URL(a.href.baseVal ?? a.href, document.baseURI).href)")
    assert sorted(targets) == sorted(f"{address}book/{CHAPTERS[part]}.html" for part in PARTS for _ in PARTS[part])
    elsewhere = next(n for n, target in enumerate(targets) if urlsplit(target).path != f"/{name}.html")
    links.nth(elsewhere).click()
    page.wait_for_url(targets[elsewhere])


# --- terms


def test_a_term_says_what_it_means_under_the_pointer_and_by_key(open_page: Opener) -> None:
    page = open_page("book/09_decoder")
    term, tip = page.locator('a[href$="glossary.html#term-Slot"]').first, page.locator("#term-tip")
    meaning = (
        "One of the N places in the output of the decoder, with the query that belongs to it: the first query gives "
        "the first answer. After training a slot answers for a region of the picture."
    )
    expect(tip).to_be_hidden()
    term.hover()
    expect(tip).to_have_text(meaning)
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    term.focus()
    expect(tip).to_be_visible()
    expect(term).to_have_attribute("aria-describedby", "term-tip")
    term.blur()
    expect(tip).to_be_hidden()


# --- what the theme gives


def word_of(chapter: str) -> str:
    """The word of a chapter's prose that stands most often there and in no other chapter's text."""
    texts = {path.stem: path.read_text("utf-8") for path in (ROOT / "book" / "src").glob("*.md")}
    prose = re.sub(
        r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\([^)]*\)|<[^>]*>|^---.*?---", " ", texts.pop(chapter), flags=re.S
    )
    others = " ".join(texts.values()).lower()
    counted = Counter(word for word in re.findall(r"\b[a-z]{6,}\b", prose) if word[:6] not in others)
    return max(counted, key=lambda word: (counted[word], word))


@each_chapter
def test_search_finds_a_chapter_by_a_word_of_its_own(open_page: Opener, chapter: str) -> None:
    page = open_page(PAGES[-1])
    page.keyboard.press("Control+k")
    expect(page.locator("dialog[open] input[type=search]")).to_be_focused()
    page.keyboard.type(word_of(chapter))
    page.keyboard.press("Enter")
    expect(page.locator(f'#search-results a[href*="{chapter}.html"]').first).to_be_visible()


def test_from_any_page_the_search_leads_to_a_page_and_on_to_another(open_page: Opener) -> None:
    page = open_page(PAGES[1])
    page.keyboard.press("Control+k")
    page.keyboard.type("hungarian")
    page.keyboard.press("Enter")
    page.locator('#search-results a[href*="11_matcher.html"]').first.click()
    page.wait_for_url("**/11_matcher.html*")
    page = open_page("search")
    page.locator("main input[type=search]").fill("sinusoid")
    page.keyboard.press("Enter")
    expect(page.locator('#search-results a[href*="07_position_encoding.html"]').first).to_be_visible()


@each_chapter
def test_the_copy_button_copies_a_cell(open_page: Opener, chapter: str) -> None:
    """Of the first and of the longest cell that are not folded."""
    page = open_page(f"book/{chapter}", permissions=["clipboard-read", "clipboard-write"])
    page.wait_for_function("document.querySelector('.copybtn')")
    sources = {c["id"]: "".join(c["source"]) for c in NOTEBOOKS[chapter]["cells"] if c["cell_type"] == "code"}
    inputs = {name: page.locator(f'[id="cell-{name}"] > .cell_input') for name in sources}
    seen = [name for name, shown in inputs.items() if shown.count() and shown.is_visible()]
    for name in {seen[0], max(seen, key=lambda name: len(sources[name]))}:
        inputs[name].hover()
        inputs[name].locator(".copybtn").click()
        assert page.evaluate("navigator.clipboard.readText()") == sources[name]


@each_chapter
def test_folds_open_and_close_by_click_and_by_key(open_page: Opener, chapter: str) -> None:
    """The first one of each kind: code, hints, solutions."""
    page = open_page(f"book/{chapter}")
    kinds = page.locator("main details").evaluate_all("all => all.map(fold => fold.className)")
    folds = [page.locator("main details").nth(kinds.index(kind)) for kind in sorted(set(kinds))]
    assert folds or chapter == "corrections"

    def turn(fold: Locator, by: Callable[[Locator], object], wanted: bool) -> None:
        height = fold.evaluate("fold => fold.getBoundingClientRect().height")
        by(fold.locator("> summary"))
        assert fold.evaluate("fold => fold.open") == wanted
        assert (fold.evaluate("fold => fold.getBoundingClientRect().height") > height) == wanted

    for fold in folds:
        turn(fold, Locator.click, True)
        turn(fold, Locator.click, False)
        turn(fold, lambda summary: summary.press("Enter"), True)
        turn(fold, lambda summary: summary.press("Enter"), False)


def test_the_theme_button_changes_the_theme_for_good(open_page: Opener) -> None:
    page = open_page(PAGES[0], color_scheme="light")
    theme, button = page.locator("html"), page.get_by_role("button", name="Color mode").first
    seen = set()
    for _ in range(3):
        button.click()
        seen.add((theme.get_attribute("data-mode"), theme.get_attribute("data-theme")))
    assert seen == {("auto", "light"), ("light", "light"), ("dark", "dark")}
    while theme.get_attribute("data-mode") != "dark":
        button.press("Enter")
    page.reload()
    expect(theme).to_have_attribute("data-theme", "dark")
    page.goto(page.url.replace(PAGES[0], PAGES[1]))
    expect(theme).to_have_attribute("data-theme", "dark")


def test_on_a_phone_the_contents_are_in_a_drawer(open_page: Opener) -> None:
    page = open_page(PAGES[1], WIDTHS["phone"], has_touch=True, is_mobile=True)
    opener, entry = (
        page.locator("button.primary-toggle"),
        page.locator(f'nav a[href$="{Path(PAGES[-1]).name}.html"]').first,
    )
    expect(entry).not_to_be_in_viewport()
    opener.tap()
    expect(entry).to_be_visible()
    page.keyboard.press("Escape")
    expect(entry).not_to_be_in_viewport()
    opener.press("Enter")
    expect(entry).to_be_visible()
    page.touchscreen.tap(WIDTHS["phone"] - 10, HEIGHT / 2)
    expect(entry).not_to_be_in_viewport()
    opener.tap()
    entry.tap()
    page.wait_for_url(f"**/{PAGES[-1]}.html")


def test_next_and_back_lead_through_all_pages_in_order(open_page: Opener) -> None:
    page = open_page(PAGES[0])
    expect(page.locator("a.left-prev")).to_have_count(0)
    for before, name in pairwise(PAGES):
        page.locator("a.right-next").click()
        page.wait_for_url(f"**/{name}.html", wait_until="domcontentloaded")
        assert page.locator("a.left-prev").get_attribute("href") == f"{Path(before).name}.html"
    expect(page.locator("a.right-next")).to_have_count(0)
