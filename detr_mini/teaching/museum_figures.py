"""Pieces of evidence of the museum of bugs as figures, each with words that stand in for it.

Chapter: *A museum of bugs*, ``book/23_museum``. What an exhibit holds stands in
:class:`detr_mini.teaching.museum.Exhibit`.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from detr_mini import plots
from detr_mini.boxes import box_cxcywh_to_xyxy
from detr_mini.colours import CARD, COLOURS, INK, QUIET
from detr_mini.data import CATEGORIES, draw_scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from torch import Tensor

    from detr_mini.teaching.museum import Exhibit

NAMES = {category.id: category.name for category in CATEGORIES if category.isthing}
OWN, TWIN = COLOURS["vermilion"], INK
TERMS = {"loss_ce": "class term", "loss_bbox": "L1 term", "loss_giou": "GIoU term"}
MEASURED = {
    "detections per object": "detections above 0.5, per object",
    "pairs per object": "pairs of them with IoU > 0.7, per object",
    "best IoU": "IoU of the best slot, mean of objects",
}
CELL = 8  # pixels of a picture that a cell of the last map is wide and high
FLOOR = 0.001  # the smallest change of weights that the figure tells from none
WIDTH = 4.8  # inches of every figure
THIN = 0.7  # points, of the curves of earlier decoder layers


def evidence_figures(exhibit: Exhibit) -> dict[str, Figure]:
    """Each piece of evidence by its title."""
    return {title: figure for title, (figure, _) in evidence(exhibit).items()}


def evidence(exhibit: Exhibit) -> dict[str, tuple[Figure, str]]:
    """Each piece of evidence by its title: a figure, and words for those who do not see it."""
    made = {
        "Loss": losses,
        "Terms": terms,
        "Numbers": numbers,
        "Pictures": pictures,
        "Batch": batch,
        "Attention": attention,
        "Weights": weights,
    }
    return {title: make(exhibit) for title, make in made.items()}


def losses(exhibit: Exhibit) -> tuple[Figure, str]:
    """The whole loss and ``class_error`` over the steps, beside those of the healthy twin."""
    figure, axes = _subplots(1, 2, height=2.4)
    said = []
    for ax, key, title in zip(axes.flat, ("loss", "class_error"), ("loss", "class_error, %"), strict=True):
        _curves(ax, exhibit, key, title)
        said.append(f"{title} {_ends(exhibit.log[key])}, of the twin {_ends(_twin(exhibit).log[key])}")
    _legend(axes.flat[0])
    return figure, f"Two curves over {exhibit.steps} steps beside those of a healthy twin: {'; '.join(said)}."


def terms(exhibit: Exhibit) -> tuple[Figure, str]:
    """The three terms of the loss at each decoder layer, and the learning rate."""
    figure, axes = _subplots(2, 2, height=4.0)
    said = []
    for ax, (key, title) in zip(axes.flat, TERMS.items(), strict=False):
        _curves(ax, exhibit, key, title)
        own, twin = (np.array(one.log[key]) for one in (exhibit, _twin(exhibit)))
        said.append(f"{title} at the last layer {_ends(own[:, -1])}, of the twin {_ends(twin[:, -1])}")
    _curves(axes.flat[3], exhibit, "lr", "learning rate")
    _legend(axes.flat[0], layers=True)
    rates = [
        f"at most {max(one.log['lr']):.1g}, in the end {one.log['lr'][-1]:.1g}" for one in (exhibit, _twin(exhibit))
    ]
    said.append(f"learning rate {rates[0]}, of the twin {rates[1]}")
    return figure, f"Three terms, thin for earlier decoder layers, and the learning rate: {'; '.join(said)}."


def _curves(ax: Axes, exhibit: Exhibit, key: str, title: str) -> None:
    """A column of the log, the twin's dashed; of several layers the last one thick."""
    for one, colour, style in ((exhibit, OWN, "-"), (_twin(exhibit), TWIN, "--")):  # the twin on top: it has gaps
        values = np.array(one.log[key], dtype=float).reshape(len(one.log["step"]), -1)  # (K, L)
        for layer, column in enumerate(values.T):
            last = layer == values.shape[1] - 1
            ax.plot(one.log["step"], column, style, color=colour, lw=1.8 if last else THIN, alpha=1 if last else 0.7)
    ax.set(title=title, ylim=(0, None), xlabel="step")


def _ends(values: Any) -> str:
    """From where to where a curve goes."""
    return f"from {values[0]:.3g} to {values[-1]:.3g}"


