"""The transformer of DETR: an encoder over the cells of a feature map, a decoder over object queries.

Chapters: *Encoder*, ``book/08_encoder``, and *Decoder*, ``book/09_decoder``.
"""

from typing import Any

import torch
from torch import Tensor, nn

from detr_mini.modeling.layer import DecoderParts, EncoderParts


class Transformer(nn.Module):
    """Encoder and decoder (DETR, section 3.2 and figure 10), with the published parameter names.

    Args:
        d: width.
        heads: attention heads.
        enc_layers: number of encoder layers, 0 or more.
        dec_layers: number of decoder layers, 1 or more.
        dim_feedforward: width inside the feed-forward blocks.
        dropout: on attention weights, inside and after each block.
        pre_norm: normalize the input of each block rather than its result. The published models do not.
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
        options: dict[str, Any] = {"dim_feedforward": dim_feedforward, "dropout": dropout, "pre_norm": pre_norm}
        encoder_layers = [EncoderLayer(d, heads, **options) for _ in range(enc_layers)]
        decoder_layers = [DecoderLayer(d, heads, **options) for _ in range(dec_layers)]
        self.encoder = TransformerEncoder(encoder_layers, nn.LayerNorm(d) if pre_norm else None)
        self.decoder = TransformerDecoder(decoder_layers, nn.LayerNorm(d))
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
        key_padding_mask = None if mask is None else mask.flatten(1)  # (B, hw)
        memory = self.encoder(x, pos, key_padding_mask)  # (B, hw, d)
        query_pos = query_embed.expand(x.shape[0], -1, -1)  # (B, N, d)
        tgt = torch.zeros_like(query_pos)  # slots start without content
        return self.decoder(tgt, query_pos, memory, pos, key_padding_mask), memory


class TransformerEncoder(nn.Module):
    """A stack of encoder layers."""

    def __init__(self, layers: list["EncoderLayer"], norm: nn.Module | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(self, x: Tensor, pos: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        """Cells ``(B, hw, d)``, their positions ``(B, hw, d)`` and padding ``(B, hw)`` to the memory ``(B, hw, d)``."""
        for layer in self.layers:
            x = layer(x, pos, key_padding_mask)
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(nn.Module):
    """A stack of decoder layers; the result of each, normalized, is a prediction of its own."""

    def __init__(self, layers: list["DecoderLayer"], norm: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(
        self, tgt: Tensor, query_pos: Tensor, memory: Tensor, pos: Tensor, key_padding_mask: Tensor | None = None
    ) -> Tensor:
        """Content ``tgt`` and positions ``query_pos`` of the slots, both ``(B, N, d)``, to ``(layers, B, N, d)``.

        The slots read ``memory`` with positions ``pos``, both ``(B, hw, d)``, but for its padding ``(B, hw)``. The norm
        is applied to each layer's result for the heads only, never to what the next layer gets.
        """
        keys = memory + pos  # (B, hw, d), the same for all layers
        results = []
        for layer in self.layers:
            tgt = layer(tgt, query_pos, memory, keys, key_padding_mask)
            results.append(self.norm(tgt))
        return torch.stack(results)


class EncoderLayer(EncoderParts):
    """Every cell reads every cell; then the feed-forward block."""

    def forward(self, x: Tensor, pos: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        """Cells ``(B, hw, d)``, their positions ``(B, hw, d)`` and padding ``(B, hw)`` to cells ``(B, hw, d)``."""
        x = self.residual(self.norm1, x, lambda x: self.read_cells(x, pos, key_padding_mask))
        return self.residual(self.norm2, x, self.feed_forward)

    def read_cells(self, x: Tensor, pos: Tensor, key_padding_mask: Tensor | None) -> Tensor:
        """Self-attention. Positions are added to queries and keys, never to values."""
        q = k = x + pos
        return self.self_attn(q, k, x, key_padding_mask)


class DecoderLayer(DecoderParts):
    """The slots read each other, then the memory; then the feed-forward block."""

    def forward(
        self, tgt: Tensor, query_pos: Tensor, memory: Tensor, keys: Tensor, key_padding_mask: Tensor | None = None
    ) -> Tensor:
        """Content and positions of the slots, both ``(B, N, d)``, and what they read, to new content ``(B, N, d)``.

        They find what to read in ``memory`` by ``keys``, the memory with positions, both ``(B, hw, d)``, and leave out
        its padding ``(B, hw)``.
        """
        tgt = self.residual(self.norm1, tgt, lambda x: self.read_slots(x, query_pos))
        tgt = self.residual(self.norm2, tgt, lambda x: self.read_memory(x, query_pos, memory, keys, key_padding_mask))
        return self.residual(self.norm3, tgt, self.feed_forward)

    def read_slots(self, tgt: Tensor, query_pos: Tensor) -> Tensor:
        """Self-attention. Here, too, positions are added to queries and keys alone."""
        q = k = tgt + query_pos
        return self.self_attn(q, k, tgt)

    def read_memory(
        self, tgt: Tensor, query_pos: Tensor, memory: Tensor, keys: Tensor, key_padding_mask: Tensor | None
    ) -> Tensor:
        """Cross-attention: queries from the slots, keys and values from the memory."""
        return self.multihead_attn(tgt + query_pos, keys, memory, key_padding_mask)
