"""Other numbers for the exercises of chapters 1 to 11 whose cases are written out.

Each function takes a source of random numbers and makes cases of the same kind as the book's. Exercises that are not
here draw their cases already, see :func:`detr_mini.teaching.exercises.draw`. Whether the drawn cases tell every typical
mistake apart is looked at where they are used.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor

from detr_mini.modeling.decoding import END
from detr_mini.teaching.specimens import Writer

Cases = list[tuple[Any, ...]]
VARIANTS: dict[str, Callable[[Random], Cases]] = {}


def varies(*names: str) -> Callable[[Callable[[Random], Cases]], Callable[[Random], Cases]]:
    """Enter a function under the names of exercises, such as ``tour.to_pixels``."""

    def enter(function: Callable[[Random], Cases]) -> Callable[[Random], Cases]:
        VARIANTS.update(dict.fromkeys(names, function))
        return function

    return enter


def floats(rng: Random, shape: Sequence[int], low: float = 0.0, high: float = 1.0, digits: int = 2) -> Tensor:
    """Random numbers with few digits, float32."""
    flat = [round(rng.uniform(low, high), digits) for _ in range(torch.Size(shape).numel())]
    return torch.tensor(flat).reshape(tuple(shape))


def boxes(rng: Random, count: int) -> Tensor:
    """Boxes inside of the picture, cxcywh (count, 4)."""
    size = floats(rng, (count, 2), 0.05, 0.5)
    return torch.cat([size / 2 + (1 - size) * floats(rng, (count, 2)), size], dim=1)


def mask(*sizes: tuple[int, int], frame: tuple[int, int] | None = None) -> Tensor:
    """The padding mask (B, h, w) of pictures of so many rows and columns."""
    height, width = frame or tuple(max(side) for side in zip(*sizes, strict=True))
    found = torch.ones(len(sizes), height, width, dtype=torch.bool)
    for one, (rows, columns) in zip(found, sizes, strict=True):
        one[:rows, :columns] = False
    return found


def sizes(rng: Random, count: int, low: int = 1, high: int = 7) -> list[tuple[int, int]]:
    """Random rows and columns."""
    return [(rng.randint(low, high), rng.randint(low, high)) for _ in range(count)]


# --- chapter 1, A tour, and chapter 4, Data preparation


@varies("tour.to_pixels", "data.to_xywh")
def _in_pixels(rng: Random) -> Cases:
    height, width = rng.sample(range(60, 400, 10), 2)
    return [(boxes(rng, rng.randint(2, 4)), height, width)]


@varies("tour.most_faithful_slot")
def _slots(rng: Random) -> Cases:
    """The book's kind, with the slots in another order."""
    from detr_mini.teaching.exercises import tour

    ((found,),) = tour.most_faithful_slot.cases()
    return [(found[:, rng.sample(range(4), 4)],), (found[:30, rng.sample(range(4), 4)],)]


@varies("data.flip_shares")
def _flips(rng: Random) -> Cases:
    return [(boxes(rng, 3),)]


@varies("data.close_holes")
def _labels(rng: Random) -> Cases:
    found = []
    for ordered in (True, False):
        ids = rng.sample(range(1, 40), 6)
        found.append((torch.tensor(rng.choices(ids[:4], k=4)), sorted(ids) if ordered else ids))
    return found


