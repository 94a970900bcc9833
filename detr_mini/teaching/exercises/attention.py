"""Exercises of the chapter *Attention*."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_mini.teaching.exercises import draw, exercise

State = dict[str, Tensor]


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=draw(seed))


def _scores() -> list[tuple[Tensor, Tensor]]:
    some = torch.tensor([[False, False, True, True], [False, True, False, False]])
    whole_row = torch.tensor([[False, False, False, True], [True, True, True, True]])
    large = _random(2, 3, 4, seed=2) + torch.tensor([500.0, -500.0])[:, None, None]
    return [(_random(2, 3, 4), some), (_random(2, 3, 4, seed=1), whole_row), (large, some)]


def _naive_softmax(scores: Tensor, hidden: Tensor) -> Tensor:
    exps = scores.exp() * ~hidden[:, None]
    return exps / exps.sum(-1, keepdim=True).clamp(min=1e-9)


@exercise(
    cases=_scores,
    mistakes={
        "Hidden entries are set to 0 after the softmax, so the rows sum to less than 1: hide the scores before it.": (
            lambda s, hidden: s.softmax(-1).masked_fill(hidden[:, None], 0.0)
        ),
        "A row with nothing to read is NaN: it should be all zeros.": (
            lambda s, hidden: s.masked_fill(hidden[:, None], float("-inf")).softmax(-1)
        ),
        "The mask is turned round: True means hidden, and these rows read hidden keys alone.": (
            lambda s, hidden: masked_softmax(s, ~hidden)
        ),
        "A score of 0 is no hidden score, since e to the power of 0 is 1: use minus infinity.": (
            lambda s, hidden: s.masked_fill(hidden[:, None], 0.0).softmax(-1)
        ),
        "This normalizes over the queries: each row, the last dimension, should sum to 1.": (
            lambda s, hidden: s.masked_fill(hidden[:, None], float("-inf")).softmax(1).nan_to_num(0.0)
        ),
        "Where all keys are hidden, this reads them all alike: a large negative number is not minus infinity.": (
            lambda s, hidden: s.masked_fill(hidden[:, None], -1e9).softmax(-1)
        ),
        "Right for small scores; the exponential of 500 is no float any more, which softmax sees to.": _naive_softmax,
    },
)
def masked_softmax(scores: Tensor, hidden: Tensor) -> Tensor:
    """Attention weights (B, Lq, Lk) of scores (B, Lq, Lk) where keys, hidden (B, Lk) bool, may be hidden."""
    hidden = hidden[:, None, :]  # (B, 1, Lk)
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return weights.masked_fill(hidden, 0.0)  # a row that is all hidden was NaN


@exercise(
    cases=lambda: [(_random(2, 4, 5, 3),), (_random(1, 2, 2, 2),)],
    mistakes={
        "The shape is right, but tokens are mixed: bring heads and width side by side before you make them one.": (
            lambda x: x.reshape(x.shape[0], x.shape[2], -1)
        ),
        "Each token has its numbers in the wrong order: head 0 should come first, with all of its numbers.": (
            lambda x: x.permute(0, 2, 3, 1).flatten(2)
        ),
        "The heads are averaged: they should stand side by side.": lambda x: x.mean(1),
        "The heads are added up: they should stand side by side.": lambda x: x.sum(1),
        "The heads stand side by side, but are not yet one dimension: flatten the last two.": (
            lambda x: x.transpose(1, 2)
        ),
    },
)
def join_heads(x: Tensor) -> Tensor:
    """From (B, heads, L, d_head) to (B, L, heads * d_head)."""
    return x.transpose(1, 2).flatten(2)


def _padded() -> list[tuple[Tensor]]:
    right = torch.tensor([[False, False, False, True], [False, False, True, True]])
    left = torch.tensor([[True, False, False], [True, True, False]])
    return [(right,), (left,)]


def _later(length: int, diagonal: int = 1) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).triu(diagonal)


@exercise(
    cases=_padded,
    mistakes={
        "The mask is turned round: True should mean hidden, and here it means that a word may be read.": (
            lambda padding: ~hidden_keys(padding)
        ),
        "Later words may be read here, and earlier ones may not: hide what lies above the diagonal.": (
            lambda padding: _later(padding.shape[1]).mT | padding[:, None, :]
        ),
        "A word is hidden from itself: the diagonal may be read.": (
            lambda padding: _later(padding.shape[1], 0) | padding[:, None, :]
        ),
        "A word may be read that is padding, unless it comes later, too: one reason is enough to hide it.": (
            lambda padding: _later(padding.shape[1]) & padding[:, None, :]
        ),
        "The rows of padded queries are hidden: padding hides keys, which are the last dimension.": (
            lambda padding: _later(padding.shape[1]) | padding[:, :, None]
        ),
        "Padded queries are hidden as well, so that their rows have nothing to read: only keys are hidden.": (
            lambda padding: _later(padding.shape[1]) | padding[:, None, :] | padding[:, :, None]
        ),
        "Padding is hidden, later words are not.": lambda padding: padding[:, None, :].repeat(1, padding.shape[1], 1),
        "Later words are hidden, padding is not.": (
            lambda padding: _later(padding.shape[1]).repeat(len(padding), 1, 1)
        ),
    },
)
def hidden_keys(padding: Tensor) -> Tensor:
    """Which keys each query may not read, (B, L, L): those that are padding (B, L), and those that come later."""
    later = torch.ones(padding.shape[1], padding.shape[1], dtype=torch.bool).triu(1)  # (L, L)
    return later | padding[:, None, :]  # (B, L, L)


def _waves(length: int, d: int, *, first: int = 0, exponent: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Sines and cosines by turns, with another first place or other exponents."""
    pair = torch.arange(d // 2)
    powers = 2 * pair / d if exponent is None else exponent(pair)
    angle = torch.arange(first, first + length)[:, None] / 10000**powers
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def _each_its_own(length: int, d: int) -> Tensor:
    channel = torch.arange(d)
    angle = torch.arange(length)[:, None] / 10000 ** (channel / d)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos())