def numbers(exhibit: Exhibit) -> tuple[Figure, str]:
    """All that was measured after the last step, in two columns: here, and of the twin."""
    rows = number_rows(exhibit)
    figure, axes = _subplots(1, 1, height=0.25 * len(rows) + 0.35)
    ax = axes.flat[0]
    ax.set(xlim=(0, 1), ylim=(len(rows) + 0.2, -1))
    ax.set_axis_off()
    ax.text(0.72, -0.5, "here", ha="right", color=OWN, weight="bold")
    ax.text(0.98, -0.5, "healthy twin", ha="right", color=TWIN, weight="bold")
    for y, (what, own, twin) in enumerate(rows):
        ax.axhline(y, color=QUIET, lw=0.5)
        for x, text, side in ((0.01, what, "left"), (0.72, own, "right"), (0.98, twin, "right")):
            ax.text(x, y + 0.5, text, ha=side, va="center")
    said = "; ".join(f"{what} {own}, of the twin {twin}" for what, own, twin in rows)
    return figure, f"A table of numbers: {said}."


def number_rows(exhibit: Exhibit) -> list[tuple[str, str, str]]:
    """What was measured, and its value here and of the twin, as text."""
    twin = _twin(exhibit)
    rows = [
        (MEASURED.get(name, name), f"{value:.2f}", f"{twin.numbers[name]:.2f}")
        for name, value in exhibit.numbers.items()
    ]
    for split in ("train", "val"):
        for key, title in TERMS.items():
            own, other = (one.losses[split][key][-1] for one in (exhibit, twin))
            rows.append((f"{title}, right targets, {split}", f"{own:.2f}", f"{other:.2f}"))
    return rows


def pictures(exhibit: Exhibit) -> tuple[Figure, str]:
    """Validation scenes with what was found, and dashed what is there."""
    figure, axes = _subplots(2, 2, height=4.6)
    said = []
    for ax, one in zip(axes.flat, exhibit.pictures, strict=False):
        found = [(kind, score, box) for kind, score, *box in one["found"]][::-1]  # the surest come last, on top
        texts = [f"{_name(kind)} {score:.2f}" for kind, score, _ in found]
        boxes = [box for *_, box in found]
        plots.draw_boxes(ax, draw_scene(one["scene"], "val").image, _corners(boxes), texts, colours=_colours(found))
        objects = _corners([box for _, *box in one["objects"]])
        plots.draw_frames(ax, objects, edgecolor=INK, linewidth=1.1, linestyle=(0, (3, 2)))
        said.append(f"{len(one['objects'])} objects and {len(found)} detections, {_listed(texts)}")
    ax = axes.flat[3]
    ax.set_axis_off()
    ax.text(0, 0.95, "solid, with class and score:\nwhat was found, from 0.3 on", va="top", transform=ax.transAxes)
    ax.text(0, 0.6, "dashed: what is there", va="top", transform=ax.transAxes)
    return figure, f"Three scenes with what was found in them and what is there: {'; '.join(said)}."


def batch(exhibit: Exhibit) -> tuple[Figure, str]:
    """Pictures of the last batch in their padded frame, with the targets that the loss was given."""
    figure, axes = _subplots(2, 2, height=4.6)
    said = []
    for ax, one in zip(axes.flat, exhibit.batch, strict=False):
        height, width = one["size"]
        boxes = torch.tensor([box for _, *box in one["objects"]], dtype=torch.float32).reshape(-1, 4)
        corners = box_cxcywh_to_xyxy(boxes) * torch.tensor([width, height, width, height])
        texts = [_name(kind) for kind, *_ in one["objects"]]
        plots.draw_boxes(ax, _opened(one["image"]), corners, texts, colours=_colours(one["objects"]))
        said.append(f"{len(texts)} targets, {_listed(texts)}")
    return figure, f"Four pictures of the last batch with the boxes and classes that the loss got: {'; '.join(said)}."


