"""Exercises of the chapter *Encoder*."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_mini.modeling.transformer import EncoderLayer
from detr_mini.teaching.exercises import exercise

State = dict[str, Tensor]


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _scores() -> list[tuple[Tensor, Tensor]]:
    some = torch.tensor([[False, False, True, True], [False, True, False, False]])
    whole_row = torch.tensor([[False, False, False, True], [True, True, True, True]])
    return [(_random(2, 3, 4), some), (_random(2, 3, 4, seed=1), whole_row)]


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
        "This normalises over the queries: each row, the last dimension, should sum to 1.": (
            lambda s, hidden: s.masked_fill(hidden[:, None], float("-inf")).softmax(1).nan_to_num(0.0)
        ),
        "Where all keys are hidden, this reads them all alike: a large negative number is not minus infinity.": (
            lambda s, hidden: s.masked_fill(hidden[:, None], -1e9).softmax(-1)
        ),
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


def _layer() -> list[tuple[EncoderLayer, Tensor, Tensor]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = EncoderLayer(8, 2, dim_feedforward=16, dropout=0.0, pre_norm=False).requires_grad_(False)
    for number, norm in enumerate((layer.norm1, layer.norm2)):
        norm.weight.add_(0.5 * _random(8, seed=number))
        norm.bias.add_(0.5 * _random(8, seed=number + 2))
    return [(layer, _random(2, 5, 8, seed=4), _random(2, 5, 8, seed=5))]


def _pre_norm(layer: EncoderLayer, x: Tensor, pos: Tensor) -> Tensor:
    normed = layer.norm1(x)
    x = x + layer.self_attn(normed + pos, normed + pos, normed)
    return x + layer.feed_forward(layer.norm2(x))


def _positions_on_values(layer: EncoderLayer, x: Tensor, pos: Tensor) -> Tensor:
    x = layer.norm1(x + layer.self_attn(x + pos, x + pos, x + pos))
    return layer.norm2(x + layer.feed_forward(x))


def _no_residual(layer: EncoderLayer, x: Tensor, pos: Tensor) -> Tensor:
    x = layer.norm1(layer.self_attn(x + pos, x + pos, x))
    return layer.norm2(layer.feed_forward(x))


def _norm_on_block_only(layer: EncoderLayer, x: Tensor, pos: Tensor) -> Tensor:
    x = x + layer.norm1(layer.self_attn(x + pos, x + pos, x))
    return x + layer.norm2(layer.feed_forward(x))


def _one_norm_twice(layer: EncoderLayer, x: Tensor, pos: Tensor) -> Tensor:
    x = layer.norm1(x + layer.self_attn(x + pos, x + pos, x))
    return layer.norm1(x + layer.feed_forward(x))


def _old_residual(layer: EncoderLayer, x: Tensor, pos: Tensor) -> Tensor:
    read = layer.norm1(x + layer.self_attn(x + pos, x + pos, x))
    return layer.norm2(x + layer.feed_forward(read))


@exercise(
    cases=_layer,
    mistakes={
        "This is the pre-norm form, x + f(norm(x)): the published layer normalises the sum, norm(x + f(x)).": _pre_norm,
        "The values got a position, too: it is for queries and keys alone.": _positions_on_values,
        "The positions were added to x itself, so values and residual sum have them: add them for query and key.": (
            lambda layer, x, pos: post_norm(layer, x + pos, torch.zeros_like(pos))
        ),
        "The residual connection is missing: each block's result is to be added to what went into it.": _no_residual,
        "The norm is on the block's result alone: the sum is to be normalised.": _norm_on_block_only,
        "norm1 was used twice: the second block has a norm of its own, norm2.": _one_norm_twice,
        "The second residual starts from the layer's input, not from what the first block left.": _old_residual,
        "No position reached the queries and keys.": lambda layer, x, pos: post_norm(layer, x, torch.zeros_like(pos)),
    },
)
def post_norm(layer: EncoderLayer, x: Tensor, pos: Tensor) -> Tensor:
    """One post-norm encoder layer: x and pos (B, L, d) to (B, L, d)."""
    here = x + pos
    x = layer.norm1(x + layer.self_attn(here, here, x))
    return layer.norm2(x + layer.feed_forward(x))


TokenFunction = Callable[[Tensor], Tensor]


def _functions() -> list[tuple[TokenFunction, Tensor]]:
    def attention(x: Tensor) -> Tensor:
        return (x @ x.T).softmax(-1) @ x

    def neighbours(x: Tensor) -> Tensor:  # the same in a mirror and after a turn of the ring, not in any order
        return x + x.roll(1, dims=0) + x.roll(-1, dims=0)

    def mean_everywhere(x: Tensor) -> Tensor:
        return x.mean(0).expand_as(x)

    def with_positions(x: Tensor) -> Tensor:
        return attention(x + torch.arange(len(x))[:, None])

    def constant(x: Tensor) -> Tensor:  # the same for any order, so it does not follow the order
        return torch.arange(float(x.numel())).view_as(x)

    functions = (attention, neighbours, mean_everywhere, with_positions, constant)
    return [(function, _random(6, 3)) for function in functions]


def _tried_on(*orders: list[int]) -> Callable[[TokenFunction, Tensor], bool]:
    return lambda f, x: all(torch.allclose(f(x[order]), f(x)[order], atol=1e-5) for order in orders)


def _is_invariant(function: TokenFunction, x: Tensor) -> bool:
    return torch.allclose(function(x[[3, 0, 5, 1, 2, 4]]), function(x), atol=1e-5)


@exercise(
    cases=_functions,
    mistakes={
        "This asks whether the answers stay the same when the tokens are shuffled: they should be shuffled along.": (
            _is_invariant
        ),
        "Only the mirrored order was tried, or a turn of the ring: take random orders.": _tried_on([5, 4, 3, 2, 1, 0]),
        "This shuffles the numbers within each token: shuffle the tokens, the first dimension.": (
            lambda f, x: torch.allclose(f(x[:, [2, 0, 1]]), f(x)[:, [2, 0, 1]], atol=1e-5)
        ),
        "The answers are turned round: True means equivariant.": lambda f, x: not is_equivariant(f, x),
        "This says True to every function: compare f of the shuffled tokens with the shuffled f of the tokens.": (
            lambda f, x: True
        ),
        "This says False to every function: compare with torch.allclose, since exact equality fails by rounding.": (
            lambda f, x: False
        ),
    },
)
def is_equivariant(function: TokenFunction, x: Tensor) -> bool:
    """Is a function of tokens (L, d) to (L, d) permutation equivariant, as far as ten orders can tell?"""
    for _ in range(10):
        order = torch.randperm(len(x))
        if not torch.allclose(function(x[order]), function(x)[order], atol=1e-5):
            return False
    return True


Arguments = tuple[State, int, Tensor, Tensor, Tensor, Tensor]


def _packed() -> list[Arguments]:
    state = {
        "in_proj_weight": _random(36, 12) / 2,
        "in_proj_bias": _random(36, seed=1),
        "out_proj.weight": _random(12, 12, seed=2) / 3,
        "out_proj.bias": _random(12, seed=3),
    }
    padding = torch.tensor([[False, False, False, True], [False, False, True, True]])
    query, key, value = (_random(2, L, 12, seed=10 + i) for i, L in enumerate((5, 4, 4)))
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
