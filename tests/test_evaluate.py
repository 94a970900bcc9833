"""Evaluation: the numbers pycocotools gives for cases whose answer is known beforehand."""

import json

import pytest
import torch
from PIL import Image

from detr_mini.config import get_config
from detr_mini.data import CocoDetection, eval_transforms
from detr_mini.detr import DETR
from detr_mini.evaluate import COCO_NAMES, coco_metrics, detect, evaluate

BOXES = ([10, 10, 20, 20], [60, 10, 40, 60], [10, 50, 8, 8])  # xywh, areas 400, 2400 and 64


def write_coco(root, info=None):
    """One picture with three objects of two classes, one of each size under the bins [100, 1000]."""
    (root / "val").mkdir(parents=True)
    (root / "annotations").mkdir()
    Image.new("RGB", (120, 90)).save(root / "val" / "1.png")
    annotations = [
        {"id": i + 1, "image_id": 7, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
        for i, (b, c) in enumerate(zip(BOXES, (2, 2, 5), strict=True))
    ]
    content = {
        "info": info or {},
        "images": [{"id": 7, "file_name": "1.png", "width": 120, "height": 90}],
        "annotations": annotations,
        "categories": [{"id": 2, "name": "cat"}, {"id": 5, "name": "dog"}],
    }
    (root / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return CocoDetection(root, "val", eval_transforms(None))


def found(category, box, score=0.9):
    return {"image_id": 7, "category_id": category, "bbox": box, "score": score}


def test_finding_everything_gives_one(tmp_path):
    dataset = write_coco(tmp_path, {"area_bins": [100, 1000]})
    results = coco_metrics(dataset, [found(2, BOXES[0]), found(2, BOXES[1]), found(5, BOXES[2])])
    assert list(results) == list(COCO_NAMES)
    for name in ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100"):
        assert results[name] == pytest.approx(1), name


def test_a_missed_class_costs_half(tmp_path):
    dataset = write_coco(tmp_path)
    results = coco_metrics(dataset, [found(2, BOXES[0]), found(2, BOXES[1])])
    assert results["AP50"] == pytest.approx(0.5), "mean over two classes, one of them found"


def test_a_box_of_iou_0_6_counts_at_50_but_not_at_75(tmp_path):
    dataset = write_coco(tmp_path)
    shifted = [10 + 5, 10, 20, 20]  # 15 of 25 columns shared: IoU 0.6
    results = coco_metrics(dataset, [found(2, shifted, 0.8), found(2, BOXES[1]), found(5, BOXES[2])])
    assert results["AP50"] == pytest.approx(1)
    assert results["AP75"] == pytest.approx((51 / 101 + 1) / 2), "one of two cats, at full precision"


def test_area_bins_come_from_the_file(tmp_path):
    with_bins = write_coco(tmp_path / "own", {"area_bins": [100, 1000]})
    without = write_coco(tmp_path / "coco")
    only_small = [found(5, BOXES[2])]
    assert coco_metrics(with_bins, only_small)["APs"] == pytest.approx(1)
    assert coco_metrics(with_bins, only_small)["APl"] == 0
    assert coco_metrics(without, only_small)["APl"] == -1, "COCO's bins call nothing here large"


def test_no_detections_at_all(tmp_path):
    assert coco_metrics(write_coco(tmp_path), []) == dict.fromkeys(COCO_NAMES, 0.0)


def test_detect_gives_every_query_in_the_original_pixels(town):
    torch.manual_seed(0)
    model = DETR(get_config("nano", hidden_dim=16, nheads=2, num_queries=9))
    dataset = CocoDetection(town, "val", eval_transforms(None))
    results = detect(model, dataset, batch_size=5)
    assert model.training, "the model is left as it was"
    model.eval()
    assert len(results) == 9 * len(dataset)
    assert [r["image_id"] for r in results[::9]] == dataset.ids
    image, target = dataset[3]
    outputs = model([image])
    center = (outputs["pred_boxes"][0, 4, :2] * target["orig_size"].flip(0)).tolist()
    x, y, w, h = results[3 * 9 + 4]["bbox"]
    assert [x + w / 2, y + h / 2] == pytest.approx(center, abs=1e-3)
    assert all(0 <= r["category_id"] < 14 for r in results), "no-object is never a detection"


def test_evaluate_agrees_with_its_parts_and_leaves_no_print(town, capsys):
    torch.manual_seed(0)
    model = DETR(get_config("nano", hidden_dim=16, nheads=2))
    dataset = CocoDetection(town, "val", eval_transforms(None))
    assert evaluate(model, dataset, batch_size=3) == coco_metrics(dataset, detect(model, dataset, batch_size=12))
    assert capsys.readouterr().out == ""
