"""Evaluation: the numbers pycocotools gives for cases whose answer is known beforehand."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from detr_mini.data import CocoDetection, eval_transforms
from detr_mini.data.coco import to_coco
from detr_mini.evaluation import (
    COCO_NAMES,
    coco_metrics,
    detect,
    evaluate,
    evaluation_mode,
    layer_metrics,
    layer_outputs,
    non_maximum_suppression,
)
from detr_mini.modeling.config import get_config
from detr_mini.modeling.detr import DETR

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


def test_layer_outputs_are_what_the_model_says_layer_by_layer(town):
    torch.manual_seed(0)
    model = DETR(get_config("nano", hidden_dim=16, nheads=2, num_queries=9)).eval()
    dataset = CocoDetection(town, "val", eval_transforms(None))
    outputs = layer_outputs(model, dataset, batch_size=5)
    assert outputs["pred_logits"].shape == (3, 12, 9, 15)
    assert outputs["pred_boxes"].shape == (3, 12, 9, 4)
    last = [dataset[i] for i in range(10, 12)]
    with torch.no_grad():
        alone = model([image for image, _ in last])
    torch.testing.assert_close(outputs["pred_boxes"][0, 10:], alone["aux_outputs"][0]["pred_boxes"])
    torch.testing.assert_close(outputs["pred_logits"][2, 10:], alone["pred_logits"])
    assert outputs["image_id"][10:].tolist() == [int(target["image_id"]) for _, target in last]
    assert outputs["orig_size"][10:].tolist() == [target["orig_size"].tolist() for _, target in last]


def test_the_last_layer_is_what_evaluate_measures(town):
    torch.manual_seed(0)
    model = DETR(get_config("nano", hidden_dim=16, nheads=2, num_queries=9, aux_loss=False)).eval()
    dataset = CocoDetection(town, "val", eval_transforms(None))
    (metrics,) = layer_metrics(dataset, layer_outputs(model, dataset))
    assert metrics == evaluate(model, dataset)


def test_each_layer_is_measured_with_and_without_nms(tmp_path):
    dataset = write_coco(tmp_path)
    boxes = torch.tensor(
        [[*BOXES[0]], [*BOXES[0]], [*BOXES[1]], [*BOXES[2]]], dtype=torch.float
    )  # the first object is seen twice
    boxes = torch.cat([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], dim=1) / torch.tensor([120, 90, 120, 90])
    logits = torch.full((2, 1, 4, 7), -9.0)
    for query, (category, score) in enumerate([(2, 9.0), (2, 8.0), (2, 7.0), (5, 9.0)]):
        logits[:, 0, query, category] = score
    logits[0, 0, :, 6] = 20.0  # the first layer ranks as the second one does, with tiny scores
    outputs = {
        "pred_logits": logits,
        "pred_boxes": boxes.expand(2, 1, 4, 4),
        "image_id": torch.tensor([7]),
        "orig_size": torch.tensor([[90, 120]]),
    }
    plain, clean = layer_metrics(dataset, outputs), layer_metrics(dataset, outputs, nms=0.7)
    assert [layer["AP50"] for layer in clean] == pytest.approx([1, 1])
    with_a_duplicate = (51 + 50 * 2 / 3) / 101  # cats: hit, duplicate, hit
    assert [layer["AP50"] for layer in plain] == pytest.approx([(with_a_duplicate + 1) / 2] * 2)


def test_suppression_spares_other_classes_and_smaller_overlaps():
    found = {
        "boxes": torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 9], [0, 0, 10, 6]]),
        "scores": torch.tensor([0.9, 0.8, 0.7, 0.6]),
        "labels": torch.tensor([1, 1, 2, 1]),
    }
    kept = non_maximum_suppression(found, 0.7)
    assert sorted(kept["scores"].tolist()) == pytest.approx([0.6, 0.7, 0.9])
    assert kept["labels"].tolist() == [1, 2, 1]


def test_each_part_of_a_model_goes_back_to_its_own_mode():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout()).train()
    model[1].eval()
    with evaluation_mode(model):
        assert not any(part.training for part in model.modules())
    assert [part.training for part in model.modules()] == [True, True, False]


@pytest.mark.parametrize("measure", [evaluate, detect, layer_outputs])
@pytest.mark.parametrize("training", [True, False])
def test_a_model_keeps_its_mode_and_its_place_also_when_it_fails(measure, training, town, monkeypatch):
    model = DETR(get_config("nano", hidden_dim=16, nheads=2, dropout=0.5)).train(training)
    monkeypatch.setattr(DETR, "to", lambda *_: pytest.fail("the model is the caller's to move"))
    dataset = CocoDetection(town, "val", eval_transforms(None))
    seen = []

    def fail(part, *_):
        seen.append(part.training)
        raise ZeroDivisionError

    measure(model, dataset)
    assert model.training == training
    model.bbox_embed.register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError):
        measure(model, dataset)
    assert seen == [False]
    assert model.training == model.transformer.training == training


@pytest.mark.parametrize("first", [0, 1, -1, None, "text", "twice"])
def test_ids_that_pycocotools_takes_for_no_match_do_not_count(first: Any) -> None:
    """Perfect detections are worth 1, whatever the ids of the annotations."""
    annotations = [
        {"id": 5 + n, "image_id": n, "category_id": 1, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0}
        for n in range(3)
    ]
    annotations[0]["id"] = annotations[1]["id"] if first == "twice" else first
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 64, "height": 64} for n in range(3)]
    coco = to_coco({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]})
    results = [{"image_id": n, "category_id": 1, "bbox": [10, 10, 20, 20], "score": 0.9} for n in range(3)]
    assert coco_metrics(SimpleNamespace(coco=coco), results)["AP"] == pytest.approx(1)  # type: ignore[arg-type]
    assert [a["id"] for a in coco.dataset["annotations"]][1:] == [6, 7], "those of the data set stay"


@pytest.mark.parametrize(("of_data", "of_results"), [(str, int), (int, str), (str, str)])
def test_image_ids_may_be_text_on_either_side(of_data: Any, of_results: Any) -> None:
    annotation = {"id": 1, "image_id": of_data(2299), "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
    images = [{"id": of_data(2299), "file_name": "a.jpg", "width": 64, "height": 64}]
    coco = to_coco({"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "cat"}]})
    results = [{"image_id": of_results(2299), "category_id": 1, "bbox": [1, 1, 9, 9], "score": 0.9}]
    assert coco_metrics(SimpleNamespace(coco=coco), results)["AP"] == pytest.approx(1)  # type: ignore[arg-type]
