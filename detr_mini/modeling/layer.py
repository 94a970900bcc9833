"""What the layers of all transformers here share: their parts, the feed-forward block, the way around each block.

Chapter: *The Transformer of 2017*, ``book/03_seq2seq``.
"""

from collections.abc import Callable

from torch import Tensor, nn

from detr_mini.modeling.attention import MultiheadAttention


class Layer(nn.Module):
    """A layer of a transformer without its attention (Vaswani et al. 2017, sections 3.1 and 3.3).

    Args:
        d: width.
        dim_feedforward: width inside the feed-forward block.
        dropout: inside the feed-forward block, and on what each block gives.
        pre_norm: normalize the input of each block rather than the sum. Vaswani et al. and DETR do not.
    """

    def __init__(self, d: int, *, dim_feedforward: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, d)
        self.dropout = nn.Dropout(dropout)
        self.pre_norm = pre_norm

    def residual(self, norm: nn.Module, x: Tensor, block: Callable[[Tensor], Tensor]) -> Tensor:
        """``x`` ``(B, L, d)`` and what ``block`` makes of it, added, with the norm at one of its two places."""
        if self.pre_norm:
            return x + self.dropout(block(norm(x)))
        normed: Tensor = norm(x + self.dropout(block(x)))
        return normed

    def feed_forward(self, x: Tensor) -> Tensor:
        """Every vector by itself: ``(B, L, d)`` to ``(B, L, d)``."""
        return self.linear2(self.dropout(self.linear1(x).relu_()))


class EncoderParts(Layer):
    """The parts of an encoder layer, without its way through them; arguments as :class:`Layer`."""

    def __init__(self, d: int, heads: int, *, dim_feedforward: int, dropout: float, pre_norm: bool) -> None:
        super().__init__(d, dim_feedforward=dim_feedforward, dropout=dropout, pre_norm=pre_norm)
        self.self_attn = MultiheadAttention(d, heads, dropout=dropout)
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)


class DecoderParts(Layer):
    """The parts of a decoder layer, without its way through them; arguments as :class:`Layer`."""

    def __init__(self, d: int, heads: int, *, dim_feedforward: int, dropout: float, pre_norm: bool) -> None:
        super().__init__(d, dim_feedforward=dim_feedforward, dropout=dropout, pre_norm=pre_norm)
        self.self_attn = MultiheadAttention(d, heads, dropout=dropout)
        self.multihead_attn = MultiheadAttention(d, heads, dropout=dropout)
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)
        self.norm3 = nn.LayerNorm(d)
