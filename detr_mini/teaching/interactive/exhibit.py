"""A case to solve: pieces of evidence, causes to choose from, and an answer to each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from detr_mini.colours import CARD, COLOURS
from detr_mini.teaching.interactive.figure import KEYS, Interactive, data_uri, framed
from detr_mini.teaching.pictures import CSS_DPI, checked_alt, drawn, light_webp

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PATIENCE = 3  # wrong causes that a reader names before the page offers to tell
SHARPNESS = 1.5  # pixels stored per pixel of the page, which holds dozens of pictures
INKS = {"chosen": COLOURS["blue"], "card": CARD, "right": COLOURS["green"], "wrong": COLOURS["vermilion"]}
BUTTON = (
    "font:inherit;font-size:0.9em;padding:0.3em 0.8em;border-radius:1em;cursor:pointer;background:transparent;"
    "color:inherit;border:1px"
)


def exhibit(
    evidence: Mapping[str, tuple[Figure, str]],
    causes: Mapping[str, Sequence[str]],
    verdicts: Mapping[str, tuple[bool, str]],
    *,
    solved: str,
    name: str,
    alt: str,
) -> Interactive:
    """A case to solve: ask for evidence, name a cause, read what speaks for it or against it.

    The first piece of evidence lies on the table, the others are asked for. What the case teaches stands below it once
    the right cause was named; after three wrong ones the reader may have it told.

    Args:
        evidence: by title, figures, each with a sentence that stands in for it; they are closed once drawn.
        causes: by the name of their group, causes to choose from.
        verdicts: for each cause whether it is the right one, and what to say to who names it.
        solved: HTML of what is shown in the end. Its links are ``<a href="NAME.ipynb#cell-LABEL" class="cell">``.
        name: of this figure, used for no other one on the page: letters, digits and dashes.
        alt: what there is to see and to do, in a sentence or two.

    Raises:
        ValueError: no evidence, causes and verdicts that differ, none or several that are right, a name or an ``alt``
            that will not do.
    """
    alt = checked_alt(alt)
    listed = [cause for group in causes.values() for cause in group]
    if not evidence:
        raise ValueError("there is no evidence: one piece at least is wanted")
    if sorted(listed) != sorted(verdicts):
        raise ValueError(f"causes and verdicts differ in {sorted(set(listed) ^ set(verdicts))}")
    if (right := sum(good for good, _ in verdicts.values())) != 1:
        raise ValueError(f"{right} causes are right: one should be")
    stored = {
        "evidence": list(evidence),
        "verdicts": {cause: {"right": good, "text": text} for cause, (good, text) in verdicts.items()},
        "patience": PATIENCE,
        "inks": INKS,
    }
    packed = json.dumps(stored).replace("<", "\\u003c")  # a text may hold a tag
    return framed(name, alt, _exhibit_body(packed, evidence, causes, solved, alt), "exhibit")


def _exhibit_body(
    stored: str,
    evidence: Mapping[str, tuple[Figure, str]],
    causes: Mapping[str, Sequence[str]],
    solved: str,
    alt: str,
) -> str:
    asks = "".join(
        f'<button type="button" class="ask" {KEYS} aria-pressed="{"true" if i == 0 else "false"}" '
        f'style="{BUTTON} {"dashed" if i else "solid"} currentColor">{escape(title)}</button>'
        for i, title in enumerate(evidence)
    )
    pieces = "".join(
        f'<div class="piece"{" hidden" if i else ""}>{_image(figure, words)}</div>'
        for i, (figure, words) in enumerate(evidence.values())
    )
    options = "".join(
        f'<optgroup label="{escape(group)}">{"".join(f"<option>{escape(cause)}</option>" for cause in some)}</optgroup>'
        for group, some in causes.items()
    )
    return f"""<div class="asking" role="group" aria-label="Evidence. {escape(alt)}" \
style="display:none;flex-wrap:wrap;gap:0.4em;margin-bottom:0.5em">{asks}</div>
{pieces}
<script type="application/json">{stored}</script>
<div class="controls" style="display:none;flex-wrap:wrap;gap:0.5em 0.8em;align-items:center;margin-top:0.4em">
<span class="count" aria-live="polite" style="flex:1 0 100%;font-size:0.85em"></span>
<label style="flex:0 1 auto;min-width:0;max-width:100%">cause: <select {KEYS} style="font:inherit;max-width:100%">\
<option value="">choose one</option>{options}</select></label>
<button type="button" class="judge" {KEYS} style="{BUTTON} solid currentColor">Name it</button>
<button type="button" class="tell" {KEYS} hidden style="{BUTTON} dashed currentColor">Tell me</button>
<output aria-live="polite" style="flex:1 0 100%;min-height:1.6em;border-left:4px solid transparent;padding-left:0.6em">\
</output></div>
<div class="solved" hidden>{solved}</div>"""


def _image(figure: Figure, words: str) -> str:
    """A drawn figure as it stands in the page; the figure is closed."""
    import matplotlib.pyplot as plt

    width, picture = round(figure.get_figwidth() * CSS_DPI), data_uri(light_webp(drawn(figure, SHARPNESS)))
    plt.close(figure)
    return f'<img src="{picture}" alt="{escape(checked_alt(words))}" width="{width}">'
