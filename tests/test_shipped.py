"""The shipped model: it is what its log and its stored numbers say."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from detr_mini.data import CATEGORIES, CocoDetection, CocoPanoptic, collate, eval_transforms, make_data
from detr_mini.evaluation import COCO_NAMES, evaluate
from detr_mini.interpret import explained_variance, slot_boxes
from detr_mini.modeling.build import build
from detr_mini.modeling.config import CONFIGS
from detr_mini.modeling.detr import DETR
from detr_mini.weights import CHECKPOINTS, load

BOOK_DATA = Path(__file__).resolve().parent.parent / "book" / "data"


@pytest.fixture(scope="module")
def nano() -> DETR:
    return load("nano")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 500 validation scenes that ``make-data`` writes."""
    folder: Path = tmp_path_factory.mktemp("val")
    make_data(folder, train=0, workers=1, progress=False)
    return folder


@pytest.fixture(scope="module")
def val_set(town: Path) -> CocoDetection:
    return CocoDetection(town, "val", eval_transforms(None))


@pytest.fixture(scope="module", params=["nano", "mini", "deformable_nano", "mini_panoptic"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_it_knows_the_classes_of_tiny_town(name):
    model = load(name)
    assert model.config == CONFIGS[name]
    known = {category.id: category.name for category in CATEGORIES if category.isthing or name == "mini_panoptic"}
    assert model.class_names == known
    assert model.stuff == {category.id for category in CATEGORIES if category.id in known and not category.isthing}


def test_it_is_small(name):
    assert (CHECKPOINTS / f"{name}.safetensors").stat().st_size < 3_000_000
    watched = [path.stat().st_size for path in BOOK_DATA.rglob("*") if "mini" in path.name]
    assert sum(watched) < 15_000_000


@pytest.mark.slow
def test_it_gives_the_stored_numbers(name, town, val_set):
    stored = json.loads((CHECKPOINTS / f"{name}.json").read_text())
    panoptic = CocoPanoptic(town, "val", eval_transforms(None), masks=False)
    found = evaluate(load(name), panoptic if "PQ" in stored else val_set, batch_size=16)
    assert {k: f"{v:.3f}" for k, v in found.items()} == {k: f"{v:.3f}" for k, v in stored.items()}


def test_its_log_ends_with_these_numbers(name):
    stored = json.loads((CHECKPOINTS / f"{name}.json").read_text())
    last = json.loads((BOOK_DATA / f"{name}.jsonl").read_text().splitlines()[-1])
    for metric in last.keys() & stored.keys():
        value = stored[metric]
        assert last[metric] == pytest.approx(value, abs=0.005), f"{metric}: half precision changes more than rounding"
    hours = {"nano": 0.25, "mini": 2, "deformable_nano": 1, "mini_panoptic": 0.6}
    assert last["seconds"] < hours[name] * 60 * 60


def test_masks_were_learned_on_a_detector_that_stayed_as_it_was():
    """The log of the detector ends with the boxes that the model with masks has, and the two took less than an hour."""
    detector, masks = (
        json.loads((BOOK_DATA / f"{name}.jsonl").read_text().splitlines()[-1])
        for name in ("mini_panoptic_detector", "mini_panoptic")
    )
    for metric in COCO_NAMES:
        assert masks[metric] == pytest.approx(detector[metric], abs=0.005), "it goes on in half precision"
    assert detector["seconds"] + masks["seconds"] < 60 * 60


def test_models_on_the_way_get_better(val_set):
    """What was watched ends with the shipped model, and each model on the way is what was watched at its step."""
    watched = load_file(BOOK_DATA / "watched" / "mini.safetensors")
    steps = watched["steps"].tolist()
    samples, _ = collate([val_set[i] for i in range(16)])
    models = {step: BOOK_DATA / f"watched/mini-{step:05}.safetensors" for step in (500, 3000, 9000)} | {27_000: "mini"}
    for step, file in models.items():
        with torch.no_grad():
            boxes = load(file)(samples)["pred_boxes"]
        torch.testing.assert_close(boxes.half(), watched["boxes"][steps.index(step), :16], rtol=0, atol=0.01)
    ap = [watched["ap"][steps.index(step), -1, 0].item() for step in models]
    assert ap == sorted(ap)
    stored = json.loads((CHECKPOINTS / "mini.json").read_text())
    assert ap[-1] == pytest.approx(stored["AP"], abs=0.001)


@pytest.mark.slow
def test_its_queries_have_become_slots(nano, val_set):
    boxes = slot_boxes(nano, val_set)
    assert explained_variance(boxes[..., 0]) > 0.6
    assert explained_variance(boxes[..., 1]) > 0.3
    assert (boxes[..., :2].std(0) < torch.tensor(0.25)).all(), "no query wanders over the whole picture"


def test_what_was_watched_begins_untrained_and_ends_with_the_shipped_model(nano, val_set):
    watched = load_file(BOOK_DATA / "watched" / "nano.safetensors")
    assert watched["steps"][[0, -1]].tolist() == [0, 10_500]
    samples, _ = collate([val_set[i] for i in watched["scenes"].tolist()])
    torch.manual_seed(0)
    for model, step in ((build("nano").eval(), 0), (nano, -1)):
        with torch.no_grad():
            outputs = model(samples)
        torch.testing.assert_close(outputs["pred_boxes"].half(), watched["boxes"][step], rtol=0, atol=0.01)
        torch.testing.assert_close(outputs["pred_logits"].half(), watched["logits"][step], rtol=0, atol=0.1)
