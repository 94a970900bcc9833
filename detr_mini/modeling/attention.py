"""Multi-head attention, batch first, through PyTorch's fused kernel.

Chapter: *Encoder*, ``book/08_encoder``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiheadAttention(nn.Module):
    """``softmax(Q K^T / sqrt(d / heads)) V`` in several heads (Vaswani et al. 2017, section 3.2).

    Parameters have the names and shapes of ``torch.nn.MultiheadAttention`` (and so of the published DETR): the three
    input projections are stacked in ``in_proj_weight`` ``(3d, d)``, in the order query, key, value.

    Args:
        d: width of queries, keys and values.
        heads: number of heads; must divide ``d``.
        dropout: share of the attention weights set to zero in training.
    """

    def __init__(self, d: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        if d % heads:
            raise ValueError(f"a width of {d} cannot be split into {heads} equal heads")
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * d, d))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * d))
        self.out_proj = nn.Linear(d, d)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        """Let ``query`` ``(B, Lq, d)`` read ``value`` ``(B, Lk, d)`` where it matches ``key`` ``(B, Lk, d)``.

        ``key_padding_mask`` ``(B, Lk)`` bool is True at padding, the keys that no query may read. Where all keys are
        padding, nothing is read, and the result is the bias of the last projection. Returns ``(B, Lq, d)``.
        """
        q, k = self._project_query_key(query, key)  # (B, heads, L, d / heads)
        v = self._split(F.linear(value, *self._rows(2, 3)))  # (B, heads, Lk, d / heads)
        attn_mask = None if key_padding_mask is None else ~key_padding_mask[:, None, None, :]  # True where q may read k
        dropout = self.dropout if self.training else 0.0
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, dropout_p=dropout)
        return self.out_proj(read.transpose(1, 2).flatten(2))  # (B, Lq, d)

    def attention_weights(self, query: Tensor, key: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        """The attention weights that :meth:`forward` uses and never stores: ``(B, heads, Lq, Lk)``.

        Rows sum to 1, or to 0 where every key is padding.
        """
        q, k = self._project_query_key(query, key)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (B, heads, Lq, Lk)
        if key_padding_mask is None:
            return scores.softmax(-1)
        padding = key_padding_mask[:, None, None, :]
        weights = scores.masked_fill(padding, float("-inf")).softmax(-1)
        return weights.masked_fill(padding, 0.0)  # a softmax over nothing but padding is NaN

    def _project_query_key(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        if query is key:  # self-attention: one product instead of two, and the same numbers
            q, k = F.linear(query, *self._rows(0, 2)).chunk(2, dim=-1)
        else:
            q, k = F.linear(query, *self._rows(0, 1)), F.linear(key, *self._rows(1, 2))
        return self._split(q), self._split(k)

    def _rows(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of the projections ``first`` to ``last`` of query (0), key (1), value (2)."""
        d = self.in_proj_weight.shape[1]
        return self.in_proj_weight[first * d : last * d], self.in_proj_bias[first * d : last * d]

    def _split(self, x: Tensor) -> Tensor:
        """``(B, L, d)`` to ``(B, heads, L, d / heads)``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
