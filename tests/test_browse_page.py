"""The page of a data set in headless Chromium, from the file system, as its readers open it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import HEIGHT, THEMES, WIDTHS, watch
from playwright.sync_api import Browser, Page, expect
from test_browse import NASTY, annotations, nasty_town, plant, spoil, stored

import detr_mini
from detr_mini.browse.making import browse
from detr_mini.data import make_data

pytestmark = pytest.mark.browser
VIEWS = [(size, theme) for size in WIDTHS for theme in THEMES]
Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with faults and planted mistakes, its page, and the page with a model's results."""
    root = tmp_path_factory.mktemp("shown") / "streets"
    make_data(root, train=6, val=70, workers=1)
    (root / "planted.json").write_text(json.dumps(plant(root)))

    def add_faults(data: dict[str, Any]) -> None:
        first = data["annotations"][0]
        data["annotations"].append(first | {"id": 10**8})
        data["annotations"][-1]["area"] = "large"

    spoil(root, add_faults)
    browse(root, root / "plain.html")
    browse(root, root / "model.html", ["val"], model=detr_mini.load("mini"), name="mini")
    return root


@pytest.fixture
def open_page(browser: Browser, folder: Path) -> Iterator[Opener]:
    """Opens a page of the folder; what goes wrong on one of them fails the test at its end."""
    contexts, faults = [], []

    def opener(name: str, size: str = "desktop", **options: Any) -> Page:
        context = browser.new_context(viewport={"width": WIDTHS[size], "height": HEIGHT}, **options)
        contexts.append(context)
        page = context.new_page()
        faults.append(watch(page, folder.as_uri()))
        page.goto(f"{folder.as_uri()}/{name}")
        return page

    yield opener
    for context in contexts:
        context.close()
    assert not [fault for some in faults for fault in some]


def names(page: Page) -> list[str]:
    """The files of the pictures that are shown, in order."""
    return page.locator(".card .file").all_inner_texts()


