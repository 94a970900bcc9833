"""The transformer of Deformable DETR: cells of all levels read a few others, and queries read a few of them.

Zhu et al. 2021, "Deformable DETR: Deformable Transformers for End-to-End Object Detection".

Chapter: *Deformable DETR*, ``book/20_deformable_detr``.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_mini.modeling.attention import MultiheadAttention
from detr_mini.modeling.deformable_attention import DeformableAttention, Shapes
from detr_mini.modeling.layer import Layer
from detr_mini.modeling.nested_tensor import NestedTensor

Head = Callable[[Tensor], Tensor]
FINEST_PROPOSAL = 0.05  # side of the box that a cell of the finest level proposes; each level doubles it
MARGIN = 0.01  # a proposal is valid if its center and sides lie in (MARGIN, 1 - MARGIN)


class Grid(NamedTuple):
    """Where the S cells of all L levels lie, one level after the other."""

    shapes: Shapes  # height and width of each level
    padding: Tensor | None  # (B, S) bool, True at padding; None where nothing is padded
    sides: Tensor  # (L, 2), width and height of each level
    real: Tensor  # (B, L, 2), how many of these columns and rows are not padding
    ratios: Tensor  # (B, L, 2), the same as shares

    def centers(self, real: Tensor) -> Tensor:
        """The center of every cell, ``(B, S, 2)``, x and y as shares of pictures of ``real`` ``(B, L, 2)`` cells."""
        levels = []
        for level, (h, w) in enumerate(self.shapes):
            x, y = torch.arange(w, device=real.device) + 0.5, torch.arange(h, device=real.device) + 0.5
            x, y = x / real[:, level, :1], y / real[:, level, 1:]  # (B, w), (B, h)
            levels.append(torch.stack([x[:, None].expand(-1, h, -1), y[..., None].expand(-1, -1, w)], -1).flatten(1, 2))
        return torch.cat(levels, dim=1)

    @classmethod
    def of(cls, levels: Sequence[NestedTensor]) -> "Grid":
        """The grid of feature maps ``(B, d, h, w)``."""
        shapes: list[tuple[int, int]] = [(x.tensors.shape[2], x.tensors.shape[3]) for x in levels]
        first = levels[0].tensors
        sides = torch.tensor([[w, h] for h, w in shapes]).to(first.device, torch.float32, non_blocking=True)  # (L, 2)
        masks = [x.padding_mask for x in levels if x.padding_mask is not None]
        if not masks:
            real = sides.expand(first.shape[0], -1, -1)
            return cls(shapes, None, sides, real, real / sides)
        columns = torch.stack([(~mask[:, 0]).sum(1) for mask in masks], dim=1)  # (B, L)
        rows = torch.stack([(~mask[:, :, 0]).sum(1) for mask in masks], dim=1)
        real = torch.stack([columns, rows], dim=-1).clamp(min=1).float()  # a picture of padding alone is no NaN
        return cls(shapes, torch.cat([mask.flatten(1) for mask in masks], dim=1), sides, real, real / sides)


class Queries(NamedTuple):
    """What the decoder starts from."""

    content: Tensor  # (B, N, d)
    pos: Tensor  # (B, N, d)
    reference: Tensor  # (B, N, 2) points or (B, N, 4) boxes as cxcywh, in shares of the picture


class DeformableTransformer(nn.Module):
    """Encoder and decoder of Deformable DETR (sections 4.1 and 4.2), with the published parameter names.

    Args:
        d: width.
        heads: attention heads.
        levels: maps that attention reads.
        enc_layers, dec_layers: numbers of layers.
        enc_points, dec_points: points that a cell or a query reads, for each head and level.
        dim_feedforward: width inside the feed-forward blocks.
        dropout: on the attention weights among queries, inside and after each block.
        two_stage: queries come from the encoder; otherwise they are learned.
    """

    def __init__(
        self,
        d: int,
        heads: int,
        *,
        levels: int,
        enc_layers: int,
        dec_layers: int,
        enc_points: int,
        dec_points: int,
        dim_feedforward: int,
        dropout: float,
        two_stage: bool,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"levels": levels, "dim_feedforward": dim_feedforward, "dropout": dropout}
        encoder_layers = [DeformableEncoderLayer(d, heads, points=enc_points, **options) for _ in range(enc_layers)]
        decoder_layers = [DeformableDecoderLayer(d, heads, points=dec_points, **options) for _ in range(dec_layers)]
        self.encoder = DeformableEncoder(encoder_layers)
        self.decoder = DeformableDecoder(decoder_layers)
        self.level_embed = nn.Parameter(torch.empty(levels, d))
        if two_stage:
            self.enc_output, self.enc_output_norm = nn.Linear(d, d), nn.LayerNorm(d)
            self.pos_trans, self.pos_trans_norm = nn.Linear(2 * d, 2 * d), nn.LayerNorm(2 * d)
        else:
            self.reference_points = nn.Linear(d, 2)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.reset_parameters()
        if hasattr(self, "reference_points"):
            nn.init.zeros_(self.reference_points.bias)
        nn.init.normal_(self.level_embed)

    def encode(self, levels: Sequence[NestedTensor], pos: Sequence[Tensor]) -> tuple[Tensor, Grid]:
        """Maps and their positions, L of ``(B, d, h, w)`` each, to the memory ``(B, S, d)`` and where its cells lie."""
        grid = Grid.of(levels)
        x = _join([level.tensors for level in levels])  # (B, S, d)
        places = [one + self.level_embed[level][:, None, None] for level, one in enumerate(pos)]
        return self.encoder(x, _join(places), grid), grid

    def learned_queries(self, query_embed: Tensor, batch: int) -> Queries:
        """The queries of a table ``(N, 2 d)``, positions first: each has a reference point of its own."""
        pos, content = query_embed.expand(batch, -1, -1).chunk(2, dim=-1)  # (B, N, d) each
        return Queries(content, pos, self.reference_points(pos).float().sigmoid())

    def propose(
        self, memory: Tensor, grid: Grid, class_head: Head, box_head: Head, waves: Head, count: int
    ) -> tuple[Queries, dict[str, Tensor]]:
        """Queries from the encoder's most promising cells (Deformable DETR, section 4.2 and A.4).

        Every cell proposes a box around itself, of a size that its level sets, corrects it, and scores it by its first
        logit. The ``count`` best boxes, or all if there are fewer cells, become references, and their encodings,
        through ``waves``, the queries.

        Returns:
            Queries ``(B, count, ...)``, and of all S cells ``pred_logits`` ``(B, S, K)`` and ``pred_boxes``
            ``(B, S, 4)``, for a loss of their own.
        """
        boxes, invalid = _proposals(grid)  # (B, S, 4), (B, S, 1)
        x = self.enc_output_norm(self.enc_output(memory.masked_fill(invalid, 0.0)))  # (B, S, d)
        logits = class_head(x)  # (B, S, K)
        boxes = box_head(x) + (boxes / (1 - boxes)).log().masked_fill(invalid, float("inf"))  # (B, S, 4)
        count = min(count, logits.shape[1])  # a picture of a few pixels has fewer cells
        best = logits[..., 0].topk(count, dim=1).indices  # (B, count)
        chosen = boxes.gather(1, best[..., None].expand(-1, -1, 4)).detach().sigmoid()  # (B, count, 4)
        code = waves(chosen).flatten(2).to(memory.dtype)  # (B, count, 2 d)
        pos, content = self.pos_trans_norm(self.pos_trans(code)).chunk(2, dim=-1)  # (B, count, d) each
        return Queries(content, pos, chosen), {"pred_logits": logits, "pred_boxes": boxes.sigmoid()}


class DeformableEncoder(nn.Module):
    """A stack of encoder layers."""

    def __init__(self, layers: list["DeformableEncoderLayer"]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, pos: Tensor, grid: Grid) -> Tensor:
        """Cells and their positions, ``(B, S, d)`` each, to the memory ``(B, S, d)``."""
        reference = grid.centers(grid.ratios * grid.sides)[:, :, None] * grid.ratios[:, None]  # (B, S, L, 2)
        for layer in self.layers:
            x = layer(x, pos, reference, grid)
        return x


class DeformableDecoder(nn.Module):
    """A stack of decoder layers, each of which predicts boxes relative to its references."""

    def __init__(self, layers: list["DeformableDecoderLayer"]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(
        self, queries: Queries, memory: Tensor, grid: Grid, box_heads: Sequence[Head], *, refine: bool
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The content of the queries after each layer, ``(B, N, d)``, and the boxes it predicts, ``(B, N, 4)``.

        With ``refine`` the boxes of a layer are the references of the next one, which corrects them; no gradient goes
        back through them. Otherwise all layers have the same references.
        """
        x, pos, reference = queries
        contents, boxes = [], []
        for layer, head in zip(self.layers, box_heads, strict=False):  # two stages have one head more
            ratios = grid.ratios if reference.shape[-1] == 2 else grid.ratios.repeat(1, 1, 2)
            x = layer(x, pos, reference[:, :, None] * ratios[:, None], memory, grid)
            contents.append(x)
            boxes.append(correct(reference, head(x)))
            if refine:
                reference = boxes[-1].detach()
        return contents, boxes


