"""Prediction: any picture in, boxes in its own pixels out."""

import json

import pytest
import torch
from PIL import Image

from detr_mini.data import draw_scene, eval_transforms
from detr_mini.modeling.config import get_config
from detr_mini.modeling.detr import DETR
from detr_mini.prediction import predict, to_image, write_predictions

NAMES = {i: f"class {i}" for i in range(14)}


@pytest.fixture
def model() -> DETR:
    torch.manual_seed(0)
    model = DETR(get_config("nano", hidden_dim=16, nheads=2, num_queries=8)).eval()
    model.class_names = NAMES
    return model


def test_boxes_are_in_the_pixels_of_the_picture(model):
    picture = draw_scene(3).image
    (small,) = predict(model, [picture], threshold=0)
    # A picture too large for the model is shrunk to max_size first, and its boxes scaled back.
    width, height = (side * 136 / max(picture.size) for side in picture.size)
    huge = picture.resize((round(width) * 5, round(height) * 5), Image.Resampling.BICUBIC)
    (large,) = predict(model, [huge], threshold=0)
    assert small["boxes"].shape == large["boxes"].shape == (8, 4)
    ratio = (large["boxes"][:, 2:] - large["boxes"][:, :2]).sum() / (
        small["boxes"][:, 2:] - small["boxes"][:, :2]
    ).sum()
    assert ratio == pytest.approx(huge.width / picture.width, rel=0.15)


def test_x_goes_with_the_width_and_y_with_the_height(model):
    picture = draw_scene(3).image
    (found,) = predict(model, [picture], threshold=0)
    (raw,) = model([eval_transforms(None)(to_image(picture))])["pred_boxes"]
    centers = (found["boxes"][:, :2] + found["boxes"][:, 2:]) / 2
    expected = raw[:, :2] * torch.tensor(picture.size)
    assert picture.width != picture.height
    torch.testing.assert_close(centers.sort(0).values, expected.detach().sort(0).values, rtol=1e-4, atol=1e-3)


def test_a_picture_gives_the_same_boxes_alone_and_in_company(model):
    pictures = [draw_scene(i).image for i in range(5)]
    together = predict(model, pictures, threshold=0)
    for picture, found in zip(pictures, together, strict=True):
        (alone,) = predict(model, [picture], threshold=0)
        torch.testing.assert_close(alone["boxes"].sort(0).values, found["boxes"].sort(0).values, rtol=1e-3, atol=1e-3)


def test_scores_fall_and_pass_the_threshold(model):
    (everything,) = predict(model, [draw_scene(0).image], threshold=0)
    scores = everything["scores"].tolist()
    assert scores == sorted(scores, reverse=True)
    (some,) = predict(model, [draw_scene(0).image], threshold=scores[3])
    assert some["scores"].tolist() == scores[:4]
    assert torch.equal(some["boxes"], everything["boxes"][:4])


def test_no_pictures(model):
    assert predict(model, []) == []


def test_written_files_say_what_was_found(model, tmp_path):
    picture = tmp_path / "street.png"
    draw_scene(4).image.save(picture)
    written = write_predictions(model, [picture], tmp_path / "out", threshold=0)
    assert [path.name for path in written] == ["street.json", "street.png"]
    content = json.loads(written[0].read_text())
    (found,) = predict(model, [picture], threshold=0)
    assert (content["file"], (content["width"], content["height"])) == ("street.png", draw_scene(4).image.size)
    assert [d["label"] for d in content["detections"]] == found["labels"].tolist()
    for detection, box in zip(content["detections"], found["boxes"].tolist(), strict=True):
        assert detection["box"] == pytest.approx(box, abs=0.006)
        assert detection["name"] == f"class {detection['label']}"
    with Image.open(written[1]) as drawn:
        assert drawn.width == 800


def test_a_file_that_is_no_picture_is_named_and_nothing_is_written(model, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.jpg"
    draw_scene(0).image.save(good)
    bad.write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"bad\.jpg"):
        write_predictions(model, [good, bad], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_pictures_of_one_name_would_overwrite_each_other(model, tmp_path):
    with pytest.raises(ValueError, match="several pictures are called a;"):
        write_predictions(model, [tmp_path / "x" / "a.png", tmp_path / "y" / "a.png"], tmp_path / "out")
