"""Figures to play with, in Jupyter and in the rendered page, without a kernel or a network.

Everything a figure can show is in it: its pictures as WebP files, and a few lines of script. Where scripts do not run,
as in a notebook that is not trusted, the picture it starts with is there all the same.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from detr_mini.colours import CARD, COLOURS, QUIET
from detr_mini.plots import SLOT_KINDS, SLOT_LEGEND, slot_kind
from detr_mini.teaching.notebook import CSS_DPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

_KEYS = 'data-lm-suppress-shortcuts="true"'  # arrow keys are for the figure, not for JupyterLab's cells
SHARPNESS = 2  # pixels stored per pixel of the page: what a dense screen shows


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
aria-valuetext="{escape(labels[start])}" style="flex:1 1 12em;accent-color:#0072B2"></label>"""
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


def slot_picker(
    boxes: Any,
    scores: Any,
    labels: Sequence[str],
    *,
    image: Any,
    scene: int,
    name: str,
    what: str,
    alt: str,
    start: tuple[int, int],
) -> Any:
    """Figure 7 of the DETR paper to play with: all queries' slots at one of several moments, and one query at large.

    On the left is a panel for each query; the one that is pointed at is shown at large, with its box on one picture.
    The centers are stored as bytes, which places them to 1/255 of the picture, and drawn by the page.

    Args:
        boxes: ``(S, P, N, 4)``, cxcywh in [0, 1]: at S moments the boxes of N queries on P pictures. Boxes that are
            stored, in half precision for example, make a page that is the same on every machine.
        scores: ``(S, N)``, how sure each query is of an object on the picture that is shown.
        labels: what the slider says at each of the S moments.
        image: the picture that is shown, as PIL image or ``(H, W, 3)`` uint8 array.
        scene: its number among the P.
        name: of this figure, used for no other one on the page: letters, digits and dashes.
        what: is chosen with the slider: "training step", "layer".
        alt: what there is to see and to do, in a sentence or two.
        start: moment and query that come first.

    Raises:
        ValueError: shapes that do not fit, boxes outside [0, 1], a name or an ``alt`` that will not do.
    """
    from PIL import Image

    alt = _checked(name, alt)
    all_boxes = np.asarray(boxes, dtype=np.float32)
    sure = np.asarray(scores, dtype=np.float32)
    if all_boxes.ndim != 4 or all_boxes.shape[3] != 4 or sure.shape != (len(labels), *all_boxes.shape[2:3]):
        raise ValueError(
            f"boxes of shape {all_boxes.shape}, scores of shape {sure.shape} and {len(labels)} labels: "
            "(S, P, N, 4), (S, N) and S are wanted"
        )
    if not (all_boxes.min() >= 0 and all_boxes.max() <= 1):
        raise ValueError(f"boxes reach from {all_boxes.min()} to {all_boxes.max()}: cxcywh in [0, 1] is wanted")
    points, counts = _slot_points(all_boxes)  # (S, N, P, 2), (S, N, kinds)
    own = np.concatenate([all_boxes[:, scene], sure[..., None]], axis=-1)  # (S, N, 5)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    moment, query = start
    columns = math.ceil(len(counts[0]) ** 0.5)
    stored = {"points": _base64(points), "counts": counts.tolist(), "own": _base64(_bytes(own)), "labels": list(labels)}
    stored |= {"pictures": points.shape[2], "columns": columns, "moment": moment, "query": query, "kinds": SLOT_KINDS}
    pictures = [
        _slots_drawn(points[moment], counts[moment], columns, picture.width / picture.height),
        _slots_drawn(points[moment, query, None], counts[moment, query, None], 1, picture.width / picture.height),
        picture.convert("RGB"),
    ]
    body = _slot_body(stored, [_data_uri(_webp(one)) for one in pictures], pictures, own[moment, query], what, alt)
    return Interactive(_figure(name, body, _SLOT_PICKER), alt)


