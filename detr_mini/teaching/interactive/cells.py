"""A cell of a picture, and a map that belongs to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from detr_mini.colours import CARD, COLOURS
from detr_mini.teaching.interactive.figure import KEYS, Interactive, data_uri, framed
from detr_mini.teaching.pictures import checked_alt, webp


def cell_picker(
    image: Any,
    maps: Mapping[str, Any],
    *,
    name: str,
    alt: str,
    start: tuple[int, int],
    width: int = 300,
) -> Interactive:
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

    alt = checked_alt(alt)
    arrays = _checked_maps(maps)
    h, w = next(iter(arrays.values())).shape[:2]
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    shown = data_uri(webp(picture.convert("RGB")))
    sheets = {key: data_uri(_sheet(array)) for key, array in arrays.items()}
    stored = json.dumps({"sheets": sheets, "h": h, "w": w, "row": start[0], "column": start[1]})
    aspect = f"{picture.width}/{picture.height}"
    panel = f"position:relative;flex:0 1 {width}px;min-width:0;aspect-ratio:{aspect};overflow:hidden"
    mark, sheet = _mark_style(start, h, w), _sheet_style(next(iter(sheets.values())), start, h, w)
    options = "".join(f"<option>{escape(key)}</option>" for key in sheets)
    choice = f'<label>map: <select {KEYS} style="font:inherit">{options}</select></label>' if len(sheets) > 1 else ""
    body = f"""<div class="panels" {KEYS} tabindex="0" role="group" aria-label="{escape(alt)}" \
style="display:flex;gap:10px;touch-action:manipulation">
<div style="{panel}"><img src="{shown}" alt="{escape(alt)}" style="width:100%;height:100%;\
padding:0;border:0;border-radius:0;max-width:100%"><div class="marked" style="{mark}"></div></div>
<div style="{panel}"><div class="sheet" style="{sheet}"></div><div class="marked" style="{mark}"></div></div></div>
<script type="application/json">{stored}</script>
<div class="controls" style="display:none;flex-wrap:wrap;gap:0.3em 1.5em;margin-top:0.4em">{choice}
<output aria-live="polite"></output></div>"""
    return framed(name, alt, body, "cells")


def _checked_maps(maps: Mapping[str, Any]) -> dict[str, np.ndarray]:
    arrays = {key: np.asarray(value, dtype=np.float32) for key, value in maps.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(shape := next(iter(shapes))) != 4 or shape[:2] != shape[2:]:
        raise ValueError(f"maps of shapes {sorted(shapes)}: all should be (h, w, h, w), with the same h and w")
    for key, array in arrays.items():
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(f"map {key!r} reaches from {array.min()} to {array.max()}: bring it to [0, 1]")
    return arrays


def _mark_style(cell: tuple[int, int], h: int, w: int) -> str:
    return (
        f"position:absolute;box-sizing:border-box;width:{100 / w:.3f}%;height:{100 / h:.3f}%;"
        f"border:2px solid {COLOURS['vermilion']};outline:1px solid {CARD};pointer-events:none;"
        f"left:{100 * cell[1] / w:.3f}%;top:{100 * cell[0] / h:.3f}%"
    )


def _sheet_style(uri: str, cell: tuple[int, int], h: int, w: int) -> str:
    """Of all maps, side by side in one picture, that of a cell."""
    return (
        f"position:absolute;inset:0;image-rendering:pixelated;background-image:url({uri});"
        f"background-size:{100 * w}% {100 * h}%;background-position:{_share(cell[1], w)}% {_share(cell[0], h)}%"
    )


def _share(index: int, count: int) -> str:
    return f"{100 * index / max(1, count - 1):.3f}"


def _sheet(maps: np.ndarray) -> bytes:
    """All maps ``(h, w, h, w)`` as the tiles of one colored picture."""
    from matplotlib import colormaps
    from PIL import Image

    h, w = maps.shape[:2]
    tiles = maps.transpose(0, 2, 1, 3).reshape(h * h, w * w)
    levels = np.round(tiles * 255).astype(np.uint8)
    picture = Image.fromarray(levels, mode="P")
    picture.putpalette((colormaps["cividis"](np.arange(256))[:, :3] * 255).round().astype(np.uint8).tobytes())
    return webp(picture.convert("RGB"))
