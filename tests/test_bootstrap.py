"""The paired bootstrap: against COCO's evaluation of data sets that are really resampled, and what must hold of any."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from detr_mini.bootstrap import LEVELS, _average_precision, image_counts, matches, paired_bootstrap
from detr_mini.evaluation import coco_metrics


def make_dataset(images=12, seed=0):
    """Some boxes of three classes on each picture, one of them a crowd now and then, one picture empty."""
    rng = np.random.default_rng(seed)
    annotations = []
    for image in range(1, images):  # the last has none
        for _ in range(int(rng.integers(1, 5))):
            box = [*rng.uniform(0, 60, 2), *rng.uniform(10, 40, 2)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(rng.integers(1, 4)),
                    "bbox": [float(x) for x in box],
                    "area": float(box[2] * box[3]),
                    "iscrowd": int(rng.random() < 0.1),
                }
            )
    return as_dataset(range(1, images + 1), annotations)


def as_dataset(image_ids, annotations):
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": int(i), "width": 100, "height": 100} for i in image_ids],
        "annotations": annotations,
        "categories": [{"id": k, "name": str(k)} for k in (1, 2, 3)],
    }
    coco.createIndex()
    return SimpleNamespace(coco=coco)


def detect(dataset, noise, seed=1):
    """Each object's box moved a little, some twice, some not; and a few boxes on nothing. No two scores are equal."""
    rng = np.random.default_rng(seed)
    results = []
    for one in dataset.coco.dataset["annotations"]:
        for _ in range(int(rng.integers(0, 3))):
            box = np.array(one["bbox"]) + rng.normal(0, noise, 4)
            box[2:] = box[2:].clip(2)
            results.append(
                {
                    "image_id": one["image_id"],
                    "category_id": one["category_id"],
                    "bbox": box.tolist(),
                    "score": float(rng.uniform(0, 1)),
                }
            )
    results += [
        {"image_id": image, "category_id": 2, "bbox": [70.0, 70.0, 20.0, 20.0], "score": float(rng.uniform(0, 0.5))}
        for image in (1, 4, 5)
    ]
    return results


def resampled(dataset, results, count):
    """A data set that really has each image as often as it was drawn, under ids of its own; and its results."""
    annotations, copies, ids = [], [], []
    for image, times in zip(sorted(dataset.coco.getImgIds()), count, strict=True):
        for _ in range(times):
            ids.append(len(ids) + 1)
            for one in dataset.coco.imgToAnns.get(image, []):
                annotations.append({**one, "id": len(annotations) + 1, "image_id": ids[-1]})
            copies += [{**one, "image_id": ids[-1]} for one in results if one["image_id"] == image]
    return as_dataset(ids, annotations), copies


def test_a_draw_is_measured_as_if_its_pictures_were_really_there():
    dataset = make_dataset()
    results = detect(dataset, 3.0)
    counts = image_counts(12, 8)
    fast = _average_precision(matches(dataset, results), counts)
    for count, row in zip(counts, fast, strict=True):
        official = coco_metrics(*resampled(dataset, copy.deepcopy(results), count))
        assert row.mean() == pytest.approx(official["AP"], abs=1e-9)
        assert row[0] == pytest.approx(official["AP50"], abs=1e-9)
        assert row[5] == pytest.approx(official["AP75"], abs=1e-9)


