"""Exercises of the chapter *Backbone*."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_mini.teaching.exercises import draw, exercise

Layers = list[tuple[int, ...]]
Norm = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def _sizes() -> list[tuple[int, Layers]]:
    stack: Layers = [(7, 2, 3, 1), (3, 2, 1, 1), (3, 2, 0, 2), (3, 1, 1, 2)]
    return [(115, stack), (86, stack), (86, [(3, 2, 1, 1)] * 3), (19, [(3, 1, 0, 4), (2, 2, 0, 1)])]


def _cells(size: int, layers: Layers, *, rim: int = 2, ceil: bool = False, dilate: bool = True, last: int = 1) -> int:
    for kernel, stride, padding, dilation in layers:
        span = (dilation if dilate else 1) * (kernel - 1) + 1
        room = size + rim * padding - span
        size = (-(-room // stride) if ceil else room // stride) + last
    return size


@exercise(
    cases=_sizes,
    mistakes={
        "The last place of the window is missing: add 1 after dividing, for the window that stands at the start.": (
            lambda size, layers: _cells(size, layers, last=0)
        ),
        "The rim is on both sides: the room grows by twice the padding.": (
            lambda size, layers: _cells(size, layers, rim=1)
        ),
        "The kernels are not spread out: with dilation d a kernel of k spans d (k - 1) + 1 pixels.": (
            lambda size, layers: _cells(size, layers, dilate=False)
        ),
        "This rounds up. A window that does not fit any more is left out: round down.": (
            lambda size, layers: _cells(size, layers, ceil=True)
        ),
        "This is the side of the picture divided by all strides; kernels, rims and rounding count as well.": (
            lambda size, layers: size // int(torch.tensor([layer[1] for layer in layers]).prod())
        ),
    },
)
def cells_left(size: int, layers: Layers) -> int:
    """Cells on one side after a stack of (kernel, stride, padding, dilation), from its pixels."""
    for kernel, stride, padding, dilation in layers:
        span = dilation * (kernel - 1) + 1
        size = (size + 2 * padding - span) // stride + 1
    return size


NANO: Layers = [(3, 2, 1), (3, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1), (3, 1, 1)]


def _windows() -> list[tuple[int, Layers]]:
    return [(6, NANO), (0, NANO), (3, [(7, 2, 3), (3, 2, 1)]), (5, [(4, 4, 0), (3, 2, 0)])]


def _window(cell: int, layers: Layers, *, rim: bool = True, late: bool = False, past: int = 0) -> tuple[int, int]:
    start, field, jump = 0, 1, 1
    for kernel, stride, padding in layers:
        reach = jump * stride if late else jump
        field += (kernel - 1) * reach
        start -= padding * reach if rim else 0
        jump *= stride
    first = start + cell * jump
    return first, first + field - 1 + past


@exercise(
    cases=_windows,
    mistakes={
        "The width is right, the place is not: each rim moves the window to the left, by padding x jump.": (
            lambda cell, layers: _window(cell, layers, rim=False)
        ),
        "The last pixel is one too far: it is the first plus the field minus 1.": (
            lambda cell, layers: _window(cell, layers, past=1)
        ),
        "The stride was multiplied in too early: a layer reads cells that lie the jump BEFORE it apart.": (
            lambda cell, layers: _window(cell, layers, late=True)
        ),
        "The window was cut off at pixel 0. The rim is a part of it: let it begin below 0.": (
            lambda cell, layers: (max(0, _window(cell, layers)[0]), _window(cell, layers)[1])
        ),
        "This is the cell's own patch, jump x jump pixels. What it sees is wider than that.": (
            lambda cell, layers: (cell * _jump(layers), (cell + 1) * _jump(layers) - 1)
        ),
    },
)
def window(cell: int, layers: Layers) -> tuple[int, int]:
    """First and last pixel that a cell sees through a stack of (kernel, stride, padding)."""
    start, field, jump = 0, 1, 1
    for kernel, stride, padding in layers:
        start -= padding * jump
        field += (kernel - 1) * jump
        jump *= stride
    first = start + cell * jump
    return first, first + field - 1


def _jump(layers: Layers) -> int:
    return int(torch.tensor([layer[1] for layer in layers]).prod())


def _blocks() -> list[tuple[Tensor, dict[str, Tensor], int]]:
    return [_block(channels_in=8, width=4, stride=2, shortcut=True), _block(16, 4, 1, shortcut=False)]


def _block(channels_in: int, width: int, stride: int, shortcut: bool) -> tuple[Tensor, dict[str, Tensor], int]:
    generator = draw(2)
    convs = {"conv1": (width, channels_in, 1), "conv2": (width, width, 3), "conv3": (4 * width, width, 1)}
    if shortcut:
        convs["downsample.0"] = (4 * width, channels_in, 1)
    weights = {}
    for name, (out, into, k) in convs.items():
        weights[f"{name}.weight"] = torch.randn(out, into, k, k, generator=generator) / (into * k * k) ** 0.5
        norm = "downsample.1" if name == "downsample.0" else name.replace("conv", "bn")
        for part in ("weight", "running_var"):
            weights[f"{norm}.{part}"] = torch.rand(out, generator=generator) + 0.5
        for part in ("bias", "running_mean"):
            weights[f"{norm}.{part}"] = torch.randn(out, generator=generator) * 0.3
    return torch.randn(2, channels_in, 6, 7, generator=generator).relu(), weights, stride


def _variant(
    x: Tensor,
    weights: dict[str, Tensor],
    stride: int,
    *,
    strides: str = "3x3",
    end: str = "sum",
    shortcut: bool = True,
    inner: bool = True,
    norm: Norm = F.batch_norm,
) -> Tensor:
    """The block with one thing done in another way."""

    def conv_norm(x: Tensor, conv: str, bn: str, step: int = 1) -> Tensor:
        weight = weights[f"{conv}.weight"]
        parts = [weights[f"{bn}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        return norm(F.conv2d(x, weight, stride=step, padding=weight.shape[-1] // 2), *parts)

    activate = torch.relu if inner else torch.nn.Identity()
    y = activate(conv_norm(x, "conv1", "bn1", stride if strides == "1x1" else 1))
    y = activate(conv_norm(y, "conv2", "bn2", stride if strides == "3x3" else 1))
    y = conv_norm(y, "conv3", "bn3")
    if "downsample.0.weight" in weights:
        x = conv_norm(x, "downsample.0", "downsample.1", stride)
    x = x if shortcut else torch.zeros_like(y)
    return {"sum": (y + x).relu(), "branch": y.relu() + x, "none": y + x}[end]


def _of_the_batch(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, weight, bias, training=True)


@exercise(
    cases=_blocks,
    mistakes={
        "The last ReLU came before the addition: add the shortcut first, then cut off what is negative.": (
            partial(_variant, end="branch")
        ),
        "The last ReLU is missing: it follows the addition.": partial(_variant, end="none"),
        "The stride is in the first 1 by 1 convolution, as in the paper of 2015. torchvision has it in the 3 by 3.": (
            partial(_variant, strides="1x1")
        ),
        "The shortcut is missing: the block adds its input, or what downsample makes of it.": (
            partial(_variant, shortcut=False)
        ),
        "A ReLU follows each of the first two norms; here they are missing.": partial(_variant, inner=False),
        "These norms take mean and variance from the batch. Frozen ones use running_mean and running_var.": (
            partial(_variant, norm=_of_the_batch)
        ),
        "These norms stop after the statistics: weight scales and bias shifts the result.": (
            partial(_variant, norm=lambda x, mean, var, weight, bias: F.batch_norm(x, mean, var))
        ),
    },
)
def bottleneck(x: Tensor, weights: dict[str, Tensor], stride: int) -> Tensor:
    """A bottleneck block of ResNet-50 with frozen norms: (B, C, h, w) to (B, 4 * width, h / stride, w / stride)."""

    def conv_norm(x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        weight = weights[f"{conv}.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + 1e-5).sqrt()
        shift = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
        return x * scale[:, None, None] + shift[:, None, None]

    y = conv_norm(x, "conv1", "bn1").relu()
    y = conv_norm(y, "conv2", "bn2", stride).relu()
    y = conv_norm(y, "conv3", "bn3")
    if "downsample.0.weight" in weights:
        x = conv_norm(x, "downsample.0", "downsample.1", stride)
    return (y + x).relu()
