"""Exercises of the chapter *Object queries and heads*."""

import itertools

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from detr_mini.teaching.exercises import draw, exercise

Layers = list[tuple[Tensor, Tensor]]


@exercise(
    cases=lambda: [([1, 2, 3, 5, 6, 7, 9, 10, 12, 13],), ([1],), (list(range(5)),), ([18, 44, 90, 1],)],
    mistakes={
        "This counts the classes. An id is an index into the outputs, so the highest id decides, holes and all.": (
            lambda ids: len(set(ids)) + 1
        ),
        "This counts the classes and adds a background and no-object. DETR has no background class, and an id is an "
        "index: the highest id decides, holes and all.": lambda ids: len(set(ids)) + 2,
        "One too few: there are highest id + 1 indices for the ids, and no-object needs one more.": (
            lambda ids: max(ids) + 1
        ),
        "The highest id is itself an index, and counting starts at 0: that is two outputs more than this.": max,
        "One too many: index 0 is there already. It belongs to no class and is not used for no-object either.": (
            lambda ids: max(ids) + 3
        ),
    },
)
def head_outputs(ids: list[int]) -> int:
    """How many outputs does the class head need for these category ids?"""
    num_classes = max(ids) + 1
    return num_classes + 1  # and no-object


def _weight(seed: int, queries: int, width: int) -> Tensor:
    return torch.randn(queries, width, generator=draw(seed))


