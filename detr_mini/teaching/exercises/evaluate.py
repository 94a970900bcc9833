"""Exercises of the chapter *Evaluation*."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import box_iou

from detr_mini.teaching.exercises import draw, exercise

PLACES = 101  # recalls at which COCO reads the curve


def _ranking() -> list[tuple[Tensor, Tensor, int, float]]:
    scores = torch.tensor([0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4])
    hits = torch.tensor([1, 1, 0, 1, 0, 1, 1, 0]).bool()
    return [(scores, hits, 9, 0.75), (scores.flip(0), hits.flip(0), 6, 0.5)]


@exercise(
    cases=_ranking,
    mistakes={
        "The precision was divided by all boxes; those below the threshold are not shown and do not count.": (
            lambda s, h, n, t: (int(h[s >= t].sum()) / len(s), int(h[s >= t].sum()) / n)
        ),
        "The recall was divided by the objects that some box hits. Objects that no box finds are missed, too: divide "
        "by all of them.": (lambda s, h, n, t: (precision_recall(s, h, n, t)[0], int(h[s >= t].sum()) / int(h.sum()))),
        "The two are swapped: the share of the shown boxes that hit comes first.": (
            lambda s, h, n, t: tuple(reversed(precision_recall(s, h, n, t)))
        ),
        "A score equal to the threshold passes: compare with >=.": (
            lambda s, h, n, t: (int(h[s > t].sum()) / int((s > t).sum()), int(h[s > t].sum()) / n)
        ),
        "All hits were counted, also those of boxes below the threshold.": (
            lambda s, h, n, t: (int(h.sum()) / int((s >= t).sum()), int(h.sum()) / n)
        ),
    },
)
def precision_recall(scores: Tensor, hits: Tensor, count: int, threshold: float) -> tuple[float, float]:
    """Of boxes with scores and hits (bool), both (D,), and so many objects: precision and recall at a threshold."""
    shown = scores >= threshold
    right = int(hits[shown].sum())
    return right / int(shown.sum()), right / count


def _hits() -> list[tuple[Tensor, int]]:
    generator = draw(5)
    return [
        (torch.tensor([1, 1, 0, 1, 0, 1, 0, 0, 0, 0]).bool(), 5),
        (torch.tensor([0, 1, 1, 0, 1]).bool(), 3),
        (torch.rand(40, generator=generator) < 0.6, 31),
    ]


Smooth = Callable[[Tensor], Tensor]


def _from_the_right(precision: Tensor) -> Tensor:
    return precision.flip(0).cummax(0).values.flip(0)


def _read(hits: Tensor, recall: Tensor, smooth: Smooth = _from_the_right) -> Tensor:
    """The precision at each of the 101 recalls, 0 where it is not reached."""
    precision = smooth(hits.cumsum(0) / torch.arange(1, len(hits) + 1))
    places = torch.linspace(0, 1, PLACES, dtype=torch.float64)
    first = torch.searchsorted(recall.double(), places - 1e-9)
    return torch.cat([precision, precision.new_zeros(1)])[first]


def _only_reached(hits: Tensor, count: int) -> Tensor:
    places = torch.linspace(0, 1, PLACES, dtype=torch.float64)
    recall = hits.cumsum(0) / count
    return _read(hits, recall)[places <= float(recall[-1]) + 1e-9].mean()


@exercise(
    cases=_hits,
    mistakes={
        "The teeth are not filled: at each recall, take the best precision of all longer lists as well.": (
            lambda hits, count: _read(hits, hits.cumsum(0) / count, lambda p: p).mean()
        ),
        "The maximum runs from the left, over shorter lists. A user who wants more recall cannot have a shorter list: "
        "it runs from the right.": lambda hits, count: _read(
            hits, hits.cumsum(0) / count, lambda p: p.cummax(0).values
        ).mean(),
        "The recall was divided by the number of hits, so it always ends at 1. Divide by all objects.": (
            lambda hits, count: _read(hits, hits.cumsum(0) / hits.sum()).mean()
        ),
        "The mean was taken over the recalls that are reached. Those that are not count as 0.": _only_reached,
        "This is the mean of the precisions at the hits, divided among all objects: another average precision. COCO's "
        "fills the teeth and reads the curve at 101 recalls.": (
            lambda hits, count: (hits.cumsum(0) / torch.arange(1, len(hits) + 1))[hits].sum() / count
        ),
    },
)
def average_precision(hits: Tensor, count: int) -> Tensor:
    """COCO's AP, (), of hits (D,) bool, best score first, and the number of objects."""
    right = hits.cumsum(0)
    precision = right / torch.arange(1, len(hits) + 1)
    recall = right / count
    heights = []
    for wanted in range(101):
        reached = precision[recall >= wanted / 100 - 1e-9]
        heights.append(reached.max() if len(reached) else torch.tensor(0.0))
    return torch.stack(heights).mean()


