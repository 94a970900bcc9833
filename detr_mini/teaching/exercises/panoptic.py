"""Exercises of the chapter *Panoptic segmentation*."""

import torch
from torch import Tensor

from detr_mini.teaching.exercises import draw, exercise


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=draw(seed))


def _pictures() -> list[tuple[Tensor]]:
    corners = torch.tensor([[[7, 0, 0], [0, 1, 0], [200, 200, 200]], [[0, 0, 1], [255, 255, 255], [5, 4, 3]]])
    return [(corners.to(torch.uint8),), (torch.full((2, 3, 3), 128, dtype=torch.uint8),)]


@exercise(
    cases=_pictures,
    mistakes={
        "The numbers overflow: a byte ends at 255. Turn the picture into int64 before you multiply.": (
            lambda png: (png[..., 0] + png[..., 1] * 256 + png[..., 2] * 65536).long()
        ),
        "Red and blue are exchanged: red counts once, blue 65,536 times.": (
            lambda png: (png.long() * torch.tensor([65536, 256, 1])).sum(-1)
        ),
        "Blue counts 256 times 256, not 256 times 2.": (lambda png: (png.long() * torch.tensor([1, 256, 512])).sum(-1)),
        "The base is 256, since a byte has 256 values.": (
            lambda png: (png.long() * torch.tensor([1, 255, 255**2])).sum(-1)
        ),
    },
)
def read_ids(png: Tensor) -> Tensor:
    """From a panoptic picture (H, W, 3) uint8 to the id of each pixel's segment, (H, W) int64."""
    red, green, blue = png.long().unbind(-1)
    return red + 256 * green + 256**2 * blue


def _masks() -> list[tuple[Tensor, Tensor]]:
    empty = torch.zeros(2, 6, dtype=torch.bool)
    return [(3 * _random(4, 10), _random(4, 10, seed=1) > 0.3), (_random(2, 6, seed=2), empty)]


def _dice(p: Tensor, truth: Tensor, *, twice: float = 2.0, one: float = 1.0) -> Tensor:
    shared = (p * truth).sum(1)
    return 1 - (twice * shared + one) / (p.sum(1) + truth.sum(1) + one)


@exercise(
    cases=_masks,
    mistakes={
        "These are sums of logits: dice compares probabilities, so take the sigmoid first.": (
            lambda logits, truth: _dice(logits, truth)
        ),
        "Masks were cut at 0.5: that has no gradient. Take the probabilities as they are.": (
            lambda logits, truth: _dice((logits > 0).float(), truth)
        ),
        "What both share counts twice.": lambda logits, truth: _dice(logits.sigmoid(), truth, twice=1.0),
        "The 1 above and below the line is missing.": lambda logits, truth: _dice(logits.sigmoid(), truth, one=0.0),
        "This is the coefficient: the loss is 1 less that.": lambda logits, truth: 1 - _dice(logits.sigmoid(), truth),
        "The sums run over all masks together: each mask has a loss of its own.": (
            lambda logits, truth: _dice(logits.sigmoid().view(1, -1), truth.view(1, -1)).expand(len(logits))
        ),
    },
)
def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """One minus the dice coefficient of each mask, logits and truth (S, P), as (S,)."""
    p = logits.sigmoid()
    shared = (p * truth).sum(1)
    return 1 - (2 * shared + 1) / (p.sum(1) + truth.sum(1) + 1)


def _split() -> list[tuple[Tensor, Tensor]]:
    return [
        (_random(3, 2, 4), _random(2, 4, 5, 6, seed=1)),
        (2 * _random(2, 4, 3, seed=2), _random(4, 3, 3, 2, seed=3)),
    ]


