"""Deformable attention: a query says where it looks, and reads a few points there, on every level.

Zhu et al. 2021, "Deformable DETR: Deformable Transformers for End-to-End Object Detection".

Chapter: *Deformable attention*, ``book/19_deformable_attention``.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Shapes = Sequence[tuple[int, int]]  # height and width of each level, as Python numbers: no device is asked for them


def ms_deform_attn(
    value: Tensor, spatial_shapes: Shapes, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Read maps of several levels at a few places, and add up what was read (Deformable DETR, equation 3).

    Between four cells a value is interpolated bilinearly; outside of a map all is 0. The center of the first cell of a
    row of w lies at x = 0.5 / w, as in ``F.grid_sample`` with ``align_corners=False``.

    A place is a weighted sum of four cells, and so is all that a query reads: of ``4 L P`` rows of one table. PyTorch
    has that sum as one operation, which holds no row twice in memory. A border of zeros around every map spares it all
    questions of what lies outside.

    Args:
        value: ``(B, S, M, D)``, the cells of all levels one after the other, in M heads.
        spatial_shapes: height and width of each of the L levels.
        sampling_locations: ``(B, Q, M, L, P, 2)``, x and y as shares of the (padded) map, of P points a level.
        attention_weights: ``(B, Q, M, L, P)``.

    Returns:
        ``(B, Q, M * D)``.
    """
    b, _, m, d = value.shape
    queries = sampling_locations.shape[1]
    maps = value.split([h * w for h, w in spatial_shapes], dim=1)
    table = torch.cat([_with_border(x, h, w) for x, (h, w) in zip(maps, spatial_shapes, strict=True)], dim=1)
    cells = table.shape[1]
    own = torch.arange(b, dtype=torch.int32, device=value.device)[:, None] * (cells * m)
    own = own + torch.arange(m, dtype=torch.int32, device=value.device)  # (B, M), the first row of each head
    rows, shares, first = [], [], 0
    for level, (h, w) in enumerate(spatial_shapes):
        corners, parts = _bilinear(sampling_locations[:, :, :, level], attention_weights[:, :, :, level], h, w)
        rows += [(first + corner) * m + own[:, None, :, None] for corner in corners]  # (B, Q, M, P) each
        shares += parts
        first += (h + 2) * (w + 2)
    row = torch.cat(rows, dim=-1).view(b * queries * m, -1)  # (B * Q * M, 4 * L * P)
    share = torch.cat(shares, dim=-1).view(b * queries * m, -1).to(value.dtype)
    return _weighted_sums(table.reshape(-1, d), row, share).view(b, queries, m * d)


def _weighted_sums(table: Tensor, row: Tensor, share: Tensor) -> Tensor:
    """Add up the rows of ``table`` ``(R, D)`` that ``row`` ``(n, k)`` names, times ``share`` ``(n, k)``: ``(n, D)``."""
    if not (torch.is_grad_enabled() and table.requires_grad):
        return F.embedding_bag(row, table, mode="sum", per_sample_weights=share)
    sums = F.embedding_bag(row, table.detach(), mode="sum", per_sample_weights=share)
    return _TableGradient.apply(sums, table, row, share.detach())  # type: ignore[no-any-return, no-untyped-call]


