"""Parity with transformers' ``DeformableDetrForObjectDetection`` on random weights carried over both ways.

Three things of theirs differ. With refinement all layers share one class head, so it is one in ours here, too. Their
loss weighs the class term, and their matcher its cost, half as much. And nothing of theirs trains the encoder's boxes.
"""

from typing import Any

import pytest
import torch
from their_models import names_of_their_resnet, randomize
from torch.testing import assert_close

from detr_mini import DeformableDETR, DeformableDETRConfig, NestedTensor
from detr_mini.hugging_face import from_hugging_face, to_hugging_face

transformers = pytest.importorskip("transformers")

SIZES = ((90, 130), (128, 101), (64, 70))
VARIANTS: dict[str, dict[str, Any]] = {
    "single scale": {"num_feature_levels": 1},
    "multi-scale": {},
    "five levels": {"num_feature_levels": 5},
    "refinement": {"with_box_refine": True},
    "two-stage": {"with_box_refine": True, "two_stage": True},
}


def our_config(**variant: Any) -> DeformableDETRConfig:
    return DeformableDETRConfig(
        backbone="resnet18",
        hidden_dim=64,
        nheads=4,
        enc_layers=2,
        dec_layers=3,
        enc_points=3,
        dec_points=2,
        dim_feedforward=48,
        num_queries=7,
        num_classes=5,
        **variant,
    )


def theirs(num_feature_levels: int = 4, with_box_refine: bool = False, two_stage: bool = False) -> Any:
    """Their model with transformers' own ResNet, small and with random weights: nothing is downloaded."""
    stages = ["stage4"] if num_feature_levels == 1 else ["stage2", "stage3", "stage4"]
    sizes = {"embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"}
    config = transformers.DeformableDetrConfig(
        backbone_config=transformers.ResNetConfig(out_features=stages, **sizes),
        d_model=64,
        encoder_layers=2,
        decoder_layers=3,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_n_points=3,
        decoder_n_points=2,
        num_feature_levels=num_feature_levels,
        num_queries=7,
        two_stage_num_proposals=7,
        num_labels=5,
        with_box_refine=with_box_refine,
        two_stage=two_stage,
        auxiliary_loss=True,
    )
    return transformers.DeformableDetrForObjectDetection(config).eval()


def pair(**variant: Any) -> tuple[DeformableDETR, Any]:
    """Ours, and theirs with its weights."""
    ours = randomize(DeformableDETR(our_config(**variant)), queries=2.0).eval()
    if variant.get("with_box_refine"):
        for head in ours.class_embed[1:]:
            head.load_state_dict(ours.class_embed[0].state_dict())
    other = theirs(**variant)
    carried = {names_of_their_resnet(key): value for key, value in to_hugging_face(ours.state_dict()).items()}
    other.load_state_dict(carried, strict=True)
    return ours, other


def pictures() -> NestedTensor:
    rng = torch.Generator().manual_seed(0)
    batch = NestedTensor.from_images([torch.randn(3, h, w, generator=rng) for h, w in SIZES])
    assert batch.padding_mask is not None
    return batch


@torch.no_grad()
def compare(ours: DeformableDETR, other: Any) -> None:
    batch = pictures()
    mine = ours.eval()(batch)
    out = other(pixel_values=batch.tensors, pixel_mask=(~batch.mask).long())
    layers = [*mine["aux_outputs"], mine]
    references = [out.init_reference_points, *out.intermediate_reference_points.unbind(1)]
    for layer, found in enumerate(layers):
        hidden = out.intermediate_hidden_states[:, layer]
        change = other.bbox_embed[layer](hidden)
        reference = torch.special.logit(references[layer], eps=1e-5)
        change[..., : reference.shape[-1]] += reference
        assert_close(found["pred_boxes"], change.sigmoid(), rtol=1e-4, atol=1e-4)
        assert_close(found["pred_logits"], other.class_embed[layer](hidden), rtol=1e-4, atol=1e-4)
    assert_close(mine["pred_logits"], out.logits, rtol=1e-4, atol=1e-4)
    assert_close(mine["pred_boxes"], out.pred_boxes, rtol=1e-4, atol=1e-4)
    if ours.config.two_stage:
        assert_close(mine["enc_outputs"]["pred_logits"], out.enc_outputs_class, rtol=1e-4, atol=1e-4)
        boxes = out.enc_outputs_coord_logits.sigmoid()
        assert_close(mine["enc_outputs"]["pred_boxes"], boxes, rtol=1e-4, atol=1e-4)
    assert out.logits.std(0).max() > 0.02  # pictures differ,
    assert out.logits.std(1).max() > 0.02  # and queries do: there is something to compare


@pytest.mark.parametrize("variant", VARIANTS)
def test_our_weights_in_their_model(variant: str) -> None:
    compare(*pair(**VARIANTS[variant]))


@pytest.mark.parametrize("variant", ["single scale", "multi-scale"])
def test_their_weights_in_our_model(variant: str) -> None:
    other = randomize(theirs(**VARIANTS[variant]), queries=2.0)
    ours = DeformableDETR(our_config(**VARIANTS[variant]))
    ours.load_state_dict(from_hugging_face(other.state_dict()), strict=True)
    compare(ours, other)


@pytest.mark.parametrize("variant", VARIANTS)
def test_there_and_back_changes_nothing(variant: str) -> None:
    state = randomize(DeformableDETR(our_config(**VARIANTS[variant])), queries=2.0).state_dict()
    back = from_hugging_face(to_hugging_face(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
