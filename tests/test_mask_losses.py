"""``tools/mask_losses.py``: heads that differ in their loss alone, and their runs are stored."""

import json
from pathlib import Path
from typing import Any

import mask_losses
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from detr_mini import build, save
from detr_mini.mask_terms import mask_terms
from detr_mini.modeling.segmentation import DETRSegmentation

TERMS = {"focal": "loss_mask", "dice": "loss_dice"}


def some_masks() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return 3 * torch.randn(4, 30, generator=rng), torch.rand(4, 30, generator=rng) > 0.6


@pytest.fixture
def weights(tmp_path: Path) -> str:
    torch.manual_seed(0)
    model = build("nano", masks=True, hidden_dim=16, nheads=2, enc_layers=1, dec_layers=1, num_classes=19)
    save(model, tmp_path / "small.safetensors")
    return str(tmp_path / "small.safetensors")


@pytest.mark.parametrize("form", ["focal", "dice", "focal and dice"])
def test_the_terms_are_those_of_the_package(form: str) -> None:
    logits, truth = some_masks()
    terms = mask_terms(logits.view(4, 5, 6), truth.view(4, 5, 6))
    wanted = sum(terms[TERMS[name]] for name in form.split(" and "))
    assert_close(mask_losses.loss_of(form, logits, truth.float()), wanted)


def test_cross_entropy_is_the_mean_over_the_pixels_of_a_mask() -> None:
    logits, truth = some_masks()
    p = torch.where(truth, logits.sigmoid(), 1 - logits.sigmoid())
    assert_close(mask_losses.loss_of("cross-entropy", logits, truth.float()), -p.log().mean(1).sum())


def test_heads_of_a_seed_begin_as_one_and_learn_apart(town: Any, weights: str) -> None:
    from detr_mini import load
    from detr_mini.data import CocoPanoptic, eval_transforms

    model = load(weights)
    assert isinstance(model, DETRSegmentation)
    before = {name: value.clone() for name, value in model.detr.state_dict().items()}
    heads = mask_losses.new_heads(model, 3)
    first, *others = (one.state_dict() for one in heads.values())
    assert all(other[name].equal(value) for other in others for name, value in first.items())
    mask_losses.train(heads, CocoPanoptic(town, "train", eval_transforms(None)), 3, steps=1)
    outs = [one.mask_head.lay3.weight for one in heads.values()]
    assert len({float(w.detach().sum()) for w in outs}) == len(mask_losses.FORMS)
    for one in heads.values():
        assert all(value.equal(before[name]) for name, value in one.detr.state_dict().items())


def test_a_run_is_stored(town: Any, weights: str, tmp_path: Path) -> None:
    line = mask_losses.run(weights, 5, town, tmp_path, steps=1, scenes=3)
    assert line.startswith("seed 5: cross-entropy 0.")
    kept = json.loads((tmp_path / "seed-5.json").read_text())
    assert (kept["steps"], kept["scenes"]) == (1, 3)
    for form in mask_losses.FORMS:
        assert len(kept[form]["iou"]) == len(kept[form]["area"]) == len(kept["area"]) == len(kept["label"])
    assert set(kept["label"]) & {15, 16, 17, 18}


def test_what_the_book_shows_is_stored_as_the_tool_makes_it() -> None:
    for path in mask_losses.STORED.glob("*.json"):
        kept = json.loads(path.read_text())
        assert (kept["steps"], kept["batch"]) == (mask_losses.STEPS, mask_losses.BATCH)
        assert kept["scenes"] == mask_losses.SCENES
        assert set(mask_losses.FORMS) <= kept.keys()
