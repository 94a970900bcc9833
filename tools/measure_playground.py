"""Measure the playground: what `mini` finds in scenes that it composes, beside what the package draws; times and sizes.

    .venv/bin/python tools/measure_playground.py [SCENES]
    .venv/bin/python tools/measure_playground.py --times [SCENES]

Both have the same things of the same looks at the same places, put there by Tiny Town's own rules. Where the package
draws, the package's model looks; where the page composes, the page's. Crowds are left out.

With ``--times``, for each model: milliseconds a picture, from the question to the answer within the worker, and from a
change of the scene until the page shows the answer; seconds from opening a link until the first answer; and megabytes
that the page loads for it. Wants a Chromium, as ``tools/look.py`` does. Let nothing else run beside it.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import tempfile
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import numpy as np
import torch
from browser import find_chromium, launch
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import detr_mini
from detr_mini.data import eval_transforms, tiny_town
from detr_mini.data.coco import to_coco
from detr_mini.data.image import image_to_tensor
from detr_mini.data.scenery import grain, paint_scenery
from detr_mini.data.sprites import Canvas
from detr_mini.evaluation import coco_metrics, coco_results
from detr_mini.teaching import live
from detr_mini.teaching.live.town import GROUNDS, HEIGHT, HOURS, KINDS, WIDTH, lay, looks_of

VIEWS = {(3, "side"): "bus", (2, "side"): "car", (5, "sail"): "sailing boat", (5, "steam"): "steamer"}
ASK = """address => new Promise(done => {
    const { app } = document.querySelector('.playground');
    addEventListener('hashchange', () => setTimeout(function wait() {
        if (app.busy || app.again) { setTimeout(wait, 1); return; }
        const { scores, labels, boxes } = app.answer.layers.at(-1);
        const told = { milliseconds: app.answer.milliseconds, shown: performance.now() - asked };
        done({ objects: app.objects, scores, labels, boxes: [...boxes], ...told });
    }), { once: true });
    const asked = performance.now();
    location.hash = address;
})"""


def compose(number: int) -> list[Any]:
    """A scene as the playground's address has it: ground, hour, noise, things, strokes."""
    rng = random.Random(f"playground/{number}")
    name, hour = rng.choice([*GROUNDS]), rng.choice([*HOURS])
    things = []
    for thing in tiny_town._place(rng, lay(name)):
        if thing.view != "crowd":
            kind = kind_of(thing)
            x, y, size = thing.feet[0]
            things.append([kind, rng.randrange(KINDS[kind][3]), round(x, 1), round(y, 1), round(size, 1)])
    return [name, hour, 0, things, []]


def kind_of(thing: tiny_town.Thing) -> str:
    """The playground's kind of a thing of Tiny Town; vehicles from behind come towards us here."""
    end = {tiny_town.CAR: "car from the front", tiny_town.BUS: "bus from the front"}
    names = {kind[0]: name for name, kind in KINDS.items() if kind[0] not in end and kind[0] != tiny_town.BOAT}
    return VIEWS.get((thing.category, thing.view)) or end.get(thing.category) or names[thing.category]


def draw(scene: list[Any]) -> tuple[Image.Image, dict[str, torch.Tensor]]:
    """The same scene by the package's own canvas, and what there is to be found."""
    name, hour, _, things, _ = scene
    ground, mood, canvas = lay(name), HOURS[hour], Canvas(WIDTH, HEIGHT, 1)
    paint_scenery(canvas, ground, mood, random.Random(1))
    placed = [
        tiny_town.Thing(KINDS[kind][0], 0, ((x, y, size),), KINDS[kind][1], "steam" if kind == "steamer" else "side")
        for kind, _, x, y, size in things
    ]
    tiny_town._shadows(canvas, tiny_town.Plan(ground, mood, 0, tuple(placed)))
    whole = []
    for segment, (kind, look, x, y, size) in enumerate(things, tiny_town.FIRST_THING):
        canvas.sprite(looks_of(kind)[look], x, y, size, mood.light, segment)
        whole.append((np.asarray(canvas.ids) == segment).sum() / 9)
    image, ids = canvas.result()
    boxes, labels = [], []
    for segment, (full, thing) in enumerate(zip(whole, things, strict=True), tiny_town.FIRST_THING):
        if (ids == segment).sum() >= max(25, 0.4 * full):
            x, y, w, h = tiny_town._measure(ids, segment, 0).bbox
            boxes.append([x, y, x + w, y + h])
            labels.append(KINDS[thing[0]][0])
    target = {"boxes": torch.tensor(boxes).float().reshape(-1, 4), "labels": torch.tensor(labels, dtype=torch.int64)}
    return Image.fromarray(grain(image, random.Random(2))), target


