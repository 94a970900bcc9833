"""The transformer of DETR: an encoder over the cells of a feature map, a decoder over object queries.

Chapters: *Encoder*, ``book/08_encoder``, and *Decoder*, ``book/09_decoder``.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from detr_mini.modeling.attention import MultiheadAttention


class Transformer(nn.Module):
    """Encoder and decoder (DETR, section 3.2 and figure 10), with the published parameter names.

    Args:
        d: width.
        heads: attention heads.
        enc_layers, dec_layers: number of layers; either may be any number from 0 and 1 up.
        dim_feedforward: width inside the feed-forward blocks.
        dropout: on attention weights, inside and after each block.
        pre_norm: normalise the input of each block rather than its result. The published models do not.
    """

    def __init__(
        self,
        d: int,
        heads: int,
        *,
        enc_layers: int,
        dec_layers: int,
        dim_feedforward: int,
        dropout: float,
        pre_norm: bool,
    ) -> None:
        super().__init__()
        sizes = (d, heads, dim_feedforward, dropout, pre_norm)
        self.encoder = TransformerEncoder(
            [EncoderLayer(*sizes) for _ in range(enc_layers)], nn.LayerNorm(d) if pre_norm else None
        )
        self.decoder = TransformerDecoder([DecoderLayer(*sizes) for _ in range(dec_layers)], nn.LayerNorm(d))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, features: Tensor, mask: Tensor | None, query_embed: Tensor, pos: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a feature map and let the queries read it.

        Args:
            features: ``(B, d, h, w)``.
            mask: ``(B, h, w)`` bool, True at padding, or None where nothing is padded.
            query_embed: ``(N, d)``, the object queries: the position of each slot, the same for every picture.
            pos: ``(B, d, h, w)``, the position of each cell.

        Returns:
            What each decoder layer made of the queries, ``(layers, B, N, d)``, and the memory ``(B, hw, d)``.
        """
        x = features.flatten(2).transpose(1, 2)  # (B, hw, d)
        pos = pos.flatten(2).transpose(1, 2)  # (B, hw, d)
        padding = None if mask is None else mask.flatten(1)  # (B, hw)
        memory = self.encoder(x, pos, padding)
        query_pos = query_embed.expand(x.shape[0], -1, -1)  # (B, N, d)
        return self.decoder(torch.zeros_like(query_pos), query_pos, memory, pos, padding), memory


class TransformerEncoder(nn.Module):
    """A stack of encoder layers."""

    def __init__(self, layers: list["EncoderLayer"], norm: nn.Module | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(self, x: Tensor, pos: Tensor, padding: Tensor | None = None) -> Tensor:
        """Cells ``(B, hw, d)`` with positions ``(B, hw, d)`` to the memory ``(B, hw, d)``."""
        for layer in self.layers:
            x = layer(x, pos, padding)
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(nn.Module):
    """A stack of decoder layers; the result of each, normalised, is a prediction of its own."""

    def __init__(self, layers: list["DecoderLayer"], norm: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(
        self, tgt: Tensor, query_pos: Tensor, memory: Tensor, pos: Tensor, padding: Tensor | None = None
    ) -> Tensor:
        """Content ``tgt`` and positions ``query_pos`` of the slots, both ``(B, N, d)``, to ``(layers, B, N, d)``.

        The norm is applied to each layer's result for the heads only, never to what the next layer gets.
        """
        keys = memory + pos
        results = []
        for layer in self.layers:
            tgt = layer(tgt, query_pos, memory, keys, padding)
            results.append(self.norm(tgt))
        return torch.stack(results)


class _Layer(nn.Module):
    """What encoder and decoder layers share: residual connection, before or after the norm, and feed-forward block."""

    def __init__(self, d: int, dim_feedforward: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, d)
        self.dropout = nn.Dropout(dropout)
        self.pre_norm = pre_norm

    def residual(self, x: Tensor, norm: nn.Module, block: Callable[[Tensor], Tensor]) -> Tensor:
        if self.pre_norm:
            return x + self.dropout(block(norm(x)))
        return norm(x + self.dropout(block(x)))

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.linear1(x).relu_()))


class EncoderLayer(_Layer):
    """Every cell reads every cell. Positions are added to queries and keys, never to values."""

    def __init__(self, d: int, heads: int, dim_feedforward: int, dropout: float, pre_norm: bool) -> None:
        super().__init__(d, dim_feedforward, dropout, pre_norm)
        self.self_attn = MultiheadAttention(d, heads, dropout=dropout)
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)

    def forward(self, x: Tensor, pos: Tensor, padding: Tensor | None) -> Tensor:
        """Cells and their positions, both ``(B, hw, d)``, and their padding ``(B, hw)`` to cells ``(B, hw, d)``."""

        def read_cells(y: Tensor) -> Tensor:
            here = y + pos
            return self.self_attn(here, here, y, padding)

        x = self.residual(x, self.norm1, read_cells)
        return self.residual(x, self.norm2, self.feed_forward)


class DecoderLayer(_Layer):
    """The slots read each other, then the memory."""

    def __init__(self, d: int, heads: int, dim_feedforward: int, dropout: float, pre_norm: bool) -> None:
        super().__init__(d, dim_feedforward, dropout, pre_norm)
        self.self_attn = MultiheadAttention(d, heads, dropout=dropout)
        self.multihead_attn = MultiheadAttention(d, heads, dropout=dropout)
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)
        self.norm3 = nn.LayerNorm(d)

    def forward(self, tgt: Tensor, query_pos: Tensor, memory: Tensor, keys: Tensor, padding: Tensor | None) -> Tensor:
        """Content and positions of the slots, ``(B, N, d)``, and what they read, to new content ``(B, N, d)``.

        They read ``memory``, the values, by ``keys``, both ``(B, hw, d)``, where ``padding`` ``(B, hw)`` is False.
        """

        def read_slots(y: Tensor) -> Tensor:
            here = y + query_pos
            return self.self_attn(here, here, y)

        def read_memory(y: Tensor) -> Tensor:
            return self.multihead_attn(y + query_pos, keys, memory, padding)

        tgt = self.residual(tgt, self.norm1, read_slots)
        tgt = self.residual(tgt, self.norm2, read_memory)
        return self.residual(tgt, self.norm3, self.feed_forward)
