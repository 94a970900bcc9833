"""Positional encodings of a feature map's cells: fixed sines, or a learned table.

Chapter: *Positional encoding*, ``book/07_position_encoding``.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_mini.modeling.nested_tensor import NestedTensor


class PositionEmbeddingSine(nn.Module):
    """2-D sines and cosines of a cell's place in its own picture (DETR, section A.4).

    Half of the channels encode y, then half encode x; in each half sines and cosines alternate. A cell's place runs
    from just above 0 to ``scale`` over the cells that the mask calls real. A picture gets the same encoding alone and
    padded, where its mask of cells is the same.

    Args:
        d: channels of the encoding; divisible by 4.
        temperature: the slowest wave is longer than the fastest one by this to the power of ``1 - 4 / d``.
        scale: what the picture's full height (or width) is mapped to; the fastest wave has ``scale / 2 pi`` periods.
        centered: a cell's place is that of its center, as in Deformable DETR, and not of its far edge, as in DETR.
    """

    def __init__(
        self, d: int, *, temperature: float = 10000.0, scale: float = 2 * math.pi, centered: bool = False
    ) -> None:
        super().__init__()
        if d % 4:
            raise ValueError(f"a sine encoding of two axes needs a width divisible by 4, got {d}")
        self.d, self.temperature, self.scale, self.centered = d, temperature, scale, centered

    def forward(self, features: NestedTensor | Tensor) -> Tensor:
        """The encoding ``(B, d, h, w)``, in float32, of a batch of feature maps.

        Of ``features`` only the mask ``(B, h, w)`` matters, True at padding; a mask alone will do, too.
        """
        mask = features if isinstance(features, Tensor) else features.mask
        column = row = (~mask).float()
        if isinstance(features, NestedTensor) and features.padding_mask is None:
            # All rows and columns of all pictures are alike, and the waves of one column and one row are enough.
            column, row = column[:1, :, :1], row[:1, :1, :]
        y = self.waves(self._share(column.cumsum(1), axis=1))  # (B, h, w, d / 2) or (1, h, 1, d / 2)
        x = self.waves(self._share(row.cumsum(2), axis=2))  # (B, h, w, d / 2) or (1, 1, w, d / 2)
        both = torch.cat(torch.broadcast_tensors(y, x), dim=-1)  # (B, h, w, d) or (1, h, w, d)
        return both.permute(0, 3, 1, 2).expand(mask.shape[0], -1, -1, -1)  # (B, d, h, w)

    def waves(self, place: Tensor) -> Tensor:
        """Sines and cosines ``(..., d / 2)`` of places ``(...)``, which are shares from 0 to 1."""
        pairs = self.d // 4
        exponent = torch.arange(pairs, device=place.device, dtype=torch.float32) / pairs
        angle = place[..., None] * self.scale / self.temperature**exponent  # (..., d / 4)
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)  # (..., d / 2)

    def _share(self, count: Tensor, axis: int) -> Tensor:
        """Counts of real cells so far to shares of all real cells."""
        place = count - 0.5 if self.centered else count
        return place / (count.select(axis, -1).unsqueeze(axis) + 1e-6)


class PositionEmbeddingLearned(nn.Module):
    """A learned vector for each row and for each column of the feature map (DETR, table 3).

    The published tables have 50 rows, enough for pictures of up to 1600 pixels at stride 32. Larger maps stretch the
    table by linear interpolation rather than fail.

    Args:
        d: channels of the encoding; the first half encodes x, the second y.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        if d % 2:
            raise ValueError(f"a learned encoding of two axes needs an even width, got {d}")
        self.row_embed = nn.Embedding(50, d // 2)
        self.col_embed = nn.Embedding(50, d // 2)
        nn.init.uniform_(self.row_embed.weight)
        nn.init.uniform_(self.col_embed.weight)

    def forward(self, features: NestedTensor | Tensor) -> Tensor:
        """The encoding ``(B, d, h, w)`` of feature maps, or of a mask ``(B, h, w)``; only their size matters."""
        b, h, w = (features if isinstance(features, Tensor) else features.mask).shape
        x = _first(self.col_embed.weight, w)[None, :, :].expand(h, w, -1)
        y = _first(self.row_embed.weight, h)[:, None, :].expand(h, w, -1)
        return torch.cat([x, y], dim=-1).permute(2, 0, 1).expand(b, -1, h, w)  # (B, d, h, w)


def _first(table: Tensor, length: int) -> Tensor:
    """The first ``length`` rows of ``table`` ``(rows, d)``; a table that is too short is stretched."""
    if length <= table.shape[0]:
        return table[:length]
    return F.interpolate(table.T[None], size=length, mode="linear", align_corners=True)[0].T