class DeformableEncoderLayer(Layer):
    """Every cell reads a few cells of all levels; then the feed-forward block."""

    def __init__(self, d: int, heads: int, *, levels: int, points: int, dim_feedforward: int, dropout: float) -> None:
        super().__init__(d, dim_feedforward=dim_feedforward, dropout=dropout, pre_norm=False)
        self.self_attn = DeformableAttention(d, heads, levels=levels, points=points)
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)

    def forward(self, x: Tensor, pos: Tensor, reference: Tensor, grid: Grid) -> Tensor:
        """Cells, positions, ``(B, S, d)`` each, and where they look from, ``(B, S, L, 2)``, to cells ``(B, S, d)``."""
        x = self.residual(self.norm1, x, lambda x: self.self_attn(x + pos, reference, x, grid.shapes, grid.padding))
        return self.residual(self.norm2, x, self.feed_forward)


class DeformableDecoderLayer(Layer):
    """The queries read each other, then a few cells of all levels; then the feed-forward block.

    As published, ``norm2`` comes first, after the self-attention, and ``norm1`` after the cross-attention.
    """

    def __init__(self, d: int, heads: int, *, levels: int, points: int, dim_feedforward: int, dropout: float) -> None:
        super().__init__(d, dim_feedforward=dim_feedforward, dropout=dropout, pre_norm=False)
        self.cross_attn = DeformableAttention(d, heads, levels=levels, points=points)
        self.self_attn = MultiheadAttention(d, heads, dropout=dropout)
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)
        self.norm3 = nn.LayerNorm(d)

    def forward(self, x: Tensor, pos: Tensor, reference: Tensor, memory: Tensor, grid: Grid) -> Tensor:
        """Content and positions ``(B, N, d)`` of queries, their references ``(B, N, L, 2 or 4)``, to new content."""
        x = self.residual(self.norm2, x, lambda x: self.read_queries(x, pos))
        x = self.residual(
            self.norm1, x, lambda x: self.cross_attn(x + pos, reference, memory, grid.shapes, grid.padding)
        )
        return self.residual(self.norm3, x, self.feed_forward)

    def read_queries(self, x: Tensor, pos: Tensor) -> Tensor:
        """Self-attention. Positions are added to queries and keys alone."""
        q = k = x + pos
        return self.self_attn(q, k, x)


