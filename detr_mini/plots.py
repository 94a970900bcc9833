"""Figures of detections and of slots with Matplotlib, in the book's colors: ``pip install "detr-mini[plots]"``."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from detr_mini.colours import CARD, COLOURS, INK, QUIET
from detr_mini.drawing import detection_texts as detection_texts  # what draw_boxes takes as texts

if find_spec("matplotlib") is None:
    raise ImportError('there is no matplotlib here, which figures need: pip install "detr-mini[plots]"')
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

SMALL, LARGE = 0.03, 0.06  # shares of the picture: in a slot panel boxes below are "small", from there on "large"
SLOT_KINDS = {  # of boxes, and their colors, in the order in which slot panels draw them
    "medium": QUIET,
    "large, wide": COLOURS["vermilion"],
    "large, tall": COLOURS["blue"],
    "small": COLOURS["green"],
}
SLOT_LEGEND = ("small", "medium", "large, wide", "large, tall")


def draw_boxes(ax: "Axes", image: Any, boxes: Tensor, texts: Sequence[str], *, colours: Sequence[str] = ()) -> None:
    """Draw a picture and boxes on it.

    Args:
        ax: where to draw; its ticks go.
        image: PIL image or ``(H, W, 3)`` array.
        boxes: ``(M, 4)``, xyxy in the image's pixels.
        texts: one a box; may be empty strings.
        colours: one a box; the book's colors in turn by default.
    """
    from matplotlib.patches import Rectangle

    height, width = np.asarray(image).shape[:2]
    ax.imshow(image, interpolation="bilinear", extent=(0, width, height, 0))  # edges of pixels, not their centers
    ax.set_axis_off()
    palette = list(colours) or [list(COLOURS.values())[i % len(COLOURS)] for i in range(len(texts))]
    for (left, top, right, bottom), text, colour in zip(boxes.tolist(), texts, palette, strict=True):
        for edge, line in ((CARD, 3.2), (colour, 1.8)):  # a light rim keeps the box visible on any ground
            ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=edge, linewidth=line))
        if text:
            ax.annotate(
                text,
                (min(max(left, 0), width * 0.86), max(top, height * 0.045)),
                xytext=(1, 1),
                textcoords="offset points",
                va="bottom",
                fontsize=7.5,
                color="white",
                bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.4},
            )


def draw_names(ax: "Axes", x: float, ends: Sequence[tuple[float, str, str]], gap: float = 0.0) -> None:
    """Write names beside the ends of curves, in their colors.

    Args:
        ax: where to draw.
        x: where the names begin.
        ends: height, name and color of each curve.
        gap: how far apart two names are at least, and half of it the lowest from 0; names move up.
    """
    low = -gap / 2
    for height, name, colour in sorted(ends):
        low = max(height, low + gap)
        ax.text(x, low, name, color=colour, va="center", fontsize=9)


def zoom_on(ax: "Axes", image: Any, box: Tensor) -> None:
    """Show the square part of a picture around a box, xyxy in its pixels, and no more than there is."""
    height, width = np.asarray(image).shape[:2]
    left, top, right, bottom = box.tolist()
    reach = min(0.8 * max(right - left, bottom - top) + 20, min(width, height) / 2)
    x = min(max((left + right) / 2, reach), width - reach)
    y = min(max((top + bottom) / 2, reach), height - reach)
    ax.set(xlim=(x - reach, x + reach), ylim=(y + reach, y - reach))


def draw_frames(ax: "Axes", boxes: Tensor, **style: Any) -> None:
    """Draw frames and nothing else: boxes ``(M, 4)``, xyxy in units of ``ax``, in a style of Matplotlib's patches."""
    from matplotlib.patches import Rectangle

    for left, top, right, bottom in boxes.tolist():
        ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, **style))


def draw_cells(ax: "Axes", image: Any, values: Tensor, cell: int, **style: Any) -> "AxesImage":
    """Draw one number a cell over a picture in gray.

    Args:
        ax: where to draw; its ticks go.
        image: PIL image.
        values: ``(h, w)``, from the top left corner on; cells beyond the picture are left out.
        cell: how many of the image's pixels a cell is wide and high.
        style: of Matplotlib's ``imshow``, such as ``vmin``.

    Returns:
        What a color bar is made for.
    """
    h, w = values.shape
    ax.imshow(image.convert("L"), cmap="gray", extent=(0, image.width, image.height, 0))
    drawn = ax.imshow(values.numpy(), alpha=0.7, extent=(0, w * cell, h * cell, 0), **style)
    ax.set(xlim=(0, image.width), ylim=(image.height, 0), xticks=[], yticks=[])
    return drawn


def slot_panels(
    boxes: Tensor, *, fires: Tensor | None = None, queries: Sequence[int] | None = None, columns: int = 5
) -> "Figure":
    """One panel a query: where its box falls on every image, as in figure 7 of the DETR paper.

    A point is the center of a box. Green: small. Vermilion: large and wide. Blue: large and tall. Gray: in between.

    Args:
        boxes: ``(images, N, 4)`` as cxcywh in [0, 1], from :func:`detr_mini.interpret.slot_boxes`.
        fires: ``(images, N)``, True where a query reports something; the other points are pale and lie below. By
            default all points look alike.
        queries: which to show, in this order; all by default.
        columns: panels in a row.
    """
    import matplotlib.pyplot as plt

    shown = list(range(boxes.shape[1])) if queries is None else list(queries)
    rows = -(-len(shown) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.45 * columns, 1.12 * rows + 0.35), squeeze=False)
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    for query, ax in zip(shown, axes.flat, strict=False):
        own = boxes[:, query]
        parts = [(own, 0.55)] if fires is None else [(own[~fires[:, query]], 0.13), (own[fires[:, query]], 0.8)]
        for part, alpha in parts:
            for kind, colour, size in slot_kinds(part):
                ax.scatter(*kind[:, :2].T.numpy(), s=size, c=colour, alpha=alpha, linewidths=0)
        ax.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[])
        ax.set_title(f"{query}", fontsize=7.5, fontweight="normal", pad=2)
        for spine in ax.spines.values():
            spine.set(visible=True, color=QUIET, linewidth=0.6)
    _slot_legend(figure)
    return figure


def slot_kinds(boxes: Tensor) -> list[tuple[Tensor, str, float]]:
    """Split boxes ``(M, 4)`` by size and shape; each kind with its color and point size, largest kind drawn first."""
    kinds = slot_kind(boxes.numpy())
    return [
        (boxes[kinds == number], colour, 7.0 if kind.startswith("large") else 2.5)
        for number, (kind, colour) in enumerate(SLOT_KINDS.items())
    ]


def slot_kind(boxes: np.ndarray) -> np.ndarray:
    """The kind of each box ``(..., 4)``, cxcywh in [0, 1]: its place in ``SLOT_KINDS``, ``(...)``."""
    width, height = boxes[..., 2], boxes[..., 3]
    area = width * height
    return np.select([area < SMALL, area < LARGE, width >= height], [3, 0, 1], default=2)


def _slot_legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker="o", linestyle="", markersize=5, color=SLOT_KINDS[kind], label=kind)
        for kind in SLOT_LEGEND
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, labelcolor=INK)
