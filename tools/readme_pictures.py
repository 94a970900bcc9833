"""Make the README's pictures again, slots, detections and a page of the built book, and the playground's still.

    .venv/bin/python tools/readme_pictures.py              # slots.png and so on in book/_static
    .venv/bin/python tools/readme_pictures.py page.png     # one of them; `make book` first

The page wants a Chromium, as ``tools/look.py`` does.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

import torch
from browser import find_chromium, launch, served
from PIL import Image
from playwright.sync_api import sync_playwright

import detr_mini
from detr_mini import interpret, plots
from detr_mini.data import CocoDetection, draw_scene, eval_transforms, make_data
from detr_mini.teaching import live, pictures
from detr_mini.teaching.notebook import setup

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "book" / "_static"
SITE = ROOT / "_build" / "html"
SCENES = (75, 36, 66)  # of the validation split: an evening by a lake, a busy street, a bus
PAGE, FIGURE = "book/11_matcher.html", "hungarian"  # a figure to play with, under the text that it belongs to


def slots() -> Image.Image:
    """Every query's box centers over the 500 validation pictures, as in the chapter *A tour*."""
    with tempfile.TemporaryDirectory() as folder:
        make_data(folder, train=0, val=500, workers=1)
        boxes = interpret.slot_boxes(detr_mini.load("nano"), CocoDetection(folder, "val", eval_transforms(None)))
    return pictures.drawn(plots.slot_panels(boxes))


def detections() -> Image.Image:
    """What ``mini`` finds in three scenes that it has not seen, side by side."""
    import matplotlib.pyplot as plt

    model = detr_mini.load("mini")
    images = [draw_scene(number).image for number in SCENES]
    found = [detr_mini.predict(model, [image], threshold=0.7)[0] for image in images]
    widths = [image.width / image.height for image in images]
    figure, axes = plt.subplots(1, len(images), figsize=(10.2, 10.0 / sum(widths)), width_ratios=widths)
    for ax, image, boxes in zip(axes, images, found, strict=True):
        plots.draw_boxes(ax, image, boxes["boxes"], plots.detection_texts(boxes, model.class_names))
    return pictures.drawn(figure)


def page() -> Image.Image:
    """The first screen of a reader who has come to a figure of the chapter *Matching*."""
    program = find_chromium()
    if program is None or not (SITE / PAGE).is_file():
        raise SystemExit("a picture of a page wants the built book (make book) and a Chromium")
    with served(SITE) as address, sync_playwright() as playwright:
        tab = launch(playwright, program).new_page(viewport={"width": 1280, "height": 800})
        tab.goto(address + PAGE)
        tab.wait_for_function("document.fonts.status === 'loaded'")
        tab.locator(f'[data-name="{FIGURE}"]').evaluate(
            "one => scrollTo(0, one.getBoundingClientRect().top + scrollY - 330)"
        )
        tab.wait_for_timeout(1500)
        return Image.open(io.BytesIO(tab.screenshot())).convert("RGB")


def still() -> Image.Image:
    """The playground's first scene and its slots, for where no script runs."""
    program = find_chromium()
    if program is None:
        raise SystemExit("a picture of the playground wants a Chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        live.write(folder)
        (Path(folder) / "page.html").write_text(f'<!doctype html><meta charset="utf-8">{live.shell(".", "")}')
        tab = launch(playwright, program).new_page(viewport={"width": 1040, "height": 1200})
        tab.goto((Path(folder) / "page.html").as_uri())
        tab.add_style_tag(path=STATIC / "book.css")
        tab.click("button.start")
        tab.locator(".said", has_text=" ms").wait_for(timeout=60_000)
        drawn = Image.open(io.BytesIO(tab.locator(".both").screenshot())).convert("RGB")
        return drawn.crop((0, 0, drawn.width, round(tab.locator(".stage").bounding_box()["height"])))


MAKERS = {"slots.png": slots, "detections.webp": detections, "page.png": page, "playground.webp": still}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(MAKERS)}; all by default")
    names = parser.parse_args().names or list(MAKERS)
    setup()
    torch.set_grad_enabled(False)
    for name in names:
        encode = pictures.webp if name.endswith(".webp") else pictures.png
        (STATIC / name).write_bytes(encode(MAKERS[name]()))


if __name__ == "__main__":
    main()