@exercise(
    cases=lambda: [(5, 8), (3, 2), (7, 12)],
    mistakes={
        "All sines come first and then all cosines: let them stand by turns.": (
            lambda length, d: waves(length, d).unflatten(1, (-1, 2)).mT.flatten(1)
        ),
        "Sine and cosine are exchanged: the sine comes first.": (
            lambda length, d: waves(length, d).unflatten(1, (-1, 2)).flip(-1).flatten(1)
        ),
        "The places are counted from 1: the first one is 0.": lambda length, d: _waves(length, d, first=1),
        "The sine and the cosine of a pair should have the same wave length: both use the even channel, 2i.": (
            _each_its_own
        ),
        "The waves grow too slowly: the exponent is 2i / d, and i counts the pairs.": (
            lambda length, d: _waves(length, d, exponent=lambda pair: pair / d)
        ),
        "The waves grow too fast: the exponent is 2i / d, and i counts the pairs, not the channels.": (
            lambda length, d: _waves(length, d, exponent=lambda pair: 4 * pair / d)
        ),
        "The waves get shorter from pair to pair: the place is divided by the power, not multiplied.": (
            lambda length, d: _waves(length, d, exponent=lambda pair: -2 * pair / d)
        ),
    },
)
def waves(length: int, d: int) -> Tensor:
    """Codes of the places 0 to length - 1, (length, d): sine, cosine, sine, cosine, ..."""
    place = torch.arange(length)[:, None]  # (length, 1)
    angle = place / 10000 ** (torch.arange(0, d, 2) / d)  # (length, d / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # (length, d)


Arguments = tuple[State, int, Tensor, Tensor, Tensor, Tensor]


def _packed() -> list[Arguments]:
    state = {
        "in_proj_weight": _random(36, 12) / 2,
        "in_proj_bias": _random(36, seed=1),
        "out_proj.weight": _random(12, 12, seed=2) / 3,
        "out_proj.bias": _random(12, seed=3),
    }
    padding = torch.tensor([[False] * 5 + [True], [False] * 3 + [True] * 3])
    query, key, value = (_random(2, L, 12, seed=10 + i) for i, L in enumerate((5, 6, 6)))
    return [(state, 3, query, key, value, padding)]


def _reordered(order: str) -> Callable[..., Tensor]:
    def mistake(state: State, *rest: Any) -> Tensor:
        rows = ["qkv".index(letter) for letter in order]
        packed = (state[f"in_proj_{name}"] for name in ("weight", "bias"))
        weight, bias = (part.unflatten(0, (3, -1))[rows].flatten(0, 1) for part in packed)
        return packed_attention({**state, "in_proj_weight": weight, "in_proj_bias": bias}, *rest)

    return mistake


