"""A cell of a picture, and the points that it reads."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from detr_mini.colours import CARD, COLOURS, INK
from detr_mini.teaching.interactive.figure import KEYS, Interactive, data_uri, framed
from detr_mini.teaching.pictures import checked_alt, webp

LEVEL_COLOURS = tuple(COLOURS[name] for name in ("blue", "orange", "purple", "sky"))
MARGIN = 0.15  # of the picture's width and height, around it: points may lie outside
WHOLE = 0.035  # of the panel's width: the radius of a dot that has all of the weight
SHARPNESS = 2  # pixels of the first picture for each pixel of the page


def point_picker(
    image: Any,
    points: Mapping[str, tuple[Any, Any]],
    *,
    name: str,
    alt: str,
    start: tuple[int, int],
    what: str = "model",
    width: int = 520,
) -> Interactive:
    """Point at a cell of a picture, and see the points that it reads: dots whose area is their weight.

    Each level has a color. Places are stored to a 30,000th of the picture, weights by their root in 255 steps.

    Args:
        image: PIL image or ``(H, W, 3)`` uint8 array that the ``h x w`` cells cover exactly.
        points: by name, places ``(h, w, M, L, P, 2)``, x and y as shares of the picture, and weights
            ``(h, w, M, L, P)`` in [0, 1]: what each cell reads in M heads, on L levels, at P points. Of several, the
            reader chooses one. Half a picture outside is as far as a place is drawn.
        name: of this figure, used for no other one on the page: letters, digits and dashes.
        alt: what there is to see and to do, in a sentence or two.
        start: row and column of the cell that is marked at first.
        what: is chosen by the names: "model", "layer".
        width: of the panel on a wide page, in pixels.

    Raises:
        ValueError: shapes that do not fit or differ, weights outside of [0, 1], more than four levels, a name or an
            ``alt`` that will not do.
    """
    from PIL import Image

    alt = checked_alt(alt)
    spots, sizes = _packed(points)  # (names, h, w, L, M * P, 2) and (names, h, w, L, M * P)
    h, w, levels = spots.shape[1:4]
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    frame = _framed(picture.convert("RGB"), width)
    stored = {
        "spots": _base64(spots),
        "sizes": _base64(sizes),
        "h": h,
        "w": w,
        "names": list(points),
        "colours": LEVEL_COLOURS[:levels],
        "row": start[0],
        "column": start[1],
        "margin": MARGIN,
        "whole": WHOLE,
        "inks": {"mark": COLOURS["vermilion"], "card": CARD},
    }
    first = _drawn(frame.size, spots[0][start], sizes[0][start], start, h, w)
    body = _body(stored, frame, first, f"{escape(alt)} At first: {escape(next(iter(points)))}.", alt, what, width)
    return framed(name, alt, body, "points")


def _packed(points: Mapping[str, tuple[Any, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Places in 65,536 steps from -0.5 to 1.5, and roots of weights in 256; the points of a level in a row."""
    places = [np.asarray(one, dtype=np.float64) for one, _ in points.values()]
    weights = [np.asarray(one, dtype=np.float64) for _, one in points.values()]
    shapes = {one.shape for one in weights}
    if len(shapes) != 1 or len(next(iter(shapes))) != 5 or {one.shape for one in places} != {(*shapes.pop(), 2)}:
        told = [(place.shape, weight.shape) for place, weight in zip(places, weights, strict=True)]
        raise ValueError(f"places and weights of shapes {told}: all should be (h, w, M, L, P, 2) and (h, w, M, L, P)")
    place, weight = np.stack(places), np.stack(weights)
    if not (weight.min() >= 0 and weight.max() <= 1):
        raise ValueError(f"weights reach from {weight.min()} to {weight.max()}: they lie in [0, 1]")
    if place.shape[4] > len(LEVEL_COLOURS):
        raise ValueError(f"{place.shape[4]} levels: there are colors for {len(LEVEL_COLOURS)}")
    steps = np.round((place.clip(-0.5, 1.5) + 0.5) / 2 * 65535).astype("<u2")
    roots = np.round(np.sqrt(weight) * 255).astype(np.uint8)
    rows = steps.swapaxes(3, 4), roots.swapaxes(3, 4)  # (names, h, w, L, M, P, ...)
    return rows[0].reshape(*rows[0].shape[:4], -1, 2), rows[1].reshape(*rows[1].shape[:4], -1)


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _framed(picture: Any, width: int) -> Any:
    """The picture with its margin, as wide as the panel is on a dense screen."""
    from PIL import Image

    inner = round(width * SHARPNESS / (1 + 2 * MARGIN))
    size = inner, round(inner * picture.height / picture.width)
    frame = Image.new("RGB", (round(size[0] * (1 + 2 * MARGIN)), round(size[1] * (1 + 2 * MARGIN))), CARD)
    frame.paste(picture.resize(size, Image.Resampling.LANCZOS), (round(size[0] * MARGIN), round(size[1] * MARGIN)))
    return frame


