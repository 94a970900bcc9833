"""A word of a sentence, and what it reads of another one, or of its own."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from detr_mini.colours import CARD, COLOURS, INK, QUIET
from detr_mini.teaching.interactive.figure import KEYS, Interactive, framed
from detr_mini.teaching.pictures import checked_alt

INKS = {"card": CARD, "full": COLOURS["orange"], "quiet": QUIET, "mark": COLOURS["vermilion"]}  # of what the page draws
WORD = f"display:inline-block;border-radius:5px;padding:0.25em 0.5em;text-align:center;color:{INK};line-height:1.35"
ROW = "display:flex;flex-wrap:wrap;gap:6px;margin:0.2em 0 0.7em"


def word_picker(
    queries: Sequence[str], keys: Sequence[str], maps: Mapping[str, Any], *, name: str, alt: str, start: int = 0
) -> Interactive:
    """Point at a word, and see how much it reads of each other word.

    Two rows of words: those that read, and below them those that are read, the same sentence once more or another
    one. The lower ones are shaded by their weight for the word that is chosen, which stands under each in hundredths.

    Args:
        queries: the Lq words that read, such as those of a translation as it is written.
        keys: the Lk words that are read.
        maps: by name, arrays ``(Lq, Lk)`` of weights in [0, 1]: of a layer, of a head. Of several, the reader chooses.
        name: of this figure, used for no other one on the page: letters, digits and dashes.
        alt: what there is to see and to do, in a sentence or two.
        start: the number of the word among ``queries`` that is chosen at first.

    Raises:
        ValueError: maps of other shapes or with values outside [0, 1], a word that is not there, a name or an ``alt``
            that will not do.
    """
    alt = checked_alt(alt)
    weights = _hundredths(maps, len(queries), len(keys))  # (maps, Lq, Lk)
    if not 0 <= start < len(queries):
        raise ValueError(f"start={start}: there are {len(queries)} words, the first is 0")
    stored = json.dumps({"weights": _bitmap(weights), "maps": len(weights), "query": start, "inks": INKS})
    asks = "".join(_word(word, _asking(chosen=i == start)) for i, word in enumerate(queries))
    read = "".join(
        _word(word, _shade(weight), f"{weight / 100:.2f}") for word, weight in zip(keys, weights[0, start], strict=True)
    )
    options = "".join(f"<option>{escape(key)}</option>" for key in maps)
    choice = f'<label>map: <select {KEYS} style="font:inherit">{options}</select></label>' if len(maps) > 1 else ""
    body = f"""<div class="panels" {KEYS} tabindex="0" role="group" aria-label="{escape(alt)}" \
style="touch-action:manipulation;max-width:760px;padding:2px">
<div style="font-size:0.85em">who reads</div><div class="asks" style="{ROW};cursor:pointer">{asks}</div>
<div style="font-size:0.85em">who is read</div><div class="read" style="{ROW}">{read}</div></div>
<script type="application/json">{stored}</script>
<div class="controls" style="display:none;flex-wrap:wrap;gap:0.3em 1.5em;margin-top:0.2em">{choice}
<output aria-live="polite"></output></div>"""
    return framed(name, alt, body, "words")


def _hundredths(maps: Mapping[str, Any], queries: int, keys: int) -> np.ndarray:
    """All maps as whole hundredths ``(maps, Lq, Lk)``."""
    arrays = {key: np.asarray(value, dtype=np.float64) for key, value in maps.items()}
    if not arrays or not queries or not keys:
        raise ValueError(
            f"{queries} words that read, {keys} that are read and {len(arrays)} maps: one of each at least"
        )
    for key, array in arrays.items():
        if array.shape != (queries, keys):
            raise ValueError(f"map {key!r} has the shape {array.shape}: {(queries, keys)} is wanted, (Lq, Lk)")
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(f"map {key!r} reaches from {array.min()} to {array.max()}: weights lie in [0, 1]")
    return np.round(np.stack(list(arrays.values())) * 100).astype(np.uint8)


def _bitmap(weights: np.ndarray) -> str:
    """Hundredths ``(maps, Lq, Lk)`` as an uncompressed picture of bytes, twice as large, one map below the other.

    Stored outputs are compared with a tolerance where they are pictures: another processor may round a weight up.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(2 * weights.reshape(-1, weights.shape[-1])).save(file, format="bmp")
    return "data:image/bmp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _word(word: str, style: str, number: str = "") -> str:
    language = ' lang="zh"' if any("\u4e00" <= sign <= "\u9fff" for sign in word) else ""
    below = f'<span class="weight" style="display:block;font-size:0.8em">{number}</span>' if number else ""
    return f'<span class="word" style="{WORD};{style}"><span{language}>{escape(word)}</span>{below}</span>'


def _asking(*, chosen: bool) -> str:
    colour = INKS["mark" if chosen else "quiet"]
    return f"background-color:{CARD};box-shadow:inset 0 0 0 {3 if chosen else 1}px {colour}"


def _shade(weight: int) -> str:
    """From the color of a card at 0 hundredths to full orange at 100."""
    ends = zip(_rgb(INKS["card"]), _rgb(INKS["full"]), strict=True)
    mixed = ",".join(str(round(low + (high - low) * int(weight) / 100)) for low, high in ends)
    return f"background-color:rgb({mixed});print-color-adjust:exact;box-shadow:inset 0 0 0 1px {INKS['quiet']}"


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))
