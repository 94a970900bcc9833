"""Two sentences that say the same: a line from each word to the one that it stands for, and what a translator reads.

Drawn from top to bottom, so that it can be read on a phone. The words are text, not pictures: Chinese ones need a font
that has them, and have an English word in small print beside them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor

from detr_mini.colours import CARD, COLOURS, INK
from detr_mini.data.lexicon import COLOURS as COLOUR_WORDS
from detr_mini.data.lexicon import COUNTS, KINDS, PLACES, RELATIONS
from detr_mini.modeling.seq2seq import Seq2SeqTransformer
from detr_mini.teaching.pictures import checked_alt

ROW, LEFT, RIGHT, WIDTH = 26, 92, 208, 344
CROSSED, STRAIGHT = COLOURS["vermilion"], COLOURS["blue"]
GLOSSES = {
    "有": "there is",
    "还": "also",
    "，": "comma",
    "的": "(links)",
    "一": "one",
    "上": "on",
    **{chinese: english for english, chinese in COUNTS.values()},
    **{chinese: english for english, chinese in COLOUR_WORDS.items()},
    **{about.measure: "(measure)" for about in KINDS.values()},
    **{about.noun: kind for kind, about in KINDS.items()},
    **{chinese: english.split()[-1] for english, chinese in PLACES.items()},
    **{chinese: english for english, chinese in RELATIONS.items()},
}


def gloss(words: Sequence[str]) -> str:
    """Chinese words with an English one after each, 两 two, 辆 (measure), 汽车 car, in lines that fit on a page."""
    return textwrap.fill(", ".join(f"{word} {GLOSSES[word]}" for word in words), 66)


@torch.no_grad()
def cross_weights(model: Seq2SeqTransformer, source: Tensor, target: Tensor) -> Tensor:
    """How much each word of ``target`` ``(B, T)`` reads of each word of ``source`` ``(B, S)``, by layer and head.

    The weights are computed from what hooks see the modules get: ``(layers, B, heads, T, S)``; rows sum to 1. Place
    ``t`` has the word ``t`` of ``target`` as its input, and asks for the word after it.
    """
    found: list[Tensor] = []

    def note(module: Any, given: tuple[Any, ...]) -> None:
        query, memory, _, padding = given
        found.append(module.attention_weights(query, memory, padding))

    layers: list[Any] = list(model.decoder.layers)
    hooks = [layer.multihead_attn.register_forward_pre_hook(note) for layer in layers]
    try:
        model(source, target)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(found)


@dataclass(frozen=True)
class AlignmentFigure:
    """A drawing as Jupyter and the built book show it."""

    svg: str
    alt: str

    def _repr_html_(self) -> str:
        return f'<div class="alignment" style="max-width:{WIDTH}px;margin:0.5em 0">{self.svg}</div>'

    def __repr__(self) -> str:
        return f"A figure: {self.alt}"


def alignment_figure(
    english: Sequence[str], chinese: Sequence[str], links: Sequence[tuple[int, int]], *, alt: str
) -> AlignmentFigure:
    """Draw English words on the left, Chinese ones on the right, and a line for each of ``links``.

    Args:
        english: the words of the one sentence.
        chinese: the words of the other one, all of them of the grammar.
        links: (Chinese position, English position), as ``alignment`` gives them first in each of its links.
        alt: what there is to see, in a sentence or two.
    """
    alt = checked_alt(alt)
    height = ROW * max(len(english), len(chinese)) + 8
    lines = [_line(target, source, crossed=_crosses((target, source), links)) for target, source in links]
    left = [_text(LEFT - 8, row, word, "end") for row, word in enumerate(english)]
    right = [_text(RIGHT + 8, row, word, "start", ' lang="zh"') for row, word in enumerate(chinese)]
    small = [
        _text(RIGHT + 66, row, GLOSSES[word], "start", f' font-size="11" fill="{INK}" fill-opacity="0.8"')
        for row, word in enumerate(chinese)
    ]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="100%" role="img" '
        f'aria-label="{escape(alt)}" font-size="14" fill="{INK}">'
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="{CARD}"/>\n' + "\n".join([*lines, *left, *right, *small])
    )
    return AlignmentFigure(svg + "\n</svg>", alt)


def _crosses(link: tuple[int, int], links: Sequence[tuple[int, int]]) -> bool:
    return any((link[0] - other[0]) * (link[1] - other[1]) < 0 for other in links)


def _middle(row: int) -> float:
    return 4 + ROW * (row + 0.5)


def _line(target: int, source: int, *, crossed: bool) -> str:
    colour, dashes = (CROSSED, "") if crossed else (STRAIGHT, ' stroke-dasharray="5 3"')
    return (
        f'<path d="M{LEFT} {_middle(source):g}L{RIGHT} {_middle(target):g}" stroke="{colour}" stroke-width="1.6"'
        f"{dashes}/>"
    )


def _text(x: int, row: int, word: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x}" y="{_middle(row) + 5:g}" text-anchor="{anchor}"{more}>{escape(word)}</text>'