def corners(boxes: list[float] | list[list[float]]) -> torch.Tensor:
    scale = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    return detr_mini.box_cxcywh_to_xyxy(torch.tensor(boxes).float().reshape(-1, 4)) * scale


def link(scene: list[Any]) -> str:
    return f"#scene={quote(base64.b64encode(json.dumps(scene).encode()).decode(), safe='')}"


def in_page(page: Page, scene: list[Any]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """What the page finds in a scene that it composes, and what it says there is."""
    told = page.evaluate(ASK, link(scene))
    labels = torch.tensor([one["label"] for one in told["objects"]], dtype=torch.int64)
    target = {"boxes": corners([one["box"] for one in told["objects"]]), "labels": labels}
    found = {"scores": torch.tensor(told["scores"]), "labels": torch.tensor(told["labels"])}
    return {**found, "boxes": corners(told["boxes"])}, target


class Gathered:
    """What was found in scenes, beside what there is, as COCO has both."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.results: list[dict[str, Any]] = []

    def add(self, found: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> None:
        number = len(self.images)
        self.images.append({"id": number, "width": WIDTH, "height": HEIGHT})
        self.results += coco_results(number, found)
        for one in coco_results(number, {**target, "scores": torch.ones(len(target["labels"]))}):
            area = one["bbox"][2] * one["bbox"][3]
            self.annotations.append({**one, "id": len(self.annotations) + 1, "area": area, "iscrowd": 0})

    def ap(self) -> float:
        categories = [{"id": category.id, "name": category.name} for category in tiny_town.CATEGORIES]
        told = {"images": self.images, "annotations": self.annotations, "categories": categories}
        return coco_metrics(cast(Any, SimpleNamespace(coco=to_coco(told))), self.results)["AP"]


@torch.no_grad()
def measure(page: Page, count: int) -> dict[str, float]:
    """AP over so many scenes, composed and drawn."""
    model, composed, drawn = detr_mini.load("mini"), Gathered(), Gathered()
    for number in range(count):
        scene = compose(number)
        composed.add(*in_page(page, scene))
        image, target = draw(scene)
        outputs = model([eval_transforms(None)(image_to_tensor(image))])
        [found] = model.postprocess(outputs, torch.tensor([[HEIGHT, WIDTH]]))
        drawn.add(found, target)
    sides = {"composed": composed, "drawn": drawn}
    objects = {f"objects {name}": len(side.annotations) for name, side in sides.items()}
    return {name: side.ap() for name, side in sides.items()} | objects


def times(browser: Browser, folder: Path, name: str, count: int) -> dict[str, float]:
    """How long a model's answers take, its first one with all that is loaded for it, and how much that is."""
    with browser.new_page(viewport={"width": 1280, "height": 1000}) as page:
        page.goto((folder / "page.html").as_uri() + link([*compose(count), name]))
        first = page.wait_for_function(
            "document.querySelector('.playground').app?.answer && performance.now()", timeout=120_000
        ).json_value()
        told = [page.evaluate(ASK, link([*compose(number), name])) for number in range(count)]
    own = [path for path in folder.iterdir() if path.stem not in live.MODELS or path.stem == name]
    numbers = {"first answer, s": first / 1000, "loaded, MB": sum(path.stat().st_size for path in own) / 1e6}
    for kind in ("milliseconds", "shown"):
        spent = [one[kind] for one in told]
        numbers |= {f"{kind}, median": median(spent), f"{kind}, worst": max(spent)}
    return {what: round(number, 2) for what, number in numbers.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="?", type=int, default=200)
    parser.add_argument("--times", action="store_true", help="measure time and size, of all models")
    arguments = parser.parse_args()
    count = arguments.scenes
    if (program := find_chromium()) is None:
        raise SystemExit("composing scenes wants a Chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        live.write(folder)
        address = Path(folder) / "page.html"
        address.write_text(f'<!doctype html><meta charset="utf-8">{live.shell(".", "")}', "utf-8")
        browser = launch(playwright, program)
        if arguments.times:
            print(json.dumps({name: times(browser, Path(folder), name, count) for name in live.MODELS}, indent=1))
            return
        page = browser.new_page()
        page.goto(address.as_uri())
        page.click("button.start")
        page.wait_for_function("document.querySelector('.playground').app?.answer", timeout=120_000)
        print(json.dumps(measure(page, count), indent=1))


if __name__ == "__main__":
    main()