def _slot_body(stored: dict[str, Any], uris: list[str], pictures: list[Any], own: Any, what: str, alt: str) -> str:
    last, now = len(stored["labels"]) - 1, escape(stored["labels"][stored["moment"]])
    about = f"{escape(alt)} At first: query {stored['query']}, {escape(what)} {now}."
    full = "position:absolute;inset:0;width:100%;height:100%;max-width:100%;padding:0;border:0;border-radius:0"
    shown = [f'<img src="{uri}" alt="{about}" style="{full}">' for uri in uris]
    canvas = f'<canvas style="{full};display:none"></canvas>'
    panels = [f"position:relative;min-width:0;aspect-ratio:{p.width}/{p.height};overflow:hidden" for p in pictures]
    dot = "display:inline-block;width:0.7em;height:0.7em;border-radius:50%;background"
    legend = "".join(
        f'<span style="white-space:nowrap"><span aria-hidden="true" style="{dot}:{SLOT_KINDS[kind]}"></span> '
        f"{kind}</span>"
        for kind in SLOT_LEGEND
    )
    box = f"position:absolute;box-sizing:border-box;outline:1px solid {CARD};border:3px solid {COLOURS['vermilion']}"
    return f"""<div class="panels" style="display:flex;flex-wrap:wrap;gap:10px;max-width:760px;align-items:flex-start">
<div style="flex:1 1 300px;min-width:0;max-width:440px">
<div class="grid" {_KEYS} tabindex="0" role="group" aria-label="{escape(alt)}" \
style="{panels[0]};touch-action:manipulation">{shown[0]}{canvas}</div>
<div style="display:flex;flex-wrap:wrap;gap:0 1.2em;margin:0.3em 0;font-size:0.85em">{legend}</div>
<label style="display:none;flex-wrap:wrap;gap:0.3em 0.8em;align-items:center">
<span style="min-width:10em">{escape(what)}: <b>{now}</b></span>
<input type="range" {_KEYS} min="0" max="{last}" value="{stored["moment"]}" \
aria-valuetext="{now}" style="flex:1 1 10em;accent-color:#0072B2"></label>
<output aria-live="polite" style="display:block;min-height:3em;font-size:0.85em"></output></div>
<div style="flex:1 1 200px;min-width:0;max-width:440px;display:flex;flex-wrap:wrap;gap:10px">
<div class="large" style="{panels[1]};flex:1 1 160px">{shown[1]}{canvas}</div>
<div class="scene" style="{panels[2]};flex:1 1 160px">{shown[2]}<div class="box" style="{box};{_box_style(own)}"></div>
</div></div></div>
<script type="application/json">{json.dumps(stored)}</script>"""


