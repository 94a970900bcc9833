"""What a computation costs."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from detr_mini.teaching.measure import bytes_kept, multiplications


def test_products_are_counted_in_attention_too() -> None:
    assert multiplications(lambda: torch.ones(3, 4) @ torch.ones(4, 5)) == 60
    q = torch.ones(1, 2, 3, 4, requires_grad=True)  # (B, heads, L, d_head): scores and means, 3 * 3 * 4 a head
    assert multiplications(lambda: F.scaled_dot_product_attention(q, q, q)) == 2 * 2 * 36


def test_what_is_kept_is_counted_once() -> None:
    x = torch.ones(10, requires_grad=True)
    assert bytes_kept(lambda: x * x) == 40
    assert bytes_kept(lambda: x.exp()) == 40  # its own result
    assert bytes_kept(lambda: x.exp() * x) == 80
    assert bytes_kept(lambda: x + x) == 0


def test_the_weights_of_attention_are_kept_by_the_formula() -> None:
    q = torch.randn(1, 4, 256, 16, requires_grad=True)
    weights = 4 * 4 * 256**2
    assert bytes_kept(lambda: (q @ q.mT).softmax(-1) @ q) == weights + q.nbytes
    assert bytes_kept(lambda: F.scaled_dot_product_attention(q, q, q)) < weights / 2
