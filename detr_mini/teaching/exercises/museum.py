"""Exercises of the chapter *A museum of bugs*: cheap tests, each of which would have caught a fault of an exhibit."""

import torch
from torch import Tensor

from detr_mini.teaching.exercises import draw, exercise


def _inside(seed: int, count: int) -> Tensor:
    """Boxes inside of the picture, cxcywh (count, 4)."""
    size = 0.2 + 0.4 * torch.rand(count, 2, generator=draw(seed))
    return torch.cat([size / 2 + (1 - size) * torch.rand(count, 2, generator=draw(seed + 1)), size], 1)


def _corners(boxes: Tensor) -> Tensor:
    center, size = boxes.chunk(2, 1)
    return torch.cat([center - size / 2, center + size / 2], 1)


def _forms() -> list[tuple[Tensor]]:
    good, other = _inside(10, 4), _inside(12, 3)
    beyond, flat = good.clone(), other.clone()
    beyond[1] = torch.tensor([0.9, 0.5, 0.5, 0.3])  # its four numbers lie between 0 and 1
    flat[2, 3] = 0.0
    size = 0.1 + 0.2 * torch.rand(2, 2, generator=draw(14))
    low = torch.cat([0.5 + 0.3 * torch.rand(2, 2, generator=draw(15)), size], 1)  # as corners, of negative sides
    edge = torch.cat([size / 2, size], 1)  # each in the left upper corner
    return [(good,), (beyond,), (flat,), (low,), (edge,), (other * 320,), (good[:0],)]


def _between(boxes: Tensor) -> bool:
    return bool(((boxes >= 0) & (boxes <= 1)).all())


@exercise(
    cases=_forms,
    mistakes={
        "Numbers between 0 and 1 are not enough: a box at the border can reach out. Look at its corners.": (
            lambda boxes: _between(boxes) and bool((boxes[:, 2:] > 0).all())
        ),
        "A box without width or height is no box: its sides have to be larger than 0.": (
            lambda boxes: bool(((_corners(boxes) > -1e-4) & (_corners(boxes) < 1 + 1e-4)).all())
        ),
        "These boxes were read as two corners. They are center, width and height.": (
            lambda boxes: _between(boxes) and bool((boxes[:, 2:] > boxes[:, :2]).all())
        ),
        "A box that ends where the picture ends is in form: leave a little room, 0.0001, for rounding.": (
            lambda boxes: (
                bool((boxes[:, 2:] > 0).all()) and bool(((_corners(boxes) > 1e-4) & (_corners(boxes) < 1 - 1e-4)).all())
            )
        ),
    },
)
def in_form(boxes: Tensor) -> bool:
    """Are boxes (T, 4) targets as the loss takes them: cxcywh in shares of the picture, and inside of it?"""
    center, size = boxes[:, :2], boxes[:, 2:]
    corners = torch.cat([center - size / 2, center + size / 2], 1)
    inside = (corners > -0.0001) & (corners < 1.0001)
    return bool(inside.all()) and bool((size > 0).all())


def _weights() -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    names = ("backbone.stem", "backbone.body", "decoder.0.linear", "decoder.1.linear", "head.weight", "head.bias")
    found = []
    for seed in (20, 40):
        sizes = [(3, 4), (4, 4), (2, 2), (5, 2), (4, 3), (3,)]
        before = {
            name: torch.randn(size, generator=draw(seed + i))
            for i, (name, size) in enumerate(zip(names, sizes, strict=True))
        }
        step = {name: 0.1 * torch.randn(w.shape, generator=draw(seed + 10)) for name, w in before.items()}
        after = {name: w if name.startswith("head") else w + step[name] for name, w in before.items()}
        found.append((before, after))
    return found


def _by_part(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, list[tuple[Tensor, Tensor]]]:
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, w in before.items():
        found.setdefault(name.split(".")[0], []).append((after[name] - w, w))
    return found


def _mean_share(pairs: list[tuple[Tensor, Tensor]]) -> float:
    return sum(float(step.norm() / w.norm()) for step, w in pairs) / len(pairs)


def _length(tensors: list[Tensor]) -> float:
    return float(torch.cat([one.flatten() for one in tensors]).norm())


@exercise(
    cases=_weights,
    mistakes={
        "This is the mean of the shares of a part's tensors: take all its numbers as one long vector.": (
            lambda before, after: {part: _mean_share(pairs) for part, pairs in _by_part(before, after).items()}
        ),
        "How far a part went says little without how long it was: divide by the length before.": (
            lambda before, after: {
                part: _length([step for step, _ in pairs]) for part, pairs in _by_part(before, after).items()
            }
        ),
        "This compares the lengths before and after. A vector can turn and keep it: take the difference first.": (
            lambda before, after: {
                part: abs(_length([w + step for step, w in pairs]) - _length([w for _, w in pairs]))
                / _length([w for _, w in pairs])
                for part, pairs in _by_part(before, after).items()
            }
        ),
        "Squares were not undone: a length is the root of the sum of squares.": (
            lambda before, after: {
                part: (_length([step for step, _ in pairs]) / _length([w for _, w in pairs])) ** 2
                for part, pairs in _by_part(before, after).items()
            }
        ),
    },
)
def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, float]:
    """By part, the first word of a weight's name: the length of the change, as a share of the length before."""
    way: dict[str, float] = {}
    length: dict[str, float] = {}
    for name, w in before.items():
        part = name.split(".")[0]
        way[part] = way.get(part, 0.0) + float((after[name] - w).square().sum())
        length[part] = length.get(part, 0.0) + float(w.square().sum())
    return {part: (way[part] / length[part]) ** 0.5 for part in way}