def _logits() -> list[tuple[Tensor, float]]:
    generator = draw(6)
    return [
        (2 * torch.randn(8, 5, generator=generator), 0.1),
        (2 * torch.randn(6, 4, generator=generator), 0.25),
    ]


def _odds_against_the_rest(score: Tensor, eos_coef: float) -> Tensor:
    return score / (score + (1 - score) / eos_coef)


def _with_shift(logits: Tensor, shift: float) -> Tensor:
    last = torch.zeros(logits.shape[-1])
    last[-1] = shift
    return logits + last


@exercise(
    cases=_logits,
    mistakes={
        "The wrong way: training made no-object too improbable, and this makes it less probable still. Its "
        "probability is to be divided by eos_coef.": lambda logits, eos: (
            _with_shift(logits, float(torch.tensor(eos).log())).softmax(-1)[..., :-1].amax(-1)
        ),
        "The logit of no-object was divided by eos_coef. It is the probability that is divided, and that adds to a "
        "logit.": (
            lambda logits, eos: (
                torch.cat([logits[..., :-1], logits[..., -1:] / eos], dim=-1).softmax(-1)[..., :-1].amax(-1)
            )
        ),
        "No-object itself was taken for a class: the score is the best of the other K.": lambda logits, eos: (
            _with_shift(logits, -float(torch.tensor(eos).log())).softmax(-1).amax(-1)
        ),
        "These are the scores as trained: the weight has not been undone.": (
            lambda logits, eos: logits.softmax(-1)[..., :-1].amax(-1)
        ),
        "The odds of the score against all the rest were corrected. The other classes had their full weight: only the "
        "probability of no-object is divided.": lambda logits, eos: _odds_against_the_rest(
            logits.softmax(-1)[..., :-1].amax(-1), eos
        ),
        "The scores were multiplied by eos_coef. The odds against no-object change by this factor; after that the "
        "probabilities have to sum to 1 again.": lambda logits, eos: eos * logits.softmax(-1)[..., :-1].amax(-1),
    },
)
def calibrated_scores(logits: Tensor, eos_coef: float) -> Tensor:
    """Scores (N,) of logits (N, K + 1) from a training with this eos_coef, with its effect undone."""
    p = logits.softmax(-1).clone()
    p[..., -1] /= eos_coef
    p = p / p.sum(-1, keepdim=True)
    return p[..., :-1].amax(-1)


def _picture() -> list[tuple[Tensor, Tensor, Tensor, float]]:
    objects = torch.tensor([[3, 0, 13, 10], [0, 0, 10, 10], [30, 0, 40, 10], [50, 0, 90, 40]]).float()
    crowd = torch.tensor([False, False, False, True])
    found = [
        [1, 0, 11, 10],  # the first two at 8/12 and 9/11
        [4, 0, 14, 10],  # the first at 9/11, the second at 6/14
        [0, 0, 10, 10],  # the second, which is taken
        [52, 2, 62, 12],  # in the crowd
        [70, 20, 80, 30],  # in the crowd again
        [36, 0, 46, 10],  # too far off the third
        [31, 0, 41, 10],  # on it
        [50, 0, 90, 30],  # three quarters of the crowd
    ]
    others = [
        [3, 0, 13, 10],  # the first, exactly
        [2, 0, 12, 10],  # the first is taken; the second is free, at 8/12
        [30, 0, 40, 10],
        [30, 0, 40, 10],  # taken
        [60, 10, 70, 20],  # in the crowd
    ]
    return [(torch.tensor(boxes).float(), objects, crowd, 0.5) for boxes in (found, others)]


