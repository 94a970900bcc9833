"""Pictures of layers: which word reads which, and the two layers of the Transformer of 2017 with who gets what.

The second is the paper's Figure 1 with one layer of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from detr_mini.colours import CARD, COLOURS, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

READING, ALONE = "#CFE4F2", "#F6E0B5"  # blocks in which words read each other, and in which each stands by itself
ARROW = {"arrowstyle": "-|>", "color": INK, "lw": 1.2}
ENCODER = (
    ("self-attention", "q, k, v: source words", READING),
    ("feed-forward", "each word by itself", ALONE),
)
DECODER = (
    ("causal self-attention", "q, k, v: target words", READING),
    ("cross-attention", "q: target   k, v: memory", READING),
    ("feed-forward", "each word by itself", ALONE),
)
LEFT, RIGHT, STEP = 0.0, 3.3, 1.95  # centers of the columns, and from block to block


def reach_figure(steps: Mapping[str, Tensor], words: Sequence[str]) -> Figure:
    """One grid a layer: which word (a row) reads which (a column), and in how many steps.

    Args:
        steps: from the name of a layer to its steps ``(L, L)``, whole numbers; 0 where nothing is read.
        words: the ``L`` words.
    """
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(steps), figsize=(0.4 + 2 * len(steps), 2.6), sharey=True, squeeze=False)
    ticks = range(len(words))
    for ax, (name, grid) in zip(axes.flat, steps.items(), strict=True):
        for i, j in grid.nonzero().tolist():
            ax.add_patch(plt.Rectangle((j - 0.5, i - 0.5), 1, 1, ec=CARD, fc=COLOURS["sky"]))
            ax.text(j, i, str(int(grid[i, j])), ha="center", va="center")
        end = len(words) - 0.5
        ax.set(title=name, xlim=(-0.5, end), ylim=(end, -0.5), aspect="equal")
        ax.set_xticks(ticks, words, rotation=60)
    axes[0, 0].set_yticks(ticks, words)
    return fig


def layers_figure() -> Figure:
    """An encoder layer and a decoder layer, post-norm, side by side."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(4.7, 5.6))
    _column(ax, LEFT, -1, ENCODER)
    _column(ax, RIGHT, 1, DECODER)
    for x, y, text in (
        (LEFT, -0.62, "source words + places"),
        (RIGHT, -0.62, "target words + places"),
        (LEFT, 2 * STEP + 0.35, "memory"),
        (RIGHT, 3 * STEP + 0.35, "logits of the next word"),
    ):
        ax.text(x, y, text, ha="center", va="center", size=9.5)
    for x, y, text in ((LEFT, 2 * STEP + 1.0, "encoder layer"), (RIGHT, 3 * STEP + 1.0, "decoder layer")):
        ax.text(x, y, text, ha="center", weight="bold", size=10.5)
    across = ARROW | {"color": COLOURS["vermilion"], "lw": 2}
    bend = (LEFT + RIGHT) / 2
    ax.plot([LEFT + 0.55, bend, bend], [2 * STEP + 0.35, 2 * STEP + 0.35, STEP + 0.43], color=across["color"], lw=2)
    ax.annotate("", (RIGHT - 1.35, STEP + 0.43), (bend - 0.03, STEP + 0.43), arrowprops=across)
    ax.set(xlim=(-1.9, RIGHT + 1.9), ylim=(-0.9, 3 * STEP + 1.35))
    ax.axis("off")
    return fig


def _column(ax: Axes, x: float, side: int, blocks: tuple[tuple[str, str, str], ...]) -> None:
    """Blocks from bottom to top, each with its residual way on one side and the norm after it."""
    for number, (name, reads, colour) in enumerate(blocks):
        low = STEP * number
        _box(ax, x, low, 0.86, colour)
        _box(ax, x, low + 1.14, 0.42, CARD)
        ax.text(x, low + 0.59, name, ha="center", va="center", weight="bold", size=9)
        ax.text(x, low + 0.25, reads, ha="center", va="center", size=8.2)
        ax.text(x, low + 1.35, "add, then norm", ha="center", va="center", size=8.5)
        for start, end in ((low - 0.4, low), (low + 0.86, low + 1.14)):
            ax.annotate("", (x, end), (x, start), arrowprops=ARROW)
        out = x + side * 1.55
        ax.plot([x, out, out], [low - 0.24, low - 0.24, low + 1.35], color=INK, lw=1)
        ax.annotate("", (x + side * 1.3, low + 1.35), (out + side * 0.02, low + 1.35), arrowprops=ARROW)
    top = STEP * len(blocks)
    ax.annotate("", (x, top + 0.15), (x, top - 0.39), arrowprops=ARROW)


def _box(ax: Axes, x: float, low: float, height: float, colour: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0,rounding_size=0.08"
    ax.add_patch(FancyBboxPatch((x - 1.3, low), 2.6, height, fc=colour, ec=INK, boxstyle=style))