@exercise(
    cases=lambda: [(_weight(0, 5, 4), 3), (_weight(1, 2, 6), 1)],
    mistakes={
        "The two are swapped: the content starts at zero, and the queries are the positional part.": (
            lambda weight, batch: decoder_inputs(weight, batch)[::-1]
        ),
        "The queries went into the content as well. It starts at zero; the queries are added to queries and keys of "
        "the attention, as positions are.": lambda weight, batch: (weight.expand(batch, -1, -1),) * 2,
        "Both are zero, so every slot would be the same: the positional part is the learned weight.": (
            lambda weight, batch: (torch.zeros(batch, *weight.shape),) * 2
        ),
        "These are (N, B, d), the layout of the original code. Here the batch comes first: (B, N, d).": (
            lambda weight, batch: tuple(x.transpose(0, 1) for x in decoder_inputs(weight, batch))
        ),
        "The batch is missing: every picture gets the same queries, so repeat them to (B, N, d).": (
            lambda weight, batch: (torch.zeros_like(weight), weight)
        ),
    },
)
def decoder_inputs(weight: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Content and positional part that the decoder starts from, (B, N, d) each, given the queries (N, d)."""
    position = weight.expand(batch, -1, -1)
    return torch.zeros_like(position), position


def _box_heads() -> list[tuple[Tensor, Layers]]:
    generator = draw(3)

    def layers(*widths: int) -> Layers:
        sizes = list(itertools.pairwise(widths))
        return [(torch.randn(b, a, generator=generator), torch.randn(b, generator=generator)) for a, b in sizes]

    x = torch.randn(6, 5, generator=generator)
    return [(x, layers(5, 7, 6, 4)), (x[:2], layers(5, 3, 3, 4))]


def _head(x: Tensor, layers: Layers, *, between: bool = True, after: bool = False, squash: bool = True) -> Tensor:
    for number, (weight, bias) in enumerate(layers):
        x = nn.functional.linear(x, weight, bias)
        if after or (between and number < len(layers) - 1):
            x = x.relu()
    return x.sigmoid() if squash else x


def _sigmoid_everywhere(x: Tensor, layers: Layers) -> Tensor:
    for weight, bias in layers:
        x = nn.functional.linear(x, weight, bias).sigmoid()
    return x


@exercise(
    cases=_box_heads,
    mistakes={
        "There is a ReLU after the last layer too. It lets no number below 0 through, so no output is under 0.5.": (
            lambda x, layers: _head(x, layers, after=True)
        ),
        "The sigmoid is missing: these numbers are not in [0, 1].": lambda x, layers: _head(x, layers, squash=False),
        "There is nothing between the layers. Three linear layers in a row are one linear layer: put ReLUs between.": (
            lambda x, layers: _head(x, layers, between=False)
        ),
        "The sigmoid belongs after the last layer only; between the layers are ReLUs.": _sigmoid_everywhere,
        "This is a softmax: the four numbers of a box do not share a sum of 1. Each gets a sigmoid of its own.": (
            lambda x, layers: _head(x, layers, squash=False).softmax(-1)
        ),
    },
)
def box_head(x: Tensor, layers: Layers) -> Tensor:
    """From x (N, d) and three pairs (weight, bias) to boxes (N, 4) in [0, 1]."""
    for weight, bias in layers[:-1]:
        x = (x @ weight.T + bias).relu()
    weight, bias = layers[-1]
    return (x @ weight.T + bias).sigmoid()


def _values() -> list[tuple[Tensor]]:
    generator = draw(4)
    noise = torch.rand(30, 6, generator=generator)
    return [(noise * 0.3 + torch.arange(6) * 0.15,), (noise,), (noise * 0.02 + torch.arange(6),)]


@exercise(
    cases=_values,
    mistakes={
        "This is the share that is left over, not the one that is explained: take it from 1.": (
            lambda values: 1 - explained_share(values)
        ),
        "The mean was taken over the queries. Each query's own mean goes over the pictures, dimension 0.": (
            lambda values: explained_share(values.T)
        ),
        "This is a variance, not a share: divide by the variance of all values.": lambda values: values.mean(0).var(
            correction=0
        ),
        "Nearly: `var` divides by one less than the number of values unless you say correction=0, and the two "
        "variances have different numbers of values.": lambda values: 1 - values.var(0).mean() / values.var(),
        "These are standard deviations. Shares of a spread add up to 1 for variances only.": lambda values: (
            values.mean(0).std(correction=0) / values.std(correction=0)
        ),
    },
)
def explained_share(values: Tensor) -> Tensor:
    """The share of the variance of values (images, N) that knowing the query explains, ()."""
    left = values - values.mean(0)  # around each query's own mean
    return 1 - left.square().mean() / values.var(correction=0)


def _crowd() -> list[tuple[Tensor, Tensor, float]]:
    low = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.5, 0.0], [20.0, 20.0], [40.0, 0.0], [40.5, 0.5], [60.0, 9.0]])
    boxes = torch.cat([low, low + 10], dim=1)
    scores = torch.tensor([0.80, 0.92, 0.97, 0.30, 0.60, 0.95, 0.91])
    chain = torch.tensor([[0.0, 0.0, 10.0, 10.0], [4.0, 0.0, 14.0, 10.0], [8.0, 0.0, 18.0, 10.0]])
    return [(boxes, scores, 0.5), (boxes, scores, 0.8), (chain, torch.tensor([0.9, 0.8, 0.7]), 0.4)]


def _without_sorting(boxes: Tensor, scores: Tensor, most: float) -> Tensor:
    kept: list[int] = []
    for i in range(len(boxes)):
        if all(box_iou(boxes[[i]], boxes[[j]]) <= most for j in kept):
            kept.append(i)
    return torch.tensor(kept)


def _victims_strike_too(boxes: Tensor, scores: Tensor, most: float) -> Tensor:
    order = scores.argsort(descending=True)
    over = (box_iou(boxes[order], boxes[order]) > most).triu(1)
    return order[~over.any(0)]


def _turned_round(boxes: Tensor, scores: Tensor, most: float) -> Tensor:
    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        if all(box_iou(boxes[[i]], boxes[[j]]) > most for j in kept):
            kept.append(i)
    return torch.tensor(kept)


@exercise(
    cases=_crowd,
    mistakes={
        "This keeps every box above a score. That is a threshold; suppression compares boxes with each other.": (
            lambda boxes, scores, most: (scores > 0.9).nonzero().flatten()
        ),
        "The boxes were taken in the order they came in. The best score goes first.": _without_sorting,
        "A box that was dropped still drops others. Compare with the boxes that are kept, no others.": (
            _victims_strike_too
        ),
        "The comparison is the wrong way round: a box goes if it overlaps a kept one by MORE than `most`.": (
            _turned_round
        ),
        "The right boxes, in the order of their index; give them from the best score down.": (
            lambda boxes, scores, most: suppress(boxes, scores, most).sort().values
        ),
        "Nothing was dropped: compare each box with those that are kept already, and leave it out if one overlaps it "
        "by more than `most`.": lambda boxes, scores, most: scores.argsort(descending=True),
    },
)
def suppress(boxes: Tensor, scores: Tensor, most: float) -> Tensor:
    """Non-maximum suppression: indices of the kept boxes (M, 4) xyxy, best score first."""
    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        overlap = box_iou(boxes[[i]], boxes[kept])  # (1, kept)
        if not (overlap > most).any():
            kept.append(i)
    return torch.tensor(kept)
