"""Weights of Deformable DETR: ours, published files, Hugging Face's; all variants, known by their names and shapes."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from detr_mini import DeformableDETR, build, load, save
from detr_mini.data.coco_names import COCO_CLASSES
from detr_mini.errors import WeightsError
from detr_mini.hugging_face import to_hugging_face
from detr_mini.weights import load_backbone, load_to_train

SIZES: dict[str, Any] = {
    "backbone": "resnet18",
    "hidden_dim": 32,
    "nheads": 8,
    "enc_layers": 1,
    "dec_layers": 2,
    "enc_points": 3,
    "dec_points": 2,
    "dim_feedforward": 24,
    "num_queries": 6,
    "num_classes": 5,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "single": {"num_feature_levels": 1},
    "multi": {},
    "refine": {"with_box_refine": True},
    "two_stage": {"with_box_refine": True, "two_stage": True},
}


def make(variant: str = "multi", **changes: Any) -> DeformableDETR:
    """A published model, as small as it gets, with heads that differ."""
    torch.manual_seed(0)
    model = build("deformable_detr_resnet50", **(SIZES | VARIANTS[variant] | changes)).eval()
    assert isinstance(model, DeformableDETR)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    return model


def assert_same(found: Any, wanted: DeformableDETR) -> None:
    first, second = found.state_dict(), wanted.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    if wanted.config.with_box_refine:  # still one head under two names
        assert found.transformer.decoder.bbox_embed[0] is found.bbox_embed[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_there_and_back_with_every_bit(variant: str, tmp_path: Path) -> None:
    model = make(variant)
    model.class_names = {1: "dog"}
    save(model, tmp_path / "x.safetensors", dtype=None)
    again = load(tmp_path / "x.safetensors")
    assert_same(again, model)
    assert again.config == model.config
    assert again.class_names == {1: "dog"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_published_file_shows_its_config(variant: str, tmp_path: Path) -> None:
    model = make(variant)
    path = tmp_path / "r50_deformable_detr-checkpoint.pth"
    torch.save({"model": model.state_dict(), "args": argparse.Namespace(lr=2e-4), "epoch": 49}, path)
    told = {"num_queries": 6} if variant == "two_stage" else {}
    again = load(path, **told)
    assert_same(again, model)
    assert again.config == model.config


def test_the_number_of_heads_tells_the_number_of_points(tmp_path: Path) -> None:
    model = make(nheads=4, enc_points=3, dec_points=2)
    torch.save(model.state_dict(), tmp_path / "x.pth")
    assert load(tmp_path / "x.pth", nheads=4).config == model.config


def test_91_classes_are_those_of_coco(tmp_path: Path) -> None:
    torch.save(make(num_classes=91).state_dict(), tmp_path / "x.pth")
    assert load(tmp_path / "x.pth").class_names == COCO_CLASSES


def stored_once(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As Hugging Face stores what has several names: under the first of them."""
    seen: set[int] = set()
    return {key: v for key, v in state.items() if v.data_ptr() not in seen and not seen.add(v.data_ptr())}  # type: ignore[func-returns-value]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_file_of_hugging_face_loads_whichever_name_it_kept(variant: str, tmp_path: Path) -> None:
    model = make(variant)
    state = stored_once(to_hugging_face(model.state_dict()))
    assert len(state) < len(to_hugging_face(model.state_dict()))
    save_file({key: value.clone() for key, value in state.items()}, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors", **({"num_queries": 6} if variant == "two_stage" else {}))
    assert_same(again, model)


def test_a_class_head_that_all_layers_share_is_stored_once(tmp_path: Path) -> None:
    model = make("refine")
    for head in model.class_embed[1:]:
        head.load_state_dict(model.class_embed[0].state_dict())
    state = {key: value.clone() for key, value in to_hugging_face(model.state_dict()).items()}
    state = {key: value for key, value in state.items() if "class_embed.1" not in key}
    save_file(state, tmp_path / "model.safetensors")
    assert_same(load(tmp_path / "model.safetensors"), model)


@pytest.mark.parametrize("variant", ["multi", "two_stage"])
def test_to_train_on_with_other_classes_and_queries(variant: str, tmp_path: Path, capsys: Any) -> None:
    model = make(variant)
    model.class_names = {1: "dog", 4: "cat"}
    save(model, tmp_path / "x.safetensors", dtype=None)
    again = load_to_train(tmp_path / "x.safetensors", class_names={1: "boat"}, num_queries=9)
    assert isinstance(again, DeformableDETR)
    assert (again.config.num_classes, again.config.num_queries) == (2, 9)
    assert torch.equal(again.transformer.level_embed, model.transformer.level_embed)
    said = capsys.readouterr().err
    assert "the class head, for num_classes=2, starts from random numbers" in said
    assert ("of the 9 queries 6 are those of the weights" in said) == (variant == "multi")
    assert again([torch.rand(3, 64, 80)])["pred_logits"].shape == (1, 9, 2)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    state = make().state_dict()
    del state["query_embed.weight"]
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"no tensor is called 'query_embed\.weight'"):
        load(tmp_path / "x.pth")
    torch.save(make().state_dict(), tmp_path / "y.pth")
    with pytest.raises(WeightsError, match="the weights do not fit the config"):
        load(tmp_path / "y.pth", two_stage=True, with_box_refine=True)


def test_a_backbone_of_its_own(tmp_path: Path) -> None:
    model, other = make(), make("single")
    state = {f"{key}": value + 1 for key, value in other.backbone[0].body.state_dict().items()}  # type: ignore[union-attr, operator]
    torch.save(state, tmp_path / "resnet.pth")
    load_backbone(model, tmp_path / "resnet.pth")
    found = model.backbone[0].body.state_dict()  # type: ignore[union-attr, operator]
    assert all(torch.equal(found[key], value) for key, value in state.items())
