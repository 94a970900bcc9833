"""The steps of the Hungarian algorithm as pictures.

Chapter: *Matching*, ``book/11_matcher``, which makes the steps.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detr_mini.colours import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 56  # signs of a line above the tables


class Step(NamedTuple):
    """What is done, the table (N, N) after it, the row chosen in a column, and the rows and columns with a line."""

    what: str
    table: np.ndarray
    chosen: dict[int, int]
    lines: tuple[list[int], list[int]]


def draw_step(step: Step, costs: np.ndarray, before: np.ndarray) -> Figure:
    """The reduced table and the costs side by side, (N, N) each, under a sentence that says what is done.

    Zeros are tinted, chosen cells circled, lines drawn in. ``before`` is the table of the step before.

    Raises:
        ValueError: the step is none of the algorithm's.
    """
    import matplotlib.pyplot as plt

    text = textwrap.fill(sentence(step, costs, before), WIDTH)
    figure, axes = plt.subplots(1, 2, figsize=(5, 3.2))
    _draw_table(axes[0], step.table, step.chosen, step.lines)
    _draw_table(axes[1], costs, step.chosen, ([], []))
    axes[0].set_title("reduced")
    axes[1].set_title("costs")
    figure.suptitle(text if "\n" in text else f"{text}\n ", x=0.02, ha="left", fontsize=10)
    return figure


def sentence(step: Step, costs: np.ndarray, before: np.ndarray) -> str:
    """What a step does, and with which numbers; tables as for `draw_step`."""
    count, needed = len(step.chosen), len(costs)
    least = sum(costs[row, column] for column, row in step.chosen.items())
    said = {
        "start": "The costs: a row a query, a column an object.",
        "rows": "Take from each row its least number.",
        "columns": "Take from each column its least number.",
        "choose": f"{count} zeros can be chosen, no two in one line. "
        + ("Done." if count == needed else f"{needed} are needed."),
        "cover": f"{count} lines cross out all zeros, so no more than {count} could be chosen.",
        "shift": f"The least number without a line is {(before - step.table).max()}: take it from all without, "
        "add it where two lines cross.",
        "end": f"The same cells in the table of costs: the least sum is {least}.",
    }
    if step.what not in said:
        raise ValueError(f"{step.what!r} is no step of the algorithm; known are {', '.join(said)}")
    return said[step.what]


def _draw_table(ax: Axes, table: np.ndarray, chosen: dict[int, int], lines: tuple[list[int], list[int]]) -> None:
    from matplotlib.patches import Circle

    n = len(table)
    ax.imshow(table == 0, cmap="Blues", vmin=0, vmax=4)
    for (row, column), number in np.ndenumerate(table):
        ax.text(column, row, str(number), ha="center", va="center", fontsize=12)
    for column, row in chosen.items():
        ax.add_patch(Circle((column, row), 0.36, fill=False, lw=2.2, color=COLOURS["vermilion"]))
    ends = [-0.5, n - 0.5]
    across = [(ends, [row, row]) for row in lines[0]] + [([column, column], ends) for column in lines[1]]
    for x, y in across:
        ax.plot(x, y, color=COLOURS["green"], lw=13, alpha=0.35, solid_capstyle="butt")
    ax.set(xticks=range(n), yticks=range(n))
    ax.set_xticklabels([f"obj {t}" for t in range(n)])
    ax.set_yticklabels([f"q{q}" for q in range(n)])
    ax.tick_params(length=0, labelsize=8.5)
    ax.spines[:].set_visible(False)
