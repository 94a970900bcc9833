"""Attention against ``torch.nn.MultiheadAttention`` with the same weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from detr_mini.modeling.attention import MultiheadAttention

D, HEADS = 24, 4


def pair(seed: int = 0) -> tuple[MultiheadAttention, nn.MultiheadAttention]:
    """Ours and PyTorch's, with the same random weights (biases too)."""
    torch.manual_seed(seed)
    theirs = nn.MultiheadAttention(D, HEADS, batch_first=True).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = MultiheadAttention(D, HEADS).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def padding(*lengths: int, total: int) -> Tensor:
    return torch.arange(total)[None] >= torch.tensor(lengths)[:, None]


def check(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> None:
    ours, theirs = pair()
    wanted, weights = theirs(query, key, value, key_padding_mask=mask, average_attn_weights=False)
    assert_close(ours(query, key, value, mask), wanted, rtol=1e-5, atol=1e-5)
    assert_close(ours.attention_weights(query, key, mask), weights, rtol=1e-5, atol=1e-6)


def test_self_attention() -> None:
    x = torch.randn(2, 7, D)
    check(x, x, x)


def test_self_attention_with_positions_on_queries_and_keys() -> None:
    x = torch.randn(2, 7, D)
    here = x + torch.randn(7, D)
    check(here, here, x)


def test_cross_attention() -> None:
    check(torch.randn(2, 5, D), torch.randn(2, 9, D), torch.randn(2, 9, D))


def test_masked() -> None:
    x = torch.randn(3, 6, D)
    check(x, x, x, padding(6, 4, 1, total=6))
    check(torch.randn(3, 5, D), x, torch.randn(3, 6, D), padding(2, 6, 3, total=6))


def test_causal_with_and_without_padding() -> None:
    ours, theirs = pair()
    x = torch.randn(3, 6, D)
    later = torch.ones(6, 6, dtype=torch.bool).triu(1)
    for mask in (None, padding(6, 4, 1, total=6)):
        wanted, weights = theirs(x, x, x, key_padding_mask=mask, attn_mask=later, average_attn_weights=False)
        assert_close(ours(x, x, x, mask, causal=True), wanted, rtol=1e-5, atol=1e-5)
        found = ours.attention_weights(x, x, mask, causal=True)
        assert_close(found, weights, rtol=1e-5, atol=1e-6)
        assert (found[..., later] == 0).all()


def test_one_product_for_one_object_is_only_a_short_cut() -> None:
    """Queries, keys and values of one tensor, of two and of three give the same numbers."""
    ours, _ = pair()
    x = torch.randn(2, 7, D)
    wanted = ours(x, x.clone(), x.clone().clone())
    same = x.clone()
    for arguments in ((x, x, x), (x, x, same), (x, same, same), (x, same, x)):
        assert_close(ours(*arguments), wanted, rtol=1e-5, atol=1e-6)


def test_reading_in_two_steps_is_reading_in_one() -> None:
    ours, _ = pair()
    x, y, mask = torch.randn(2, 7, D), torch.randn(2, 5, D), padding(7, 3, total=7)
    assert_close(ours.read(ours.queries(y), *ours.keys_values(x), mask), ours(y, x, x, mask), rtol=1e-5, atol=1e-6)


def test_one_object_as_query_and_key_is_only_a_short_cut() -> None:
    ours, _ = pair()
    x = torch.randn(2, 7, D)
    assert_close(ours(x, x, x), ours(x, x.clone(), x))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 7))
def test_padded_keys_have_no_influence(seed: int, real: int, surplus: int) -> None:
    ours, _ = pair(seed)
    query, key, value = torch.randn(1, 3, D), torch.randn(1, real, D), torch.randn(1, real, D)
    junk = 100 * torch.randn(1, surplus, D)
    mask = padding(real, total=real + surplus)
    alone = ours(query, key, value)
    padded = ours(query, torch.cat([key, junk], 1), torch.cat([value, junk], 1), mask)
    assert_close(padded, alone, rtol=1e-4, atol=1e-5)
    weights = ours.attention_weights(query, torch.cat([key, junk], 1), mask)
    assert (weights[..., real:] == 0).all()
    assert_close(weights.sum(-1), torch.ones(1, HEADS, 3))


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_picture_that_is_all_padding_reads_nothing_and_spoils_nothing(dropout: float) -> None:
    ours, _ = pair()
    ours.train()
    ours.dropout = dropout
    x = torch.randn(2, 6, D, requires_grad=True)
    out = ours(x, x, x, padding(4, 0, total=6))
    assert_close(out[1], ours.out_proj.bias.expand(6, D))
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    weights = ours.attention_weights(x, x, padding(4, 0, total=6))
    assert (weights[1] == 0).all()
    assert_close(weights[0].sum(-1), torch.ones(HEADS, 6))


def test_weights_are_those_of_forward() -> None:
    ours, _ = pair()
    x, mask = torch.randn(2, 6, D), padding(6, 3, total=6)
    v = nn.functional.linear(x, ours.in_proj_weight[2 * D :], ours.in_proj_bias[2 * D :])
    heads = v.view(2, 6, HEADS, D // HEADS)
    read = torch.einsum("bhqk,bkhc->bqhc", ours.attention_weights(x, x, mask), heads).reshape(2, 6, D)
    assert_close(ours.out_proj(read), ours(x, x, x, mask), rtol=1e-5, atol=1e-5)


def test_dropout_in_training_only() -> None:
    torch.manual_seed(0)
    attention = MultiheadAttention(D, HEADS, dropout=0.5)
    x = torch.randn(2, 7, D)
    assert not torch.equal(attention(x, x, x), attention(x, x, x))
    attention.eval()
    assert torch.equal(attention(x, x, x), attention(x, x, x))
    plain = MultiheadAttention(D, HEADS)
    plain.load_state_dict(attention.state_dict())
    assert_close(plain(x, x, x), attention(x, x, x))


def test_gradients() -> None:
    torch.manual_seed(0)
    attention = MultiheadAttention(8, 2).double()
    inputs = [torch.randn(2, length, 8, dtype=torch.float64, requires_grad=True) for length in (3, 4, 4)]
    mask = padding(4, 2, total=4)
    assert torch.autograd.gradcheck(lambda q, k, v: attention(q, k, v, mask), inputs)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width of 10 cannot be split into 4"):
        MultiheadAttention(10, 4)


@pytest.mark.gpu
def test_on_a_gpu_as_on_the_cpu() -> None:
    ours, _ = pair()
    query, memory, mask = torch.randn(2, 5, D), torch.randn(2, 9, D), padding(9, 4, total=9)
    wanted, weights = ours(query, memory, memory, mask), ours.attention_weights(query, memory, mask)
    ours.cuda()
    args = query.cuda(), memory.cuda(), memory.cuda(), mask.cuda()
    assert_close(ours(*args).cpu(), wanted, rtol=1e-4, atol=1e-5)
    assert_close(ours.attention_weights(query.cuda(), memory.cuda(), mask.cuda()).cpu(), weights, rtol=1e-4, atol=1e-5)
