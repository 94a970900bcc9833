"""``tools/watch_training.py``: what it keeps of a training, and when."""

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from detr_mini.data import CocoDetection, collate, eval_transforms, make_data
from detr_mini.detr import build

TOOL = Path(__file__).resolve().parent.parent / "tools" / "watch_training.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("watch_training", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_keeps_the_predictions_at_the_chosen_steps(tool, tmp_path):
    make_data(tmp_path, train=0, val=tool.SCENES.stop, workers=1, progress=False)
    val = CocoDetection(tmp_path, "val", eval_transforms(None))
    watcher, model = tool.Watcher(val), build("nano").train()
    for step in (0, 1, 20):
        watcher(step, model)
    kept = watcher.tensors()
    assert kept["steps"].tolist() == [0, 20]
    samples, _ = collate([val[i] for i in kept["scenes"].tolist()])
    with torch.no_grad():
        boxes = model.eval()(samples)["pred_boxes"]
    assert kept["boxes"][1].equal(boxes.half())


def test_what_is_stored_has_its_steps_and_scenes(tool):
    stored = load_file(tool.STORED)
    assert set(stored["steps"].tolist()) == tool.STEPS
    assert stored["scenes"].tolist() == list(tool.SCENES)