def test_difference_and_error_are_those_of_a_loop_over_whole_evaluations():
    dataset = make_dataset()
    first, second = detect(dataset, 1.0), detect(dataset, 5.0)
    quick = paired_bootstrap(dataset, first, second, resamples=10, seed=4)
    slow = [
        [coco_metrics(*resampled(dataset, copy.deepcopy(results), count))["AP"] for results in (first, second)]
        for count in image_counts(12, 10, seed=4)
    ]
    slow = np.array(slow)
    assert quick["AP"].error == pytest.approx((slow[:, 1] - slow[:, 0]).std(ddof=1), abs=1e-9)
    official = [coco_metrics(dataset, copy.deepcopy(results)) for results in (first, second)]
    for name in ("AP", "AP50", "AP75"):
        assert quick[name].first == pytest.approx(official[0][name], abs=1e-9)
        assert quick[name].second == pytest.approx(official[1][name], abs=1e-9)
        assert quick[name].value == pytest.approx(official[1][name] - official[0][name], abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(noise=st.floats(0, 10), seed=st.integers(0, 1000))
def test_a_detector_does_not_differ_from_itself(noise, seed):
    dataset = make_dataset(seed=seed)
    results = detect(dataset, noise, seed)
    for found in paired_bootstrap(dataset, results, list(reversed(results)), resamples=5, seed=seed).values():
        assert (found.value, found.error) == (0, 0)


def test_the_two_change_places():
    dataset = make_dataset()
    first, second = detect(dataset, 1.0), detect(dataset, 5.0)
    there = paired_bootstrap(dataset, first, second, resamples=5)
    back = paired_bootstrap(dataset, second, first, resamples=5)
    assert list(there) == ["AP", *(f"AP{level}" for level in LEVELS)]
    for name in there:
        assert there[name].value == -back[name].value
        assert there[name].error == pytest.approx(back[name].error)


def test_no_picture_differs_where_all_are_alike():
    """Without spread over pictures there is no error: every picture loses the same part of its one object."""
    box = {"category_id": 1, "bbox": [10.0, 10.0, 20.0, 20.0], "area": 400.0, "iscrowd": 0}
    dataset = as_dataset(range(1, 7), [{**box, "id": i, "image_id": i} for i in range(1, 7)])
    sure = [{"image_id": i, "category_id": 1, "bbox": box["bbox"], "score": 0.9} for i in range(1, 7)]
    loose = [{**one, "bbox": [15.0, 10.0, 20.0, 20.0]} for one in sure]  # IoU 0.6
    found = paired_bootstrap(dataset, sure, loose, resamples=20)
    assert found["AP50"] == (1, 1, 0, 0)
    assert found["AP75"] == (1, 0, -1, 0)
    assert found["AP"].second == pytest.approx(0.3)
    assert found["AP"].error == pytest.approx(0, abs=1e-12)


def test_a_detector_that_says_nothing_has_no_ap():
    dataset = make_dataset()
    found = paired_bootstrap(dataset, [], detect(dataset, 1.0), resamples=5)
    assert found["AP"].first == 0
    assert found["AP"].value == found["AP"].second > 0


def test_every_draw_has_as_many_pictures_and_a_seed_its_own():
    counts = image_counts(50, 200)
    assert counts.shape == (200, 50)
    assert (counts.sum(1) == 50).all()
    assert abs(float((counts == 0).mean()) - np.exp(-1)) < 0.02, "a good third is not drawn"
    assert (image_counts(50, 3, seed=1) == image_counts(50, 3, seed=1)).all()
    assert not (image_counts(50, 3, seed=1) == image_counts(50, 3, seed=2)).all()


def test_one_resample_has_no_spread():
    with pytest.raises(ValueError, match="resamples=1"):
        paired_bootstrap(make_dataset(), [], [], resamples=1)


def test_a_class_without_objects_in_a_draw_is_left_out_of_its_mean():
    annotations = [
        {"id": i, "image_id": i, "category_id": i, "bbox": [0.0, 0.0, 9.0, 9.0], "area": 81.0, "iscrowd": 0}
        for i in (1, 2)
    ]
    dataset = as_dataset([1, 2], annotations)
    results = [{"image_id": 1, "category_id": 1, "bbox": [0.0, 0.0, 9.0, 9.0], "score": 0.5}]
    ap = _average_precision(matches(dataset, results), np.array([[1, 1], [2, 0], [0, 2]]))
    assert torch.tensor(ap[:, 0]).tolist() == [0.5, 1, 0]
