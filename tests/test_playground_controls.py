"""Every control of the playground by pointer, by touch and by keys, in headless Chromium.

Which controls there are is asked of the page, so that one without a rule here is a failure.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Locator, Page
from test_playground_page import address, answered, app, place, stage, started, watched

__all__ = ["address"]
pytestmark = pytest.mark.browser
BOOK = Path(__file__).resolve().parent.parent / "book"
MEANS = ("pointer", "touch", "keys")
PATIENCE = 3.0  # seconds until a control has done its work
# Gives every control its name, with the panel that it stands in, and returns all of them in the order of the page.
NAME_ALL = """() => [...document.querySelectorAll('.playground :is(button, select, input, [tabindex])')].map(one => {
    const label = one.closest('label'), panel = one.closest('[role=tabpanel]')?.id.replace('panel-', '') ?? '';
    const texts = label && [...label.childNodes].filter(node => node.nodeType === 3).map(node => node.data.trim());
    const own = one.getAttribute('aria-label')?.replace(/: .*/, '') ?? one.textContent;
    one.dataset.control = (panel && panel + '/') + (texts ? texts.join('') : own).trim();
    return one.dataset.control;
})"""


class Rule(NamedTuple):
    """What tells whether a control did its work: something of the page's state, before and after."""

    see: str
    right: Callable[[Any, Any], bool]


def turned(before: Any, after: Any) -> bool:
    return [before, after] == [False, True]


def unturned(before: Any, after: Any) -> bool:
    return [before, after] == [True, False]


def grew(before: Any, after: Any) -> bool:
    return bool(after > before)


def fell(before: Any, after: Any) -> bool:
    return bool(after < before)


def other(before: Any, after: Any) -> bool:
    return bool(after != before)


BUS = "app.scene.things[2]"
SAID = "document.querySelector('.playground .said').textContent"
STEP = "document.querySelector('.tour .count').textContent"
BOXES = "app.answer.layers.at(-1).boxes"
OVERLAY = "document.querySelectorAll('.stage canvas')[1].toDataURL()"
RULES = {
    "Next": Rule(STEP, lambda before, after: [before, after] == ["1 of 6", "2 of 6"]),
    "Back": Rule(STEP, lambda before, after: [before, after] == ["2 of 6", "1 of 6"]),
    "Close": Rule("document.querySelector('.tour').hidden", turned),
    "Model": Rule(
        "[app.model, app.answer.layers.length]", lambda before, after: [before, after] == [["mini", 6], ["nano", 3]]
    ),
    "Situation": Rule("app.objects.map(one => one.label)", lambda _, after: after == [3, 3]),
    "Ground": Rule(f"[app.scene.ground, {BOXES}]", lambda a, b: [a[0], b[0]] == ["street", "lake"] and a[1] != b[1]),
    "Hour": Rule(f"[app.scene.hour, {BOXES}]", lambda a, b: [a[0], b[0]] == ["day", "dusk"] and a[1] != b[1]),
    "Undo": Rule(f"{BUS}.flip", unturned),
    "Reset": Rule(f"{BUS}.flip", unturned),
    "Copy link": Rule(SAID, lambda _, after: after.startswith("The link to this scene")),
    "Save picture": Rule(SAID, lambda _, after: after == "The picture is saved as scene.png."),
    "The scene": Rule(f"[{BUS}.x, {BOXES}]", lambda a, b: b[0] > a[0] and a[1] != b[1]),
    "Chosen": Rule("app.thing", lambda before, after: [before, after] == [2, 3]),
    "Smaller": Rule(f"{BUS}.size", fell),
    "Larger": Rule(f"{BUS}.size", grew),
    "Flip": Rule(f"{BUS}.flip", turned),
    "Copy": Rule("app.scene.things.map(one => one.kind)", lambda before, after: after == [*before, "bus"]),
    "Behind": Rule("app.scene.things[0].kind", lambda _, after: after == "bus"),
    "In front": Rule("app.scene.things.at(-1).kind", lambda _, after: after == "bus"),
    "Delete": Rule("app.scene.things.map(one => one.kind)", lambda before, after: set(before) - set(after) == {"bus"}),
    "Brush": Rule("app.brush", turned),
    "Noise": Rule(f"[app.scene.noise, {BOXES}]", lambda a, b: b[0] > a[0] and a[1] != b[1]),
    "boxes/Threshold": Rule("app.threshold", grew),
    "slot/Layer": Rule(f"[app.layer, {OVERLAY}]", lambda a, b: b[0] == a[0] - 1 and a[1] != b[1]),
    "slot/Head": Rule(f"[app.head, {OVERLAY}]", lambda a, b: [a[0], b[0]] == [-1, 0] and a[1] != b[1]),
    "slot/Level": Rule(f"[app.level, {OVERLAY}]", lambda a, b: [a[0], b[0]] == [-1, 0] and a[1] != b[1]),
    "slot/Where its boxes fell on 500 pictures": Rule(OVERLAY, other),
    "cell/Layer": Rule(f"[app.layer, {OVERLAY}]", lambda a, b: b[0] < a[0] and a[1] != b[1]),
    "cell/Head": Rule(f"[app.head, {OVERLAY}]", lambda a, b: [a[0], b[0]] == [-1, 0] and a[1] != b[1]),
    "cell/Level": Rule(f"[app.level, {OVERLAY}]", lambda a, b: [a[0], b[0]] == [-1, 0] and a[1] != b[1]),
    "matching/Layer": Rule(
        "[app.layer, document.querySelector('.terms').textContent]", lambda a, b: b[0] == a[0] - 1 and a[1] != b[1]
    ),
    "matching/Costs": Rule("document.querySelector('.costs').scrollTop", grew),
    "broken/No positions: cells do not know where they are": Rule(BOXES, other),
    "broken/No query vectors: all slots begin alike": Rule(BOXES, other),
    "broken/Query vectors shuffled among the slots": Rule(BOXES, other),
    "broken/No self-attention: slots do not read slots": Rule(BOXES, other),
    "broken/Frame": Rule("[app.frame, app.answer.width]", lambda _, after: after == ["masked", 21]),
}
TABS = {"Boxes": "boxes", "A slot": "slot", "A cell": "cell", "Matching and loss": "matching", "Break it": "broken"}


