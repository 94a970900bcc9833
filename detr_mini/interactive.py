"""Figures to play with, in Jupyter and in the rendered page, without a kernel or a network.

Everything a figure can show is in it: its pictures as WebP files, and a few lines of script. Where scripts do not run,
as in a notebook that is not trusted, the picture it starts with is there all the same.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from detr_mini.notebook import CSS_DPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

_KEYS = 'data-lm-suppress-shortcuts="true"'  # arrow keys are for the figure, not for JupyterLab's cells
SHARPNESS = 1.5  # pixels stored per pixel of the page: less than a still figure has, since there are many pictures


@dataclass(frozen=True)
class Interactive:
    """A figure to play with; the last expression of a cell shows it."""

    html: str
    alt: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"A figure to play with: {self.alt}"


def slider(figures: Sequence[Figure], labels: Sequence[str], *, name: str, what: str, alt: str, start: int = 0) -> Any:
    """One picture out of several, chosen with a slider.

    Args:
        figures: what to show, all of one size; they are closed. Twenty are plenty: each is stored with the page.
        labels: what the slider says at each of them.
        name: of this figure, used for no other one on the page: letters, digits and dashes.
        what: is chosen with the slider: "layer", "query".
        alt: what there is to see and to do, in a sentence or two.
        start: which picture comes first.

    Raises:
        ValueError: no or too few labels, a name or an ``alt`` that will not do.
    """
    import matplotlib.pyplot as plt

    if not figures or len(figures) != len(labels):
        raise ValueError(f"{len(figures)} figures and {len(labels)} labels: one label a figure is wanted")
    alt = _checked(name, alt)
    width = round(figures[0].get_figwidth() * CSS_DPI)
    frames = [_data_uri(_drawn(figure)) for figure in figures]
    for figure in figures:
        plt.close(figure)
    stored = json.dumps({"frames": frames, "labels": list(labels)})
    body = f"""<img src="{frames[start]}" alt="{escape(alt)}" width="{width}">
<script type="application/json">{stored}</script>
<label style="display:none;flex-wrap:wrap;gap:0.3em 0.8em;align-items:center;max-width:{width}px">
<span style="min-width:9em">{escape(what)}: <output aria-live="polite">{escape(labels[start])}</output></span>
<input type="range" {_KEYS} min="0" max="{len(frames) - 1}" value="{start}" \
style="flex:1 1 12em;accent-color:#0072B2"></label>"""
    return Interactive(_figure(name, body, _SLIDER), alt)


def cell_picker(
    image: Any,
    maps: Mapping[str, Any],
    *,
    name: str,
    alt: str,
    start: tuple[int, int],
    width: int = 300,
) -> Any:
    """Point at a cell of a picture, and see a map that belongs to this cell beside it.

    Args:
        image: PIL image or ``(H, W, 3)`` uint8 array that the ``h x w`` cells cover exactly.
        maps: by name, arrays ``(h, w, h, w)`` with values in [0, 1]: for each cell a map over all cells. Of several,
            the reader chooses one.
        name: of this figure, used for no other one on the page: letters, digits and dashes.
        alt: what there is to see and to do, in a sentence or two.
        start: row and column of the cell that is marked at first.
        width: of each of the two panels on a wide page, in pixels.

    Raises:
        ValueError: maps of different or odd shapes or with values outside [0, 1], a name or ``alt`` that will not do.
    """
    from PIL import Image

    alt = _checked(name, alt)
    arrays = {key: np.asarray(value, dtype=np.float32) for key, value in maps.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(shape := next(iter(shapes))) != 4 or shape[:2] != shape[2:]:
        raise ValueError(f"maps of shapes {sorted(shapes)}: all should be (h, w, h, w), with the same h and w")
    for key, array in arrays.items():
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(f"map {key!r} reaches from {array.min()} to {array.max()}: bring it to [0, 1]")
    h, w = shape[:2]
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    shown = _data_uri(_webp(picture.convert("RGB")))
    sheets = {key: _data_uri(_sheet(array)) for key, array in arrays.items()}
    stored = json.dumps({"sheets": sheets, "h": h, "w": w, "row": start[0], "column": start[1]})
    aspect = f"{picture.width}/{picture.height}"
    panel = f"position:relative;flex:0 1 {width}px;min-width:0;aspect-ratio:{aspect};overflow:hidden"
    mark = (
        f"position:absolute;box-sizing:border-box;width:{100 / w:.3f}%;height:{100 / h:.3f}%;"
        "border:2px solid #D55E00;outline:1px solid #FBFAF7;pointer-events:none;"
        f"left:{100 * start[1] / w:.3f}%;top:{100 * start[0] / h:.3f}%"
    )
    first, *_ = sheets.values()
    sheet = (
        f"position:absolute;inset:0;image-rendering:pixelated;background-image:url({first});"
        f"background-size:{100 * w}% {100 * h}%;background-position:{_share(start[1], w)}% {_share(start[0], h)}%"
    )
    options = "".join(f"<option>{escape(key)}</option>" for key in sheets)
    choice = f'<label>map: <select {_KEYS} style="font:inherit">{options}</select></label>' if len(sheets) > 1 else ""
    body = f"""<div class="panels" {_KEYS} tabindex="0" role="group" aria-label="{escape(alt)}" \
