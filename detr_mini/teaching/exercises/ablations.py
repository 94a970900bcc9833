"""Exercises of the chapter *Ablations*."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from detr_mini.modeling.transformer import DecoderLayer, TransformerDecoder
from detr_mini.teaching.exercises import draw, exercise

Runs = list[list[float]]


def _runs() -> list[tuple[Runs]]:
    return [([[0.20, 0.24], [0.50, 0.44, 0.47], [0.31]],), ([[0.10, 0.16, 0.13, 0.15], [0.40, 0.48]],)]


def _squares(row: list[float]) -> float:
    """The sum of the squared distances from the mean."""
    return sum((value - sum(row) / len(row)) ** 2 for value in row)


def _variances(runs: Runs) -> list[float]:
    return [_squares(row) / (len(row) - 1) for row in runs if len(row) > 1]


@exercise(
    cases=_runs,
    mistakes={
        "All runs are thrown together, so the differences between variants count as noise: take each variant's runs "
        "against their own mean.": (
            lambda runs: math.sqrt(
                _squares([value for row in runs for value in row]) / (sum(len(row) for row in runs) - 1)
            )
        ),
        "This divides by the number of runs. Each mean comes from the same few runs and lies too close to them: count "
        "one run less for each row.": (
            lambda runs: math.sqrt(sum(map(_squares, runs)) / sum(len(row) for row in runs))
        ),
        "This is the mean of the rows' variances. A row of more runs knows more: add up all squares, divide once.": (
            lambda runs: math.sqrt(_mean(_variances(runs)))
        ),
        "This is the mean of the rows' spreads. Squares can be added up; take the root at the very end.": (
            lambda runs: _mean([math.sqrt(variance) for variance in _variances(runs)])
        ),
        "This is the variance, in squared units: take its root.": (
            lambda runs: sum(map(_squares, runs)) / sum(len(row) - 1 for row in runs)
        ),
    },
)
def spread_between_seeds(runs: Runs) -> float:
    """The standard deviation of one run, from the runs of several variants; a row may hold any number of runs."""
    squares, free = 0.0, 0
    for row in runs:
        mean = sum(row) / len(row)
        squares += sum((value - mean) ** 2 for value in row)
        free += len(row) - 1
    return math.sqrt(squares / free)


def _comparisons() -> list[tuple[list[float], list[float], float]]:
    return [
        ([0.40, 0.44], [0.30, 0.36], 0.02),
        ([0.24, 0.28], [0.31, 0.35], 0.03),
        ([0.20, 0.26], [0.41, 0.35], 0.03),
        ([0.30, 0.45], [0.36, 0.36], 0.03),
        ([0.50], [0.43], 0.03),
        ([0.40, 0.41, 0.42, 0.41], [0.36, 0.384], 0.04),
        ([0.45, 0.46, 0.47, 0.46], [0.40, 0.41, 0.42, 0.41], 0.03),
    ]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _verdict(difference: float, limit: float) -> str:
    return "cannot tell" if abs(difference) <= limit else "better" if difference > 0 else "worse"


@exercise(
    cases=_comparisons,
    mistakes={
        "This compares with twice the spread of one run; what counts is the spread of the difference of two means.": (
            lambda new, base, spread: _verdict(_mean(new) - _mean(base), 2 * spread)
        ),
        "The limit is one spread of the difference: noise alone is beyond it in one case of three. Take two.": (
            lambda new, base, spread: _verdict(
                _mean(new) - _mean(base), spread * math.sqrt(1 / len(new) + 1 / len(base))
            )
        ),
        "Only the new variant's noise is in the limit; the base was measured with as much.": (
            lambda new, base, spread: _verdict(_mean(new) - _mean(base), 2 * spread * math.sqrt(1 / len(new)))
        ),
        "The best runs are compared. The best of several runs is luck picked out: compare the means.": (
            lambda new, base, spread: _verdict(
                max(new) - max(base), 2 * spread * math.sqrt(1 / len(new) + 1 / len(base))
            )
        ),
        "Better and worse are the wrong way round: the first argument is the new variant.": (
            lambda new, base, spread: _verdict(
                _mean(base) - _mean(new), 2 * spread * math.sqrt(1 / len(new) + 1 / len(base))
            )
        ),
        "This looks at the sign alone, and calls noise a finding.": (
            lambda new, base, spread: _verdict(_mean(new) - _mean(base), 0.0)
        ),
    },
)
def verdict(new: list[float], base: list[float], spread: float) -> str:
    """'better', 'worse' or 'cannot tell', from the APs of a variant's runs, of the base's, and one run's spread."""
    difference = sum(new) / len(new) - sum(base) / len(base)
    limit = 2 * spread * math.sqrt(1 / len(new) + 1 / len(base))
    if abs(difference) <= limit:
        return "cannot tell"
    return "better" if difference > 0 else "worse"