def _products(q: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("nmd,mdhw->nmhw", q, k)


def _shared(scores: Tensor) -> Tensor:
    return scores.flatten(1).softmax(-1).view_as(scores)


@exercise(
    cases=_split,
    mistakes={
        "Each head has a softmax of its own here: all heads of a slot share one.": lambda q, k: (
            (_products(q, k) / q.shape[-1] ** 0.5).flatten(2).softmax(-1).view(*q.shape[:2], *k.shape[2:])
        ),
        "The products were not divided by the root of D.": lambda q, k: _shared(_products(q, k)),
        "The products were divided by D, not by its root.": lambda q, k: _shared(_products(q, k) / q.shape[-1]),
        "The root is that of all heads together: a head has D numbers.": (
            lambda q, k: _shared(_products(q, k) / (q.shape[1] * q.shape[2]) ** 0.5)
        ),
        "These are the scores before the softmax.": lambda q, k: _products(q, k) / q.shape[-1] ** 0.5,
        "The softmax runs over the slots: it belongs over heads and cells of each slot.": (
            lambda q, k: (_products(q, k) / q.shape[-1] ** 0.5).softmax(0)
        ),
    },
)
def slot_maps(q: Tensor, k: Tensor) -> Tensor:
    """From queries (N, M, D) and keys (M, D, h, w) of M heads to maps (N, M, h, w), each slot's with a sum of 1."""
    scores = torch.einsum("nmd,mdhw->nmhw", q, k) / q.shape[-1] ** 0.5
    return scores.flatten(1).softmax(-1).view_as(scores)


def _slots() -> list[tuple[Tensor, Tensor, set[int]]]:
    strips = torch.full((5, 6, 10), -4.0)
    for slot, (begin, end) in enumerate(((0, 3), (3, 5), (5, 7), (7, 9))):
        strips[slot, :, begin:end] = 4.0
    strips[4, :4, 9] = 4.0  # a slot of four pixels
    strips[3, 4:, 9] = 4.0
    strips[1, :4, 9] = 2.0  # who comes next there
    tiny = strips.clone()
    tiny[4, 2:], tiny[3, 2:, 9] = -4.0, 4.0  # and one of two
    joined = torch.full((3, 4, 6), -2.0)
    joined[0, 0, :3] = joined[1, 1:] = joined[2, 0, 3:] = 3.0
    joined[2, 1:, 4:], joined[2, 0, :3] = 4.0, 0.0
    both = torch.full((3, 4, 6), -5.0)  # two pieces of one stuff, which together are too small
    both[0], both[1, 0, :2], both[2, 0, :2] = 1.0, 3.0, 2.0
    return [
        (strips, torch.tensor([2, 7, 1, 2, 1]), {2, 7}),
        (both, torch.tensor([9, 2, 2]), {2}),
        (tiny, torch.tensor([7, 2, 1, 1, 3]), {7}),
        (joined, torch.tensor([2, 2, 1]), {2}),
        (0.5 * _random(4, 5, 7), torch.tensor([1, 2, 1, 2]), {2}),
    ]


def _told(
    logits: Tensor,
    labels: Tensor,
    stuff: set[int],
    *,
    join: bool = True,
    things: bool = False,
    before: bool = False,
    smallest: int = 4,
) -> Tensor:
    kinds = labels.tolist()
    joins = [things or (join and kind in stuff) for kind in kinds]
    owner = torch.tensor([kinds.index(kind) if joins[slot] else slot for slot, kind in enumerate(kinds)])
    gone = torch.zeros(len(kinds), dtype=torch.bool)
    while True:
        best = logits.masked_fill(gone[:, None, None], -torch.inf).argmax(0)
        count = (best if before else owner[best]).flatten().bincount(minlength=len(kinds))
        small = (count <= smallest)[torch.arange(len(kinds)) if before else owner] & ~gone
        if not small.any() or (small | gone).all():
            return owner[best]
        gone |= small


@exercise(
    cases=_slots,
    mistakes={
        "Stuff was not joined: all slots of one kind of stuff count as the first of them.": (
            lambda logits, labels, stuff: _told(logits, labels, stuff, join=False)
        ),
        "Things were joined as well: two of one kind stay two.": (
            lambda logits, labels, stuff: _told(logits, labels, stuff, things=True)
        ),
        "Small slots are still there: drop those of four pixels or fewer.": (
            lambda logits, labels, stuff: _told(logits, labels, stuff, smallest=-1)
        ),
        "A slot of exactly four pixels is dropped as well.": (
            lambda logits, labels, stuff: _told(logits, labels, stuff, smallest=3)
        ),
        "Pixels were counted before stuff was joined: a piece that was joined is not small by itself.": (
            lambda logits, labels, stuff: _told(logits, labels, stuff, before=True)
        ),
    },
)
def one_slot_a_pixel(logits: Tensor, labels: Tensor, stuff: set[int]) -> Tensor:
    """Of sure slots, logits (n, H, W) and labels (n,): for each pixel the slot that it goes to, (H, W)."""
    kinds = labels.tolist()
    first = [kinds.index(kind) if kind in stuff else slot for slot, kind in enumerate(kinds)]
    owner = torch.tensor(first)  # (n,): who stands for each slot
    gone = torch.zeros(len(kinds), dtype=torch.bool)
    while True:
        left = logits.masked_fill(gone[:, None, None], -torch.inf)
        slots = owner[left.argmax(0)]  # (H, W)
        count = slots.flatten().bincount(minlength=len(kinds))  # (n,)
        small = (count <= 4)[owner] & ~gone
        if not small.any() or (small | gone).all():
            return slots
        gone |= small


def _strips() -> list[tuple[Tensor, Tensor]]:
    true = torch.tensor([[1, 1, 1, 1, 2, 2, 2, 2, 3, 3]])
    found = torch.tensor([[1, 1, 1, 2, 2, 2, 2, 2, 0, 4]])
    other = torch.tensor([[0, 5, 5, 5, 0, 6, 6, 0, 7, 7, 7], [0, 5, 5, 5, 0, 6, 6, 0, 7, 7, 7]])
    said = torch.tensor([[0, 1, 1, 1, 1, 2, 0, 0, 9, 9, 8], [0, 1, 1, 1, 1, 2, 3, 3, 9, 9, 8]])
    return [(found, true), (said, other), (torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.int64))]


