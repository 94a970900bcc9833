"""Before training: images have the size that they are evaluated at, and what a user should know is said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from detr_mini.data import PAPER_SIZES, CocoDetection, eval_transforms
from detr_mini.errors import ConfigError
from detr_mini.modeling.config import DETRConfig, get_config
from detr_mini.modeling.detr import DETR
from detr_mini.training.prepare import fingerprint, open_data, remarks
from detr_mini.training.recipe import RECIPES, Recipe
from detr_mini.training.train import train

TINY = get_config("nano", hidden_dim=16, nheads=2, enc_layers=1, dec_layers=1, dim_feedforward=16, num_queries=5)


def write_folder(root: Path, size: tuple[int, int], images: int = 3) -> Path:
    """A COCO folder of gray images, each with one object, of a class with the id 3."""
    width, height = size
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        for number in range(1, images + 1):
            Image.new("RGB", size, (90, 90, 90)).save(root / split / f"{number}.jpg")
        numbers = range(1, images + 1)
        box = {"category_id": 3, "bbox": [0, 0, width / 2, height / 2], "area": width * height / 4, "iscrowd": 0}
        content = {
            "images": [{"id": n, "file_name": f"{n}.jpg", "width": width, "height": height} for n in numbers],
            "annotations": [{"id": n, "image_id": n} | box for n in numbers],
            "categories": [{"id": 3, "name": "disc"}],
        }
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


PLAIN = RECIPES["nano"]  # flips alone
PUBLISHED = Recipe()
CASES: list[tuple[dict[str, Any], Recipe, tuple[int, int], set[int]]] = [
    # config, recipe, size of the images, the short sides that training may show
    ({}, PLAIN, (320, 240), {102}),
    ({}, PLAIN, (2000, 1500), {102}),
    ({}, PLAIN, (128, 96), {96}),
    ({"max_size": 320}, PLAIN, (2000, 1500), {240}),
    ({"backbone": "resnet18", "image_size": 800, "max_size": 1333}, PUBLISHED, (320, 240), set(PAPER_SIZES)),
    ({"backbone": "resnet18", "image_size": 800, "max_size": 1333}, PUBLISHED, (2000, 1500), set(PAPER_SIZES)),
    ({"backbone": "resnet18", "image_size": 800, "max_size": 1333}, PLAIN, (320, 240), {800}),
    ({"image_size": 64}, PLAIN, (320, 240), {64}),
    ({"image_size": 64}, replace(PLAIN, sizes=(48, 56, 64)), (320, 240), {48, 56, 64}),
]


@pytest.mark.parametrize(("changes", "recipe", "size", "sides"), CASES)
def test_images_are_trained_at_the_size_they_are_evaluated_at(tmp_path, changes, recipe, size, sides):
    config = replace(TINY, **changes)
    train_set, val_set = open_data(write_folder(tmp_path, size), config, recipe)
    torch.manual_seed(0)
    shapes = [tuple(train_set[i % 3][0].shape[1:]) for i in range(12)]
    evaluated = tuple(val_set[0][0].shape[1:])
    assert evaluated == tuple(
        eval_transforms(config.image_size, config.max_size)(torch.zeros(3, *size[::-1])).shape[1:]
    )
    assert all(max(shape) <= config.max_size for shape in shapes)
    if recipe.sizes is None:
        assert set(shapes) == {evaluated}
        assert min(evaluated) in sides
    else:  # a crop may have the other orientation
        assert {min(shape) for shape in shapes} <= sides
        assert min(evaluated) in sides


def test_the_model_sees_one_size_in_training_and_in_evaluation(tmp_path, monkeypatch, capsys):
    seen, forward = {True: set(), False: set()}, DETR.forward

    def note(self, samples):
        seen[self.training].add(tuple(samples.tensors.shape[2:]))
        return forward(self, samples)

    monkeypatch.setattr(DETR, "forward", note)
    data = write_folder(tmp_path / "data", (320, 240))
    train(TINY, replace(PLAIN, epochs=1), data, tmp_path / "run")
    assert seen == {True: {(102, 136)}, False: {(102, 136)}}
    said = capsys.readouterr().err
    assert "images of up to 320 pixels are shrunk to a long side of 136 (config.max_size)" in said


@pytest.mark.parametrize("recipe", [PLAIN, replace(PLAIN, sizes=(48, 64))])
def test_boxes_vary_in_training_and_not_in_evaluation(tmp_path, recipe):
    config = replace(TINY, image_size=None if recipe.sizes is None else 64)
    torch.manual_seed(0)
    trained, evaluated = (
        {tuple(round(x, 3) for x in images[0][1]["boxes"].flatten().tolist()) for _ in range(20)}
        for images in open_data(write_folder(tmp_path, (320, 240)), config, recipe)
    )
    assert {(0.25, 0.25, 0.5, 0.5), (0.75, 0.25, 0.5, 0.5)} <= trained, "as it is, and flipped"
    assert (len(trained) > 2) == (recipe.sizes is not None), "and cropped, where sizes are drawn"
    assert evaluated == {(0.25, 0.25, 0.5, 0.5)}


@pytest.mark.parametrize(
    ("changes", "sizes", "message"),
    [
        (
            {"image_size": None},
            PAPER_SIZES,
            r"leaves images as they are.*recipe\.sizes=None, or config\.image_size=800",
        ),
        ({"image_size": 400, "max_size": 666}, PAPER_SIZES, r"to image_size=400.*recipe\.sizes=240,256,.*,384,400 "),
        ({"image_size": 800, "max_size": 1333}, (320, 400), r"config\.image_size=400"),
    ],
)
def test_sizes_that_evaluation_does_not_have_are_refused(tmp_path, changes, sizes, message):
    data = write_folder(tmp_path / "data", (320, 240))
    with pytest.raises(ConfigError, match=message):
        train(replace(TINY, **changes), replace(PLAIN, sizes=sizes), data, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_what_is_said_before_training(tmp_path):
    dataset = CocoDetection(write_folder(tmp_path, (320, 240)), "train")
    long = replace(PLAIN, epochs=1000)
    assert remarks(dataset, replace(TINY, max_size=320), long, folder=True) == []
    (line,) = remarks(dataset, TINY, long, folder=True)
    assert "320" in line
    assert "136" in line
    assert remarks(dataset, TINY, long, folder=False) == []
    (line,) = remarks(dataset, DETRConfig(), replace(PUBLISHED, epochs=5000), folder=True)
    assert "short side 480 to 800 pixels in training, 800 in evaluation" in line
    assert "at most 1333" in line
    (line,) = remarks(dataset, replace(TINY, max_size=320), PLAIN, folder=True)
    assert "7 steps in all (epochs=7, 1 each), and the learning rate rises during the first 200" in line
    assert "from random weights, expect little below some 1000, which is epochs=1000" in line
    (line,) = remarks(dataset, replace(TINY, max_size=320), replace(PLAIN, warmup_steps=8), folder=True, trained=True)
    assert ": expect little below some 100, which is epochs=100" in line
    assert remarks(dataset, TINY, replace(PLAIN, warmup_steps=8, epochs=100), folder=False, trained=True) == []


def test_data_sets_of_the_same_number_of_images_are_told_apart(tmp_path):
    sets = [CocoDetection(write_folder(tmp_path / str(w), (w, 60)), "train") for w in (80, 90)]
    assert fingerprint(sets[0]) == fingerprint(CocoDetection(tmp_path / "80", "val"))
    assert fingerprint(sets[0]) != fingerprint(sets[1])
    recipe = replace(PLAIN, epochs=1)
    train(TINY, recipe, tmp_path / "80", tmp_path / "run", progress=False)
    with pytest.raises(ConfigError, match=r"made with data \w+, not \w+\. Go on with what it was made with; or start"):
        train(TINY, recipe, tmp_path / "90", tmp_path / "run", resume=True, progress=False)
    train(TINY, recipe, (tmp_path / "80").rename(tmp_path / "moved"), tmp_path / "run", resume=True, progress=False)
