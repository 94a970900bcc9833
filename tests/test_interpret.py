"""Inspection: what is recomputed is what the model used, and the model stays as it was."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detr_mini.data import CocoDetection, eval_transforms
from detr_mini.interpret import attention_maps, explained_variance, sampling_points, slot_boxes
from detr_mini.modeling.build import build
from detr_mini.modeling.config import get_config
from detr_mini.modeling.deformable_attention import ms_deform_attn
from detr_mini.modeling.detr import DETR
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.weights import load


@pytest.fixture
def model() -> DETR:
    torch.manual_seed(0)
    return DETR(get_config("nano", hidden_dim=16, nheads=2, enc_layers=1, dec_layers=2, num_queries=6)).eval()


def test_attention_maps_of_a_padded_batch(model):
    images = [torch.randn(3, 33, 48), torch.randn(3, 64, 40)]
    maps = attention_maps(model, images)
    cells = 8 * 6
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        "transformer.encoder.layers.0.self_attn": (2, 2, cells, cells),
        "transformer.decoder.layers.0.self_attn": (2, 2, 6, 6),
        "transformer.decoder.layers.0.multihead_attn": (2, 2, 6, cells),
        "transformer.decoder.layers.1.self_attn": (2, 2, 6, 6),
        "transformer.decoder.layers.1.multihead_attn": (2, 2, 6, cells),
    }
    for value in maps.values():
        torch.testing.assert_close(value.sum(-1), torch.ones(value.shape[:-1]))
    padding = model.backbone[0](NestedTensor.from_images(images))[-1].mask.flatten(1)
    read = maps["transformer.decoder.layers.1.multihead_attn"].sum((1, 2))
    assert (read[padding] == 0).all()
    assert (read[~padding] > 0).all()


def test_attention_maps_are_the_ones_the_forward_pass_uses(model):
    images = [torch.randn(3, 40, 40)]
    seen = {}
    module = model.transformer.decoder.layers[1].multihead_attn
    handle = module.register_forward_hook(lambda m, inputs, result: seen.update(inputs=inputs, result=result))
    maps = attention_maps(model, images)
    handle.remove()
    value = seen["inputs"][2]
    v = torch.nn.functional.linear(value, module.in_proj_weight[32:], module.in_proj_bias[32:])  # (1, hw, 16)
    heads = v.view(1, -1, 2, 8).transpose(1, 2)
    mixed = maps["transformer.decoder.layers.1.multihead_attn"] @ heads  # (1, 2, 6, 8)
    torch.testing.assert_close(module.out_proj(mixed.transpose(1, 2).flatten(2)), seen["result"])


def test_sampling_points_are_the_ones_the_forward_pass_uses():
    torch.manual_seed(0)
    model = build("deformable_nano", hidden_dim=32, nheads=2, enc_layers=1, dec_layers=2, num_queries=6).eval()
    for module in model.modules():
        if hasattr(module, "sampling_offsets"):
            torch.nn.init.normal_(module.sampling_offsets.weight)
            torch.nn.init.normal_(module.attention_weights.weight)
    seen = {}
    module = model.transformer.decoder.layers[1].cross_attn
    handle = module.register_forward_hook(lambda m, inputs, result: seen.update(inputs=inputs, result=result))
    points = sampling_points(model, [torch.randn(3, 33, 48), torch.randn(3, 64, 40)])
    handle.remove()
    cells = 8 * 6 + 4 * 3  # at strides 8 and 16
    assert {name: tuple(weights.shape) for name, (_, weights) in points.items()} == {
        "transformer.encoder.layers.0.self_attn": (2, cells, 2, 2, 4),
        "transformer.decoder.layers.0.cross_attn": (2, 6, 2, 2, 4),
        "transformer.decoder.layers.1.cross_attn": (2, 6, 2, 2, 4),
    }
    for locations, weights in points.values():
        assert locations.shape == (*weights.shape, 2)
        torch.testing.assert_close(weights.sum((-1, -2)), torch.ones(weights.shape[:3]))
    _, _, memory, shapes, padding = seen["inputs"]
    value = module.value_proj(memory).masked_fill(padding[..., None], 0.0).unflatten(-1, (2, -1))
    read = ms_deform_attn(value, shapes, *points["transformer.decoder.layers.1.cross_attn"])
    torch.testing.assert_close(module.output_proj(read), seen["result"])


def test_a_detr_has_no_sampling_points(model):
    assert sampling_points(model, [torch.randn(3, 33, 48)]) == {}


def test_attention_maps_of_an_optimized_model(model):
    images = [torch.randn(3, 33, 48), torch.randn(3, 64, 40)]
    maps, optimized = attention_maps(model, images), attention_maps(model.optimize_for_inference(), images)
    assert optimized.keys() == maps.keys()
    for name, value in maps.items():
        torch.testing.assert_close(optimized[name], value, rtol=1e-4, atol=1e-5)


def test_looking_changes_nothing(model):
    images = [torch.randn(3, 40, 56)]
    before = model(images)["pred_boxes"]
    attention_maps(model, images)
    assert torch.equal(model(images)["pred_boxes"], before)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_slot_boxes_are_the_predictions_picture_by_picture(town):
    nano = load("nano")  # the queries of a random model are too much alike to tell an order
    dataset = CocoDetection(town, "val", eval_transforms(None))
    boxes = slot_boxes(nano, dataset, batch_size=5)
    assert boxes.shape == (len(dataset), 25, 4)
    torch.testing.assert_close(boxes[7], nano([dataset[7][0]])["pred_boxes"][0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(slot_boxes(nano, [dataset[7]])[0], boxes[7], rtol=1e-3, atol=1e-4)


def test_queries_that_never_move_explain_everything():
    assert explained_variance(torch.arange(5.0).expand(8, 5)) == pytest.approx(1)


def test_queries_that_are_alike_explain_nothing():
    column = torch.arange(8.0)[:, None]
    assert explained_variance(column.expand(8, 5)) == pytest.approx(0, abs=1e-6)


def test_a_case_by_hand():
    # Query means 1 and 5, deviations of 1 around each: 1 left of a total of 1 + 4.
    assert explained_variance(torch.tensor([[0.0, 4.0], [2.0, 6.0]])) == pytest.approx(0.8)


@given(st.integers(2, 20), st.integers(2, 6), st.integers(0, 2**31), st.floats(-3, 3), st.floats(0.1, 10))
def test_share_lies_in_0_1_and_ignores_units(images, queries, seed, shift, scale):
    values = torch.randn(images, queries, generator=torch.Generator().manual_seed(seed))
    share = explained_variance(values)
    assert -1e-5 <= share <= 1 + 1e-5
    assert explained_variance(values * scale + shift) == pytest.approx(share, abs=1e-3)
