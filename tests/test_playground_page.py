"""The playground in headless Chromium, from the file system: its numbers, every control, its links."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, CDPSession, Locator, Page
from test_playground_engine import CLOSE, SCENES, question, scene
from torch.testing import assert_close

import detr_mini
from detr_mini import teaching
from detr_mini.teaching import live

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The playground alone, in the book's style, as a file."""
    folder = tmp_path_factory.mktemp("playground")
    live.write(folder)
    style = f"<style>{(ROOT / 'book/_static/book.css').read_text('utf-8')}</style>"
    colours = "background: var(--pst-color-background); color: var(--pst-color-text-base)"  # as the theme has it
    style += f"<style>body {{ {colours} }}</style>"
    style = style.replace("url(", "local(")  # the fonts are not here
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>P</title>{style}'
    still = (ROOT / "book/_static/playground.webp").as_uri()
    body = f'<main class="bd-article"><h1>The playground</h1>{live.shell(".", still)}</main>'
    html = f'<!doctype html><html lang="en" data-theme="light"><head>{head}</head><body>{body}</body></html>'
    (folder / "page.html").write_text(html, "utf-8")
    return (folder / "page.html").as_uri()


def watched(page: Page) -> list[str]:
    """What goes wrong on a page from now on, and what it asks for that is no file of its own."""
    faults: list[str] = []
    page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: None if re.match("file:|data:|blob:", asked.url) else faults.append(asked.url))
    return faults


def started(page: Page, address: str) -> Page:
    page.goto(address)
    if "#" not in address:
        page.click("button.start")
    page.wait_for_function("document.querySelector('.playground').app?.answer", timeout=120_000)
    answered(page)
    return page


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A playground that has been started and has answered; nothing went wrong on it by the end of the test."""
    with browser.new_page(viewport={"width": 1280, "height": 1000}) as page:
        faults = watched(page)
        yield started(page, address)
        assert not faults


def answered(page: Page) -> None:
    page.wait_for_function("!document.querySelector('.playground').app.busy", timeout=60_000)


def app(page: Page, what: str) -> Any:
    """Something of the playground's state, once the model has answered."""
    answered(page)
    text = "(app => JSON.stringify({}, (_, v) => ArrayBuffer.isView(v) ? [...v] : v))(document.querySelector"
    return json.loads(page.evaluate(text.format(what) + "('.playground').app)"))


def boxes(page: Page) -> list[float]:
    return app(page, "app.answer.layers.at(-1).boxes")


def box_of_the_bus(page: Page) -> list[float]:
    """The box of the slot that is surest of a bus."""
    layer = app(page, "app.answer.layers.at(-1)")
    slot = max((n for n in range(25) if layer["labels"][n] == 3), key=lambda n: layer["scores"][n])
    return layer["boxes"][4 * slot : 4 * slot + 4]


def stage(page: Page) -> Locator:
    return page.get_by_role("application", name="The scene")


def place(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where on the window a place of the scene is, given in the model's pixels."""
    area = stage(page).bounding_box()
    assert area is not None
    return area["x"] + x / 128 * area["width"], area["y"] + y / 96 * area["height"]


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*place(page, *start))
    page.mouse.down()
    page.mouse.move(*place(page, *end), steps=4)
    page.mouse.up()


def pick_the_bus(page: Page) -> None:
    page.get_by_label("Chosen").select_option(label="3 bus")


def thing(page: Page, index: int = 2) -> dict[str, Any]:
    return app(page, f"app.scene.things[{index}]")


# --- the numbers


