"""``tools/broken_runs.py``: each fault does what it says, and what is stored is what it makes."""

import json
from pathlib import Path

import broken_runs
import pytest
import torch

from detr_mini.boxes import box_cxcywh_to_xyxy
from detr_mini.matcher import HungarianMatcher
from detr_mini.training.recipe import RECIPES
from detr_mini.training.trainer import Trainer

BOXES = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.1, 0.2, 0.2, 0.4], [0.9, 0.9, 0.2, 0.2]])


@pytest.fixture
def run(tmp_path):
    return Trainer(broken_runs.CONFIG, RECIPES["nano"], tmp_path / "run", 32)


def test_boxes_are_shifted_by_half_their_size_and_clipped():
    (spoiled,) = broken_runs.read_xywh_as_cxcywh([{"boxes": BOXES, "labels": torch.tensor([1, 2, 3])}])
    assert torch.allclose(spoiled["boxes"][0], torch.tensor([0.4, 0.3, 0.2, 0.4]))
    corners = box_cxcywh_to_xyxy(spoiled["boxes"])
    assert torch.allclose(corners[1], torch.tensor([0.0, 0.0, 0.1, 0.2]), atol=1e-6)
    assert spoiled["labels"].tolist() == [1, 2, 3]
    assert BOXES[0, 0] == 0.5, "the targets themselves stay as they are"


def test_the_package_lets_these_boxes_pass(run):
    """A fault that the checks catch would not need a log to be found."""
    (spoiled,) = broken_runs.read_xywh_as_cxcywh([{"boxes": BOXES, "labels": torch.tensor([1, 2, 3])}])
    outputs = {"pred_logits": torch.zeros(1, 25, 15), "pred_boxes": torch.full((1, 25, 4), 0.5)}
    assert len(HungarianMatcher()(outputs, [spoiled])[0][0]) == 3


def test_the_class_term_is_left_out_of_the_total(run):
    losses = {name: torch.tensor(1.0) for name in ("loss_ce", "loss_bbox", "loss_giou", "loss_ce_0")}
    assert run.criterion.total(losses) == 9
    broken_runs.forget_the_class_term(run)
    assert run.criterion.total(losses) == 7


def test_the_new_head_is_not_in_the_optimizer(run):
    broken_runs.replace_the_head(run)
    stepped = {id(weight) for group in run.optimizer.param_groups for weight in group["params"]}
    assert id(run.model.class_embed.weight) not in stepped
    assert id(run.model.bbox_embed.layers[0].weight) in stepped


@pytest.mark.parametrize("name", broken_runs.FAULTS)
def test_a_run_stores_its_log(town, tmp_path, monkeypatch, name):
    monkeypatch.setattr("detr_mini.training.trainer.LOG_EVERY", 1)
    monkeypatch.setattr(broken_runs, "evaluate", lambda *_: {"AP50": 0.25})
    path = broken_runs.train(name, town, tmp_path, parts=2, steps=1)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert path == tmp_path / f"{name}.jsonl"
    assert ["loss" in line for line in lines] == [True, False, True, False]
    assert [line["step"] for line in lines] == [1, 1, 2, 2]
    assert lines[1]["AP50"] == 0.25


def test_what_is_stored_are_whole_runs():
    logs = {path.stem: path.read_text().splitlines() for path in Path(broken_runs.STORED).glob("*.jsonl")}
    assert set(logs) == set(broken_runs.FAULTS)
    for lines in logs.values():
        rows = [json.loads(line) for line in lines]
        assert [row["step"] for row in rows if "AP50" in row] == [500, 1000, 1500]
        assert [row["step"] for row in rows if "loss" in row] == list(range(50, 1501, 50))
