"""The transformer of the paper as one would first write it: every attention stores its weights.

It is what ``detr_mini.modeling.transformer`` is measured against, and takes the same weights. Sequences come first,
``(L, B, d)``, positions are added anew in every layer, and ``nn.MultiheadAttention`` returns, besides its result, the
weights averaged over the heads, as it does unless told otherwise. For that it computes ``softmax(Q K^T / sqrt(d))`` as
a matrix of its own and cannot use a fused kernel.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PlainTransformer(nn.Module):
    """Post-norm encoder and decoder (DETR, section A.3 and figure 10).

    Parameters, arguments and results are those of :class:`detr_mini.modeling.transformer.Transformer`.
    """

    def __init__(
        self, d: int, heads: int, *, enc_layers: int, dec_layers: int, dim_feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        sizes = (d, heads, dim_feedforward, dropout)
        self.encoder = Stack([PlainEncoderLayer(*sizes) for _ in range(enc_layers)], None)
        self.decoder = Stack([PlainDecoderLayer(*sizes) for _ in range(dec_layers)], nn.LayerNorm(d))

    def forward(self, features: Tensor, mask: Tensor | None, query_embed: Tensor, pos: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(B, d, h, w)`` to what each layer made of the queries, ``(layers, B, N, d)``, and the memory."""
        memory = features.flatten(2).permute(2, 0, 1)  # (hw, B, d)
        pos = pos.flatten(2).permute(2, 0, 1)  # (hw, B, d)
        padding = None if mask is None else mask.flatten(1)  # (B, hw)
        for layer in self.encoder.layers:
            memory = layer(memory, pos, padding)
        query_pos = query_embed[:, None].repeat(1, len(features), 1)  # (N, B, d)
        slots = torch.zeros_like(query_pos)
        results = []
        for layer in self.decoder.layers:
            slots = layer(slots, query_pos, memory, pos, padding)
            results.append(self.decoder.norm(slots))
        return torch.stack(results).transpose(1, 2), memory.transpose(0, 1)


class Stack(nn.Module):
    """Layers, and a norm for what they return, under the published names."""

    def __init__(self, layers: Sequence[nn.Module], norm: nn.Module | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm or nn.Identity()


class PlainEncoderLayer(nn.Module):
    """Self-attention over the cells, then two linear layers; each added to its input and normalized."""

    def __init__(self, d: int, heads: int, dim_feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(d, heads, dropout=dropout)
        self.linear1 = nn.Linear(d, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, d)
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, pos: Tensor, padding: Tensor | None) -> Tensor:
        read, _ = self.self_attn(x + pos, x + pos, x, key_padding_mask=padding, need_weights=True)
        x = self.norm1(x + self.dropout(read))
        return self.norm2(x + self.dropout(self.linear2(self.dropout(self.linear1(x).relu()))))


class PlainDecoderLayer(nn.Module):
    """Self-attention over the slots, attention to the memory, two linear layers."""

    def __init__(self, d: int, heads: int, dim_feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(d, heads, dropout=dropout)
        self.multihead_attn = nn.MultiheadAttention(d, heads, dropout=dropout)
        self.linear1 = nn.Linear(d, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, d)
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)
        self.norm3 = nn.LayerNorm(d)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, query_pos: Tensor, memory: Tensor, pos: Tensor, padding: Tensor | None) -> Tensor:
        here = x + query_pos
        read, _ = self.self_attn(here, here, x, need_weights=True)
        x = self.norm1(x + self.dropout(read))
        read, _ = self.multihead_attn(x + query_pos, memory + pos, memory, key_padding_mask=padding, need_weights=True)
        x = self.norm2(x + self.dropout(read))
        return self.norm3(x + self.dropout(self.linear2(self.dropout(self.linear1(x).relu()))))