def _drawn(size: tuple[int, int], spots: np.ndarray, sizes: np.ndarray, cell: tuple[int, int], h: int, w: int) -> Any:
    """What the page draws, for where no script runs: the points of a cell on nothing."""
    from PIL import Image, ImageDraw

    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)

    def at(x: float, y: float) -> tuple[float, float]:
        return tuple((one + MARGIN) / (1 + 2 * MARGIN) * side for one, side in zip((x, y), size, strict=True))  # type: ignore[return-value]

    for colour, places, roots in zip(LEVEL_COLOURS, spots / 65535 * 2 - 0.5, sizes / 255, strict=False):
        for (x, y), root in zip(places, roots, strict=True):
            (left, top), r = at(x, y), WHOLE * size[0] * root
            pen.ellipse((left - r, top - r, left + r, top + r), fill=colour, outline=CARD, width=SHARPNESS)
    (left, top), (right, bottom) = at(cell[1] / w, cell[0] / h), at((cell[1] + 1) / w, (cell[0] + 1) / h)
    for wide, ink in ((2.5, CARD), (1.0, COLOURS["vermilion"])):  # half of the line lies outside of the cell
        reach = wide * SHARPNESS
        corners = left - reach, top - reach, right + reach, bottom + reach
        pen.rectangle(corners, outline=ink, width=round(2 * reach))
    return layer


def _body(stored: dict[str, Any], frame: Any, first: Any, about: str, alt: str, what: str, width: int) -> str:
    full = "position:absolute;inset:0;width:100%;height:100%;max-width:100%;padding:0;border:0;border-radius:0"
    levels = [f"level {number}" for number in range(1, len(stored["colours"]) + 1)]
    dot = "display:inline-block;width:0.7em;height:0.7em;border-radius:50%;background"
    legend = "".join(
        f'<span style="white-space:nowrap"><span aria-hidden="true" style="{dot}:{colour}"></span> {level}</span>'
        for colour, level in zip(stored["colours"], levels, strict=True)
    )
    choices = _choice(what, "which", stored["names"]) + _choice("shown", "level", ["all levels", *levels])
    return f"""<div class="panels" {KEYS} tabindex="0" role="group" aria-label="{escape(alt)}" \
style="position:relative;width:100%;max-width:{width}px;aspect-ratio:{frame.width}/{frame.height};overflow:hidden;\
touch-action:manipulation;background:{CARD};color:{INK}">
<img src="{data_uri(webp(frame))}" alt="{escape(alt)}" style="{full}">
<img class="first" src="{data_uri(webp(first))}" alt="{about}" style="{full}">
<canvas style="{full};display:none"></canvas></div>
<div style="display:flex;flex-wrap:wrap;gap:0 1.2em;margin:0.3em 0;font-size:0.85em">{legend}</div>
<script type="application/json">{json.dumps(stored)}</script>
<div class="controls" style="display:none;flex-wrap:wrap;gap:0.3em 1.5em;margin-top:0.4em">{choices}
<output aria-live="polite" style="flex:1 1 100%;min-height:3em;font-size:0.85em"></output></div>"""


def _choice(what: str, kind: str, entries: Sequence[str]) -> str:
    """A list to choose from, where there is more than one thing in it: of levels, one more than all."""
    if len(entries) <= (2 if kind == "level" else 1):
        return ""
    options = "".join(f"<option>{escape(entry)}</option>" for entry in entries)
    return f'<label>{escape(what)}: <select class="{kind}" {KEYS} style="font:inherit">{options}</select></label>'
