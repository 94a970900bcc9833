"""The playground: a trained DETR that runs in the page itself, without a kernel, a server or a network.

The model is JavaScript that can be read, in ``engine/``, file by file in the order of its data. Around it goes one
function, :func:`engine_script`, whose own text makes the worker that it runs in: so it works from a file, too, where a
page may fetch nothing.

Chapter: *DETR in one page*, ``book/13_one_page``.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from html import escape
from pathlib import Path

from safetensors.torch import load_file

from detr_mini.teaching.interactive.figure import KEYS, Interactive
from detr_mini.teaching.live.town import town_script
from detr_mini.teaching.notebook import book_data
from detr_mini.weights import CHECKPOINTS

FOLDER = Path(__file__).parent
MODELS = ("mini", "nano", "deformable_nano")  # a page begins with the first, and loads another when it is chosen
# In the order of the data.
ENGINE = (
    "arrays",
    "weights",
    "backbone",
    "position_encoding",
    "attention",
    "transformer",
    "detr",
    "deformable_attention",
    "deformable_detr",
    "boxes",
    "class_terms",
    "matcher",
    "loss",
    "answer",
)
DOORS = ("readCheckpoint", "fromBase64", "answer", "serve")  # what the engine shows of itself
PAGE = ("dom", "scene", "draw", "view", "points", "app", "tools", "stage", "panels", "contents", "said", "tour", "main")

STILL = (
    "A street of Tiny Town with a tree, a bus, a house, a balloon and a person, each with the box and the score that "
    "the model gives it. Beside it 25 small fields, one for each slot, of which five carry the name of a class."
)


def engine_script() -> str:
    """The engine as a script: a function ``playgroundEngine`` that gives what the page needs of it."""
    parts = [(FOLDER / "engine" / f"{name}.js").read_text("utf-8") for name in ENGINE]
    return (
        "globalThis.playgroundEngine = function () {\n'use strict';\n"
        + "\n".join(parts)
        + f"return {{ {', '.join(DOORS)} }};\n}};\n"
    )


def weights_script(name: str) -> str:
    """The file of a shipped model, byte by byte, as a script: a page from the file system can read no other."""
    file = base64.b64encode((CHECKPOINTS / f"{name}.safetensors").read_bytes()).decode("ascii")
    return f"(window.playgroundModels ??= {{}})[{json.dumps(name)}] = {json.dumps(file)};\n"


def page_script() -> str:
    """What the page does around the engine, as a script that starts every playground on it."""
    parts = [(FOLDER / "page" / f"{name}.js").read_text("utf-8") for name in PAGE]
    start = "document.querySelectorAll('.playground:not([data-ready])').forEach(root => {\n"
    start += "  root.dataset.ready = 1; playground(root);\n});\n"
    return "(function () {\n'use strict';\n" + "\n".join(parts) + start + "})();\n"


def slots_script() -> str:
    """Where each slot's boxes fell on 500 pictures, one byte a coordinate; nothing where the book's data is not."""
    maps = {}
    for name in MODELS:
        try:
            watched = load_file(book_data("watched") / f"{name}.safetensors")
        except FileNotFoundError:
            continue
        centers = (watched["boxes"][-1].float()[..., :2] * 255).round().byte()  # (P, N, 2)
        packed = base64.b64encode(centers.transpose(0, 1).contiguous().numpy().tobytes()).decode("ascii")
        maps[name] = {"pictures": centers.shape[0], "centers": packed}
    return f"window.playgroundSlots = {json.dumps(maps)};\n"


def write(folder: str | os.PathLike[str]) -> None:
    """Write all that a page needs of the playground into a folder: scripts, models and its style."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    files = {"page": page_script(), "engine": engine_script(), "town": town_script(), "slots": slots_script()}
    files |= {name: weights_script(name) for name in MODELS}
    for name, text in files.items():
        (target / f"{name}.js").write_text(text, "utf-8")
    shutil.copyfile(FOLDER / "playground.css", target / "playground.css")


def shell(folder: str, still: str) -> str:
    """What stands on a page until a reader starts the playground, and where no script runs.

    Args:
        folder: where :func:`write` wrote to, as an address.
        still: address of the picture that is shown.
    """
    loaded = sum(len(text) for text in (weights_script("mini"), engine_script(), town_script(), slots_script()))
    return (
        f'<link rel="stylesheet" href="{folder}/playground.css">\n'
        f'<div class="playground" data-folder="{folder}" data-models="{" ".join(MODELS)}" data-ending=".html">\n'
        f'<img src="{still}" alt="{escape(STILL)}">\n'
        f'<button type="button" class="start" hidden>Start the playground ({loaded / 1e6:.1f} MB)</button>\n'
        f'</div>\n<script src="{folder}/page.js" defer></script>\n'
    )


def show(*models: str) -> Interactive:
    """The playground as the output of a notebook's cell, with all that it needs inside: see ``teaching.playground``."""
    if unknown := [name for name in models if name not in MODELS]:
        raise ValueError(f"the playground has no model {unknown[0]!r}; there are {', '.join(MODELS)}")
    models = models or MODELS[:1]
    scripts = [engine_script(), town_script(), slots_script(), *map(weights_script, models), page_script()]
    style = (FOLDER / "playground.css").read_text("utf-8")
    html = (
        f"<style>{style}</style>\n"
        f'<div class="playground" data-models="{" ".join(models)}" data-ending=".ipynb" {KEYS}>\n'
        '<button type="button" class="start" hidden>Start the playground</button>\n</div>\n'
        + "".join(f"<script>{script}</script>\n" for script in scripts)
    )
    return Interactive(html, STILL)