def rule_of(name: str) -> Rule:
    if slot := re.fullmatch(r"Slot (\d+)", name):
        return Rule("[app.tab, app.slot]", lambda _, after: after == ["slot", int(slot[1])])
    if kind := re.fullmatch("Add a (.+)", name):
        return Rule("app.scene.things.map(one => one.kind)", lambda before, after: after == [*before, kind[1]])
    if name in TABS:
        return Rule("app.tab", lambda _, after: after == TABS[name])
    return RULES[name]


def prepare(page: Page, name: str) -> None:
    """The first scene with its bus chosen, the control's panel, and whatever this control needs to have an effect."""
    model = "deformable_nano" if name.endswith("/Level") else "mini"
    if app(page, "app.model") != model:
        page.get_by_label("Model").select_option(model)
    page.get_by_label("Situation").select_option("A crowd" if name == "matching/Costs" else "A street")
    if name != "matching/Costs":
        page.get_by_label("Chosen").select_option(label="3 bus")
    panel = name.partition("/")[0] if "/" in name else "slot" if name == "Boxes" else "boxes"
    page.locator(f"#tab-{panel}").evaluate("tab => tab.click()")
    if panel in ("slot", "cell", "matching") and "/" in name:
        page.get_by_role("button", name="Slot 13").evaluate("chip => chip.click()")
        page.locator(f"#tab-{panel}").evaluate("tab => tab.click()")
    if name in ("Undo", "Reset"):
        page.get_by_role("button", name="Flip").evaluate("button => button.click()")
    if name.endswith("Layer"):  # one key press goes to the one before
        answered(page)
        page.locator(f'[data-control="{name}"]').select_option(label="2" if panel == "cell" else "6")
    answered(page)


def put_back(page: Page, name: str) -> None:
    control = page.locator(f'[data-control="{name}"]')
    if control.get_attribute("type") == "checkbox":
        control.uncheck()
    elif name == "broken/Frame":
        control.select_option("alone")
    elif name.endswith(("/Head", "/Level")):
        control.select_option("-1")


