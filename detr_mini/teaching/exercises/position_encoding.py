"""Exercises of the chapter *Positional encoding*."""

import math

import torch
from torch import Tensor

from detr_mini.teaching.exercises import draw, exercise


def _mask(*sizes: tuple[int, int]) -> Tensor:
    """Pictures that are padded to the right; every row has a real cell."""
    height, width = (max(side) for side in zip(*sizes, strict=True))
    mask = torch.ones(len(sizes), height, width, dtype=torch.bool)
    for one, (_, columns) in zip(mask, sizes, strict=True):
        one[:, :columns] = False
    return mask


def _counted(real: Tensor, axis: int = 2, less: float = 0.5) -> Tensor:
    count = real.float().cumsum(axis)
    return (count - less) / count.select(axis, -1).unsqueeze(axis)


@exercise(
    cases=lambda: [(_mask((3, 4), (3, 6)),), (_mask((2, 5), (4, 3), (4, 7)),)],
    mistakes={
        "This is the far edge of each cell, as in DETR: take off half a cell for the center.": (
            lambda mask: _counted(~mask, less=0)
        ),
        "The real cells are right. A padded cell takes the place of the last real cell of its row.": (
            lambda mask: _counted(~mask) * ~mask
        ),
        "This is the near edge of each cell: half a cell is to be taken off the count, not a whole one.": (
            lambda mask: _counted(~mask, less=1)
        ),
        "These are places in y. For x, count along a row: the last axis.": lambda mask: _counted(~mask, axis=1),
        "True means padding: count the real cells, ~mask. This counted the padding.": lambda mask: _counted(mask),
        "This divides by the width of the frame. Divide by the number of real cells, the last count of the row.": (
            lambda mask: ((~mask).float().cumsum(2) - 0.5) / mask.shape[2]
        ),
        "This counts every column of the frame, padding too: the mask has had no part in it.": (
            lambda mask: _counted(torch.ones_like(mask))
        ),
        "These are counts; divide by the last one of the row, so that the right edge is 1.": (
            lambda mask: (~mask).float().cumsum(2) - 0.5
        ),
    },
)
def centers(mask: Tensor) -> Tensor:
    """The place of each cell's center in x as a share of its picture's width: mask (B, h, w) to (B, h, w)."""
    count = (~mask).float().cumsum(2)  # (B, h, w)
    return (count - 0.5) / count[:, :, -1:]


def _waves(places: Tensor, d: int, temperature: float) -> Tensor:
    angle = places[:, None] / temperature ** (2 * torch.arange(d // 2) / d)  # (L, d / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)  # (L, d)


def _shift_cases() -> list[tuple[Tensor, float, float]]:
    places = torch.rand(6, generator=draw(1)) * 20
    return [(_waves(places, 8, 16), 3.0, 16.0), (_waves(places, 12, 100), -1.5, 100.0)]


def _pairs(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[:, 0::2], x[:, 1::2]


def _shift_all_alike(code: Tensor, s: float, temperature: float) -> Tensor:
    sine, cosine = _pairs(code)
    both = [sine * math.cos(s) + cosine * math.sin(s), cosine * math.cos(s) - sine * math.sin(s)]
    return torch.stack(both, dim=-1).flatten(-2)


def _shift_in_halves(code: Tensor, s: float, temperature: float) -> Tensor:
    return torch.cat(_pairs(shift(code, s, temperature)), dim=-1)


@exercise(
    cases=_shift_cases,
    mistakes={
        "These are the places s before the given ones: the hands were turned the wrong way.": (
            lambda code, s, t: shift(code, -s, t)
        ),
        "All pairs were turned by s. Each has its own frequency, 1 / temperature ** (2 * i / d).": _shift_all_alike,
        "The shifted sines stand before the cosines. They are to alternate, as in what you were given.": (
            _shift_in_halves
        ),
        "The encoding of the step was added. A shift turns the pairs; a sum of two encodings encodes no place.": (
            lambda code, s, t: code + _waves(torch.tensor([s]), code.shape[1], t)
        ),
        "The frequencies are those of 1 / temperature ** (i / d): the exponent is 2i/d.": (
            lambda code, s, t: shift(code, s, t**0.5)
        ),
        "These are the encodings that you were given: nothing was shifted.": lambda code, s, t: code.clone(),
    },
)
def shift(code: Tensor, s: float, temperature: float) -> Tensor:
    """From the encodings (L, d) of unknown places to those of the places s further on, (L, d)."""
    d = code.shape[1]
    turn = s / temperature ** (2 * torch.arange(d // 2) / d)  # (d / 2,)
    sine, cosine = code[:, 0::2], code[:, 1::2]  # (L, d / 2)
    shifted_sine = sine * turn.cos() + cosine * turn.sin()
    shifted_cosine = cosine * turn.cos() - sine * turn.sin()
    return torch.stack([shifted_sine, shifted_cosine], dim=-1).flatten(-2)  # (L, d)


def _rotate_cases() -> list[tuple[Tensor, Tensor, float]]:
    generator = draw(4)
    return [
        (torch.randn(5, d, generator=generator), torch.rand(5, generator=generator) * 10, temperature)
        for d, temperature in ((8, 16.0), (12, 100.0))
    ]


def _rotate_halves(x: Tensor, places: Tensor, temperature: float) -> Tensor:
    interleaved = torch.stack(x.chunk(2, dim=1), dim=-1).flatten(-2)
    return torch.cat(_pairs(rotate(interleaved, places, temperature)), dim=-1)


@exercise(
    cases=_rotate_cases,
    mistakes={
        "The pairs were turned clockwise: mind the signs of the two sines.": lambda x, p, t: rotate(x, -p, t),
        "The pairs are (i, i + d/2) here, as some programs have it. Neighbors are wanted: (2i, 2i + 1).": (
            _rotate_halves
        ),
        "The waves of the place were added to x: that is the old way. Turn the pairs of x instead.": (
            lambda x, p, t: x + _waves(p, x.shape[1], t)
        ),
        "The waves of the place were multiplied with x. To turn a pair, its two channels must mix.": (
            lambda x, p, t: x * _waves(p, x.shape[1], t)
        ),
        "All pairs were turned alike. Pair i turns at its own frequency, 1 / temperature ** (2 * i / d).": (
            lambda x, p, t: rotate(x, p, 1.0)
        ),
        "The exponent is 2i/d, with i the number of the pair; this used i/d.": lambda x, p, t: rotate(x, p, t**0.5),
        "The turned pairs are right, but all first channels stand before all second ones; they are to alternate.": (
            lambda x, p, t: torch.cat(_pairs(rotate(x, p, t)), dim=-1)
        ),
    },
)
def rotate(x: Tensor, places: Tensor, temperature: float) -> Tensor:
    """Turn each pair of channels of x (L, d) by the angle of its place, (L,), at the pair's frequency (RoPE)."""
    d = x.shape[1]
    angle = places[:, None] / temperature ** (2 * torch.arange(d // 2) / d)  # (L, d / 2)
    a, b = x[:, 0::2], x[:, 1::2]  # (L, d / 2)
    turned = [a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()]
    return torch.stack(turned, dim=-1).flatten(-2)  # (L, d)
