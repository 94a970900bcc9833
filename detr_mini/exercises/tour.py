"""Exercises of the chapter *A tour*."""

from collections.abc import Callable

import torch
from torch import Tensor

from detr_mini.exercises import report


def to_pixels(boxes: Tensor, height: int, width: int) -> Tensor:
    """Turn cxcywh boxes in [0, 1], (N, 4), into xyxy boxes in pixels, (N, 4)."""
    cx, cy, w, h = boxes.unbind(-1)
    corners = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
    scale = torch.tensor([width, height, width, height])
    return torch.stack(corners, dim=-1) * scale


def check_to_pixels(function: Callable[[Tensor, int, int], Tensor | None]) -> None:
    """Is this :func:`to_pixels`?"""
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.25, 0.75, 0.5, 0.1]])
    answer = function(boxes.clone(), 100, 200)
    right = to_pixels(boxes, 100, 200)
    wrong = {
        "These look like xywh boxes: the right and bottom edges are wanted, not width and height.": torch.cat(
            [right[:, :2], right[:, 2:] - right[:, :2]], dim=1
        ),
        "x was scaled by the height and y by the width: they are swapped.": to_pixels(boxes, 200, 100),
        "The corners are twice as far from the center as they should be: half of w and of h is to go to each side.": (
            to_pixels(boxes * torch.tensor([1, 1, 2, 2]), 100, 200)
        ),
        "These are corners, but still as shares of the picture: multiply by width and height.": to_pixels(boxes, 1, 1),
        "This is cxcywh in pixels: the corners are still to be found.": boxes * torch.tensor([200, 100, 200, 100]),
    }
    report("to_pixels", _diagnose(answer, right, wrong), answer)


def says_no_object(logits: Tensor) -> Tensor:
    """Which queries say "no object"? From logits (B, N, K + 1) to (B, N) bool."""
    return logits.argmax(-1) == logits.shape[-1] - 1


def check_says_no_object(function: Callable[[Tensor], Tensor | None]) -> None:
    """Is this :func:`says_no_object`?"""
    logits = torch.randn(3, 50, 5, generator=torch.Generator().manual_seed(0))
    answer = function(logits.clone())
    right = says_no_object(logits)
    best = logits.argmax(-1)
    wrong = {
        "Class 0 was taken for no-object. It is the last of the K + 1 outputs.": best == 0,
        "The index is one too low: with K classes, no-object is index K.": best == logits.shape[-1] - 2,
        "These are the queries that see something: turn the answer round.": ~right,
        "This asks whether no-object has more than half of the probability; the most likely class need not.": (
            logits.softmax(-1)[..., -1] > 0.5
        ),
    }
    report("says_no_object", _diagnose(answer, right, wrong), answer)


def most_faithful_slot(boxes: Tensor) -> Tensor:
    """The query whose box center moves least over all images: from (images, N, 4) cxcywh to an index, ()."""
    spread = boxes[..., :2].var(dim=0).sum(-1)  # (N,)
    return spread.argmin()


def check_most_faithful_slot(function: Callable[[Tensor], Tensor | None]) -> None:
    """Is this :func:`most_faithful_slot`?"""
    generator = torch.Generator().manual_seed(2)
    spread = torch.tensor([[0.9, 0.9, 0.1, 0.1], [0.05, 0.8, 0.5, 0.5], [0.3, 0.3, 0.9, 0.9], [0.6, 0.5, 0.01, 0.01]])
    boxes = 0.1 + torch.rand(40, 4, 4, generator=generator) * spread + torch.arange(4)[:, None] * 0.2
    answer = function(boxes.clone())
    centers = boxes[..., :2]
    wrong = {
        "That is the slot that moves most: the least is wanted.": centers.var(dim=0).sum(-1).argmax(),
        "This looks at all four numbers of a box; only the center, the first two, is asked for.": boxes.var(dim=0)
        .sum(-1)
        .argmin(),
        "This looks at cx alone; a center has a cy too.": boxes[..., 0].var(dim=0).argmin(),
    }
    problem = _diagnose(None if answer is None else torch.as_tensor(answer), most_faithful_slot(boxes), wrong)
    report("most_faithful_slot", problem, answer)


def _diagnose(answer: Tensor | None, right: Tensor, wrong: dict[str, Tensor]) -> str | None:
    """None if the answer is right, else what seems to be wrong with it."""
    if answer is None:
        return None
    if not isinstance(answer, Tensor):
        return f"A tensor is wanted, this is a {type(answer).__name__}."
    if answer.shape != right.shape:
        return f"The shape should be {tuple(right.shape)}, not {tuple(answer.shape)}."
    for diagnosis, value in wrong.items():
        if torch.allclose(answer.float(), value.float(), atol=1e-4):
            return diagnosis
    if torch.allclose(answer.float(), right.float(), atol=1e-4):
        return None
    return f"The shape is right, the numbers are not: expected {right.flatten()[:4].tolist()} ... first."
