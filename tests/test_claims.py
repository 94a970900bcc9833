"""``tools/claims.py``: it says of a bad model that it is bad, and of a good one that it is good."""

import claims as tool
import pytest
import torch

import detr_mini
from detr_mini.data import CocoDetection, eval_transforms
from detr_mini.evaluation import layer_outputs


def test_an_untrained_model_falls_short(town, tmp_path):
    torch.manual_seed(0)
    detr_mini.save(detr_mini.build("nano", hidden_dim=16, nheads=2), tmp_path / "bad.safetensors")
    accuracy, nms, used = tool.claims(str(tmp_path / "bad.safetensors"), town)
    assert not accuracy[0]
    assert "AP50 0.0" in accuracy[1]
    assert not nms[0], "no gain of NMS after the first layer either"
    assert not used[0]
    assert "in 0 of 12 scenes" in used[1]


def test_a_model_that_sees_all_holds(town, monkeypatch):
    """Every layer is right; the first one says everything twice."""
    val = CocoDetection(town, "val", eval_transforms(None))
    targets = [val[i][1] for i in range(len(val))]
    count = max(len(target["labels"]) for target in targets)
    logits = torch.full((2, len(val), 2 * count, 15), -9.0)
    logits[..., -1] = 2.0
    boxes = torch.full((2, len(val), 2 * count, 4), 0.5)
    for i, target in enumerate(targets):
        for j, (label, box) in enumerate(zip(target["labels"], target["boxes"], strict=True)):
            shift = i % 2 * count  # so that all queries are used
            for layer, query in ((0, j), (0, j + count), (1, (j + shift) % (2 * count))):
                logits[layer, i, query, label], boxes[layer, i, query] = 8.0 - j, box
    real = layer_outputs(detr_mini.load("nano"), val)
    outputs = real | {"pred_logits": logits, "pred_boxes": boxes}
    monkeypatch.setattr(tool, "layer_outputs", lambda model, dataset: outputs)
    found = tool.claims("nano", town)
    assert found[0][0], found[0]
    assert found[1][0], found[1]
    assert "+0.00 points after the last" in found[1][1]


@pytest.mark.slow
def test_mini_is_what_is_claimed(tmp_path):
    from detr_mini.data import make_data

    make_data(tmp_path, train=0, workers=1, progress=False)
    for holds, numbers in tool.claims("mini", tmp_path):
        assert holds, numbers
