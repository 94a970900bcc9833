"""Multi-head attention, batch first, through PyTorch's fused kernel.

Chapter: *Attention*, ``book/02_attention``.
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

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        *,
        causal: bool = False,
    ) -> Tensor:
        """Let ``query`` ``(B, Lq, d)`` read ``value`` ``(B, Lk, d)`` where it matches ``key`` ``(B, Lk, d)``.

        ``key_padding_mask`` ``(B, Lk)`` bool is True at padding, the keys that no query may read. With ``causal``,
        query ``i`` reads keys 0 to ``i`` alone. Where nothing is left to read, nothing is read, and the result is the
        bias of the last projection. Returns ``(B, Lq, d)``.
        """
        q, k, v = self._project_all(query, key, value)
        return self.read(q, k, v, key_padding_mask, causal=causal)

    def queries(self, x: Tensor) -> Tensor:
        """The queries of ``x`` ``(B, L, d)``: ``(B, heads, L, d / heads)``."""
        return self._project(x, 0, 1)[0]

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The keys and values of ``x`` ``(B, L, d)``, each ``(B, heads, L, d / heads)``: what a cache keeps."""
        k, v = self._project(x, 1, 3)
        return k, v

    def read(
        self, q: Tensor, k: Tensor, v: Tensor, key_padding_mask: Tensor | None = None, *, causal: bool = False
    ) -> Tensor:
        """What :meth:`forward` does once queries, keys and values ``(B, heads, L, d / heads)`` are there."""
        dropout = self.dropout if self.training else 0.0
        if key_padding_mask is None:
            read = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=causal)
        else:
            may_read = ~_hidden(q, k, key_padding_mask, causal)  # the kernel's masks are True where q may read k
            read = F.scaled_dot_product_attention(q, k, v, attn_mask=may_read, dropout_p=dropout)
        return self.out_proj(read.transpose(1, 2).flatten(2))  # (B, Lq, d)

    def attention_weights(
        self, query: Tensor, key: Tensor, key_padding_mask: Tensor | None = None, *, causal: bool = False
    ) -> Tensor:
        """The attention weights that :meth:`forward` uses and never stores: ``(B, heads, Lq, Lk)``.

        Rows sum to 1, or to 0 where nothing is left to read.
        """
        q, k, _ = self._project_all(query, key, key)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (B, heads, Lq, Lk)
        if key_padding_mask is None and not causal:
            return scores.softmax(-1)
        hidden = _hidden(q, k, key_padding_mask, causal)
        weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
        return weights.masked_fill(hidden, 0.0)  # a softmax over nothing but hidden keys is NaN

    def _project_all(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """Queries, keys and values, where one thing is two or three of them in one product, and the same numbers."""
        if query is key is value:
            return self._project(query, 0, 3)
        if query is key:
            return self._project(query, 0, 2) + self._project(value, 2, 3)
        if key is value:
            return self._project(query, 0, 1) + self._project(key, 1, 3)
        return self._project(query, 0, 1) + self._project(key, 1, 2) + self._project(value, 2, 3)

    def _project(self, x: Tensor, first: int, last: int) -> list[Tensor]:
        """Projections ``first`` to ``last`` of query (0), key (1) and value (2), split into heads."""
        d = self.in_proj_weight.shape[1]
        rows = slice(first * d, last * d)
        projected = F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])  # (B, L, (last - first) d)
        return [self._split(one) for one in projected.chunk(last - first, dim=-1)]

    def _split(self, x: Tensor) -> Tensor:
        """``(B, L, d)`` to ``(B, heads, L, d / heads)``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _hidden(q: Tensor, k: Tensor, key_padding_mask: Tensor | None, causal: bool) -> Tensor:
    """Which keys no query may read, ``(B or 1, 1, Lq or 1, Lk)`` bool."""
    hidden = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=q.device)
    if key_padding_mask is not None:
        hidden = hidden | key_padding_mask[:, None, None, :]
    if causal:
        hidden = hidden | torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).triu(1)
    return hidden