@varies("data.read_targets")
def _files(rng: Random) -> Cases:
    (empty, one, two), (cat, kite, cup) = rng.sample(range(1, 30), 3), rng.sample(range(1, 30), 3)
    widths = {number: rng.randrange(60, 200, 2) for number in (two, one, empty)}
    heights = {number: rng.randrange(60, 200, 2) for number in widths}

    def annotation(image: int, category: int, x: int, y: int, w: int, h: int, crowd: int = 0) -> dict[str, Any]:
        return {"image_id": image, "category_id": category, "bbox": [x, y, w, h], "iscrowd": crowd}

    def some(low: int, high: int) -> int:
        return rng.randint(low, high)

    annotations = [
        annotation(two, kite, widths[two] - some(5, 20), some(1, 20), some(25, 40), some(8, 30)),  # reaches out
        annotation(one, cat, some(1, 20), some(1, 20), some(8, 30), some(8, 30)),
        annotation(two, cat, 0, 0, some(20, 50), some(20, 50), crowd=1),
        annotation(one, kite, some(1, 20), some(1, 20), 0, some(5, 20)),  # has no width
        annotation(two, cup, some(1, 20), some(1, 20), some(8, 30), some(8, 30)),
        annotation(one, cup, -some(2, 9), -some(2, 9), some(12, 30), some(12, 30)),  # reaches out on the other sides
        annotation(two, kite, widths[two], some(1, 20), some(8, 30), some(8, 30)),  # has no part in the picture
    ]
    images = [{"id": number, "width": widths[number], "height": heights[number]} for number in widths]
    names = zip((cat, kite, cup), ("cat", "kite", "cup"), strict=True)
    categories = [{"id": id, "name": name} for id, name in sorted(names)]
    return [({"images": images, "annotations": annotations, "categories": categories},)]


# --- chapters 2 and 3, Attention and The Transformer of 2017


@varies("attention.hidden_keys")
def _padded(rng: Random) -> Cases:
    length = rng.randint(4, 6)
    right = torch.arange(length) >= torch.tensor(rng.sample(range(2, length), 2))[:, None]
    left = torch.arange(length) < torch.tensor(rng.sample(range(1, length - 1), 2))[:, None]
    return [(right,), (left,)]


@varies("attention.waves")
def _lengths(rng: Random) -> Cases:
    return [(rng.randint(3, 9), 2 * width) for width in rng.sample(range(2, 9), 3)]


@varies("seq2seq.shifted")
def _sentences(rng: Random) -> Cases:
    words = [rng.randint(3, 20) for _ in range(6)]
    batch = torch.tensor([[1, *words[:4], 2], [1, *words[4:], 2, 0, 0]])
    return [(batch,), (torch.tensor([[1, rng.randint(3, 20), 2]]),)]


@varies("seq2seq.smoothed_targets")
def _smoothed(rng: Random) -> Cases:
    found = []
    for vocabulary in rng.sample(range(4, 10), 2):
        words = torch.tensor([rng.randrange(vocabulary) for _ in range(3)])
        found.append((words, vocabulary, round(rng.uniform(0.05, 0.4), 2)))
    return found


@varies("seq2seq.greedy")
def _writers(rng: Random) -> Cases:
    first, again, last = [rng.randint(3, 5) for _ in range(rng.randint(2, 5))], rng.randint(3, 5), rng.randint(3, 5)
    return [(Writer(*first, END), 10), (Writer(*[again] * 6), 3), (Writer(END), 5), (Writer(last, END), 2)]


@varies("seq2seq.clipped_precision")
def _texts(rng: Random) -> Cases:
    words = ["a", "red", "car", "and", "bus"]
    reference = rng.choices(words, k=9)
    return [
        *((rng.choices(words[:3], k=rng.randint(4, 8)), reference, n) for n in (1, 1, 2, 2, 3)),
        (rng.choices(words, k=3), reference, 4),
    ]


# --- chapters 5 to 7, NestedTensor, Backbone and Positional encoding


@varies("nested_tensor.share_of_padding", "nested_tensor.real_sizes")
def _masks(rng: Random) -> Cases:
    return [(mask(*sizes(rng, 3)),), (mask(*sizes(rng, 2), frame=(8, 5 + rng.randint(3, 5))),)]


@varies("backbone.cells_left")
def _stacks(rng: Random) -> Cases:
    def layer() -> tuple[int, int, int, int]:
        return rng.choice((2, 3, 5, 7)), rng.choice((1, 2, 2)), rng.randint(0, 3), rng.choice((1, 1, 2))

    return [(rng.randint(80, 200), [layer() for _ in range(count)]) for count in (4, 4, 3, 2)]


