"""Encoder and decoder: symmetries, what positions do, and each layer written out."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from detr_mini.modeling.transformer import DecoderLayer, EncoderLayer, Transformer

D, HEADS, WIDE = 16, 4, 24


def make(*, pre_norm: bool = False, enc_layers: int = 2, dec_layers: int = 3, dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    model = Transformer(
        D,
        HEADS,
        enc_layers=enc_layers,
        dec_layers=dec_layers,
        dim_feedforward=WIDE,
        dropout=dropout,
        pre_norm=pre_norm,
    )
    return randomize(model).eval()


def randomize(module: Any) -> Any:
    """Biases and norms as after training: with zeros and ones many a mistake would stay unseen."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def inputs(b: int = 2, h: int = 3, w: int = 5, n: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(b, D, h, w), torch.randn(n, D), torch.randn(b, D, h, w)


both_norms = pytest.mark.parametrize("pre_norm", [False, True])


@both_norms
def test_shapes(pre_norm: bool) -> None:
    features, queries, pos = inputs()
    hs, memory = make(pre_norm=pre_norm)(features, None, queries, pos)
    assert hs.shape == (3, 2, 6, D)
    assert memory.shape == (2, 15, D)


@both_norms
def test_encoder_without_positions_does_not_know_the_order_of_cells(pre_norm: bool) -> None:
    encoder = make(pre_norm=pre_norm).encoder
    x, order = torch.randn(2, 12, D), torch.randperm(12)
    nowhere = torch.zeros(2, 12, D)
    assert_close(encoder(x[:, order], nowhere), encoder(x, nowhere)[:, order], rtol=1e-4, atol=1e-5)


@both_norms
def test_encoder_with_positions_does(pre_norm: bool) -> None:
    encoder = make(pre_norm=pre_norm).encoder
    x, pos, order = torch.randn(2, 12, D), torch.randn(2, 12, D), torch.randperm(12)
    here = encoder(x, pos)[:, order]
    assert (encoder(x[:, order], pos) - here).abs().max() > 0.1
    assert_close(encoder(x[:, order], pos[:, order]), here, rtol=1e-4, atol=1e-5)  # it is the vectors that count


@both_norms
def test_decoder_permutes_with_its_queries(pre_norm: bool) -> None:
    model = make(pre_norm=pre_norm)
    features, queries, pos = inputs()
    order = torch.randperm(len(queries))
    there = model(features, None, queries[order], pos)[0]
    assert_close(there, model(features, None, queries, pos)[0][:, :, order], rtol=1e-4, atol=1e-5)


@both_norms
@settings(max_examples=10, deadline=None)
@given(h=st.integers(1, 4), w=st.integers(1, 4), below=st.integers(0, 3), right=st.integers(0, 3))
def test_padding_changes_nothing(pre_norm: bool, h: int, w: int, below: int, right: int) -> None:
    model = make(pre_norm=pre_norm)
    features, queries, pos = inputs(1, h + below, w + right)
    mask = torch.ones(1, h + below, w + right, dtype=torch.bool)
    mask[:, :h, :w] = False
    hs, memory = model(features, mask, queries, pos)
    alone, memory_alone = model(features[:, :, :h, :w], None, queries, pos[:, :, :h, :w])
    assert_close(hs, alone, rtol=1e-4, atol=1e-4)
    assert_close(memory[:, ~mask.flatten()], memory_alone, rtol=1e-4, atol=1e-4)


@both_norms
def test_a_mask_without_padding_is_no_mask(pre_norm: bool) -> None:
    model = make(pre_norm=pre_norm)
    features, queries, pos = inputs()
    nothing = torch.zeros(2, 3, 5, dtype=torch.bool)
    assert_close(model(features, nothing, queries, pos), model(features, None, queries, pos), rtol=1e-4, atol=1e-5)


@both_norms
def test_pictures_of_a_batch_do_not_mix(pre_norm: bool) -> None:
    model = make(pre_norm=pre_norm)
    features, queries, pos = inputs()
    hs, _ = model(features, None, queries, pos)
    assert_close(model(features[1:], None, queries, pos[1:])[0], hs[:, 1:], rtol=1e-4, atol=1e-5)


@both_norms
def test_without_query_positions_all_slots_are_the_same(pre_norm: bool) -> None:
    model = make(pre_norm=pre_norm)
    features, queries, pos = inputs()
    hs, _ = model(features, None, torch.zeros_like(queries), pos)
    assert_close(hs, hs[:, :, :1].expand_as(hs))
    hs, _ = model(features, None, queries, pos)
    assert (hs - hs[:, :, :1]).abs().max() > 0.1