def _scenes() -> list[tuple[Tensor, int]]:
    return [
        (torch.tensor([3, 0, 12, 7, 1]), 5),
        (torch.tensor([3, 0, 12, 7, 1]), 20),
        (torch.tensor([30, 2, 2]), 10),
    ]


@exercise(
    cases=_scenes,
    mistakes={
        "This is the share of scenes with no more objects than queries; objects are asked for.": (
            lambda objects, queries: (objects <= queries).float().mean().item()
        ),
        "A scene with more objects than queries is lost as a whole here: it can still have one for each query.": (
            lambda objects, queries: (objects[objects <= queries].sum() / objects.sum()).item()
        ),
        "Every scene is counted as if all its queries found something: no scene has more found than objects.": (
            lambda objects, queries: (len(objects) * queries / objects.sum()).item()
        ),
        "This is the mean of the scenes' shares: recall counts all objects alike, in full scenes and in others.": (
            lambda objects, queries: (objects.clamp(max=queries) / objects.clamp(min=1)).mean().item()
        ),
        "This is the share that can NOT be found.": (
            lambda objects, queries: ((objects - queries).clamp(min=0).sum() / objects.sum()).item()
        ),
    },
)
def recall_ceiling(objects: Tensor, queries: int) -> float:
    """The share of all objects that can be found, from the number of objects in each scene ``(P,)``."""
    return (objects.clamp(max=queries).sum() / objects.sum()).item()


def _decoders() -> list[tuple[TransformerDecoder, Tensor, Tensor]]:
    return [_decoder(pre_norm=True), _decoder(pre_norm=False)]


def _decoder(pre_norm: bool) -> tuple[TransformerDecoder, Tensor, Tensor]:
    generator = draw(0)
    layers = [DecoderLayer(8, 2, dim_feedforward=16, dropout=0.0, pre_norm=pre_norm) for _ in range(2)]
    decoder = TransformerDecoder(layers, nn.LayerNorm(8)).eval()
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return decoder, torch.randn(1, 5, 8, generator=generator), torch.randn(1, 6, 8, generator=generator)


def _run(decoder: TransformerDecoder, query_pos: Tensor, memory: Tensor) -> Tensor:
    with torch.no_grad():
        hs: Tensor = decoder(torch.zeros_like(query_pos), query_pos, memory, torch.zeros_like(memory))
    return hs


def _changed(change: Callable[[Any], object], layers: slice = slice(None)) -> Callable[..., Tensor]:
    """Run a decoder after a change to some of its layers."""

    def run(decoder: TransformerDecoder, query_pos: Tensor, memory: Tensor) -> Tensor:
        for layer in decoder.layers[layers]:
            change(layer)
        return _run(decoder, query_pos, memory)

    return run


def _silence(module: nn.Module) -> None:
    module.register_forward_hook(lambda _, given, result: torch.zeros_like(result))


def _without_weights(layer: Any) -> None:
    nn.init.zeros_(layer.linear2.weight)


def _without_norm(layer: Any) -> None:
    _silence(layer.linear2)
    layer.norm3 = nn.Identity()


@exercise(
    cases=_decoders,
    mistakes={
        "Nothing is taken out: this is what the whole decoder returns.": _run,
        "The feed-forward block still adds a constant: linear2's bias is left.": _changed(_without_weights),
        "Only the first layer lost its feed-forward block; every layer has one.": (
            _changed(lambda layer: _silence(layer.linear2), slice(1))
        ),
        "Only the last layer lost its feed-forward block; every layer has one.": (
            _changed(lambda layer: _silence(layer.linear2), slice(-1, None))
        ),
        "The norm of the block is gone as well. With post-norm it normalizes what the layer hands on, and stays.": (
            _changed(_without_norm)
        ),
        "The whole layer's result is zero: the residual path around the block has to stay.": _changed(_silence),
    },
)
def without_feed_forward(decoder: Any, query_pos: Tensor, memory: Tensor) -> Tensor:
    """What a decoder makes of its queries, (layers, B, N, d), when no layer has its feed-forward block."""
    for layer in decoder.layers:
        layer.linear2.register_forward_hook(lambda module, given, result: torch.zeros_like(result))
    with torch.no_grad():
        hs: Tensor = decoder(torch.zeros_like(query_pos), query_pos, memory, torch.zeros_like(memory))
    return hs