def _checked(name: str, alt: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise ValueError(f"name={name!r}: letters, digits and dashes only")
    alt = " ".join(alt.split())
    if len(alt) < 15:
        raise ValueError(f"alt={alt!r} is too short: say in a sentence what there is to see and to do")
    return alt


def _slot_points(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centers ``(S, N, P, 2)`` as bytes, sorted by kind, and how many there are of each: ``(S, N, kinds)``."""
    kinds = slot_kind(boxes).transpose(0, 2, 1)  # (S, N, P)
    order = kinds.argsort(axis=-1, kind="stable")
    centers = _bytes(boxes[..., :2]).transpose(0, 2, 1, 3)  # (S, N, P, 2)
    counts = (kinds[..., None] == np.arange(len(SLOT_KINDS))).sum(axis=2)
    return np.take_along_axis(centers, order[..., None], axis=2), counts


def _slots_drawn(points: np.ndarray, counts: np.ndarray, columns: int, aspect: float) -> Any:
    """What the page draws, for where no script runs: panels of points ``(N, P, 2)`` as a picture."""
    from PIL import Image

    rows, height, dot = (math.ceil(len(points) / columns), 120, 3) if columns > 1 else (1, 400, 8)
    width = round(height * aspect)
    drawn = np.empty((rows * height, columns * width, 3), dtype=np.uint8)
    drawn[:] = _rgb(CARD)
    for query, (some, count) in enumerate(zip(points, counts, strict=True)):
        top, left = query // columns * height, query % columns * width
        drawn[top, left : left + width] = drawn[top : top + height, left] = _rgb(QUIET)
        colours = np.repeat([_rgb(colour) for colour in SLOT_KINDS.values()], count, axis=0)
        for (x, y), colour in zip(some.astype(float) / 255, colours, strict=True):
            row, column = top + round(y * (height - dot)), left + round(x * (width - dot))
            drawn[row : row + dot, column : column + dot] = colour
    return Image.fromarray(drawn)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def _box_style(box: np.ndarray) -> str:
    cx, cy, w, h, score = (float(x) for x in _bytes(box) / 255)
    return (
        f"left:{100 * (cx - w / 2):.2f}%;top:{100 * (cy - h / 2):.2f}%;width:{100 * w:.2f}%;height:{100 * h:.2f}%;"
        f"border-style:{'solid' if score > 0.5 else 'dashed'}"
    )


def _bytes(shares: np.ndarray) -> np.ndarray:
    return np.round(shares * 255).astype(np.uint8)


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


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
        "const said = figure.querySelector('output');\n"
        f"function play(stored) {{\n{script}}}\n{_START}}});</script>\n</figure>"
    )


# The rendered book keeps long data in files of their own: they are fetched when a reader comes near the figure.
_START = """const data = figure.querySelector('script[type="application/json"]'), file = data.dataset.file;
if (!file) play(JSON.parse(data.textContent));
else new IntersectionObserver(function (seen, observer) {
  if (!seen.some(one => one.isIntersecting)) return;
  observer.disconnect();
  const script = document.createElement('script');
  script.src = file; script.onload = function () { play(window.figureData[file]); };
  document.head.append(script);
}, { rootMargin: '800px' }).observe(figure);
"""

_SLIDER = """const image = figure.querySelector('img'), input = figure.querySelector('input'), alt = image.alt;
figure.querySelector('label').style.display = 'flex';
// The rendered book keeps the pictures in files: they are asked for when a reader comes near the figure.
const near = () => { stored.ahead = stored.ahead || stored.frames.map(frame => {
  const picture = new Image(); picture.src = frame; return picture; }); };
figure.addEventListener('pointerenter', near); figure.addEventListener('focusin', near);
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

_SLOT_PICKER = """const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const points = bytes(stored.points), own = bytes(stored.own), counts = stored.counts;
const kinds = Object.keys(stored.kinds), colours = Object.values(stored.kinds), N = counts[0].length;
const grid = figure.querySelector('.grid'), large = figure.querySelector('.large'), box = figure.querySelector('.box');
const input = figure.querySelector('input'), now = figure.querySelector('label b');
const columns = stored.columns, rows = Math.ceil(N / columns);
let moment = stored.moment, query = stored.query;
function sized(panel) {
  const canvas = panel.querySelector('canvas'), area = panel.getBoundingClientRect();
  const scale = Math.min(window.devicePixelRatio || 1, 2);
  canvas.width = Math.max(1, Math.round(area.width * scale));
  canvas.height = Math.max(1, Math.round(area.height * scale));
  const pen = canvas.getContext('2d');
  pen.scale(scale, scale); pen.fillStyle = '#FBFAF7'; pen.fillRect(0, 0, area.width, area.height);
  return [pen, area.width, area.height];
}
function dots(pen, q, left, top, width, height, size) {
  let at = 2 * (moment * N + q) * stored.pictures;
  pen.globalAlpha = 0.55;
  counts[moment][q].forEach(function (count, kind) {
    const side = kind === 1 || kind === 2 ? 1.5 * size : size;
    pen.fillStyle = colours[kind]; pen.beginPath();
    for (let i = 0; i < count; i += 1, at += 2) {
      const x = left + points[at] / 255 * width, y = top + points[at + 1] / 255 * height;
      pen.moveTo(x + side, y); pen.arc(x, y, side, 0, 6.3);
    }
    pen.fill();
  });
  pen.globalAlpha = 1;
}
function draw() {
  let [pen, width, height] = sized(grid);
  const w = width / columns, h = height / rows;
  for (let q = 0; q < N; q += 1) {
    const left = q % columns * w, top = Math.floor(q / columns) * h;
    dots(pen, q, left + 2, top + 2, w - 4, h - 4, 0.8);
    pen.lineWidth = q === query ? 3 : 1; pen.strokeStyle = q === query ? '#D55E00' : '#9AA1A9';
    pen.strokeRect(left + 1.5, top + 1.5, w - 3, h - 3);
    pen.fillStyle = '#22262B'; pen.font = (q === query ? 'bold ' : '') + '10px sans-serif';
    pen.fillText(q, left + 5, top + 13);
  }
  [pen, width, height] = sized(large);
  dots(pen, query, 0, 0, width, height, 2);
  pen.strokeStyle = '#9AA1A9'; pen.strokeRect(0.5, 0.5, width - 1, height - 1);
  const [cx, cy, bw, bh, score] = own.slice(5 * (moment * N + query), 5 * (moment * N + query) + 5);
  const percent = x => (x / 2.55).toFixed(2) + '%';
  box.style.left = percent(cx - bw / 2); box.style.top = percent(cy - bh / 2);
  box.style.width = percent(bw); box.style.height = percent(bh);
  box.style.borderStyle = score > 127.5 ? 'solid' : 'dashed';
  pen.lineWidth = 1.5; pen.strokeStyle = '#22262B'; pen.beginPath();
  pen.arc(cx / 255 * width, cy / 255 * height, Math.max(4, width / 60), 0, 6.3); pen.stroke();
  const shares = counts[moment][query].map((count, kind) => Math.round(100 * count / stored.pictures) + ' % '
    + kinds[kind]);
  now.textContent = stored.labels[moment]; input.setAttribute('aria-valuetext', stored.labels[moment]);
  said.textContent = 'Query ' + query + ' at ' + stored.labels[moment] + ': ' + shares.join('; ')
    + '. On the picture shown (ring): score ' + (score / 255).toFixed(2) + '.';
}
function choose(q) { query = Math.min(Math.max(q, 0), N - 1); draw(); }
grid.addEventListener('pointerdown', function (event) {
  const area = grid.getBoundingClientRect();
  const column = Math.floor(columns * (event.clientX - area.left) / area.width);
  const q = columns * Math.floor(rows * (event.clientY - area.top) / area.height) + column;
  if (q >= 0 && q < N) choose(q);
});
grid.addEventListener('keydown', function (event) {
  const step = { ArrowUp: -columns, ArrowDown: columns, ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  if (query + step >= 0 && query + step < N) choose(query + step);
  event.preventDefault(); event.stopPropagation();
});
input.addEventListener('input', function () { moment = +input.value; draw(); });
figure.querySelector('label').style.display = 'flex';
figure.querySelectorAll('canvas').forEach(function (canvas) { canvas.style.display = 'block'; });
new ResizeObserver(draw).observe(grid);
draw();
"""