def correct(reference: Tensor, change: Tensor) -> Tensor:
    """References ``(B, N, 2 or 4)`` changed by logits ``(B, N, 4)``: boxes ``(B, N, 4)``; a point has no sides yet."""
    known = inverse_sigmoid(reference)
    if known.shape[-1] == 2:
        known = F.pad(known, (0, 2))
    return (change + known).sigmoid()


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """The logits of shares ``(...)``; those within ``eps`` of 0 and 1 count as if they were at ``eps``."""
    x = x.clamp(0, 1)
    return (x.clamp(min=eps) / (1 - x).clamp(min=eps)).log()


def _proposals(grid: Grid) -> tuple[Tensor, Tensor]:
    """A box for each cell, ``(B, S, 4)`` as cxcywh, and whether it is of no use ``(B, S, 1)``: padding or invalid."""
    centers = grid.centers(grid.real)  # (B, S, 2)
    sides = [centers.new_full((h * w,), FINEST_PROPOSAL) * 2.0**level for level, (h, w) in enumerate(grid.shapes)]
    side = torch.cat(sides)[None, :, None].expand(centers.shape[0], -1, 2)  # (B, S, 2)
    boxes = torch.cat([centers, side], dim=-1)
    invalid = ~((boxes > MARGIN) & (boxes < 1 - MARGIN)).all(-1, keepdim=True)
    return boxes, invalid if grid.padding is None else invalid | grid.padding[..., None]


def _join(maps: Sequence[Tensor]) -> Tensor:
    """Maps ``(B, d, h, w)`` to all their cells, one map after the other: ``(B, S, d)``."""
    return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)
