"""Parity with transformers' ``DetrForObjectDetection`` on random weights carried over both ways.

Its configuration has ``auxiliary_loss``, which stays off here: with it on, its decoder feeds the normalized output of a
layer to the next one, and the forward pass is no longer that of DETR.
"""

import re
from typing import Any

import pytest
import torch
from their_models import names_of_their_resnet, randomize
from torch import Tensor
from torch.testing import assert_close

from detr_mini import DETR, DETRConfig, HungarianMatcher, NestedTensor, SetCriterion, load
from detr_mini.hugging_face import from_hugging_face, to_hugging_face

transformers = pytest.importorskip("transformers")

SIZES = ((64, 70), (77, 50), (40, 64))
BODIES: dict[str, dict[str, Any]] = {
    "resnet18": {"hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"},
    "resnet50": {"hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3], "layer_type": "bottleneck"},
}


def our_config(body: str, positions: str) -> DETRConfig:
    return DETRConfig(
        backbone=body,
        position_embedding=positions,
        hidden_dim=32,
        nheads=4,
        enc_layers=2,
        dec_layers=3,
        dim_feedforward=48,
        num_queries=7,
        num_classes=5,
    )


def theirs(body: str, positions: str) -> Any:
    """Their model with transformers' own ResNet, small and with random weights: nothing is downloaded."""
    config = transformers.DetrConfig(
        backbone_config=transformers.ResNetConfig(embedding_size=64, out_features=["stage4"], **BODIES[body]),
        position_embedding_type=positions,
        d_model=32,
        encoder_layers=2,
        decoder_layers=3,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        num_queries=7,
        num_labels=5,
        auxiliary_loss=False,
    )
    return transformers.DetrForObjectDetection(config).eval()


def pictures() -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(3, h, w, generator=rng) for h, w in SIZES]


@torch.no_grad()
def compare(ours: DETR, other: Any) -> None:
    batch = NestedTensor.from_images(pictures())
    assert batch.padding_mask is not None
    mine = ours.eval()(batch)
    out = other(pixel_values=batch.tensors, pixel_mask=(~batch.mask).long())
    assert_close(mine["pred_logits"], out.logits, rtol=1e-5, atol=1e-5)
    assert_close(mine["pred_boxes"], out.pred_boxes, rtol=1e-5, atol=1e-5)
    assert out.logits.std(0).max() > 0.02  # pictures differ,
    assert out.logits.std(1).max() > 0.005  # and slots do: there is something to compare


@pytest.mark.parametrize(("body", "positions"), [("resnet18", "learned"), ("resnet50", "sine")])
def test_their_weights_in_our_model(body: str, positions: str) -> None:
    other = randomize(theirs(body, positions), queries=4.0)
    ours = DETR(our_config(body, positions))
    ours.load_state_dict(from_hugging_face(other.state_dict()), strict=True)
    compare(ours, other)


@pytest.mark.parametrize(("body", "positions"), [("resnet18", "sine"), ("resnet50", "learned")])
def test_our_weights_in_their_model(body: str, positions: str) -> None:
    ours = randomize(DETR(our_config(body, positions)), queries=4.0)
    other = theirs(body, positions)
    carried = {names_of_their_resnet(key): value for key, value in to_hugging_face(ours.state_dict()).items()}
    other.load_state_dict(carried, strict=True)
    compare(ours, other)


def test_there_and_back_changes_nothing() -> None:
    state = randomize(DETR(our_config("resnet18", "learned")), queries=4.0).state_dict()
    there = to_hugging_face(state)
    assert all(key.startswith(("model.", "class_labels_classifier.", "bbox_predictor.")) for key in there)
    back = from_hugging_face(there)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def older(key: str) -> str:
    """The names in files on the hub, from the years before transformers 5."""
    key = key.replace("model.backbone.model.", "model.backbone.conv_encoder.model.")
    key = key.replace("model.position_embedding.", "model.backbone.position_embedding.")
    return re.sub(r"\.mlp\.(fc[12])\.", r".\1.", key).replace(".o_proj.", ".out_proj.")


@pytest.mark.parametrize("resnet", ["timm", "transformers"])
def test_older_names(resnet: str) -> None:
    state = randomize(DETR(our_config("resnet18", "learned")), queries=4.0).state_dict()
    there = to_hugging_face(state)
    if resnet == "transformers":
        there = {names_of_their_resnet(key): value for key, value in there.items()}
    there = {older(key): value for key, value in there.items()}
    assert "model.encoder.layers.0.fc1.weight" in there
    assert "model.decoder.layers.2.encoder_attn.out_proj.bias" in there
    assert any(key.startswith("model.backbone.conv_encoder.model.") for key in there)
    back = from_hugging_face(there)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_a_file_of_theirs_loads(tmp_path: Any) -> None:
    from safetensors.torch import save_file

    other = randomize(theirs("resnet18", "sine"), queries=4.0)
    save_file(other.state_dict(), tmp_path / "model.safetensors")
    compare(load(tmp_path / "model.safetensors", nheads=4), other)
    torch.save(other.state_dict(), tmp_path / "pytorch_model.bin")
    compare(load(tmp_path / "pytorch_model.bin", nheads=4), other)


def test_matching_and_losses_agree() -> None:
    other = randomize(theirs("resnet18", "sine"), queries=4.0)
    ours = DETR(our_config("resnet18", "sine")).eval()
    ours.load_state_dict(from_hugging_face(other.state_dict()))
    batch = NestedTensor.from_images(pictures())
    torch.manual_seed(1)
    targets = [{"labels": torch.randint(5, (t,)), "boxes": torch.rand(t, 4) * 0.3 + 0.35} for t in (3, 0, 4)]
    with torch.no_grad():
        out = other(
            pixel_values=batch.tensors,
            pixel_mask=(~batch.mask).long(),
            labels=[{"class_labels": t["labels"], "boxes": t["boxes"]} for t in targets],
        )
        criterion = SetCriterion(5, HungarianMatcher())
        mine = ours(batch)
        del mine["aux_outputs"]
        losses = criterion(mine, targets)
    for name in ("loss_ce", "loss_bbox", "loss_giou", "cardinality_error"):
        assert_close(losses[name], out.loss_dict[name].float(), rtol=1e-4, atol=1e-5)
    assert_close(criterion.total(losses), out.loss, rtol=1e-4, atol=1e-4)


def test_names_without_a_counterpart() -> None:
    with pytest.raises(ValueError, match=r"'depth_head\.lay1\.weight' has no counterpart"):
        from_hugging_face({"depth_head.lay1.weight": torch.ones(1)})
    with pytest.raises(ValueError, match=r"'transformer\.encoder\.norm\.weight' has no counterpart"):
        to_hugging_face({"transformer.encoder.norm.weight": torch.ones(1)})
    with pytest.raises(ValueError, match=r"layers\.0\.self_attn\.q_proj\.bias is there, but .*v_proj\.bias not"):
        from_hugging_face({f"model.encoder.layers.0.self_attn.{x}_proj.bias": torch.ones(1) for x in "qk"})