def drive(page: Page, control: Locator, name: str, means: str) -> None:
    """Use a control as a reader would who has this alone.

    The browser draws a list's options itself, out of a test's reach: pointer and finger open it, and keys choose.
    """
    press = {"pointer": control.click, "touch": control.tap, "keys": control.focus}[means]
    kind = control.evaluate("one => one.type || one.localName")
    if kind == "canvas":
        drag_the_bus(page, means)
    elif kind == "div":
        scroll(page, control, means)
    elif kind == "range" and means != "keys":
        area = control.bounding_box()
        assert area is not None
        press(position={"x": 0.9 * area["width"], "y": area["height"] / 2})
    else:
        press()
        keys = {"select-one": ["ArrowUp" if name.endswith("Layer") else "ArrowDown"], "range": ["ArrowRight"]}
        chosen = keys.get(kind, []) + (["Enter"] if kind == "select-one" and means != "keys" else [])
        for key in chosen or ({"checkbox": ["Space"]}.get(kind, ["Enter"]) if means == "keys" else []):
            page.keyboard.press(key)


def touches(page: Page, places: list[tuple[float, float]]) -> None:
    session = page.context.new_cdp_session(page)
    for number, (x, y) in enumerate(places):
        kind = "touchMove" if number else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def drag_the_bus(page: Page, means: str) -> None:
    stage(page).scroll_into_view_if_needed()
    places = [place(page, x, 60) for x in (54, 60, 70, 80)]
    if means == "touch":
        touches(page, places)
    elif means == "keys":
        stage(page).focus()
        page.keyboard.press("Shift+ArrowRight")
    else:
        page.mouse.move(*places[0])
        page.mouse.down()
        for x, y in places[1:]:
            page.mouse.move(x, y)
        page.mouse.up()


def scroll(page: Page, control: Locator, means: str) -> None:
    control.scroll_into_view_if_needed()
    area = control.bounding_box()
    assert area is not None
    x, y = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
    if means == "touch":
        touches(page, [(x, y - step) for step in (0, 20, 40, 60, 80)])
    elif means == "keys":
        control.focus()
        page.keyboard.press("ArrowDown")
    else:
        page.mouse.move(x, y)
        page.mouse.wheel(0, 60)
    page.wait_for_timeout(400)  # it glides


@pytest.fixture(params=MEANS)
def driven(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[tuple[Page, str]]:
    """A playground on a desk, or with touch on a phone, and the means to drive it."""
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    desk = {"viewport": {"width": 1280, "height": 1000}}
    context = browser.new_context(**phone if request.param == "touch" else desk)
    with context, context.new_page() as page:
        faults = watched(page)
        yield started(page, address), request.param
        assert not faults


def wait_for(page: Page, see: str, right: Callable[[Any], bool]) -> Any:
    """What is to be seen once it is right, or when patience is over: a tap becomes a click in its own time."""
    until = time.monotonic() + PATIENCE
    while not right(after := app(page, see)) and time.monotonic() < until:
        page.wait_for_timeout(50)
    return after


def test_every_control_does_its_work(driven: tuple[Page, str]) -> None:
    page, means = driven
    names = page.evaluate(NAME_ALL)
    assert len(set(names)) == len(names)
    order = ["Next", "Back", "Close"]  # the tour goes with the last
    wrong = []
    for name in order + [name for name in names if name not in order]:
        see, right = rule_of(name)
        prepare(page, name)
        before = app(page, see)
        for _ in range(2 if means == "touch" else 1):  # Chromium drops a tap now and then; a finger taps again
            drive(page, page.locator(f'[data-control="{name}"]'), name, means)
            after = wait_for(page, see, lambda now: right(before, now))  # noqa: B023 (called at once)
            if right(before, after):
                break
        if not right(before, after):
            wrong.append((name, str(before)[:80], str(after)[:80]))
        put_back(page, name)
    assert not wrong
    assert not set(RULES) - set(names), "rules of controls that are no more"


def test_every_link_leads_to_a_page_of_the_book(driven: tuple[Page, str]) -> None:
    page, _ = driven
    pages = page.locator(".playground a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert len(pages) >= 10
    for one in pages:
        assert (BOOK / one.replace(".html", ".ipynb")).is_file(), one