@both_norms
def test_the_first_self_attention_gives_every_slot_the_same(pre_norm: bool) -> None:
    layer = make(pre_norm=pre_norm).decoder.layers[0]
    _, queries, _ = inputs()
    content = torch.zeros(1, len(queries), D)
    read = layer.self_attn(queries[None], queries[None], layer.norm1(content) if pre_norm else content)
    assert_close(read, read[:, :1].expand_as(read))


@both_norms
def test_slots_hear_of_each_other_from_the_second_layer_on(pre_norm: bool) -> None:
    model = make(pre_norm=pre_norm)
    features, queries, pos = inputs()
    other = queries.clone()
    other[1:] = torch.randn_like(other[1:])
    difference = (model(features, None, queries, pos)[0] - model(features, None, other, pos)[0])[:, :, 0].abs()
    assert difference[0].max() < 1e-5
    assert difference[1].max() > 1e-2


@both_norms
def test_the_norm_is_for_the_heads_and_not_for_the_next_layer(pre_norm: bool) -> None:
    decoder = make(pre_norm=pre_norm).decoder
    _, queries, _ = inputs()
    memory, pos = torch.randn(2, 15, D), torch.randn(2, 15, D)
    query_pos = queries.expand(2, -1, -1)
    x = torch.zeros_like(query_pos)
    wanted = []
    for layer in decoder.layers:
        x = layer(x, query_pos, memory, memory + pos, None)
        wanted.append(F.layer_norm(x, (D,), decoder.norm.weight, decoder.norm.bias))
    hs = decoder(torch.zeros_like(query_pos), query_pos, memory, pos)
    assert_close(hs, torch.stack(wanted), rtol=1e-5, atol=1e-5)


def test_only_the_pre_norm_encoder_ends_in_a_norm() -> None:
    assert make().encoder.norm is None
    encoder = make(pre_norm=True).encoder
    x, pos = torch.randn(1, 4, D), torch.randn(1, 4, D)
    y = x
    for layer in encoder.layers:
        y = layer(y, pos, None)
    assert encoder.norm is not None
    assert_close(encoder(x, pos), F.layer_norm(y, (D,), encoder.norm.weight, encoder.norm.bias))


def test_no_encoder_layers_leave_the_cells_as_they_are() -> None:
    features, queries, pos = inputs()
    _, memory = make(enc_layers=0)(features, None, queries, pos)
    assert torch.equal(memory.view(2, 3, 5, D).permute(0, 3, 1, 2), features)


