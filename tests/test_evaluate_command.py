"""``detr-mini evaluate``: what it prints for boxes, masks and segments, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from detr_mini import build, evaluate, save
from detr_mini.commands import evaluate as command
from detr_mini.commands.cli import main
from detr_mini.data import CocoPanoptic, eval_transforms
from detr_mini.evaluation import COCO_NAMES
from detr_mini.weights import load_detector

SMALL: dict[str, Any] = {"hidden_dim": 16, "nheads": 2, "num_queries": 5, "enc_layers": 1, "dec_layers": 1}
MASK_NAMES = [f"mask_{name}" for name in COCO_NAMES]
PQ_NAMES = [f"{name}{ending}" for ending in ("", "_th", "_st") for name in ("PQ", "SQ", "RQ")]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model with masks, untrained, and sure of everything that it says."""
    torch.manual_seed(0)
    model = build("nano", masks=True, num_classes=19, dim_feedforward=16, **SMALL)
    with torch.no_grad():
        model.detr.class_embed.bias.copy_(-9 * torch.ones(20))
        model.detr.class_embed.bias[16] = 9  # grass
    file = tmp_path_factory.mktemp("weights") / "masks.safetensors"
    save(model, file, dtype=None)
    return str(file)


def names_and_numbers(out: str) -> dict[str, float]:
    return {name: float(number) for name, number in map(str.split, out.splitlines())}


def test_masks_come_after_boxes(town: Path, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--data", str(town), "--weights", weights, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert list(names_and_numbers(out)) == [*COCO_NAMES, *MASK_NAMES]
    assert len({line.rindex(" ") for line in out.splitlines()}) == 1, "the numbers form a column"


def test_segments_come_last_and_are_those_of_evaluate(
    town: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "numbers.json"
    asked = ["evaluate", "--data", str(town), "--weights", weights, "--device", "cpu", "--json", str(file)]
    assert main([*asked, "--panoptic", "--batch-size", "5"]) == 0
    printed = names_and_numbers(capsys.readouterr().out)
    assert list(printed) == [*COCO_NAMES, *MASK_NAMES, *PQ_NAMES]
    stored = json.loads(file.read_text())
    assert printed == {name: pytest.approx(value, abs=5.01e-4) for name, value in stored.items()}
    model = load_detector(weights)
    dataset = CocoPanoptic(town, "val", eval_transforms(model.config.image_size, model.config.max_size))
    assert stored == evaluate(model, dataset, batch_size=5)
    assert 0 < stored["PQ_st"] < 1, "a picture that is grass and nothing else is a match where there is much grass"
    assert stored["PQ_th"] == 0


def test_a_model_without_masks_is_told_what_to_do(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--data", str(town), "--weights", "nano", "--device", "cpu", "--panoptic"]) == 2
    said = capsys.readouterr().err
    assert "--panoptic compares masks, but the model nano has none. Leave --panoptic out to compare boxes" in said
    assert "--set config.masks=true" in said


def test_the_data_is_looked_through_in_the_form_that_is_read(
    town: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(command, "require_sound", lambda *args, **options: calls.append((args, options)))
    for panoptic in (False, True):
        asked = ["evaluate", "--data", str(town), "--weights", weights, "--device", "cpu"]
        assert main([*asked, "--panoptic"] if panoptic else asked) == 0
    assert calls == [((town, ("val",)), {"panoptic": panoptic}) for panoptic in (False, True)]


def test_a_split_without_segments_is_said(
    town: Path, weights: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "require_sound", lambda *args, **options: None)
    asked = ["evaluate", "--data", str(town), "--weights", weights, "--device", "cpu", "--panoptic"]
    assert main([*asked, "--split", "test"]) == 2
    assert "panoptic_test.json" in capsys.readouterr().err


def test_objects_without_masks_are_said(town_copy: Path, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = town_copy / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["segmentation"] = []
    file.write_text(json.dumps(content))
    assert main(["evaluate", "--data", str(town_copy), "--weights", weights, "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert list(names_and_numbers(printed.out)) == list(COCO_NAMES)
    assert "objects are annotated without a mask; boxes alone are compared" in printed.err
    assert main(["evaluate", "--data", str(town_copy), "--weights", "nano", "--device", "cpu"]) == 0
    assert "mask" not in capsys.readouterr().err, "a model of boxes asks for none"
