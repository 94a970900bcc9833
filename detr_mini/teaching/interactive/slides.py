"""One picture out of several, chosen with a slider."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from detr_mini.colours import COLOURS
from detr_mini.teaching.interactive.figure import KEYS, Interactive, data_uri, framed
from detr_mini.teaching.pictures import CSS_DPI, checked_alt, drawn, webp

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def slider(
    figures: Iterable[Figure], labels: Sequence[str], *, name: str, what: str, alt: str, start: int = 0
) -> Interactive:
    """One picture out of several, chosen with a slider.

    Args:
        figures: what to show, all of one size; each is closed once it is drawn. Twenty are plenty: all are stored with
            the page.
        labels: what the slider says at each of them.
        name: of this figure, used for no other one on the page: letters, digits and dashes.
        what: is chosen with the slider: "layer", "query".
        alt: what there is to see and to do, in a sentence or two.
        start: which picture comes first.

    Raises:
        ValueError: no or too few labels, a name or an ``alt`` that will not do.
    """
    import matplotlib.pyplot as plt

    alt, frames, width = checked_alt(alt), [], 0
    for figure in figures:  # if they are drawn on demand, only one is open at a time
        width = round(figure.get_figwidth() * CSS_DPI)
        frames.append(data_uri(webp(drawn(figure))))
        plt.close(figure)
    if not frames or len(frames) != len(labels):
        raise ValueError(f"{len(frames)} figures and {len(labels)} labels: one label a figure is wanted")
    stored = json.dumps({"frames": frames, "labels": list(labels)})
    body = f"""<img src="{frames[start]}" alt="{escape(alt)}" width="{width}">
<script type="application/json">{stored}</script>
<label style="display:none;flex-wrap:wrap;gap:0.3em 0.8em;align-items:center;max-width:{width}px">
<span style="min-width:9em">{escape(what)}: <output aria-live="polite">{escape(labels[start])}</output></span>
<input type="range" {KEYS} min="0" max="{len(frames) - 1}" value="{start}" \
aria-valuetext="{escape(labels[start])}" style="flex:1 1 12em;accent-color:{COLOURS["blue"]}"></label>"""
    return framed(name, alt, body, "slides")
