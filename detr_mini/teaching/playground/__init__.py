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
from pathlib import Path

from detr_mini.weights import CHECKPOINTS

FOLDER = Path(__file__).parent
MODELS = ("mini", "nano")
# In the order of the data.
ENGINE = (
    "arrays",
    "weights",
    "backbone",
    "position_encoding",
    "attention",
    "transformer",
    "detr",
    "boxes",
    "matcher",
    "loss",
    "answer",
)
DOORS = ("readCheckpoint", "fromBase64", "answer", "serve")  # what the engine shows of itself
PAGE = ("dom", "scene", "draw", "view", "app", "tools", "stage", "panels", "said", "tour", "main")


def engine_script() -> str:
    """The engine as a script: a function ``playgroundEngine`` that returns what the page needs of it."""
    parts = [(FOLDER / "engine" / f"{name}.js").read_text("utf-8") for name in ENGINE]
    return (
        "function playgroundEngine() {\n'use strict';\n" + "\n".join(parts) + f"return {{ {', '.join(DOORS)} }};\n}}\n"
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


def write(folder: str | os.PathLike[str]) -> None:
    """Write all that the page needs of the playground: scripts, models and its style."""
    from detr_mini.teaching.playground.town import town_script

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    files = {"page": page_script(), "engine": engine_script(), "town": town_script()}
    files |= {name: weights_script(name) for name in MODELS}
    for name, text in files.items():
        (target / f"{name}.js").write_text(text, "utf-8")
    shutil.copyfile(FOLDER / "playground.css", target / "playground.css")
