"""Parity with transformers' ``DetrForSegmentation`` on random weights: names, masks, and the mask terms of the loss."""

from typing import Any

import pytest
import torch
from test_hugging_face import BODIES, our_config, pictures
from their_models import names_of_their_resnet, randomize
from torch import Tensor
from torch.testing import assert_close

from detr_mini import NestedTensor, build, build_criterion, load
from detr_mini.hugging_face import from_hugging_face, to_hugging_face
from detr_mini.modeling.segmentation import DETRSegmentation

transformers = pytest.importorskip("transformers")


def ours(body: str) -> DETRSegmentation:
    torch.manual_seed(2)
    model = build(our_config(body, "sine"), masks=True, hidden_dim=64, nheads=8)
    assert isinstance(model, DETRSegmentation)
    return model.eval()


def theirs(body: str) -> Any:
    """Their model with transformers' own ResNet, small and with random weights: nothing is downloaded."""
    torch.manual_seed(2)
    stages = ["stage1", "stage2", "stage3", "stage4"]
    config = transformers.DetrConfig(
        backbone_config=transformers.ResNetConfig(embedding_size=64, out_features=stages, **BODIES[body]),
        d_model=64,
        encoder_layers=2,
        decoder_layers=3,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        num_queries=7,
        num_labels=5,
        auxiliary_loss=False,
    )
    return transformers.DetrForSegmentation(config).eval()


@torch.no_grad()
def randomized(model: Any) -> Any:
    """Also the mask head, whose convolutions have four dimensions; the slots' small maps leave a trace."""
    randomize(model, queries=4.0)
    for name, value in model.state_dict().items():
        if value.dim() == 4 and "mask_head" in name:
            value.normal_(std=1.5 * value[0].numel() ** -0.5)
        if name in ("mask_head.lay1.weight", "mask_head.conv1.conv.weight"):
            value[:, -8:] *= 100
    return model


def compare(mine: dict[str, Any], out: Any) -> None:
    assert_close(mine["pred_masks"], out.pred_masks, rtol=1e-4, atol=1e-4)
    assert_close(mine["pred_logits"], out.logits, rtol=1e-4, atol=1e-4)
    assert_close(mine["pred_boxes"], out.pred_boxes, rtol=1e-4, atol=1e-4)
    assert out.pred_masks.std(0).mean() > 0.02  # pictures differ,
    assert out.pred_masks.std(1).mean() > 0.002  # and slots do: there is something to compare


@pytest.mark.parametrize("body", ["resnet18", "resnet50"])
@torch.no_grad()
def test_their_weights_in_our_model(body: str) -> None:
    other, model = randomized(theirs(body)), ours(body)
    model.load_state_dict(from_hugging_face(other.state_dict()), strict=True)
    batch = NestedTensor.from_images(pictures())
    assert batch.padding_mask is not None
    compare(model(batch), other(pixel_values=batch.tensors, pixel_mask=(~batch.mask).long()))


@torch.no_grad()
def test_our_weights_in_their_model() -> None:
    model, other = randomized(ours("resnet18")), theirs("resnet18")
    there = to_hugging_face(model.state_dict())
    state = {}
    for key, value in there.items():
        name = key.removeprefix("detr.")
        state[key.removesuffix(name) + names_of_their_resnet(name)] = value
    other.load_state_dict(state, strict=True)
    batch = NestedTensor.from_images(pictures())
    compare(model(batch), other(pixel_values=batch.tensors, pixel_mask=(~batch.mask).long()))


def test_there_and_back_changes_nothing() -> None:
    state = randomized(ours("resnet18")).state_dict()
    there = to_hugging_face(state)
    assert "mask_head.fpn_stages.2.refine.norm.weight" in there
    assert "detr.model.encoder.layers.0.self_attn.q_proj.weight" in there
    for names in (there, {k: v for k, v in there.items() if k.startswith("detr.")} | _older(state)):
        back = from_hugging_face(names)
        assert back.keys() == state.keys()
        assert all(torch.equal(back[key], state[key]) for key in state)


def _older(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The head as files on the hub name it, from the years before transformers 5: as published."""
    return {key: value for key, value in state.items() if not key.startswith("detr.")}


def test_a_file_of_theirs_loads(tmp_path: Any) -> None:
    from safetensors.torch import save_file

    other = randomized(theirs("resnet18"))
    save_file(other.state_dict(), tmp_path / "model.safetensors")
    model = load(tmp_path / "model.safetensors", nheads=8)
    assert isinstance(model, DETRSegmentation)
    batch = NestedTensor.from_images(pictures())
    with torch.no_grad():
        compare(model(batch), other(pixel_values=batch.tensors, pixel_mask=(~batch.mask).long()))


def test_a_name_without_a_counterpart() -> None:
    with pytest.raises(ValueError, match=r"'mask_head\.lay6\.weight' has no counterpart"):
        from_hugging_face({"mask_head.lay6.weight": torch.ones(1)})


def test_losses_agree() -> None:
    other, model = randomized(theirs("resnet18")), ours("resnet18")
    model.load_state_dict(from_hugging_face(other.state_dict()))
    batch = NestedTensor.from_images(pictures())
    rng = torch.Generator().manual_seed(1)
    targets = []
    for count in (3, 0, 4):
        boxes = torch.rand(count, 4, generator=rng) * 0.3 + 0.35
        masks = torch.rand(count, *batch.mask.shape[1:], generator=rng) > 0.7
        targets.append({"labels": torch.randint(5, (count,), generator=rng), "boxes": boxes, "masks": masks})
    with torch.no_grad():
        out = other(
            pixel_values=batch.tensors,
            pixel_mask=(~batch.mask).long(),
            labels=[{"class_labels": t["labels"], "boxes": t["boxes"], "masks": t["masks"].float()} for t in targets],
        )
        criterion = build_criterion(model.config)
        outputs = model(batch)
        del outputs["aux_outputs"]
        losses = criterion(outputs, targets)
    for name in ("loss_ce", "loss_bbox", "loss_giou", "loss_mask", "loss_dice"):
        assert_close(losses[name], out.loss_dict[name].float(), rtol=1e-4, atol=1e-5)
    assert_close(criterion.total(losses), out.loss, rtol=1e-4, atol=1e-4)
