"""Exercises of the chapter *Attention maps*."""

import torch
from torch import Tensor

from detr_mini.teaching.exercises import draw, exercise


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=draw(seed))


def _padding(*sizes: tuple[int, int]) -> Tensor:
    """The mask (B, h, w) of pictures of so many rows and columns."""
    height, width = (max(side) for side in zip(*sizes, strict=True))
    mask = torch.ones(len(sizes), height, width, dtype=torch.bool)
    for one, (rows, columns) in zip(mask, sizes, strict=True):
        one[:rows, :columns] = False
    return mask


def _weights(mask: Tensor, queries: int, seed: int) -> Tensor:
    """Random attention weights (B, 3 heads, queries, hw) that hide padding."""
    scores = 2 * _random(len(mask), 3, queries, mask[0].numel(), seed=seed)
    return scores.masked_fill(mask.flatten(1)[:, None, None], float("-inf")).softmax(-1)


def _batches() -> list[tuple[Tensor, Tensor, int, int]]:
    mask = _padding((4, 3), (3, 5))  # tall and wide: padding to the right of one, below the other
    weights = _weights(mask, 6, seed=0)
    return [(weights, mask, 0, 2), (weights, mask, 1, 4)]


def _size(mask: Tensor, picture: int) -> tuple[int, int]:
    return int((~mask[picture, :, 0]).sum()), int((~mask[picture, 0]).sum())


def _cut_too_early(weights: Tensor, mask: Tensor, picture: int, slot: int) -> Tensor:
    rows, columns = _size(mask, picture)
    return weights[picture, :, slot].mean(0)[: rows * columns].view(rows, columns)


def _swapped(weights: Tensor, mask: Tensor, picture: int, slot: int) -> Tensor:
    rows, columns = _size(mask, picture)
    height, width = mask.shape[1:]
    return weights[picture, :, slot].mean(0).view(width, height)[:rows, :columns]


def _kept_the_padding(weights: Tensor, mask: Tensor, picture: int, slot: int) -> Tensor:
    return weights[picture, :, slot].mean(0).view(mask.shape[1:])


def _normalized_first(weights: Tensor, mask: Tensor, picture: int, slot: int) -> Tensor:
    peaks = weights.amax(-1, keepdim=True)
    return slot_map(weights / peaks, mask, picture, slot)


@exercise(
    cases=_batches,
    mistakes={
        "The padding was cut before the view, so that the lines slip. View to the batch's (h, w) first, then cut.": (
            _cut_too_early
        ),
        "Height and width of the batch are exchanged: the last axis runs along the rows, so w comes last.": _swapped,
        "The padding is still there: keep the rows and columns where the picture's mask is False.": _kept_the_padding,
        "This is the sum over the heads. Their mean is asked for, so that the map sums to 1.": (
            lambda weights, mask, picture, slot: 3 * slot_map(weights, mask, picture, slot)
        ),
        "Each head was divided by its largest weight before the mean: a head that reads everywhere gets too loud.": (
            _normalized_first
        ),
        "This is the map of the first head alone: the mean over all heads is asked for.": (
            lambda weights, mask, picture, slot: slot_map(weights[:, :1], mask, picture, slot)
        ),
    },
)
def slot_map(weights: Tensor, mask: Tensor, picture: int, slot: int) -> Tensor:
    """Where a slot reads on one picture of a batch: (rows, columns), from weights (B, heads, N, hw)."""
    flat = weights[picture, :, slot].mean(0)  # (hw,)
    rows = int((~mask[picture, :, 0]).sum())
    columns = int((~mask[picture, 0]).sum())
    return flat.view(mask.shape[1:])[:rows, :columns]


def _cells() -> list[tuple[Tensor, int, int, int, int]]:
    weights = (2 * _random(3, 20, 20, seed=1)).softmax(-1)
    return [(weights, 1, 3, 4, 5), (weights, 2, 0, 4, 5)]


@exercise(
    cases=_cells,
    mistakes={
        "This is where the cell reads, its row. Who reads it stands in its column.": (
            lambda weights, row, column, height, width: weights.mean(0)[row * width + column].view(height, width)
        ),
        "This is the column of another cell: its number is row times width, plus column.": (
            lambda weights, row, column, height, width: weights.mean(0)[
                :, (column * height + row) % (height * width)
            ].view(height, width)
        ),
        "This is the column of another cell: its number is row times the width, not times the height, plus column.": (
            lambda weights, row, column, height, width: weights.mean(0)[:, row * height + column].view(height, width)
        ),
        "The map is laid out as (width, height) and turned: a view to (height, width) is enough.": (
            lambda weights, row, column, height, width: weights.mean(0)[:, row * width + column].view(width, height).T
        ),
        "This column was made to sum to 1. Only rows do; that it is read much or little is what you want to see.": (
            lambda weights, row, column, height, width: (
                readers_of(weights, row, column, height, width) / weights.mean(0)[:, row * width + column].sum()
            )
        ),
    },
)
def readers_of(weights: Tensor, row: int, column: int, height: int, width: int) -> Tensor:
    """How much every cell reads the one at (row, column): (height, width), from weights (heads, hw, hw)."""
    is_read = weights.mean(0)[:, row * width + column]  # (hw,)
    return is_read.view(height, width)


def _attention() -> list[tuple[Tensor, Tensor, Tensor]]:
    return [((2 * _random(2, 3, 5, seed=3)).softmax(-1), _random(2, 5, 4, seed=4), _random(8, 8, seed=5))]


def _contributions(weights: Tensor, values: Tensor, out_weight: Tensor) -> Tensor:
    """The vectors that each cell contributes in each head: (heads, Lq, Lk, d)."""
    columns = out_weight.unflatten(1, (len(values), -1))  # (d, heads, d / heads)
    return torch.einsum("hqk,hkc,ohc->hqko", weights, values, columns)


@exercise(
    cases=_attention,
    mistakes={
        "The lengths of the heads' contributions are added. Heads may cancel: add the vectors, then take the length.": (
            lambda w, v, out: _contributions(w, v, out).norm(dim=-1).sum(0)
        ),
        "The output projection was taken by its rows. A head owns columns: out_proj multiplies from the left.": (
            lambda w, v, out: _contributions(w, v, out.T).sum(0).norm(dim=-1)
        ),
        "The output projection is missing: these are lengths of the joined heads before it.": (
            lambda w, v, out: torch.einsum("hqk,hkc->qkhc", w, v).flatten(2).norm(dim=-1)
        ),
        "The heads are interleaved: head i owns the d / heads columns from i * d / heads on, side by side.": (
            lambda w, v, out: torch.einsum("hqk,hkc,och->qko", w, v, out.unflatten(1, (-1, len(v)))).norm(dim=-1)
        ),
        "The weights are missing: this is what each cell has to give, not what is taken.": (
            lambda w, v, out: _contributions(torch.ones_like(w), v, out).sum(0).norm(dim=-1)
        ),
        "These are the mean weights. The values decide how much a weight brings: multiply by them.": (
            lambda w, v, out: w.mean(0)
        ),
    },
)
def taken(weights: Tensor, values: Tensor, out_weight: Tensor) -> Tensor:
    """The length of what each query takes from each cell, all heads together: (Lq, Lk)."""
    total: Tensor = torch.zeros(())
    for head, out in zip(range(len(values)), out_weight.chunk(len(values), dim=1), strict=True):
        given = values[head] @ out.T  # (Lk, d)
        total = total + weights[head][..., None] * given  # (Lq, Lk, d)
    return total.norm(dim=-1)