def _pairs() -> list[tuple[Tensor, Tensor]]:
    found = []
    for seed, shift in ((60, 1), (61, -1), (62, 0), (63, 3)):
        true = torch.randint(4, 11, (12,), generator=draw(seed))
        said = true - shift
        wrong = torch.randperm(12, generator=draw(seed + 10))[:4]
        said[wrong] = torch.tensor([14, 13, 14, 14])
        found.append((said, true))
    return found


@exercise(
    cases=_pairs,
    mistakes={
        "A few wrong answers pull the mean away: take the difference that is met most often.": (
            lambda said, true: round(float((true - said).double().mean()))
        ),
        "The sign is turned around: what has to be added to the class that was said?": (
            lambda said, true: int((said - true).mode().values)
        ),
        "Only those pairs belong together that have the same place: compare said[i] with true[i].": (
            lambda said, true: int((true[:, None] - said).flatten().mode().values)
        ),
        "This is how many are wrong. By how much are they?": lambda said, true: int((said != true).sum()),
    },
)
def label_shift(said: Tensor, true: Tensor) -> int:
    """The number that, added to the classes said (M,), makes most of them those of their objects (M,)."""
    return int((true - said).mode().values)


def _mirrored(boxes: Tensor) -> Tensor:
    return torch.cat([1 - boxes[:, :1], boxes[:, 1:]], 1)


def _scenes() -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    found = []
    for seed in (80, 90):
        image = torch.rand(3, 12, 20, generator=draw(seed))
        low = torch.randint(0, 13, (3, 1), generator=draw(seed + 1))
        high = torch.randint(0, 6, (3, 1), generator=draw(seed + 2))
        size = torch.tensor([[5, 4], [7, 6], [3, 7]])
        corner = torch.cat([low, high], 1)  # (3, 2), in whole pixels
        boxes = torch.cat([corner + size / 2, size.float()], 1) / torch.tensor([20.0, 12.0, 20.0, 12.0])
        found += [
            (image, boxes, image.flip(-1), _mirrored(boxes)),
            (image, boxes, image.flip(-1), boxes),  # the boxes were forgotten
            (image, boxes, image, _mirrored(boxes)),  # the picture was
            (image, boxes, image.flip(-1), torch.cat([_mirrored(boxes[:2]), boxes[2:]])),
            (image, boxes, image.flip(-2), torch.cat([boxes[:, :1], 1 - boxes[:, 1:2], boxes[:, 2:]], 1)),
        ]
    return found


def _cut(image: Tensor, box: Tensor) -> Tensor:
    height, width = image.shape[1:]
    scale = torch.tensor([width, height, width, height])
    left, top, right, bottom = (_corners(box[None])[0] * scale).round().int().tolist()
    return image[:, top:bottom, left:right]


@exercise(
    cases=_scenes,
    mistakes={
        "These boxes follow a mirror, but do they show the same thing? Look at the pixels under them.": (
            lambda image, boxes, flipped, new: torch.isclose(new, _mirrored(boxes)).all(1)
        ),
        "The pixels under the new box are those of the old one in a mirror: flip them before you compare.": (
            lambda image, boxes, flipped, new: torch.tensor(
                [torch.equal(_cut(image, a), _cut(flipped, b)) for a, b in zip(boxes, new, strict=True)]
            )
        ),
        "One answer for each box is wanted: some may be right while others are not.": (
            lambda image, boxes, flipped, new: torch.tensor(
                all(torch.equal(_cut(image, a).flip(-1), _cut(flipped, b)) for a, b in zip(boxes, new, strict=True))
            ).expand(len(boxes))
        ),
    },
)
def flipped_together(image: Tensor, boxes: Tensor, flipped: Tensor, new: Tensor) -> Tensor:
    """For each box (T,): do the pixels under it, mirrored, lie under the new one? cxcywh in shares, whole pixels."""
    same = []
    for old_box, new_box in zip(boxes, new, strict=True):
        cuts = []
        for picture, (cx, cy, w, h) in ((image, old_box), (flipped, new_box)):
            rows, columns = picture.shape[1:]
            x, y = round(float((cx - w / 2) * columns)), round(float((cy - h / 2) * rows))
            cuts.append(picture[:, y : y + round(float(h * rows)), x : x + round(float(w * columns))])
        same.append(torch.equal(cuts[0].flip(-1), cuts[1]))
    return torch.tensor(same)