def attention(exhibit: Exhibit) -> tuple[Figure, str]:
    """Where the three surest slots read in the last decoder layer, with the boxes that they gave."""
    scene = draw_scene(exhibit.attention["scene"], "val").image
    slots = exhibit.attention["slots"]
    figure, axes = _subplots(1, len(slots), height=2.7)
    said = []
    for ax, slot in zip(axes.flat, slots, strict=True):
        values = torch.tensor(slot["map"], dtype=torch.float32) / 1000  # (h, w)
        plots.draw_cells(ax, scene, values, CELL)
        box = _corners([slot["box"]])
        for colour, line in ((CARD, 3.2), (OWN, 1.8)):
            plots.draw_frames(ax, box, edgecolor=colour, linewidth=line)
        text = f"{_name(slot['class'])} {slot['score']:.2f}"
        ax.set_title(f"{text}\nbrightest cell {values.max():.0%}", fontsize=9.5)
        said.append(
            f"of {text}, {_inside(values, box[0]):.0%} of the weight lies in its box, which covers "
            f"{_inside(torch.full_like(values, 1 / values.numel()), box[0]):.0%} of the map; the brightest cell has "
            f"{values.max():.0%}"
        )
    what = "What the three surest slots read in the last decoder layer, bright where they read most"
    return figure, f"{what}: {'; '.join(said)}."


def weights(exhibit: Exhibit) -> tuple[Figure, str]:
    """How far each part moved in training, as a share of its length, on a scale of powers of ten."""
    figure, axes = _subplots(1, 1, height=2.9)
    ax, parts, twin = axes.flat[0], list(exhibit.weights), _twin(exhibit)
    for one, colour, shift in ((exhibit, OWN, -0.19), (twin, TWIN, 0.19)):
        for y, part in enumerate(parts):
            value = max(one.weights[part], FLOOR)
            ax.barh(y + shift, value - FLOOR, 0.34, left=FLOOR, color=colour)
            ax.text(value * 1.1, y + shift, f"{one.weights[part]:.3f}", va="center", fontsize=8.5, color=colour)
    most = max(*exhibit.weights.values(), *twin.weights.values())
    ax.set(xscale="log", xlim=(FLOOR, 4 * most), ylim=(len(parts) - 0.5, -0.5), yticks=range(len(parts)))
    ax.set_yticklabels(parts)
    ax.set_title("change of the weights, as a share of their length", loc="right")
    for height, name, colour in ((0.1, "here", OWN), (0.02, "healthy twin", TWIN)):
        ax.text(0.99, height, name, color=colour, ha="right", transform=ax.transAxes)
    said = "; ".join(f"{part} {exhibit.weights[part]:.3f}, of the twin {twin.weights[part]:.3f}" for part in parts)
    return figure, f"How far each part moved in training, as a share of its length: {said}."


def _twin(exhibit: Exhibit) -> Exhibit:
    """The same run without the fault; a healthy run is its own."""
    return exhibit.healthy or exhibit


def _subplots(rows: int, columns: int, height: float) -> tuple[Figure, np.ndarray]:
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(WIDTH, height), squeeze=False)


def _legend(ax: Axes, layers: bool = False) -> None:
    """Names of the two runs where curves leave room, and what is thin where there are several layers."""
    from matplotlib.lines import Line2D

    lines = {"here": Line2D([], [], color=OWN), "healthy twin": Line2D([], [], color=TWIN, ls="--")}
    if layers:
        lines["earlier layers"] = Line2D([], [], color=QUIET, lw=THIN)
    ax.legend(lines.values(), lines.keys(), fontsize=9)


def _name(kind: int) -> str:
    """A class by its name, or by its number where no class has it."""
    return NAMES.get(kind, str(kind))


def _colours(things: list[Any]) -> list[str]:
    """One for each thing, which begins with its class."""
    palette = list(COLOURS.values())
    return [palette[kind % len(palette)] for kind, *_ in things]


def _corners(boxes: list[list[float]]) -> Tensor:
    """From xywh to xyxy (M, 4)."""
    found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return torch.cat([found[:, :2], found[:, :2] + found[:, 2:]], dim=1)


def _opened(image: str) -> Image:
    from PIL import Image as Pictures

    return Pictures.open(io.BytesIO(base64.b64decode(image))).convert("RGB")


def _inside(values: Tensor, box: Tensor) -> float:
    """The share of a map (h, w) that lies in the cells whose centers a box (xyxy, pixels) holds."""
    y, x = ((torch.arange(side) + 0.5) * CELL for side in values.shape)
    left, top, right, bottom = box
    held = ((y >= top) & (y <= bottom))[:, None] & ((x >= left) & (x <= right))
    return float(values[held].sum() / values.sum())


def _listed(texts: list[str]) -> str:
    """The last texts of a list, which are those on top."""
    return ", ".join(texts[::-1][:6]) + (" and more" if len(texts) > 6 else "") if texts else "none"
