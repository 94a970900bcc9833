"""Exercises of the chapter *Encoder*."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from detr_mini.modeling.transformer import EncoderLayer
from detr_mini.teaching.exercises import draw, exercise
from detr_mini.teaching.specimens import (
    LossOf,
    Network,
    attention,
    counting,
    each_alone,
    less_the_mean,
    masked_attention,
    mean_everywhere,
    neighbors,
    ones,
    second_layer_unmasked,
    unmasked,
    with_positions,
)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=draw(seed))


@exercise(
    cases=lambda: [(_random(2, 15, 4), 3, 5), (_random(1, 8, 2, seed=1), 4, 2)],
    mistakes={
        "The shape is right, but cells and channels are mixed: bring the channels to the front first.": (
            lambda memory, h, w: memory.reshape(len(memory), -1, h, w)
        ),
        "The lines slip: the cells are stored row after row, so the axis is parted into (h, w), rows first.": (
            lambda memory, h, w: memory.mT.unflatten(-1, (w, h)).mT
        ),
        "Height and width are exchanged: rows come first.": lambda memory, h, w: memory.mT.unflatten(-1, (w, h)),
        "The channels come last here, (B, h, w, d): a feature map has them before its rows and columns.": (
            lambda memory, h, w: memory.unflatten(1, (h, w))
        ),
        "The cells are still in one row, (B, d, hw): part the last axis.": lambda memory, h, w: memory.mT,
    },
)
def as_grid(memory: Tensor, h: int, w: int) -> Tensor:
    """From a sequence of cells (B, hw, d) to a feature map (B, d, h, w)."""
    return memory.transpose(1, 2).unflatten(-1, (h, w))


def _layer() -> list[tuple[EncoderLayer, Tensor, Tensor]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw(0).initial_seed())
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
        "This is the pre-norm form, x + f(norm(x)): the published layer normalizes the sum, norm(x + f(x)).": _pre_norm,
        "The values got a position, too: it is for queries and keys alone.": _positions_on_values,
        "The positions were added to x itself, so values and residual sum have them: add them for query and key.": (
            lambda layer, x, pos: post_norm(layer, x + pos, torch.zeros_like(pos))
        ),
        "The residual connection is missing: each block's result is to be added to what went into it.": _no_residual,
        "The norm is on the block's result alone: the sum is to be normalized.": _norm_on_block_only,
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
    kinds = (attention, neighbors, mean_everywhere, with_positions, counting)
    return [(function, _random(6, 3)) for function in kinds]


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


Encoder = Callable[[Tensor, Tensor, Tensor], Tensor]


def _encoders() -> list[tuple[Encoder, Tensor, Tensor, Tensor]]:
    padding = torch.tensor([[False, False, False, True, True], [False, False, True, True, True]])
    x, pos = _random(2, 5, 4), _random(2, 5, 4, seed=1)
    empty = x.masked_fill(padding[..., None], 0.0)  # zeros in padding: to fill in zeros would change nothing
    kinds = (masked_attention, unmasked, second_layer_unmasked, less_the_mean, each_alone, ones)
    return [(encoder, cells, pos, padding) for encoder in kinds for cells in (x, empty)]


def _compared(change: Callable[[Tensor, Tensor], Tensor], *, everywhere: bool = False) -> Callable[..., bool]:
    """The solution with another change, or with padded answers compared, too."""

    def mistake(encoder: Encoder, x: Tensor, pos: Tensor, padding: Tensor) -> bool:
        kept = torch.ones_like(padding) if everywhere else ~padding
        other = encoder(change(x, padding[..., None]), pos, padding)
        return not torch.allclose(other[kept], encoder(x, pos, padding)[kept], atol=1e-5)

    return mistake


def _positions_changed(encoder: Encoder, x: Tensor, pos: Tensor, padding: Tensor) -> bool:
    other = pos.masked_fill(padding[..., None], 100.0)
    return not torch.allclose(encoder(x, other, padding)[~padding], encoder(x, pos, padding)[~padding], atol=1e-5)


@exercise(
    cases=_encoders,
    mistakes={
        "Padded cells were compared, too: what is said of them may change. Compare the real ones.": (
            _compared(lambda x, hidden: x.masked_fill(hidden, 100.0), everywhere=True)
        ),
        "Real cells were changed as well: then every answer changes. Change the padded ones alone.": (
            _compared(lambda x, hidden: x + 100.0 * _random(*x.shape, seed=7))
        ),
        "Padding was filled with zeros, which changes nothing where zeros stand already, as they often do.": (
            _compared(lambda x, hidden: x.masked_fill(hidden, 0.0))
        ),
        "The positions of padded cells were changed, not the cells: an encoder may read those alone.": (
            _positions_changed
        ),
        "The answers are turned round: True means that padding is read.": lambda *case: not reads_padding(*case),
        "This says True to every encoder.": lambda *case: True,
        "This says False to every encoder.": lambda *case: False,
    },
)
def reads_padding(encoder: Encoder, x: Tensor, pos: Tensor, padding: Tensor) -> bool:
    """Can what an encoder says of a real cell depend on a padded one? x and pos (B, L, d), padding (B, L) bool."""
    noise = 100 * torch.randn_like(x)
    changed = torch.where(padding[..., None], x + noise, x)  # (B, L, d)
    before, after = (encoder(cells, pos, padding)[~padding] for cells in (x, changed))
    return not torch.allclose(before, after, atol=1e-5)


def _modules() -> list[tuple[nn.Module, LossOf]]:
    return [_network("first", "overwritten", "silenced", "frozen"), _network("first")]


def _network(*names: str) -> tuple[nn.Module, LossOf]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw(0).initial_seed())
        return Network(*names), LossOf(_random(4, 3))


def _named(wrong: Callable[[Tensor], bool], *, old: bool = False) -> Callable[..., list[str]]:
    """The names of the parameters that are ``wrong`` after a backward pass; with ``old``, gradients are added up."""

    def mistake(module: nn.Module, loss_of: LossOf) -> list[str]:
        if not old:
            module.zero_grad()
        loss_of(module).backward()
        return [name for name, parameter in module.named_parameters() if wrong(parameter)]

    return mistake


def _untouched(parameter: Tensor) -> bool:
    return parameter.grad is None or not bool(parameter.grad.any())


@exercise(
    cases=_modules,
    mistakes={
        "An old gradient was taken for a new one: gradients add up, so clear them before the backward pass.": (
            _named(lambda p: p.requires_grad and _untouched(p), old=True)
        ),
        "A gradient that is a tensor of zeros moves nothing either: it is not None.": (
            _named(lambda p: p.requires_grad and p.grad is None)
        ),
        "A parameter whose gradient is None has none, either: it is missing here.": (
            _named(lambda p: p.grad is not None and _untouched(p))
        ),
        "Frozen parameters are listed: they do not ask for a gradient.": _named(_untouched),
        "These are the parameters that do get a gradient.": _named(lambda p: not _untouched(p)),
        "This says that all is well with every module.": lambda module, loss_of: [],
    },
)
def without_gradient(module: nn.Module, loss_of: LossOf) -> list[str]:
    """The names of a module's parameters that should learn from a loss and do not, in the module's order."""
    module.zero_grad()  # what stands there may be old
    loss_of(module).backward()
    names = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any()):
            names.append(name)
    return names