def _quality(
    found: Tensor,
    true: Tensor,
    *,
    level: float = 0.5,
    equal: bool = False,
    segmentation: bool = True,
    recognition: bool = True,
    half: float = 0.5,
    void: bool = False,
) -> float:
    said, there = ([int(i) for i in ids.unique() if i or void] for ids in (found, true))
    ious = []
    for t in there:
        for s in said:
            a, b = true == t, found == s
            value = float((a & b).sum() / (a | b).sum())
            if value > level or (equal and value == level):
                ious.append(value)
    if not ious:
        return 0.0
    sq = sum(ious) / len(ious) if segmentation else 1.0
    rest = len(said) + len(there) - 2 * len(ious)
    return sq * (len(ious) / (len(ious) + half * rest) if recognition else 1.0)


@exercise(
    cases=_strips,
    mistakes={
        "An IoU of exactly 0.5 is no match: it has to be above.": lambda found, true: _quality(found, true, equal=True),
        "Any overlap counts as a match here: the IoU has to be above 0.5.": (
            lambda found, true: _quality(found, true, level=0.0)
        ),
        "This is SQ, the mean IoU of the matched: what was not found and what was invented count as well.": (
            lambda found, true: _quality(found, true, recognition=False)
        ),
        "This is RQ: the matched count with their IoU.": (
            lambda found, true: _quality(found, true, segmentation=False)
        ),
        "Each segment without a partner counts a half, not a whole.": (
            lambda found, true: _quality(found, true, half=1.0)
        ),
        "The 0 was taken for a segment: it says that there is none of this class.": (
            lambda found, true: _quality(found, true, void=True)
        ),
    },
)
def pq(found: Tensor, true: Tensor) -> float:
    """PQ of one class in one picture, from maps of ids (H, W) in which 0 is no segment of this class."""
    said, there = (ids.unique() for ids in (found, true))
    said, there = said[said > 0], there[there > 0]
    ious = []
    for t in there:
        for s in said:
            a, b = true == t, found == s
            iou = float((a & b).sum() / (a | b).sum())
            if iou > 0.5:
                ious.append(iou)
    return 2 * sum(ious) / (len(said) + len(there)) if ious else 0.0