def _rescaled(factor: Callable[[int, int], float]) -> Callable[..., Tensor]:
    """The right answer with the scores multiplied by a factor of (d, heads)."""

    def mistake(state: State, heads: int, *rest: Tensor) -> Tensor:
        d = state["out_proj.bias"].numel()
        scale = torch.cat([torch.full((d,), factor(d, heads)), torch.ones(2 * d)])  # on the queries
        weight, bias = state["in_proj_weight"] * scale[:, None], state["in_proj_bias"] * scale
        return packed_attention({**state, "in_proj_weight": weight, "in_proj_bias": bias}, heads, *rest)

    return mistake


def _with(**parts: Tensor) -> Callable[..., Tensor]:
    other = {name.replace("__", "."): part for name, part in parts.items()}
    return lambda state, *rest: packed_attention({**state, **other}, *rest)


def _untransposed(state: State, *rest: Any) -> Tensor:
    weights = [weight.T for weight in state["in_proj_weight"].chunk(3)]
    turned = {"in_proj_weight": torch.cat(weights), "out_proj.weight": state["out_proj.weight"].T}
    return packed_attention({**state, **turned}, *rest)


def _joined_by_view(state: State, heads: int, *given: Tensor, split: bool = False) -> Tensor:
    """Without the transpose, where heads are joined, or with ``split`` where they are cut."""

    def cut(x: Tensor) -> Tensor:
        if split:
            return x.reshape(x.shape[0], heads, x.shape[1], -1)
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    weights, biases = state["in_proj_weight"].chunk(3), state["in_proj_bias"].chunk(3)
    *inputs, padding = given
    q, k, v = (cut(F.linear(x, W, b)) for x, W, b in zip(inputs, weights, biases, strict=True))
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=~padding[:, None, None])
    joined = found.transpose(1, 2).flatten(2) if split else found.reshape(inputs[0].shape)
    return F.linear(joined, state["out_proj.weight"], state["out_proj.bias"])


@exercise(
    cases=_packed,
    mistakes={
        "The packed rows were taken in the order k, q, v: queries come first.": _reordered("kqv"),
        "The packed rows were taken in the order v, k, q: it is q, k, v.": _reordered("vkq"),
        "Divided by the root of d: each head has d / heads numbers.": _rescaled(lambda d, heads: heads**-0.5),
        "The scores are not divided by the root of the head's width.": (_rescaled(lambda d, heads: (d / heads) ** 0.5)),
        "The mask is turned round: True means padding, which nobody may read.": (
            lambda s, n, q, k, v, padding: packed_attention(s, n, q, k, v, ~padding)
        ),
        "Padded keys are read: the mask is not used.": (
            lambda s, n, q, k, v, padding: packed_attention(s, n, q, k, v, torch.zeros_like(padding))
        ),
        "Where the heads are cut, tokens are mixed: view as (B, L, heads, width of a head), then transpose.": (
            lambda *case: _joined_by_view(*case, split=True)
        ),
        "Where the heads are joined, tokens are mixed: transpose back first.": _joined_by_view,
        "The weights are stored as (out, in): multiply by their transposes, x @ W.T, as F.linear does.": _untransposed,
        "This is attention in one head of width d.": lambda s, n, *rest: packed_attention(s, 1, *rest),
        "The biases of the three projections are missing.": _with(in_proj_bias=torch.zeros(36)),
        "The bias of the last projection is missing.": _with(out_proj__bias=torch.zeros(12)),
        "The heads are joined but not mixed: the last projection is missing.": (
            _with(out_proj__weight=torch.eye(12), out_proj__bias=torch.zeros(12))
        ),
    },
)
def packed_attention(state: State, heads: int, query: Tensor, key: Tensor, value: Tensor, padding: Tensor) -> Tensor:
    """Multi-head attention from the weights of a checkpoint, (B, Lq, d)."""
    rows, biases = state["in_proj_weight"].chunk(3), state["in_proj_bias"].chunk(3)
    parts = []
    for x, weight, bias in zip((query, key, value), rows, biases, strict=True):
        x = F.linear(x, weight, bias).unflatten(-1, (heads, -1))  # (B, L, heads, d_head)
        parts.append(x.transpose(1, 2))  # (B, heads, L, d_head)
    q, k, v = parts
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (B, heads, Lq, Lk)
    weights = scores.masked_fill(padding[:, None, None, :], float("-inf")).softmax(-1)
    joined = (weights @ v).transpose(1, 2).flatten(2)  # (B, Lq, d)
    return F.linear(joined, state["out_proj.weight"], state["out_proj.bias"])
