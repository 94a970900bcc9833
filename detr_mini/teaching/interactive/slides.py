"""One picture out of several, chosen with a slider."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from detr_mini.colours import COLOURS
from detr_mini.teaching.interactive.figure import KEYS, Interactive, data_uri, framed
from detr_mini.teaching.pictures import CSS_DPI, checked_alt, drawn, webp

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def slider(
    figures: Sequence[Figure], labels: Sequence[str], *, name: str, what: str, alt: str, start: int = 0
) -> Interactive:
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
    alt = checked_alt(alt)
    width = round(figures[0].get_figwidth() * CSS_DPI)
    frames = [data_uri(webp(drawn(figure))) for figure in figures]
    for figure in figures:
        plt.close(figure)
    stored = json.dumps({"frames": frames, "labels": list(labels)})
    body = f"""<img src="{frames[start]}" alt="{escape(alt)}" width="{width}">
<script type="application/json">{stored}</script>
<label style="display:none;flex-wrap:wrap;gap:0.3em 0.8em;align-items:center;max-width:{width}px">
<span style="min-width:9em">{escape(what)}: <output aria-live="polite">{escape(labels[start])}</output></span>
<input type="range" {KEYS} min="0" max="{len(frames) - 1}" value="{start}" \
aria-valuetext="{escape(labels[start])}" style="flex:1 1 12em;accent-color:{COLOURS["blue"]}"></label>"""
    return framed(name, alt, body, "slides")