def _judge(
    boxes: Tensor,
    objects: Tensor,
    crowd: Tensor,
    level: float,
    *,
    again: bool = False,
    first: bool = False,
    best_of_all: bool = False,
    use_up_crowds: bool = False,
    crowd_by_union: bool = False,
    crowd_is: int = -1,
) -> Tensor:
    iou = box_iou(boxes, objects)
    if not crowd_by_union:
        low = torch.maximum(boxes[:, None, :2], objects[:, :2])
        high = torch.minimum(boxes[:, None, 2:], objects[:, 2:])
        own = (boxes[:, 2:] - boxes[:, :2]).prod(-1, keepdim=True)
        iou = torch.where(crowd, (high - low).clamp(min=0).prod(-1) / own, iou)
    free, verdicts = torch.ones(len(objects), dtype=torch.bool), []
    for row in iou:
        row = row * (1 if best_of_all else free)
        row = torch.where(row >= level, row, 0.0)
        single, group = row * ~crowd, row * crowd
        if single.any():
            hit = int((single > 0).int().argmax() if first else single.argmax())
            verdicts.append(int(free[hit]))
            free[hit] = again
        elif group.any():
            verdicts.append(crowd_is)
            free[int(group.argmax())] = not use_up_crowds
        else:
            verdicts.append(0)
    return torch.tensor(verdicts)


@exercise(
    cases=_picture,
    mistakes={
        "An object was hit twice. Once a box has hit it, it is taken, and the next box on it is a false alarm.": (
            lambda b, o, c, x: _judge(b, o, c, x, again=True)
        ),
        "A box takes the first object that it overlaps enough. It should take the one that it overlaps most.": (
            lambda b, o, c, x: _judge(b, o, c, x, first=True)
        ),
        "A box whose best object is taken is called a false alarm here. COCO lets it take the best one that is still "
        "free.": lambda b, o, c, x: _judge(b, o, c, x, best_of_all=True),
        "The crowd was used up by the first box. Any number of boxes may lie in a crowd.": (
            lambda b, o, c, x: _judge(b, o, c, x, use_up_crowds=True)
        ),
        "For a crowd the IoU was divided by the union. A box lies in a crowd by the share of its own area.": (
            lambda b, o, c, x: _judge(b, o, c, x, crowd_by_union=True)
        ),
        "The crowd was treated like any other object. No box hits it: one that lies in it and hits nothing else gets "
        "-1.": lambda b, o, c, x: _judge(b, o, torch.zeros_like(c), x),
        "A box in a crowd is neither right nor wrong: its verdict is -1.": (
            lambda b, o, c, x: _judge(b, o, c, x, crowd_is=0)
        ),
    },
)
def verdicts(boxes: Tensor, objects: Tensor, crowd: Tensor, level: float) -> Tensor:
    """Verdicts (D,): 1 hit, 0 false alarm, -1 in a crowd; boxes (D, 4) best first, objects (T, 4), crowd (T,) bool."""
    low = torch.maximum(boxes[:, None, :2], objects[:, :2])  # (D, T, 2)
    high = torch.minimum(boxes[:, None, 2:], objects[:, 2:])
    shared = (high - low).clamp(min=0).prod(-1)  # (D, T)
    own = (boxes[:, 2:] - boxes[:, :2]).prod(-1)[:, None]  # (D, 1)
    union = own + (objects[:, 2:] - objects[:, :2]).prod(-1) - shared
    iou = shared / torch.where(crowd, own, union)
    free = ~crowd
    result = []
    for row in iou:
        single = row * free
        if single.max() >= level:
            free[single.argmax()] = False
            result.append(1)
        else:
            result.append(-1 if (row * crowd).max() >= level else 0)
    return torch.tensor(result)