@pytest.mark.parametrize("name", live.MODELS)
@torch.no_grad()
def test_a_hundred_scenes_in_chromium_give_the_packages_logits_and_boxes(page: Page, address: str, name: str) -> None:
    page.evaluate(
        """async name => {
            if (!window.playgroundModels[name]) await new Promise(done => {
                const script = document.createElement('script');
                Object.assign(script, { src: name + '.js', onload: done });
                document.head.append(script);
            });
            const text = `(${window.playgroundEngine})().serve(self);`;
            const worker = new Worker(URL.createObjectURL(new Blob([text])));
            const ask = asked => new Promise(done => {
                worker.onmessage = ({ data }) => done(data);
                worker.postMessage(asked);
            });
            await ask({ file: window.playgroundModels[name] });
            window.askModel = async question => {
                const bytes = Uint8Array.from(atob(question.picture.data), sign => sign.charCodeAt(0));
                const data = new Uint8ClampedArray(bytes.length / 3 * 4);
                bytes.forEach((byte, i) => { data[4 * Math.floor(i / 3) + i % 3] = byte; });
                const told = await ask({ question: { ...question, picture: { ...question.picture, data } } });
                return told.answer.layers.map(layer => [[...layer.logits], [...layer.boxes]]);
            };
        }""",
        name,
    )
    model = detr_mini.load(name)
    for index in range(SCENES):
        layers = page.evaluate("question => window.askModel(question)", question(index))
        outputs = model([scene(index)[1]])
        for (logits, boxes), expected in zip(layers, [*outputs["aux_outputs"], outputs], strict=True):
            assert_close(torch.tensor(logits).view(25, -1), expected["pred_logits"][0], **CLOSE)
            assert_close(torch.tensor(boxes).view(25, 4), expected["pred_boxes"][0], **CLOSE)


def test_the_first_scene_is_answered_and_told(page: Page) -> None:
    words = page.locator(".said").text_content() or ""
    assert words.startswith("5 objects to be found.")
    assert {"tree", "person", "house", "bus", "balloon"} <= set(re.findall(r"\w+", words))
    assert page.locator("#panel-boxes li").count() == 5
    page.get_by_role("status").filter(has_text="5 objects").wait_for(timeout=5_000)


# --- the scene


def test_a_pointer_drags_a_thing_and_its_box_comes_along(page: Page) -> None:
    before = box_of_the_bus(page)
    drag(page, (54, 61), (84, 65))
    assert thing(page)["x"] == pytest.approx(84, abs=0.6)
    after = box_of_the_bus(page)
    assert after[0] - before[0] == pytest.approx(30 / 128, abs=0.05)


