"""Exercises of the chapter *A tour*."""

import torch
from torch import Tensor

from detr_mini.teaching.exercises import draw, exercise


def _boxes() -> list[tuple[Tensor, int, int]]:
    return [(torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.25, 0.75, 0.5, 0.1]]), 100, 200)]


def _as_xywh(boxes: Tensor, height: int, width: int) -> Tensor:
    corners = to_pixels(boxes, height, width)
    return torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)


@exercise(
    cases=_boxes,
    mistakes={
        "These look like xywh boxes: the right and bottom edges are wanted, not width and height.": _as_xywh,
        "x was scaled by the height and y by the width: they are swapped.": lambda b, h, w: to_pixels(b, w, h),
        "The corners are twice as far from the center as they should be: half of w and of h is to go to each side.": (
            lambda b, h, w: to_pixels(b * torch.tensor([1, 1, 2, 2]), h, w)
        ),
        "These are corners, but still as shares of the picture: multiply by width and height.": (
            lambda b, h, w: to_pixels(b, 1, 1)
        ),
        "This is cxcywh in pixels: the corners are still to be found.": (
            lambda b, h, w: b * torch.tensor([w, h, w, h])
        ),
    },
)
def to_pixels(boxes: Tensor, height: int, width: int) -> Tensor:
    """Turn cxcywh boxes in [0, 1], (N, 4), into xyxy boxes in pixels, (N, 4)."""
    cx, cy, w, h = boxes.unbind(-1)
    corners = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
    scale = torch.tensor([width, height, width, height])
    return torch.stack(corners, dim=-1) * scale


@exercise(
    cases=lambda: [(torch.randn(3, 50, 5, generator=draw(0)),)],
    mistakes={
        "Class 0 was taken for no-object. It is the last of the K + 1 outputs.": lambda logits: logits.argmax(-1) == 0,
        "The index is one too low: with K classes, no-object is index K.": (
            lambda logits: logits.argmax(-1) == logits.shape[-1] - 2
        ),
        "These are the queries that see something: turn the answer round.": lambda logits: ~says_no_object(logits),
        "This asks whether no-object has more than half of the probability; the most likely class need not.": (
            lambda logits: logits.softmax(-1)[..., -1] > 0.5
        ),
    },
)
def says_no_object(logits: Tensor) -> Tensor:
    """Which queries say "no object"? From logits (B, N, K + 1) to (B, N) bool."""
    return logits.argmax(-1) == logits.shape[-1] - 1


def _slots() -> list[tuple[Tensor]]:
    generator = draw(2)
    spread = torch.tensor([[0.9, 0.9, 0.1, 0.1], [0.05, 0.8, 0.5, 0.5], [0.3, 0.3, 0.9, 0.9], [0.6, 0.5, 0.01, 0.01]])
    return [(0.1 + torch.rand(40, 4, 4, generator=generator) * spread + torch.arange(4)[:, None] * 0.2,)]


@exercise(
    cases=_slots,
    mistakes={
        "That is the slot that moves most: the least is wanted.": lambda b: b[..., :2].var(dim=0).sum(-1).argmax(),
        "This looks at all four numbers of a box; only the center, the first two, is asked for.": (
            lambda b: b.var(dim=0).sum(-1).argmin()
        ),
        "This looks at cx alone; a center has a cy too.": lambda b: b[..., 0].var(dim=0).argmin(),
    },
)
def most_faithful_slot(boxes: Tensor) -> Tensor:
    """The query whose box center moves least over all images: from (images, N, 4) cxcywh to an index, ()."""
    spread = boxes[..., :2].var(dim=0).sum(-1)  # (N,)
    return spread.argmin()
