"""Norms: a batch norm that never changes, one with the statistics of all processes, and a group norm without padding.

Chapter: *Backbone*, ``book/06_backbone``.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from detr_mini import distributed


class FrozenBatchNorm2d(torchvision.ops.FrozenBatchNorm2d):
    """Batch norm with statistics and weights that never change (DETR, section A.4), as one operation.

    torchvision's computes a scale and a shift and applies them in two passes over the features; the buffers are its.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, h, w)`` to the same shape."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics in training are those of the whole batch, over all processes.

    ``torch.nn.SyncBatchNorm`` does the same, but on GPUs only. In one process, and in evaluation, this is
    ``torch.nn.BatchNorm2d``.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, h, w)`` to the same shape."""
        if not self.training or distributed.world_size() == 1:
            return super().forward(x)
        axes = (0, 2, 3)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        count = wide.new_full((1,), x.numel() / x.shape[1])  # values of a channel
        count, total = _Sum.apply(torch.cat([count, wide.sum(axes)])).split([1, x.shape[1]])
        wide = wide - (total / count)[:, None, None]
        variance = _Sum.apply(wide.square().sum(axes)) / count
        self._remember(total / count, variance * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (wide * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class GroupNorm(nn.GroupNorm):
    """A group norm whose statistics leave out padding, so that a picture is the same alone and in a batch."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(B, C, h, w)``, with a mask ``(B, h, w)`` that is True at padding, to the same shape."""
        if mask is None:
            return super().forward(x)
        groups = x.unflatten(1, (self.num_groups, -1)).float()  # (B, G, C / G, h, w)
        share = (~mask)[:, None, None].float()  # (B, 1, 1, h, w)
        share = share / (share.sum((-2, -1), keepdim=True).clamp(min=1) * groups.shape[2])  # sums to 1 over a group
        axes = (2, 3, 4)
        groups = groups - (groups * share).sum(axes, keepdim=True)
        variance = (groups.square() * share).sum(axes, keepdim=True)
        normed = (groups * (variance + self.eps).rsqrt()).flatten(1, 2)
        return (normed * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the processes. Each of them reads the sum, so gradients are summed up likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradients[0])
