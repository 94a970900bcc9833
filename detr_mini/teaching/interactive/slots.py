"""Figure 7 of the DETR paper to play with."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from detr_mini.colours import CARD, COLOURS, INK, QUIET
from detr_mini.plots import SLOT_KINDS, SLOT_LEGEND, slot_kind
from detr_mini.teaching.interactive.figure import KEYS, Interactive, data_uri, framed
from detr_mini.teaching.pictures import checked_alt, webp

INKS = {"card": CARD, "ink": INK, "quiet": QUIET, "mark": COLOURS["vermilion"]}  # of what the page draws


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
) -> Interactive:
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

    alt = checked_alt(alt)
    all_boxes, sure = _checked(np.asarray(boxes, dtype=np.float32), np.asarray(scores, dtype=np.float32), len(labels))
    points, counts = _slot_points(all_boxes)  # (S, N, P, 2), (S, N, kinds)
    own = np.concatenate([all_boxes[:, scene], sure[..., None]], axis=-1)  # (S, N, 5)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    moment, query = start
    columns = math.ceil(len(counts[0]) ** 0.5)
    stored = {"points": _base64(points), "counts": counts.tolist(), "own": _base64(_bytes(own)), "labels": list(labels)}
    stored |= {
        "pictures": points.shape[2],
        "columns": columns,
        "moment": moment,
        "query": query,
        "kinds": SLOT_KINDS,
        "inks": INKS,
    }
    pictures = [
        _slots_drawn(points[moment], counts[moment], columns, picture.width / picture.height),
        _slots_drawn(points[moment, query, None], counts[moment, query, None], 1, picture.width / picture.height),
        picture.convert("RGB"),
    ]
    body = _slot_body(stored, [data_uri(webp(one)) for one in pictures], pictures, own[moment, query], what, alt)
    return framed(name, alt, body, "slots")


def _checked(boxes: np.ndarray, scores: np.ndarray, moments: int) -> tuple[np.ndarray, np.ndarray]:
    if boxes.ndim != 4 or boxes.shape[3] != 4 or scores.shape != (moments, *boxes.shape[2:3]):
        raise ValueError(
            f"boxes of shape {boxes.shape}, scores of shape {scores.shape} and {moments} labels: "
            "(S, P, N, 4), (S, N) and S are wanted"
        )
    if not (boxes.min() >= 0 and boxes.max() <= 1):
        raise ValueError(f"boxes reach from {boxes.min()} to {boxes.max()}: cxcywh in [0, 1] is wanted")
    return boxes, scores


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
<div class="grid" {KEYS} tabindex="0" role="group" aria-label="{escape(alt)}" \
style="{panels[0]};touch-action:manipulation">{shown[0]}{canvas}</div>
<div style="display:flex;flex-wrap:wrap;gap:0 1.2em;margin:0.3em 0;font-size:0.85em">{legend}</div>
<label style="display:none;flex-wrap:wrap;gap:0.3em 0.8em;align-items:center">
<span style="min-width:10em">{escape(what)}: <b>{now}</b></span>
<input type="range" {KEYS} min="0" max="{last}" value="{stored["moment"]}" \
aria-valuetext="{now}" style="flex:1 1 10em;accent-color:{COLOURS["blue"]}"></label>
<output aria-live="polite" style="display:block;min-height:3em;font-size:0.85em"></output></div>
<div style="flex:1 1 200px;min-width:0;max-width:440px;display:flex;flex-wrap:wrap;gap:10px">
<div class="large" style="{panels[1]};flex:1 1 160px">{shown[1]}{canvas}</div>
<div class="scene" style="{panels[2]};flex:1 1 160px">{shown[2]}<div class="box" style="{box};{_box_style(own)}"></div>
</div></div></div>
<script type="application/json">{json.dumps(stored)}</script>"""


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