class _TableGradient(torch.autograd.Function):
    """Hand sums on as they are, and give the table its gradient: sums again, over all places that read a row.

    PyTorch's own backward pass of ``F.embedding_bag`` adds them one by one. Sorted by row they are bags themselves, and
    the sums come out the same to the last bit in half the time (``benchmarks/deformable.py``).
    """

    @staticmethod
    def forward(ctx: Any, sums: Tensor, table: Tensor, row: Tensor, share: Tensor) -> Tensor:
        ctx.save_for_backward(row, share)
        ctx.rows = table.shape[0]
        return sums.view_as(sums)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        row, share = ctx.saved_tensors
        by_row, place = row.view(-1).sort(stable=True)
        first = torch.searchsorted(by_row, torch.arange(ctx.rows, dtype=row.dtype, device=row.device), out_int32=True)
        bag = (place // row.shape[1]).int()  # which sum a place belongs to
        weight = share.view(-1).index_select(0, place)
        table = F.embedding_bag(bag, grad.contiguous(), offsets=first, mode="sum", per_sample_weights=weight)
        return grad, table, None, None


def _with_border(cells: Tensor, h: int, w: int) -> Tensor:
    """The cells ``(B, h * w, M, D)`` of a map with a ring of zeros around it: ``(B, (h + 2) * (w + 2), M, D)``."""
    return F.pad(cells.unflatten(1, (h, w)), (0, 0, 0, 0, 1, 1, 1, 1)).flatten(1, 2)


def _bilinear(places: Tensor, weights: Tensor, h: int, w: int) -> tuple[list[Tensor], list[Tensor]]:
    """The four cells around each place ``(..., 2)`` of a map with a border, and how much of its weight each gets.

    ``(...)`` int32 and ``(...)``, four of each: top left, top right, bottom left, bottom right.
    """
    x = (places[..., 0] * w + 0.5).clamp(0, w + 1)  # in cells of the map with its border, whose first center is 0
    y = (places[..., 1] * h + 0.5).clamp(0, h + 1)
    left = x.detach().int().clamp_(0, w)  # whatever x is, even NaN, this is a cell
    top = y.detach().int().clamp_(0, h)
    to_right, to_bottom = x - left, y - top
    bottom_part = weights * to_bottom
    top_part = weights - bottom_part
    bottom_right, top_right = bottom_part * to_right, top_part * to_right
    corner = top * (w + 2) + left
    corners = [corner, corner + 1, corner + (w + 2), corner + (w + 3)]
    return corners, [top_part - top_right, top_right, bottom_part - bottom_right, bottom_right]


class DeformableAttention(nn.Module):
    """Each query reads P points around its reference on every level (Deformable DETR, section 4.1 and equation 3).

    Where the points lie and how much each counts are linear functions of the query: there are no keys. Parameters have
    the published names. At the start the heads look in different directions, point p of a head p cells away from the
    reference, and all points count the same (section A.4).

    Args:
        d: width of queries and values.
        heads: number of heads, M; must divide ``d``.
        levels: number of maps, L.
        points: number of points for each head and level, P.
    """

    def __init__(self, d: int, heads: int, *, levels: int, points: int) -> None:
        super().__init__()
        if d % heads:
            raise ValueError(f"a width of {d} cannot be split into {heads} equal heads")
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(d, heads * levels * points * 2)
        self.attention_weights = nn.Linear(d, heads * levels * points)
        self.value_proj = nn.Linear(d, d)
        self.output_proj = nn.Linear(d, d)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The published start."""
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)  # (M, 2)
        direction = direction / direction.abs().amax(-1, keepdim=True)  # onto a square around the reference
        steps = torch.arange(1, self.points + 1)[:, None]  # (P, 1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(
                (direction[:, None, None] * steps).expand(-1, self.levels, -1, -1).flatten()
            )
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)

    def forward(
        self,
        query: Tensor,
        reference: Tensor,
        memory: Tensor,
        spatial_shapes: Shapes,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Let ``query`` ``(B, Q, d)`` read ``memory`` ``(B, S, d)`` around ``reference``.

        Args:
            query: with positions.
            reference: ``(B, Q, L, 2)`` points or ``(B, Q, L, 4)`` boxes as cxcywh, in shares of each padded map.
            memory: the cells of all levels one after the other, without positions.
            spatial_shapes: height and width of each level.
            padding: ``(B, S)`` bool, True at padding, which is read as 0; None where nothing is padded.

        Returns:
            ``(B, Q, d)``.
        """
        value = self.value_proj(memory)  # (B, S, d)
        if padding is not None:
            value = value.masked_fill(padding[..., None], 0.0)
        value = value.unflatten(-1, (self.heads, -1))  # (B, S, M, D)
        locations, weights = self.sampling(query, reference, spatial_shapes)
        return self.output_proj(ms_deform_attn(value, spatial_shapes, locations, weights))

    def sampling(self, query: Tensor, reference: Tensor, spatial_shapes: Shapes) -> tuple[Tensor, Tensor]:
        """Where each query reads, ``(B, Q, M, L, P, 2)``, and with which weights, ``(B, Q, M, L, P)``.

        Offsets from a point are in cells of their level. Those from a box are in halves of its sides, divided by P.
        """
        shape = (self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).unflatten(-1, (*shape, 2))  # (B, Q, M, L, P, 2)
        scores = self.attention_weights(query).unflatten(-1, (self.heads, -1))  # (B, Q, M, L * P)
        weights = scores.softmax(-1).unflatten(-1, shape[1:])  # (B, Q, M, L, P): all levels share a sum of 1
        reference = reference[:, :, None, :, None]  # (B, Q, 1, L, 1, 2 or 4)
        if reference.shape[-1] == 2:
            sides = torch.tensor([[w, h] for h, w in spatial_shapes]).to(offsets.device, non_blocking=True)  # (L, 2)
            return reference + offsets / sides[:, None], weights
        return reference[..., :2] + offsets / self.points * reference[..., 2:] * 0.5, weights