style="display:flex;gap:10px;touch-action:manipulation">
<div style="{panel}"><img src="{shown}" alt="{escape(alt)}" style="width:100%;height:100%;\
padding:0;border:0;border-radius:0;max-width:100%"><div class="marked" style="{mark}"></div></div>
<div style="{panel}"><div class="sheet" style="{sheet}"></div><div class="marked" style="{mark}"></div></div></div>
<script type="application/json">{stored}</script>
<div class="controls" style="display:none;flex-wrap:wrap;gap:0.3em 1.5em;margin-top:0.4em">{choice}
<output aria-live="polite"></output></div>"""
    return Interactive(_figure(name, body, _PICKER), alt)


def _checked(name: str, alt: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise ValueError(f"name={name!r}: letters, digits and dashes only")
    alt = " ".join(alt.split())
    if len(alt) < 15:
        raise ValueError(f"alt={alt!r} is too short: say in a sentence what there is to see and to do")
    return alt


def _share(index: int, count: int) -> str:
    return f"{100 * index / max(1, count - 1):.3f}"


def _sheet(maps: np.ndarray) -> bytes:
    """All maps ``(h, w, h, w)`` as the tiles of one coloured picture."""
    from matplotlib import colormaps
    from PIL import Image

    h, w = maps.shape[:2]
    tiles = maps.transpose(0, 2, 1, 3).reshape(h * h, w * w)
    levels = np.round(tiles * 255).astype(np.uint8)
    picture = Image.fromarray(levels, mode="P")
    picture.putpalette((colormaps["cividis"](np.arange(256))[:, :3] * 255).round().astype(np.uint8).tobytes())
    return _webp(picture.convert("RGB"))


def _drawn(figure: Figure) -> bytes:
    from PIL import Image

    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=CSS_DPI * SHARPNESS, facecolor=figure.get_facecolor())
    return _webp(Image.open(raw).convert("RGB"))


def _webp(picture: Image.Image) -> bytes:
    """A drawing of few colours as it is; a picture of many a little simplified, which makes it ten times smaller."""
    file = io.BytesIO()
    picture.save(file, "webp", lossless=picture.getcolors(2000) is not None, quality=85, method=4)
    return file.getvalue()


def _data_uri(file: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(file).decode("ascii")


def _figure(name: str, body: str, script: str) -> str:
    # Found by its name, not by where the script stands: Jupyter runs scripts after it has moved them.
    find = f"document.querySelectorAll('figure.interactive[data-name=\"{name}\"]:not([data-ready])').forEach"
    return (
        f'<figure class="interactive" data-name="{name}" style="margin:0.5em 0">\n{body}\n'
        f"<script>{find}(function (figure) {{ figure.dataset.ready = 1;\n"
        "const stored = JSON.parse(figure.querySelector('script[type=\"application/json\"]').textContent);\n"
        f"const said = figure.querySelector('output');\n{script}}});</script>\n</figure>"
    )


_SLIDER = """const image = figure.querySelector('img'), input = figure.querySelector('input'), alt = image.alt;
figure.querySelector('label').style.display = 'flex';
input.addEventListener('input', function () {
  const label = stored.labels[input.value];
  image.src = stored.frames[input.value]; image.alt = alt + ' Now: ' + label + '.';
  said.textContent = label; input.setAttribute('aria-valuetext', label);
});
"""

_PICKER = """const panels = figure.querySelector('.panels'), sheet = figure.querySelector('.sheet');
const choice = figure.querySelector('select'), marks = figure.querySelectorAll('.marked');
let row = stored.row, column = stored.column;
const share = (index, count) => 100 * index / Math.max(1, count - 1) + '%';
function go(r, c) {
  row = Math.min(Math.max(r, 0), stored.h - 1); column = Math.min(Math.max(c, 0), stored.w - 1);
  sheet.style.backgroundPosition = share(column, stored.w) + ' ' + share(row, stored.h);
  marks.forEach(function (mark) {
    mark.style.left = 100 * column / stored.w + '%'; mark.style.top = 100 * row / stored.h + '%'; });
  said.textContent = 'row ' + row + ', column ' + column;
}
function point(event) {
  const panel = event.target.closest('.panels > div');
  if (!panel) return;
  const box = panel.getBoundingClientRect();
  go(Math.floor(stored.h * (event.clientY - box.top) / box.height),
     Math.floor(stored.w * (event.clientX - box.left) / box.width));
}
panels.addEventListener('pointermove', point);
panels.addEventListener('pointerdown', point);
panels.addEventListener('keydown', function (event) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (step) { go(row + step[0], column + step[1]); event.preventDefault(); event.stopPropagation(); }
});
if (choice) choice.addEventListener('change', function () {
  sheet.style.backgroundImage = 'url(' + stored.sheets[choice.value] + ')'; });
figure.querySelector('.controls').style.display = 'flex';
go(row, column);
"""
