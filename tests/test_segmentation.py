"""The model with masks: names, counts, padding, and what each of its parts does."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from detr_mini import DETRConfig, NestedTensor, build, build_criterion, load, save
from detr_mini.commands.cli import main
from detr_mini.modeling.config import CONFIGS
from detr_mini.modeling.mask_head import AttentionMap, MaskHead
from detr_mini.modeling.segmentation import DETRSegmentation
from detr_mini.training.optimization import make_optimizer
from detr_mini.training.recipe import RECIPES, Recipe
from detr_mini.training.train import train
from detr_mini.weights import load_to_train

MASKS = "mini_panoptic_masks"  # a recipe
SMALL: dict[str, Any] = {"hidden_dim": 32, "enc_layers": 1, "dec_layers": 2, "num_queries": 6, "num_classes": 5}


def make(**changes: Any) -> DETRSegmentation:
    torch.manual_seed(0)
    model = build("nano", masks=True, **(SMALL | changes))
    assert isinstance(model, DETRSegmentation)
    return model.eval()


def pictures(*sizes: tuple[int, int]) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(3, h, w, generator=rng) for h, w in sizes]


def test_names_and_numbers_are_the_published_ones() -> None:
    with torch.device("meta"):
        model = build("detr_resnet50", masks=True, num_classes=250)
    assert sum(p.numel() for p in model.parameters()) == 42_899_288
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 42_676_888
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert len(shapes) == 490
    head = {key: shape for key, shape in shapes.items() if not key.startswith("detr.")}
    widths = [264, 264, 128, 64, 32, 16]
    expected = {"mask_head.out_lay.weight": (1, 16, 3, 3), "mask_head.out_lay.bias": (1,)}
    for n in range(1, 6):
        expected |= {
            f"mask_head.lay{n}.weight": (widths[n], widths[n - 1], 3, 3),
            f"mask_head.lay{n}.bias": (widths[n],),
        }
        expected |= {f"mask_head.gn{n}.{part}": (widths[n],) for part in ("weight", "bias")}
    for n, (a, b) in enumerate(((1024, 128), (512, 64), (256, 32)), start=1):
        expected |= {f"mask_head.adapter{n}.weight": (b, a, 1, 1), f"mask_head.adapter{n}.bias": (b,)}
    for part in ("q_linear", "k_linear"):
        expected |= {f"bbox_attention.{part}.weight": (256, 256), f"bbox_attention.{part}.bias": (256,)}
    assert head == expected


def test_the_detector_is_the_same_with_and_without_masks() -> None:
    model = make()
    plain = build("nano", **SMALL).eval()
    plain.load_state_dict(model.detr.state_dict())
    samples = pictures((64, 80), (70, 50))
    outputs, expected = model(samples), plain(samples)
    assert outputs.keys() - expected.keys() == {"pred_masks"}
    assert_close({key: outputs[key] for key in expected}, expected)


@pytest.mark.parametrize(("body", "stride"), [("small", 2), ("resnet18", 4), ("resnet50", 4)])
def test_masks_have_the_stride_of_the_finest_map(body: str, stride: int) -> None:
    with torch.device("meta"):
        model = build("nano", masks=True, backbone=body, **SMALL).eval()
        mask = torch.zeros(2, 70, 97, dtype=torch.bool)
        outputs = model(NestedTensor(torch.empty(2, 3, 70, 97), mask))
    assert outputs["pred_masks"].shape == (2, 6, math.ceil(70 / stride), math.ceil(97 / stride))


def test_padding_changes_no_mask_of_a_small_body() -> None:
    model = make()
    for name, parameter in model.mask_head.named_parameters():
        if name.endswith("bias"):  # zero at the start; others would leave traces in the padding
            torch.nn.init.normal_(parameter)
    samples = pictures((77, 90), (96, 61), (33, 40))
    together = model(samples)["pred_masks"]
    for picture, mask in zip(samples, together, strict=True):
        alone = model([picture])["pred_masks"][0]
        assert alone.std() > 0.1
        assert_close(mask[:, : alone.shape[1], : alone.shape[2]], alone, rtol=1e-4, atol=1e-4)


def test_maps_of_all_heads_of_a_slot_sum_to_one_and_leave_out_padding() -> None:
    torch.manual_seed(0)
    slots, memory = torch.randn(2, 3, 16), torch.randn(2, 16, 4, 5)
    mask = torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[1, :, 3:] = True
    attention = AttentionMap(16, heads=4)
    maps = attention(slots, memory, mask)
    assert maps.shape == (2, 3, 4, 4, 5)
    assert_close(maps.sum((2, 3, 4)), torch.ones(2, 3))
    assert not maps[1, ..., 3:].any()
    assert_close(attention(slots[:1], memory[:1], None), maps[:1])
    q, k = attention.q_linear(slots[1, 2]).view(4, 4), attention.k_linear(memory[1, :, 0, 1]).view(4, 4)
    other = attention.k_linear(memory[1, :, 2, 2]).view(4, 4)
    ratio = ((q[1] * k[1]).sum() / 2).exp() / ((q[3] * other[3]).sum() / 2).exp()  # the root of four numbers a head
    assert_close(maps[1, 2, 1, 0, 1] / maps[1, 2, 3, 2, 2], ratio)


def test_the_first_convolution_is_that_over_both_together() -> None:
    torch.manual_seed(0)
    head = MaskHead(32, 4, (12, 8, 8))
    torch.nn.init.normal_(head.lay1.bias)
    cells, maps = torch.randn(2, 32, 5, 6), torch.rand(2, 3, 4, 5, 6)
    both = torch.cat([cells[:, None].expand(-1, 3, -1, -1, -1), maps], dim=2).flatten(0, 1)
    assert_close(head._first(cells, maps.flatten(0, 1), None), head.lay1(both), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("body", ["small", "resnet18"])
def test_training_makes_the_masks_of_matched_slots_alone(body: str) -> None:
    model = make(backbone=body, freeze_resnet=False).train()
    outputs = model(pictures((64, 80), (70, 50)))
    masks = outputs["pred_masks"]
    index = torch.tensor([7, 0, 11, 2])
    assert_close(masks[index], masks.all().flatten(0, 1)[index], rtol=1e-5, atol=1e-5)
    targets = [
        {"labels": torch.tensor([1]), "boxes": torch.full((1, 4), 0.4), "masks": torch.rand(1, 70, 80) > 0.5},
        {"labels": torch.tensor([2, 0]), "boxes": torch.full((2, 4), 0.3), "masks": torch.rand(2, 70, 80) > 0.5},
    ]
    criterion = build_criterion(model.config)
    assert_close(criterion(outputs, targets), criterion(outputs | {"pred_masks": masks.all()}, targets))


def test_a_frozen_detector_stays_as_it_is_while_the_head_learns(tmp_path: Path, town: Path) -> None:
    model = make(num_classes=19, num_queries=25)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recipe = Recipe(epochs=1, batch_size=8, freeze_detector=True, sizes=None, lr=1e-3)
    trained = train(model, recipe, town, tmp_path / "run", progress=False, panoptic=True)
    changed = {name.split(".")[0] for name, value in trained.state_dict().items() if not value.equal(before[name])}
    assert changed == {"bbox_attention", "mask_head"}  # and no running mean of a norm in the detector's body
    assert trained.stuff == {15, 16, 17, 18}
    assert not model.train().detr.training
    assert model.mask_head.training


def test_only_a_head_on_a_trained_detector_can_be_trained_alone(tmp_path: Path, town: Path, capsys: Any) -> None:
    recipe = Recipe(freeze_detector=True, sizes=None)
    with pytest.raises(ValueError, match="has none: set masks=True"):
        train(build("nano", **SMALL | {"num_classes": 19}), recipe, town, tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="would keep its random weights"):
        train(replace(make().config, num_classes=19), recipe, town, tmp_path / "run", progress=False)
    asked = ["train", "--data", str(town), "--panoptic", "--recipe", MASKS, "--out", str(tmp_path / "run")]
    assert main([*asked, "--config", "mini_panoptic"]) == 2
    assert "give its --weights" in capsys.readouterr().err
    assert main([*asked, "--weights", "mini", "--set", "config.masks=true"]) == 2
    assert "mini does not know the data's sky, grass, road" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_freezes_has_to_be_asked_for(town: Path, tmp_path: Path) -> None:
    """Whoever trains on from mini_panoptic, perhaps on other classes, trains all of it."""
    assert not any(recipe.freeze_detector for name, recipe in RECIPES.items() if name in CONFIGS)


def test_the_detectors_body_has_a_learning_rate_of_its_own_with_masks_too() -> None:
    head, body = make_optimizer(make(), Recipe(lr=3e-4, lr_backbone=5e-5)).param_groups
    assert len(head["params"]) + len(body["params"]) == len(list(make().parameters()))
    assert len(body["params"]) == len(list(make().backbone.parameters()))
    assert (head["lr"], body["lr"]) == (3e-4, 5e-5)


def test_a_published_panoptic_file_knows_what_is_stuff(tmp_path: Path) -> None:
    model = make(num_classes=250)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "x.safetensors")
    loaded = load(tmp_path / "x.safetensors", nheads=4)
    assert (90 in loaded.stuff, 92 in loaded.stuff, 200 in loaded.stuff) == (False, True, True)


def test_saved_and_loaded(tmp_path: Any) -> None:
    model = make()
    model.class_names, model.stuff = {1: "car", 3: "sky"}, frozenset({3})
    save(model, tmp_path / "masks.safetensors", dtype=None)
    loaded = load(tmp_path / "masks.safetensors")
    assert (loaded.class_names, loaded.stuff) == ({1: "car", 3: "sky"}, {3})
    samples = pictures((64, 80))
    assert_close(loaded(samples)["pred_masks"], model(samples)["pred_masks"])


def test_a_published_file_shows_its_config(tmp_path: Any) -> None:
    model = build(
        DETRConfig(backbone="resnet18", masks=True, enc_layers=1, dec_layers=1, hidden_dim=64, num_classes=250)
    )
    torch.save({"model": model.state_dict()}, tmp_path / "detr-panoptic.pth")
    loaded = load(tmp_path / "detr-panoptic.pth")
    assert isinstance(loaded, DETRSegmentation)
    assert (loaded.config.backbone, loaded.config.num_classes, loaded.config.masks) == ("resnet18", 250, True)
    assert loaded.mask_head.lay3.weight.equal(model.state_dict()["mask_head.lay3.weight"])


def test_a_detector_gets_a_mask_head(tmp_path: Any, capsys: Any) -> None:
    plain = build("nano", **SMALL)
    save(plain, tmp_path / "plain.safetensors", dtype=None)
    model = load_to_train(tmp_path / "plain.safetensors", masks=True, num_queries=9)
    assert isinstance(model, DETRSegmentation)
    assert model.detr.bbox_embed.layers[0].weight.equal(plain.state_dict()["bbox_embed.layers.0.weight"])
    said = capsys.readouterr().err
    assert "the mask head starts from random numbers: the weights have none" in said
    assert "of the 9 queries 6 are those of the weights, which have 6, 3 start from random numbers" in said
    assert model.detr.query_embed.weight.shape[0] == 9


def test_trained_and_used_by_command(town: Path, tmp_path: Path, capsys: Any) -> None:
    fields = ("masks=true", "hidden_dim=32", "enc_layers=1", "dec_layers=2", "dim_feedforward=24")
    settings = [word for field in fields for word in ("--set", f"config.{field}")]
    run = tmp_path / "run"
    command = ["train", "--data", str(town), "--config", "nano", *settings, "--batch-size", "8", "--epochs", "1"]
    assert main([*command, "--out", str(run)]) == 0
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {"loss_mask", "loss_dice", "AP"} <= set().union(*log)
    assert not {"loss_mask_0", "loss_dice_0"} & set().union(*log)
    weights = str(run / "model.safetensors")
    assert isinstance(load(weights), DETRSegmentation)
    capsys.readouterr()
    assert main(["evaluate", "--data", str(town), "--weights", weights]) == 0
    assert "AP50" in capsys.readouterr().out
    image = sorted((town / "val").iterdir())[0]
    assert main(["predict", str(image), "--weights", weights, "--threshold", "0", "--out", str(tmp_path / "out")]) == 0


def test_targets_without_masks_are_refused() -> None:
    model = make()
    target = {"labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]])}
    with pytest.raises(ValueError, match="the model gives masks, but the targets have none"):
        build_criterion(model.config)(model(pictures((64, 80))), [target])


def test_the_mask_terms_of_a_batch_without_objects_are_zero() -> None:
    model = make()
    nothing = {
        "labels": torch.zeros(0, dtype=torch.int64),
        "boxes": torch.zeros(0, 4),
        "masks": torch.zeros(0, 64, 80) > 0,
    }
    losses = build_criterion(model.config)(model(pictures((64, 80))), [nothing])
    assert losses["loss_mask"] == losses["loss_dice"] == 0
    sum(losses.values()).backward()
    assert not model.mask_head.lay1.weight.grad.any()


def hand_made(masks: Tensor) -> dict[str, Tensor]:
    """What a model says of one image that gives these masks ``(N, h, w)``."""
    n = len(masks)
    return {"pred_logits": torch.zeros(1, n, 6), "pred_boxes": torch.zeros(1, n, 4), "pred_masks": masks[None]}


def test_masks_come_with_the_sizes_that_the_model_saw() -> None:
    outputs = hand_made(torch.zeros(3, 4, 5))
    sizes = torch.tensor([[16, 20]])
    (plain,) = make().postprocess(outputs, sizes)
    (found,) = make().postprocess(outputs, sizes, torch.tensor([[8, 10]]))
    assert found.keys() - plain.keys() == {"masks"}
    assert_close({key: found[key] for key in plain}, plain)
    assert found["masks"].dtype == torch.bool
    assert found["masks"].shape == (3, 16, 20)


def test_masks_are_resized_before_the_threshold() -> None:
    """Between 1 and -4 a straight line falls below 0 after a fifth of the way; a mask of 0 and 1 would end half way."""
    outputs = hand_made(torch.tensor([[[1.0, -4.0]]]))
    to_the_batch = make().postprocess(outputs, torch.tensor([[1, 20]]), torch.tensor([[1, 20]]))
    assert to_the_batch[0]["masks"].sum() == 7, (
        "5 of the first half's 10, and a fifth of the 10 between the two centers"
    )
    to_the_image = make().postprocess(outputs, torch.tensor([[1, 20]]), torch.tensor([[1, 2]]))
    assert to_the_image[0]["masks"].equal(to_the_batch[0]["masks"])


def test_masks_are_cut_out_of_the_batch_and_then_resized() -> None:
    masks = torch.full((2, 4, 6), -1.0)
    masks[1, :2, :3] = 1  # the picture; the rest is padding
    outputs = hand_made(masks)
    sizes, seen = torch.tensor([[10, 12]]), torch.tensor([[4, 6]])
    (found,) = make().postprocess(outputs, sizes, seen, (8, 12))
    assert not found["masks"][0].any()
    assert found["masks"][1].all()
    (whole,) = make().postprocess(outputs, sizes, seen)
    assert whole["masks"][1, :5, :6].all(), "without the size of the batch the masks are those of the picture"
    assert not whole["masks"][1, 5:].any()
    outputs["pred_masks"][0, 1, 0, 0] = -9
    (found,) = make().postprocess(outputs, sizes, seen, (8, 12))
    assert not found["masks"][1, :5, :4].any(), "a cell is two pixels of the batch: five by four of the image"
    assert found["masks"][1, -1, -1]


def test_an_image_of_a_batch_has_the_masks_that_it_has_alone() -> None:
    model = make()
    samples = pictures((64, 96), (96, 64))  # whole cells of the coarsest map
    with torch.no_grad():
        together, alone = model(samples), model(samples[:1])
    sizes, seen = torch.tensor([[32, 48], [50, 30]]), torch.tensor([[64, 96], [96, 64]])
    found = model.postprocess(together, sizes, seen, (96, 96))
    (expected,) = model.postprocess(alone, sizes[:1], seen[:1])
    differ = found[0]["masks"] != expected["masks"]
    assert 0.05 < expected["masks"].float().mean() < 0.9
    assert not differ[:, :-1, :].any(), "at the edge to the padding a pixel is between the two"
    assert found[1]["masks"].shape == (6, 50, 30)