def assert_accessible(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not serious, [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in serious]


@pytest.mark.parametrize(("size", "theme"), VIEWS)
@pytest.mark.parametrize("name", ["plain.html", "model.html"])
def test_every_view_is_sound(open_page: Opener, name: str, size: str, theme: str) -> None:
    page = open_page(name, size, color_scheme=theme)
    expect(page.locator(".card").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert_accessible(page)
    page.locator(".card .open").first.click()
    expect(page.locator("#large-title")).to_have_text(names(page)[0])
    assert page.evaluate("document.querySelector('#large').scrollWidth <= innerWidth")
    assert_accessible(page)


def test_pictures_are_chosen_by_class_fault_and_split(open_page: Opener, folder: Path) -> None:
    page, data = open_page("plain.html"), stored(folder / "plain.html")
    expect(page.locator("#status")).to_contain_text("76 pictures; the first 48 are shown")
    page.locator("#more").click()
    assert len(names(page)) == 76
    classes = [one["name"] for one in data["summary"]["classes"]]
    for k, name in [(0, classes[0]), (3, classes[3])]:
        page.locator("#class-table button.class", has_text=name).first.click()
        wanted = {p["name"] for p in data["pictures"] if k in [one[0] for one in p["objects"]]}
        assert set(names(page)) == wanted
        expect(page.locator("#tool-cls")).to_have_value(str(k))
    page.get_by_role("button", name="Clear filters").click()
    page.locator("#fault-kinds button", has_text="Breaks a rule").click()
    broken = {p["name"] for p in data["pictures"] if "check" in [f[0] for f in p["findings"]]}
    assert broken
    assert set(names(page)) == broken
    page.locator("#tool-fault").select_option("")
    page.locator("#tool-split").select_option("0")
    assert len(names(page)) == 6
    assert "split=0" in page.url


def test_orders(open_page: Opener, folder: Path) -> None:
    page = open_page("plain.html")
    pictures = {p["name"]: p for p in stored(folder / "plain.html")["pictures"]}

    def size(picture: dict[str, Any]) -> float:
        return min([(w * h / picture["w"] / picture["h"]) ** 0.5 for _, _, _, w, h, _ in picture["objects"]], default=9)

    for order, key in {
        "many": lambda p: -len(p["objects"]),
        "small": size,
        "hard": lambda p: -p["hard"],
        "name": lambda p: (p["split"], p["name"]),
    }.items():
        page.locator("#tool-sort").select_option(order)
        keys = [key(pictures[name]) for name in names(page)]
        assert keys == sorted(keys), order
        assert keys[0] == min(map(key, pictures.values()))


def test_boxes_lie_where_the_annotation_says(open_page: Opener, folder: Path) -> None:
    page = open_page("plain.html#sort=many")
    picture = next(p for p in stored(folder / "plain.html")["pictures"] if p["name"] == names(page)[0])
    card = page.locator(".card").first
    drawn, image = card.locator(".box"), card.locator("image").bounding_box()
    assert image is not None
    assert drawn.count() == len(picture["objects"])
    for k, (_, x, y, w, h, _) in enumerate(picture["objects"]):
        box, scale = drawn.nth(k).bounding_box(), image["width"] / picture["w"]
        assert box is not None
        place = [box["x"] - image["x"], box["y"] - image["y"], box["width"], box["height"]]
        assert place == pytest.approx([scale * v for v in (x, y, w, h)], abs=3)
    page.locator("#tool-names").check()
    assert page.locator(".card").first.locator(".name").count() == len(picture["objects"])
    page.locator("#tool-boxes").uncheck()
    expect(page.locator(".card .box")).to_have_count(0)


def test_keys(open_page: Opener) -> None:
    page = open_page("plain.html#sort=name")
    shown = names(page)
    page.locator(".card .open").first.focus()
    page.keyboard.press("Enter")
    title = page.locator("#large-title")
    expect(title).to_have_text(shown[0])
    for key, place in [("ArrowLeft", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)]:
        page.keyboard.press(key)
        expect(title).to_have_text(shown[place])
    assert page.locator("#large .name").count() == 0
    page.keyboard.press("n")
    assert page.locator("#large .name").count() == page.locator("#large .box").count() > 0
    page.locator("#large ol.boxes button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#large ol.boxes button").first).to_have_attribute("aria-pressed", "true")
    zoomed = page.locator("#large svg.drawing").get_attribute("viewBox")
    page.keyboard.press("Enter")
    assert page.locator("#large svg.drawing").get_attribute("viewBox") != zoomed
    page.keyboard.press("b")
    expect(page.locator("#large .box")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator("#large")).to_be_hidden()
    assert "p=" not in page.url


def test_the_address_holds_the_view(open_page: Opener) -> None:
    page = open_page("plain.html#sort=name")
    third = names(page)[2]
    page.locator(".card .open").nth(2).click()
    address = page.url.rpartition("/")[2]
    page.go_back()
    expect(page.locator("#large")).to_be_hidden()
    other = open_page(address)
    expect(other.locator("#large-title")).to_have_text(third)
    other.keyboard.press("Escape")
    expect(other.locator("#tool-sort")).to_have_value("name")
    strange = open_page("plain.html#p=nowhere/1&cls=99&sort=none&t=x&view=77&heat=5&fault=no")
    expect(strange.locator("#status")).to_contain_text("No picture")


def test_touch(open_page: Opener) -> None:
    page = open_page("plain.html#sort=name", "phone", has_touch=True, is_mobile=True)
    shown = names(page)
    page.locator(".card .open").first.tap()
    expect(page.locator("#large-title")).to_have_text(shown[0])
    swipe = """([from, to]) => { const at = x => [new Touch({identifier: 1, target: stage, clientX: x, clientY: 200})];
        stage.dispatchEvent(new TouchEvent('touchstart', {changedTouches: at(from), bubbles: true}));
        stage.dispatchEvent(new TouchEvent('touchend', {changedTouches: at(to), bubbles: true})); }"""
    for way, place in [((300, 100), 1), ((200, 210), 1), ((100, 300), 0)]:
        page.evaluate(swipe, list(way))
        expect(page.locator("#large-title")).to_have_text(shown[place])
    page.locator("#large-close").tap()
    expect(page.locator("#large")).to_be_hidden()


def test_the_threshold_moves_all_counts(open_page: Opener, folder: Path) -> None:
    page, results = open_page("model.html"), stored(folder / "model.html")["results"]
    slider = page.locator("#threshold")
    slider.focus()
    for key, place in [("End", 18), ("ArrowLeft", 17), ("Home", 0), ("ArrowRight", 1)]:
        page.keyboard.press(key)
        step, threshold = results["steps"][place], results["thresholds"][place]
        told = page.locator("#threshold-said").inner_text()
        right, missed, false = (sum(step[name]) for name in ("right", "missed", "false"))
        assert told == f"{threshold:.2f}: {right:,} right, {missed:,} missed, {false:,} false"
        if page.locator("#more").is_visible():
            page.locator("#more").click()
        marks = page.locator(".card .marks").all_inner_texts()
        words = [word for text in marks for word in text.split("\n")]
        for name, value in (("right", right), ("missed", missed), ("false", false)):
            assert sum(int(word.split()[0]) for word in words if word.endswith(f" {name}")) == value, name
        slider.focus()
        expect(slider).to_have_attribute("aria-valuetext", f"score {threshold:.2f}")


def test_results_lead_to_their_pictures(open_page: Opener, folder: Path) -> None:
    page, data = open_page("model.html#t=0.3"), stored(folder / "model.html")
    step = data["results"]["steps"][5]
    cell = next((row, column, n) for row, column, n in step["confusion"] if row == column)
    page.locator("#confusion button.right").first.click()
    found = [p for p in data["pictures"] if any(d[0] == cell[1] and d[6] == 0 and d[5] >= 0.3 for d in p["detections"])]
    assert set(names(page)) <= {p["name"] for p in found}
    expect(page.locator("#status")).to_contain_text(f"{len(found)} pictures")
    page.locator("#outcomes button", has_text="Missed").click()
    assert set(names(page)) == {
        p["name"]
        for p in data["pictures"]
        if any(score < 0.3 and not one[5] for one, score in zip(p["objects"], p["found"], strict=True))
    }


def test_planted_mistakes_come_first(open_page: Opener, folder: Path) -> None:
    page = open_page("model.html")
    planted = json.loads((folder / "planted.json").read_text())
    first = names(page)[:12]
    assert set(planted.values()) <= set(first)
    words = {"label": "Wrong class?", "place": "Wrong box?", "missing": "Box missing?"}
    for kind, name in planted.items():
        card = page.locator(".card", has_text=name)
        expect(card.locator(".badge.doubt", has_text=words[kind])).to_have_count(1)
        card.locator(".open").click()
        expect(page.locator("#large .about")).to_contain_text("In doubt")
        page.keyboard.press("Escape")


def test_names_are_shown_as_they_are(browser: Browser, town: Path, tmp_path: Path) -> None:
    root = nasty_town(town, tmp_path)
    browse(root, root / "page.html", ["val"], model=detr_mini.load("nano"), name="nano")
    page = browser.new_page()
    faults, asked = watch(page, root.as_uri()), []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.goto((root / "page.html").as_uri())
    expect(page.locator("h1")).to_have_text(root.name)
    expect(page.locator("#class-table th").filter(has_text="北京")).to_have_text(NASTY.replace("\u2028", " "))
    page.locator(".card", has_text="🚌").locator(".open").click()
    expect(page.locator("#large-title")).to_contain_text("</script>".replace("/", ""))
    href = page.locator("#large header a").get_attribute("href")
    assert href is not None
    assert page.evaluate("href => new URL(href, location).pathname", href).endswith(".jpg")
    assert not asked
    assert not faults
    page.close()


def test_the_page_of_what_cannot_be_read(browser: Browser, town_copy: Path, tmp_path: Path) -> None:
    """No class, no object, no pixel: nothing to divide by."""

    def empty(data: dict[str, Any]) -> None:
        data["annotations"], data["categories"] = [], []
        data["images"] = data["images"][:2]
        for image in data["images"]:
            (town_copy / "val" / image["file_name"]).write_bytes(b"no picture")

    spoil(town_copy, empty)
    assert annotations(town_copy).is_file()
    for model in (None, detr_mini.load("nano")):
        browse(town_copy, tmp_path / "page.html", ["val"], model=model, name="nano")
        page = browser.new_page()
        faults = watch(page, tmp_path.as_uri())
        page.goto((tmp_path / "page.html").as_uri())
        expect(page.locator("#faults")).to_contain_text("Breaks a rule")
        expect(page.locator(".card")).to_have_count(2)
        page.locator(".card .open").first.click()
        expect(page.locator("#large .about")).to_contain_text("cannot read the picture")
        assert not faults
        page.close()