class Written:
    """A layer's pieces as PyTorch has them, with the layer's weights."""

    def __init__(self, layer: nn.Module) -> None:
        self.weights = layer.state_dict()

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (D,), self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def attention(self, name: str, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        attention = nn.MultiheadAttention(D, HEADS, batch_first=True).eval()
        prefix = f"{name}."
        attention.load_state_dict({k.removeprefix(prefix): v for k, v in self.weights.items() if k.startswith(prefix)})
        return attention(query, key, value, key_padding_mask=mask)[0]

    def mlp(self, x: Tensor) -> Tensor:
        w = self.weights
        return F.linear(
            F.linear(x, w["linear1.weight"], w["linear1.bias"]).relu(), w["linear2.weight"], w["linear2.bias"]
        )


def layer_of(kind: Any, *, pre_norm: bool) -> Any:
    return randomize(kind(D, HEADS, dim_feedforward=WIDE, dropout=0.0, pre_norm=pre_norm)).eval()


def test_encoder_layers_written_out() -> None:
    x, pos = torch.randn(2, 7, D), torch.randn(2, 7, D)
    mask = torch.arange(7)[None] >= torch.tensor([7, 4])[:, None]
    post = layer_of(EncoderLayer, pre_norm=False)
    w = Written(post)
    y = w.norm("norm1", x + w.attention("self_attn", x + pos, x + pos, x, mask))
    assert_close(post(x, pos, mask), w.norm("norm2", y + w.mlp(y)), rtol=1e-4, atol=1e-5)

    pre = layer_of(EncoderLayer, pre_norm=True)
    w = Written(pre)
    normed = w.norm("norm1", x)
    y = x + w.attention("self_attn", normed + pos, normed + pos, normed, mask)
    assert_close(pre(x, pos, mask), y + w.mlp(w.norm("norm2", y)), rtol=1e-4, atol=1e-5)


def test_decoder_layers_written_out() -> None:
    tgt, query_pos = torch.randn(2, 5, D), torch.randn(2, 5, D)
    memory, pos = torch.randn(2, 7, D), torch.randn(2, 7, D)
    mask = torch.arange(7)[None] >= torch.tensor([3, 7])[:, None]
    args = tgt, query_pos, memory, memory + pos, mask
    post = layer_of(DecoderLayer, pre_norm=False)
    w = Written(post)
    y = w.norm("norm1", tgt + w.attention("self_attn", tgt + query_pos, tgt + query_pos, tgt))
    y = w.norm("norm2", y + w.attention("multihead_attn", y + query_pos, memory + pos, memory, mask))
    assert_close(post(*args), w.norm("norm3", y + w.mlp(y)), rtol=1e-4, atol=1e-5)

    pre = layer_of(DecoderLayer, pre_norm=True)
    w = Written(pre)
    normed = w.norm("norm1", tgt)
    y = tgt + w.attention("self_attn", normed + query_pos, normed + query_pos, normed)
    y = y + w.attention("multihead_attn", w.norm("norm2", y) + query_pos, memory + pos, memory, mask)
    assert_close(pre(*args), y + w.mlp(w.norm("norm3", y)), rtol=1e-4, atol=1e-5)


def test_the_whole_is_encoder_then_decoder() -> None:
    model = make()
    features, queries, pos = inputs()
    mask = torch.zeros(2, 3, 5, dtype=torch.bool)
    mask[1, 2:], mask[1, :, 3:] = True, True
    hs, memory = model(features, mask, queries, pos)
    cells, places, padding = features.flatten(2).mT, pos.flatten(2).mT, mask.flatten(1)
    assert_close(memory, model.encoder(cells, places, padding))
    query_pos = queries.expand(2, -1, -1)
    wanted = model.decoder(torch.zeros_like(query_pos), query_pos, memory, places, padding)
    assert_close(hs, wanted)


def test_dropout_in_training_only() -> None:
    model = make(dropout=0.2)
    features, queries, pos = inputs()
    first, second = (model(features, None, queries, pos)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert_close(first, make()(features, None, queries, pos)[0])
    model.train()
    first, second = (model(features, None, queries, pos)[0] for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("layer_type", [EncoderLayer, DecoderLayer])
def test_dropout_is_on_the_weights_inside_and_after_each_block(layer_type: type) -> None:
    layer = layer_type(D, HEADS, dim_feedforward=WIDE, dropout=0.3, pre_norm=False)
    for name, module in layer.named_modules():
        if name.endswith("attn"):
            assert module.dropout == 0.3
    calls: list[int] = []
    layer.dropout.register_forward_hook(lambda module, args, out: calls.append(args[0].shape[-1]))
    x = torch.randn(1, 4, D)
    layer(x, x, None) if layer_type is EncoderLayer else layer(x, x, x, x, None)
    assert calls == ([D, WIDE, D] if layer_type is EncoderLayer else [D, D, WIDE, D])


def test_weights_start_as_published() -> None:
    torch.manual_seed(0)
    model: Any = Transformer(256, 8, enc_layers=1, dec_layers=1, dim_feedforward=2048, dropout=0.1, pre_norm=False)
    stacked = model.encoder.layers[0].self_attn.in_proj_weight
    assert stacked.std().item() == pytest.approx((2 / (768 + 256)) ** 0.5, rel=0.02)  # Xavier over the stack of three
    wide = model.decoder.layers[0].linear1.weight
    assert wide.abs().max().item() == pytest.approx((6 / (2048 + 256)) ** 0.5, rel=0.01)  # uniform
    assert (model.encoder.layers[0].self_attn.in_proj_bias == 0).all()
    assert (model.encoder.layers[0].self_attn.out_proj.bias == 0).all()


@pytest.mark.gpu
@both_norms
def test_on_a_gpu_as_on_the_cpu(pre_norm: bool) -> None:
    model = make(pre_norm=pre_norm)
    features, queries, pos = inputs()
    mask = torch.zeros(2, 3, 5, dtype=torch.bool)
    mask[1, 2:] = True
    wanted, _ = model(features, mask, queries, pos)
    out, _ = model.cuda()(features.cuda(), mask.cuda(), queries.cuda(), pos.cuda())
    assert_close(out.cpu(), wanted, rtol=1e-3, atol=1e-4)
