"""``tools/measure_masks.py``: what it takes away is what it says, and its counts are those of the package."""

import json
from pathlib import Path
from typing import Any

import measure_masks as tool
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from detr_mini import build
from detr_mini.data import CocoPanoptic, eval_transforms
from detr_mini.modeling.segmentation import THRESHOLD, DETRSegmentation, at_size


@pytest.fixture
def model() -> DETRSegmentation:
    torch.manual_seed(0)
    made = build("nano", masks=True, hidden_dim=32, nheads=2, enc_layers=1, dec_layers=1, num_classes=19).eval()
    assert isinstance(made, DETRSegmentation)
    return made


@pytest.fixture
def val(town: Any) -> CocoPanoptic:
    return CocoPanoptic(town, "val", eval_transforms(None))


def test_unchanged_it_is_the_model(model: DETRSegmentation, val: CocoPanoptic) -> None:
    image, target = val[0]
    scene = tool.Scene(model, image, target)
    with torch.no_grad():
        whole = model([image])["pred_masks"][0]
    slots = torch.arange(model.config.num_queries)
    assert_close(scene.logits(scene.maps(slots)), whole, rtol=1e-4, atol=1e-4)
    masks = tool.masks_of(scene, 0.1)
    assert masks.keys() == set(tool.MEASURES)
    assert (masks["head"] == (at_size(whole[scene.slot], scene.size) > 0)).float().mean() > 0.999


def test_without_a_level_its_detail_is_gone_and_its_mean_is_left(model: DETRSegmentation, val: CocoPanoptic) -> None:
    scene = tool.Scene(model, *val[0])
    maps = scene.maps(scene.slot)
    level = scene.seen.levels[0]  # the finest
    before = scene.logits(maps)
    flat = level.tensors.mean((2, 3), keepdim=True).expand_as(level.tensors)
    scene.seen = scene.seen._replace(levels=[type(level)(flat, level.mask), *scene.seen.levels[1:]])
    assert_close(scene.logits(maps), tool.Scene(model, *val[0]).logits(maps, (2,)))
    assert not scene.logits(maps).allclose(before)


def test_a_box_filled_and_a_mask_drawn_in_cells() -> None:
    box = torch.tensor([[0.5, 0.5, 0.5, 1.0]])
    assert tool.filled(box, (2, 4))[0].tolist() == [[False, True, True, False]] * 2
    truth = torch.zeros(1, 8, 8, dtype=torch.bool)
    truth[0, 2:6, 2:6] = True
    assert tool.perfect(truth, 1).equal(truth)
    assert tool.overlap(truth, truth).tolist() == [1]
    shifted = truth.roll(2, 2)
    assert tool.overlap(truth, shifted).tolist() == pytest.approx([8 / 24])
    dot = torch.zeros(1, 8, 8, dtype=torch.bool)
    dot[0, 3, 3] = True
    assert not tool.perfect(dot, 4).any()


def test_every_slot_speaks_where_none_may_be_silent() -> None:
    said = tool.everyone({"pred_logits": torch.tensor([[[0.0, 1, 9]]])})
    assert said["pred_logits"].argmax(-1).item() == 1


def test_thickness_and_company(model: DETRSegmentation, val: CocoPanoptic) -> None:
    image, target = val[0]
    scene = tool.Scene(model, image, target)
    masks = torch.zeros(2, *scene.size, dtype=torch.bool)
    masks[0, 10:14, 10:30] = masks[1, 12:14, 20:30] = True  # the second on a part of the first one's box
    masks[0] &= ~masks[1]
    boxes = torch.tensor([[20.0, 12, 20, 4], [25, 13, 10, 2]]) / torch.tensor([*scene.size[::-1]] * 2)
    scene.truth, scene.true_boxes, scene.labels = masks, boxes, torch.tensor([1, 2])
    scene.slot = torch.tensor([0, 1])
    label, area, thickness, crowded, p = tool.about(scene, frozenset({15})).unbind(1)
    assert label.tolist() == [1, 2]
    assert area.tolist() == [60, 20]
    assert thickness.tolist() == [4, 2]
    assert crowded.tolist() == pytest.approx([0.25, 0])
    assert ((p > 0) & (p < 1)).all()


def test_all_is_stored(model: DETRSegmentation, val: CocoPanoptic, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(tool, "LESSONS", 2)
    model.class_names, model.stuff = val.class_names, val.stuff
    tool.measure(model, val, val, tmp_path)
    stored = load_file(tmp_path / "objects.safetensors")
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    objects = sum(len(val[i][1]["labels"]) for i in range(len(val)))
    assert stored["iou"].shape == (objects, len(tool.MEASURES))
    assert stored["about"].shape == (objects, 5)
    assert stored["tallies"].shape == (len(val), 19, 4)
    names = numbers["quality"].keys()
    assert {str(THRESHOLD), "every slot", "Hugging Face 0.5"} <= names
    matched = sum(counts[0] for counts in numbers["counts"][str(THRESHOLD)].values())
    assert stored["tallies"][..., 0].sum() == matched
    assert numbers["share"] in tool.SHARES


def test_what_the_book_shows_is_of_all_scenes() -> None:
    stored = load_file(tool.STORED / "objects.safetensors")
    assert stored["tallies"].shape == (500, 19, 4)
    assert stored["scene"].max() == 499
    measures: list[str] = json.loads((tool.STORED / "numbers.json").read_text())["measures"]
    assert measures == list(tool.MEASURES)
    iou: Tensor = stored["iou"]
    assert ((iou >= 0) & (iou <= 1)).all()