def test_a_finger_drags_a_thing(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    with context, context.new_page() as page:
        faults = watched(page)
        started(page, address)
        stage(page).scroll_into_view_if_needed()
        session: CDPSession = context.new_cdp_session(page)
        for kind, x in (("touchStart", 54), ("touchMove", 64), ("touchMove", 80), ("touchEnd", None)):
            left, top = place(page, x or 0, 60)
            points = [{"x": left, "y": top}] if x else []
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        assert thing(page)["x"] == pytest.approx(80, abs=1)
        page.get_by_role("button", name="Slot 13").tap()
        assert app(page, "[app.tab, app.slot]") == ["slot", 13]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert not faults


def test_the_dot_at_its_corner_makes_a_thing_larger(page: Page) -> None:
    pick_the_bus(page)
    right, top = 54 + 1.24 * 27, 69 - 1.03 * 27
    drag(page, (right + 1, top - 1), (right + 1, top - 8))
    assert thing(page)["size"] > 30


def test_keys_do_all_that_can_be_done_with_a_thing(page: Page) -> None:
    pick_the_bus(page)
    stage(page).focus()
    start = thing(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    assert (thing(page)["x"], thing(page)["y"]) == (start["x"] + 2, start["y"] - 8)
    page.keyboard.press("+")
    assert thing(page)["size"] > start["size"]
    page.keyboard.press("f")
    assert thing(page)["flip"]
    page.keyboard.press("c")
    assert len(app(page, "app.scene.things")) == 6
    assert thing(page, 5)["kind"] == "bus"
    page.keyboard.press("[")
    assert thing(page, 0)["kind"] == "bus"
    page.keyboard.press("]")
    assert thing(page, 5)["kind"] == "bus"
    page.keyboard.press("Delete")
    assert [one["kind"] for one in app(page, "app.scene.things")].count("bus") == 1
    for _ in range(8):
        page.keyboard.press("Control+z")
    assert thing(page) == start
    page.keyboard.press("n")
    assert app(page, "app.thing") >= 0


def test_buttons_do_the_same(page: Page) -> None:
    pick_the_bus(page)
    start = thing(page)
    for name, seen in (
        ("Larger", lambda: thing(page)["size"] > start["size"]),
        ("Smaller", lambda: thing(page)["size"] == pytest.approx(start["size"], abs=0.2)),
        ("Flip", lambda: thing(page)["flip"]),
        ("Copy", lambda: len(app(page, "app.scene.things")) == 6),
        ("Behind", lambda: thing(page, 0)["kind"] == "bus"),
        ("In front", lambda: thing(page, 5)["kind"] == "bus"),
        ("Delete", lambda: len(app(page, "app.scene.things")) == 5),
    ):
        page.get_by_role("button", name=name, exact=True).click()
        assert seen(), name
    page.get_by_role("button", name="Undo").click()
    assert len(app(page, "app.scene.things")) == 6
    page.get_by_role("button", name="Reset").click()
    assert thing(page) == start


def test_everything_on_the_shelf_can_be_put_into_the_scene(page: Page) -> None:
    page.get_by_label("Situation").select_option("Nothing")
    assert app(page, "app.objects.length") == 0
    kinds = app(page, "Object.keys(app.town.kinds)")
    for number, kind in enumerate(kinds):
        page.get_by_role("button", name=f"Add a {kind}", exact=True).click()
        assert thing(page, number)["kind"] == kind
        assert app(page, "app.thing") == number
    assert [one["kind"] for one in app(page, "app.scene.things")] == kinds


def picture(page: Page) -> int:
    """A number that changes with the picture that the model sees."""
    return page.evaluate(
        """() => {
            const { pen, town } = document.querySelector('.playground').app;
            const { data } = pen.getImageData(0, 0, town.width * town.scale, town.height * town.scale);
            return data.reduce((sum, value, i) => (sum + value * (1 + i % 97)) % 1e9, 0);
        }"""
    )


def test_ground_hour_noise_and_brush_change_what_the_model_sees(page: Page) -> None:
    seen, told = {picture(page)}, [boxes(page)]

    def is_new() -> bool:
        now = boxes(page), picture(page)
        new = now[1] not in seen and now[0] != told[-1]
        seen.add(now[1])
        told.append(now[0])
        return new

    for ground in ("lake", "avenue", "meadow", "sky"):
        page.get_by_label("Ground").select_option(ground)
        assert is_new(), ground
    page.get_by_label("Hour").select_option("dusk")
    assert is_new()
    page.get_by_label("Noise").fill("30")
    assert is_new()
    page.get_by_label("Brush").check()
    found = app(page, "app.objects.length")
    for y in (40, 50, 60, 68):
        drag(page, (15, y), (90, y))
    assert is_new()
    assert app(page, "app.objects.length") < found


def test_a_hidden_thing_is_not_asked_for(page: Page) -> None:
    page.get_by_label("Situation").select_option("Two buses")
    assert app(page, "app.objects.map(one => one.label)") == [3, 3]
    drag(page, (92, 66), (38, 60))
    assert app(page, "app.objects.map(one => one.label)") == [3]


def surest(page: Page, label: int) -> list[int]:
    """The slots that say a class with a score of a half or more."""
    layer = app(page, "app.answer.layers.at(-1)")
    return [n for n in range(25) if layer["labels"][n] == label and layer["scores"][n] >= 0.5]


def test_the_answers_that_the_page_folds_away_are_true(page: Page) -> None:
    assert surest(page, 3) == [13]
    pick_the_bus(page)
    stage(page).focus()
    followed = []
    for _ in range(5):
        page.keyboard.press("Shift+ArrowRight")
        followed.append(surest(page, 3))
    assert [13] in followed
    assert [11, 13] in followed
    assert followed[-1] == [11]
    page.get_by_label("Situation").select_option("Bus in the sky")
    [sky] = surest(page, 3)
    assert app(page, f"app.answer.layers.at(-1).scores[{sky}]") >= 0.995
    page.get_by_role("tab", name="Break it").click()
    page.get_by_label("Situation").select_option("Two buses")
    assert surest(page, 3) == [11, 24]
    page.get_by_label("No self-attention").check()
    assert surest(page, 3) == [11, 13, 24]
    page.get_by_label("No self-attention").uncheck()
    page.get_by_label("Situation").select_option("A street")
    page.get_by_label("shuffled").check()
    scores = app(page, "app.answer.layers.at(-1).scores")
    assert sum(score >= 0.5 for score in scores) == 5
    assert surest(page, 3) == [22]
    page.get_by_label("shuffled").uncheck()
    page.get_by_label("Situation").select_option("A crowd")
    page.get_by_label("No query vectors").check()
    assert surest(page, 1) == [*range(25)]
    assert {f"{score:.2f}" for score in app(page, "app.answer.layers.at(-1).scores")} == {"0.94"}


# --- what can be seen


def test_the_threshold_says_which_boxes_are_drawn(page: Page) -> None:
    page.get_by_label("Situation").select_option("A crowd")
    scores = app(page, "app.answer.layers.at(-1).scores")
    counts = []
    for threshold in (0.05, 0.5, 0.95):
        page.get_by_label("Threshold").fill(str(threshold))
        counts.append(page.locator("#panel-boxes li").count())
        assert counts[-1] == sum(score >= threshold for score in scores)
    assert counts[0] > counts[1] > counts[2]


def test_chips_say_who_fires_and_pick_a_slot(page: Page) -> None:
    scores = app(page, "app.answer.layers.at(-1).scores")
    for slot, score in enumerate(scores):
        name = page.locator(".chips button").nth(slot).get_attribute("aria-label") or ""
        assert name.startswith(f"Slot {slot}: ")
        assert name.endswith(f"score {score:.2f}")
    overlay = stage(page).evaluate("canvas => canvas.toDataURL()")
    page.get_by_role("button", name="Slot 13").press("Enter")
    assert app(page, "[app.tab, app.slot]") == ["slot", 13]
    assert stage(page).evaluate("canvas => canvas.toDataURL()") != overlay


def changes(page: Page, act: Callable[[], Any]) -> bool:
    """Whether something changes what is drawn over the scene."""
    before = stage(page).evaluate("canvas => canvas.toDataURL()")
    act()
    answered(page)
    return stage(page).evaluate("canvas => canvas.toDataURL()") != before


def test_layer_head_and_map_of_a_slot(page: Page) -> None:
    page.get_by_role("button", name="Slot 13").click()
    panel = page.locator("#panel-slot")
    assert changes(page, lambda: panel.get_by_label("Layer").select_option("0"))
    assert "after layer 1" in (panel.text_content() or "")
    assert changes(page, lambda: panel.get_by_label("Head").select_option("2"))
    assert changes(page, lambda: panel.get_by_label("500 pictures").check())


def test_a_cell_is_pointed_at_by_pointer_and_keys(page: Page) -> None:
    page.get_by_role("tab", name="A cell").click()
    page.mouse.move(*place(page, 60, 60))
    assert app(page, "app.cell") == 7 * 16 + 7
    stage(page).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert app(page, "app.cell") == 8 * 16 + 6
    panel = page.locator("#panel-cell")
    assert "the cell in row 9, column 7" in (panel.text_content() or "")
    assert changes(page, lambda: panel.get_by_label("Layer").select_option("0"))
    assert changes(page, lambda: panel.get_by_label("Head").select_option("1"))


def test_matching_and_loss_follow_the_scene(page: Page) -> None:
    page.get_by_role("tab", name="Matching and loss").click()
    assert page.locator("#panel-matching td.paired").count() == 5
    total = page.locator(".terms tr").last
    before = total.text_content()
    drag(page, (104, 78), (20, 88))
    answered(page)
    assert total.text_content() != before
    pairs = app(page, "app.answer.layers.at(-1).pairs.length")
    assert page.locator("#panel-matching td.paired").count() == pairs
    page.get_by_label("Situation").select_option("Nothing")
    answered(page)
    assert "No object, no cost" in (page.locator("#panel-matching").text_content() or "")


def test_tabs_are_turned_with_the_arrow_keys(page: Page) -> None:
    page.get_by_role("tab", name="Boxes").focus()
    for tab in ("slot", "cell", "matching", "broken", "boxes"):
        page.keyboard.press("ArrowRight")
        assert app(page, "app.tab") == tab
        assert page.get_by_role("tabpanel").count() == 1


@pytest.mark.parametrize("words", ["No positions", "No query vectors", "shuffled", "No self-attention"])
def test_a_switch_breaks_the_model_and_mends_it(page: Page, words: str) -> None:
    page.get_by_role("tab", name="Break it").click()
    page.get_by_label("Noise").fill("20")  # of the scene, and so the same each time
    sound = boxes(page)
    page.get_by_label(words).check()
    assert boxes(page) != sound
    page.get_by_label(words).uncheck()
    assert boxes(page) == sound


def test_a_padded_frame_moves_boxes_only_where_its_mask_is_forgotten(page: Page) -> None:
    page.get_by_role("tab", name="Break it").click()
    sound = torch.tensor(boxes(page))
    page.get_by_label("Frame").select_option("masked")
    assert (torch.tensor(boxes(page)) - sound).abs().max() < 1e-4
    page.get_by_label("Frame").select_option("forgotten")
    assert (torch.tensor(boxes(page)) - sound).abs().max() > 0.05


def test_the_other_model(page: Page) -> None:
    page.get_by_label("Model").select_option("nano")
    answered(page)
    page.get_by_role("button", name="Slot 5").click()
    assert app(page, "[app.layer, app.answer.layers.length]") == [2, 3]


def dots_of(page: Page, points: str, row: int) -> list[tuple[float, float, int, float]]:
    """Place, level and weight of each point that a slot or a cell reads, from what the engine has told."""
    heads, levels, count = app(page, f"{points}.shape")
    each = heads * levels * count
    places = app(page, f"{points}.places.slice({2 * row * each}, {2 * (row + 1) * each})")
    weights = app(page, f"{points}.weights.slice({row * each}, {(row + 1) * each})")
    return [(places[2 * i], places[2 * i + 1], i // count % levels, weights[i]) for i in range(each)]


def pixels_of(page: Page, colour: list[int], x: float = 0.5, y: float = 0.5, reach: float = 0.5) -> int:
    """How many pixels around a place, given in shares, are drawn over the scene in exactly this color."""
    file = stage(page).evaluate("canvas => canvas.toDataURL()").partition(",")[2]
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(file))))  # (H, W, 4)
    height, width = drawn.shape[:2]
    rows = slice(max(0, round((y - reach) * height)), round((y + reach) * height))
    columns = slice(max(0, round((x - reach) * width)), round((x + reach) * width))
    return int((drawn[rows, columns, :3] == colour).all(-1).sum())


def test_the_deformable_model_shows_the_points_that_a_slot_reads(page: Page) -> None:
    page.get_by_label("Model").select_option("deformable_nano")
    scores = app(page, "app.answer.layers.at(-1).scores")
    slot = max(range(25), key=lambda n: scores[n])
    page.get_by_role("button", name=f"Slot {slot}:").click()
    dots = dots_of(page, "app.answer.seen.points.cells[2]", slot)
    assert sum(weight for *_, weight in dots) == pytest.approx(4)  # one for each head
    cx, cy, w, h = boxes(page)[4 * slot : 4 * slot + 4]
    inside = sum(dot[3] for dot in dots if abs(dot[0] - cx) < w / 2 and abs(dot[1] - cy) < h / 2) / 4
    coarse = sum(dot[3] for dot in dots if dot[2] == 1) / 4
    said = page.locator("#panel-slot").inner_text()
    assert f"Of the weight of 32 points {100 * inside:.0f} % lies in this box" in said
    assert f"{100 * coarse:.0f} % is on the coarse level" in said
    assert "Bright is" not in said  # of the models that have maps
    assert not page.get_by_label("500 pictures").is_visible()
    blue, orange = [0, 0x72, 0xB2], [0xE6, 0x9F, 0]
    assert min(pixels_of(page, blue), pixels_of(page, orange)) > 100
    for level, colour, other in ((0, blue, orange), (1, orange, blue)):
        page.locator("#panel-slot").get_by_label("Level").select_option(str(level))
        assert "Of the weight of 16 points" in page.locator("#panel-slot").inner_text()
        x, y, _, _ = max((dot for dot in dots if dot[2] == level), key=lambda dot: dot[3])
        assert pixels_of(page, colour, x, y, 0.02) > 20
        assert not pixels_of(page, other)
    page.locator("#panel-slot").get_by_label("Head").select_option("2")
    assert "Of the weight of 4 points" in page.locator("#panel-slot").inner_text()


def test_the_deformable_model_shows_the_points_that_a_cell_reads(page: Page) -> None:
    page.get_by_label("Model").select_option("deformable_nano")
    page.get_by_role("tab", name="A cell").click()
    answered(page)
    page.locator("#panel-cell").get_by_label("Layer").select_option(label="2")
    page.mouse.move(*place(page, 60, 60))
    cell = 7 * 16 + 7
    assert app(page, "app.cell") == cell
    dots = dots_of(page, "app.answer.seen.points.encoder[1]", cell)
    far = sum(dot[3] / 4 * ((16 * dot[0] - 7.5) ** 2 + (12 * dot[1] - 7.5) ** 2) ** 0.5 for dot in dots)
    said = page.locator("#panel-cell").inner_text()
    assert f"In layer 2, the cell in row 8, column 8 reads 32 points, by weight {far:.1f} cells away on average" in said
    page.get_by_label("Model").select_option("mini")
    answered(page)
    assert "reads most of" in page.locator("#panel-cell").inner_text()
    assert not page.locator("#panel-cell").get_by_label("Level").is_visible()


def test_a_model_that_is_missing_is_said(browser: Browser, address: str, tmp_path: Path) -> None:
    for name in ("page.html", "page.js", "engine.js", "town.js", "slots.js", "playground.css", "mini.js"):
        (tmp_path / name).symlink_to(Path(address.removeprefix("file://")).parent / name)
    with browser.new_page() as page:
        started(page, (tmp_path / "page.html").as_uri())
        page.get_by_label("Model").select_option("nano")
        page.locator(".said", has_text="nano.js is missing").wait_for(timeout=10_000)
        page.get_by_label("Model").select_option("mini")
        page.locator(".said", has_text="5 objects to be found").wait_for(timeout=10_000)


def test_the_tour_has_six_steps_and_goes(page: Page) -> None:
    tour = page.get_by_role("group", name="A tour of six steps")
    said = set()
    for step in range(6):
        assert f"{step + 1} of 6" in (tour.text_content() or "")
        said.add(tour.locator("p").text_content())
        if step < 5:
            tour.get_by_role("button", name="Next").click()
    assert len(said) == 6
    assert app(page, "app.tab") == "broken"
    tour.get_by_role("button", name="Back").click()
    assert app(page, "app.tab") == "matching"
    tour.get_by_role("button", name="Close").click()
    assert not tour.is_visible()


# --- links, pictures, access


def test_a_link_opens_the_same_scene_and_the_same_boxes(page: Page, browser: Browser) -> None:
    page.get_by_label("Situation").select_option("Half a bus")
    page.get_by_label("Hour").select_option("dusk")
    page.get_by_label("Noise").fill("15")
    page.get_by_label("Brush").check()
    drag(page, (80, 60), (84, 66))
    page.get_by_label("Brush").uncheck()
    drag(page, (20, 60), (24, 62))
    page.get_by_role("button", name="Copy link").click()
    with browser.new_page(viewport={"width": 900, "height": 900}) as other:
        faults = watched(other)
        started(other, page.url)
        assert app(other, "app.scene") == app(page, "app.scene")
        assert boxes(other) == boxes(page)
        assert not other.get_by_role("group", name="A tour of six steps").is_visible()
        assert not faults


def test_a_link_opens_the_same_model(page: Page, browser: Browser) -> None:
    page.get_by_label("Model").select_option("deformable_nano")
    drag(page, (54, 61), (84, 65))
    page.get_by_role("button", name="Copy link").click()
    with browser.new_page(viewport={"width": 900, "height": 900}) as other:
        faults = watched(other)
        started(other, page.url)
        assert app(other, "[app.model, app.scene]") == ["deformable_nano", app(page, "app.scene")]
        assert boxes(other) == boxes(page)
        assert not other.evaluate("'mini' in window.playgroundModels")  # what nobody chose is not loaded
        assert not faults
        other.evaluate("location.hash = '#scene=' + btoa(JSON.stringify(['sky', 'day', 0, [], [], 'nano']))")
        other.wait_for_function("document.querySelector('.playground').app.model === 'nano'")
        assert app(other, "[app.answer.layers.length, app.scene.ground, app.answer.seen.points ?? 0]") == [3, "sky", 0]


@pytest.mark.parametrize("end", ["#scene=nonsense", "#scene=W10", "#scene=WyJtb29uIiwiZGF5IiwwLFtdLFtdXQ"])
def test_a_damaged_link_opens_the_first_scene(browser: Browser, address: str, end: str) -> None:
    with browser.new_page() as page:
        faults = watched(page)
        started(page, address + end)
        assert len(app(page, "app.scene.things")) == 5
        assert not faults


def test_the_picture_is_saved(page: Page) -> None:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    assert download.value.suggested_filename == "scene.png"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Page, theme: str) -> None:
    page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    for tab in page.get_by_role("tab").all():
        tab.click()
        found = Axe().run(page, options={"preload": False}).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not serious, [(one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in serious]


def test_in_a_notebook_all_of_it_is_in_the_cell(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "output.html"
    path.write_text(f'<!doctype html><meta charset="utf-8">{teaching.playground()._repr_html_()}', "utf-8")
    with browser.new_page() as page:
        faults = watched(page)
        started(page, path.as_uri())
        assert surest(page, 3) == [13]
        assert page.get_by_role("link", name="Object queries and heads").get_attribute("href") == "10_detr.ipynb"
        assert not faults
