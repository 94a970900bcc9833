"""The parts that make a mask of a slot: where it looks in the encoder's memory, and convolutions that make this finer.

Carion et al. 2020, figure 8. Chapter: *Panoptic segmentation*, ``book/21_panoptic``.
"""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_mini.modeling.norm import GroupNorm

GROUPS = 8  # of the head's norms, or as many as divide their channels


class AttentionMap(nn.Module):
    """How much each slot attends to each cell: queries and keys of attention with several heads, and no values."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear = nn.Linear(d, d)
        self.k_linear = nn.Linear(d, d)
        for linear in (self.q_linear, self.k_linear):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, slots: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """Slots ``(B, N, d)`` and memory ``(B, d, h, w)`` to maps ``(B, N, M, h, w)``.

        The maps of a slot's M heads together sum to 1, as published. ``mask`` ``(B, h, w)`` is True at padding, or
        None where nothing is padded; padding gets 0.
        """
        q = self.q_linear(slots).unflatten(-1, (self.heads, -1))  # (B, N, M, D)
        k = F.conv2d(memory, self.k_linear.weight[..., None, None], self.k_linear.bias)
        k = k.unflatten(1, (self.heads, -1))  # (B, M, D, h, w)
        scores = torch.einsum("bnmd,bmdhw->bnmhw", q * q.shape[-1] ** -0.5, k)
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, None], -torch.inf)
        return scores.flatten(2).softmax(-1).view_as(scores)


class MaskHead(nn.Module):
    """From a slot's attention maps to its mask: five convolutions, and the backbone's maps on the way up.

    Args:
        d: width of the cells.
        heads: attention heads, M.
        channels: of the three maps of the backbone before its last, the coarsest first.
    """

    def __init__(self, d: int, heads: int, channels: Sequence[int]) -> None:
        super().__init__()
        widths = [d + heads, d + heads, d // 2, d // 4, d // 8, d // 16]
        layers = itertools.starmap(_convolution, itertools.pairwise(widths))
        self.lay1, self.lay2, self.lay3, self.lay4, self.lay5 = layers
        norms = (GroupNorm(math.gcd(GROUPS, width), width) for width in widths[1:])
        self.gn1, self.gn2, self.gn3, self.gn4, self.gn5 = norms
        self.out_lay = _convolution(widths[-1], 1)
        adapters = (_convolution(a, b, size=1) for a, b in zip(channels, widths[2:5], strict=True))
        self.adapter1, self.adapter2, self.adapter3 = adapters

    def forward(
        self,
        cells: Tensor,
        maps: Tensor,
        image: Tensor | None,
        finer: Sequence[Tensor],
        masks: Sequence[Tensor | None],
    ) -> Tensor:
        """A logit for every cell of the finest map, ``(S, H, W)`` for S slots of a batch.

        Args:
            cells: ``(B, d, h, w)``, the last map of the backbone at the transformer's width.
            maps: ``(S, M, h, w)``, where the slots attend.
            image: ``(S,)``, which of the batch each slot belongs to; None: as many slots of each, one after the other.
            finer: the three maps of the backbone before its last, ``(B, C, h, w)``, the coarsest first.
            masks: of all four maps, ``(B, h, w)``, True at padding that is to be kept at 0; or None.
        """
        cells = _cleared(cells, masks[0])
        masks = [None if mask is None else _of_slots(mask, image, maps.shape[0]) for mask in masks]  # (S, h, w)
        x = _normed(self.gn1, self._first(cells, maps, image), masks[0])  # (S, C, h, w)
        x = _normed(self.gn2, self.lay2(x), masks[0])
        steps = (
            (self.adapter1, self.lay3, self.gn3),
            (self.adapter2, self.lay4, self.gn4),
            (self.adapter3, self.lay5, self.gn5),
        )
        for (adapter, layer, norm), level, mask in zip(steps, finer, masks[1:], strict=True):
            detail = adapter(level)  # (B, C, h, w), once and not for each slot
            x = F.interpolate(x, size=detail.shape[-2:], mode="nearest")
            x = _cleared(_plus(x, detail, image), mask)
            x = _normed(norm, layer(x), mask)
        return self.out_lay(x)[:, 0]  # type: ignore[no-any-return]

    def _first(self, cells: Tensor, maps: Tensor, image: Tensor | None) -> Tensor:
        """The first convolution over cells and maps, ``(S, C, h, w)``.

        A convolution adds up over its inputs. What it adds of the cells is the same for all slots of an image, and is
        made once.
        """
        shared, weight = cells.shape[1], self.lay1.weight
        of_cells = F.conv2d(cells, weight[:, :shared], self.lay1.bias, padding=1)  # (B, C, h, w)
        of_maps = F.conv2d(maps, weight[:, shared:], padding=1)  # (S, C, h, w)
        return _plus(of_maps, of_cells, image)


def _convolution(a: int, b: int, size: int = 3) -> nn.Conv2d:
    convolution = nn.Conv2d(a, b, size, padding=size // 2)
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution


def _plus(x: Tensor, shared: Tensor, image: Tensor | None) -> Tensor:
    """To each slot of ``x`` ``(S, C, h, w)``, in its place, what all slots of its image share, ``(B, C, h, w)``."""
    if image is None:  # no copy for each slot
        return x.unflatten(0, (shared.shape[0], -1)).add_(shared[:, None]).flatten(0, 1)
    return x.add_(shared[image])


def _of_slots(mask: Tensor, image: Tensor | None, slots: int) -> Tensor:
    """The masks ``(B, h, w)`` of some images for each slot, ``(S, h, w)``."""
    return mask.repeat_interleave(slots // mask.shape[0], dim=0) if image is None else mask[image]


def _normed(norm: GroupNorm, x: Tensor, mask: Tensor | None) -> Tensor:
    """Norm and ReLU of ``(S, C, h, w)``, with padding at 0."""
    return _cleared(norm(x, mask).relu_(), mask)


def _cleared(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` ``(B, C, h, w)`` with zeros where ``mask`` ``(B, h, w)`` is True."""
    return x if mask is None else x * ~mask[:, None]