@varies("backbone.window")
def _windows(rng: Random) -> Cases:
    def layer() -> tuple[int, int, int]:
        return rng.choice((2, 3, 5, 7)), rng.choice((1, 2, 4)), rng.randint(0, 3)

    return [(cell, [layer() for _ in range(rng.randint(2, 6))]) for cell in (0, *rng.sample(range(1, 9), 3))]


@varies("position_encoding.centers")
def _places(rng: Random) -> Cases:
    found = []
    for count in (2, 3):
        height = rng.randint(2, 4)
        found.append((mask(*((height, columns) for columns in rng.sample(range(2, 9), count))),))
    return found


# --- chapters 8, 10 and 11: Encoder, Object queries and heads, Matching


@varies("encoder.is_equivariant")
def _functions(rng: Random) -> Cases:
    from detr_mini.teaching.exercises import encoder

    found = encoder.is_equivariant.cases()
    return rng.sample(found, len(found))


@varies("encoder.reads_padding")
def _encoders(rng: Random) -> Cases:
    from detr_mini.teaching.exercises import encoder

    found = encoder.reads_padding.cases()
    return rng.sample(found, len(found))


@varies("encoder.without_gradient")
def _networks(rng: Random) -> Cases:
    from detr_mini.teaching.exercises import encoder

    names = rng.sample(["stem", "body", "neck", "head", "left", "right", "input", "output"], 4)
    return [encoder._network(*names), encoder._network(names[0])]


@varies("detr.head_outputs")
def _ids(rng: Random) -> Cases:
    some = rng.sample(range(1, 91), rng.randint(4, 9))
    return [(some,), ([rng.randint(1, 9)],), (list(range(rng.randint(3, 9))),), (rng.sample(range(1, 400), 4),)]


@varies("detr.suppress")
def _crowds(rng: Random) -> Cases:
    low = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.5, 0.0], [20.0, 20.0], [40.0, 0.0], [40.5, 0.5], [60.0, 9.0]])
    low = low[torch.tensor(rng.sample(range(7), 7))] + floats(rng, (7, 2), 0.0, 0.6)
    found = torch.cat([low, low + 10], dim=1)
    scores = torch.tensor([step / 100 for step in rng.sample(range(30, 99), 7)])
    chain = torch.tensor([[0.0, 0.0, 10.0, 10.0], [4.0, 0.0, 14.0, 10.0], [8.0, 0.0, 18.0, 10.0]]) + rng.randint(1, 30)
    falling = torch.tensor(sorted((step / 100 for step in rng.sample(range(50, 99), 3)), reverse=True))
    return [(found, scores, 0.5), (found, scores, 0.8), (chain, falling, 0.4)]


@varies("matcher.greedy_matching")
def _tables(rng: Random) -> Cases:
    return [(floats(rng, shape, 0, 9, digits=1),) for shape in ((2, 2), (4, 3), (6, 4), (5, 3))]


@varies("matcher.changed")
def _matchings(rng: Random) -> Cases:
    def pairs(queries: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
        return torch.tensor(sorted(rng.sample(queries, count))), torch.tensor(rng.sample(range(count), count))

    return [(pairs(range(most), count), pairs(range(most), count)) for most, count in ((5, 4), (6, 3), (7, 5))]


@varies("matcher.proves")
def _proofs(rng: Random) -> Cases:
    """The book's, with other amounts for rows and columns, in another order: what they prove stays."""
    from detr_mini.teaching.exercises import matcher

    found = []
    for cost, u, v, match in matcher.proves.cases():
        rows, columns = rng.sample(range(4), 4), rng.sample(range(4), 4)
        more_u, more_v = (torch.tensor([float(rng.randint(0, 4)) for _ in range(4)]) for _ in range(2))
        there = torch.tensor([columns.index(int(match[row])) for row in rows])
        cost = cost[rows][:, columns] + more_u[:, None] + more_v
        found.append((cost, u[rows] + more_u, v[columns] + more_v, there))
    return rng.sample(found, len(found))
