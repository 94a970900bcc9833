"""Prediction: any image in, boxes out, in its own pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detr_mini.data import ImageError, draw_scene
from detr_mini.errors import ConfigError
from detr_mini.modeling.config import get_config
from detr_mini.modeling.detr import DETR
from detr_mini.prediction import predict


@pytest.fixture
def model() -> DETR:
    torch.manual_seed(0)
    return DETR(get_config("nano", hidden_dim=16, nheads=2, num_queries=8)).eval()


def triples(found):
    """A row of score, label and box for each detection."""
    return torch.cat([found["scores"][:, None], found["labels"][:, None], found["boxes"]], dim=1)


def test_boxes_are_in_the_pixels_of_the_image(model):
    picture = draw_scene(3).image
    (small,) = predict(model, [picture], threshold=0)
    # An image too large for the model is shrunk to max_size first, and its boxes scaled back.
    width, height = (side * 136 / max(picture.size) for side in picture.size)
    huge = picture.resize((round(width) * 5, round(height) * 5), Image.Resampling.BICUBIC)
    (large,) = predict(model, [huge], threshold=0)
    assert small["boxes"].shape == large["boxes"].shape == (8, 4)
    ratio = (large["boxes"][:, 2:] - large["boxes"][:, :2]).sum() / (
        small["boxes"][:, 2:] - small["boxes"][:, :2]
    ).sum()
    assert ratio == pytest.approx(huge.width / picture.width, rel=0.15)


def test_score_label_and_box_are_those_of_one_query(model, monkeypatch):
    """The random numbers of eight queries, whose scores are in no order, found again as eight triples."""
    picture = draw_scene(3).image
    assert picture.width != picture.height
    logits, boxes = torch.randn(1, 8, 15) * 3, torch.rand(1, 8, 4)
    monkeypatch.setattr(DETR, "forward", lambda *_: {"pred_logits": logits, "pred_boxes": boxes})
    wanted = []
    for query, (cx, cy, w, h) in zip(logits[0], boxes[0].tolist(), strict=True):
        score, label = query.softmax(0)[:-1].max(0)
        left, right = (cx - w / 2) * picture.width, (cx + w / 2) * picture.width
        top, bottom = (cy - h / 2) * picture.height, (cy + h / 2) * picture.height
        wanted.append((score.item(), label.item(), left, top, right, bottom))
    assert wanted != sorted(wanted, reverse=True)
    (found,) = predict(model, [picture], threshold=0)
    torch.testing.assert_close(triples(found), torch.tensor(sorted(wanted, reverse=True)))


def test_an_image_gives_the_same_alone_and_in_company_of_any_size():
    """To the last digits, with a ResNet too, whose boxes padding would move."""
    torch.manual_seed(0)
    small = get_config("detr_resnet50", backbone="resnet18", enc_layers=1, dec_layers=1, hidden_dim=32, num_queries=5)
    model = DETR(get_config(small, image_size=None, max_size=136, freeze_resnet=False)).eval()
    with torch.no_grad():
        model.bbox_embed.layers[2].weight.mul_(40)
    pictures = [draw_scene(i).image for i in range(6)]
    pictures.append(pictures[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    together = predict(model, pictures, threshold=0, batch_size=4)
    for picture, found in zip(pictures, together, strict=True):
        (alone,) = predict(model, [picture], threshold=0)
        for name, values in alone.items():
            torch.testing.assert_close(values, found[name], rtol=1e-4, atol=1e-4)


def test_images_of_one_size_share_batches_of_the_size_asked_for(model, monkeypatch):
    sizes = []
    forward = DETR.forward
    monkeypatch.setattr(DETR, "forward", lambda self, samples: sizes.append(len(samples)) or forward(self, samples))
    images = [torch.zeros(3, 40, 60 if i % 2 else 50, dtype=torch.uint8) for i in range(9)]
    assert len(predict(model, images, batch_size=3)) == 9
    assert sorted(sizes) == [1, 2, 3, 3]


def test_scores_fall_and_pass_the_threshold(model):
    (everything,) = predict(model, [draw_scene(0).image], threshold=0)
    scores = everything["scores"].tolist()
    assert scores == sorted(scores, reverse=True)
    (some,) = predict(model, [draw_scene(0).image], threshold=scores[3])
    assert torch.equal(triples(some), triples(everything)[:4])


def test_no_images(model):
    assert predict(model, []) == []


def test_a_file_an_image_and_a_tensor_give_the_same(model, tmp_path):
    picture = draw_scene(4).image
    picture.save(tmp_path / "street.png")
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    images = [tmp_path / "street.png", str(tmp_path / "street.png"), picture, pixels]
    first, *others = (triples(found) for found in predict(model, images, threshold=0))
    others.append(triples(predict(model, pixels[None], threshold=0)[0]))
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-4, atol=1e-3)


def test_an_upright_file_is_found_by_its_upright_size(model, tmp_path):
    """The batches are made from the heads of the files, which do not say that an image lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (40, 60)).save(tmp_path / "b.jpg")
    with pytest.MonkeyPatch.context() as patch:
        sizes = []
        forward = DETR.forward
        patch.setattr(DETR, "forward", lambda self, samples: sizes.append(len(samples)) or forward(self, samples))
        predict(model, [tmp_path / "a.jpg", tmp_path / "b.jpg"])
    assert sizes == [2]


def test_a_model_in_training_is_evaluated_and_goes_on_training(model):
    picture = draw_scene(1).image
    (wanted,) = predict(model, [picture], threshold=0)
    weights = model.state_dict()
    model = DETR(get_config(model.config, dropout=0.5)).train()
    model.load_state_dict(weights)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (found,) = predict(model, [picture], threshold=0)
    torch.testing.assert_close(triples(found), triples(wanted))
    assert model.training
    assert model.transformer.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), f"{name}, such as the mean of a batch norm"


def test_forty_files_are_never_in_memory_together(model, tmp_path, alive_images):
    for number in range(40):
        Image.new("RGB", (300 + number % 4, 200)).save(tmp_path / f"{number}.jpg")
    most = alive_images("detr_mini.prediction.read_image")
    assert len(predict(model, sorted(tmp_path.iterdir()), batch_size=8)) == 40
    assert len(most) == 40
    assert max(most) <= 2, "the one that is read, and the one before it"


def test_a_file_that_is_no_image_is_named(model, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"not an image")
    with pytest.raises(ImageError, match=r"bad\.jpg"):
        predict(model, [tmp_path / "bad.jpg"])


@pytest.mark.parametrize(
    "image",
    [torch.zeros(3, 8, 8), torch.zeros(8, 8, 3, dtype=torch.uint8), torch.zeros(3, 0, 8, dtype=torch.uint8)],
)
def test_a_tensor_of_another_kind_is_refused(model, image):
    with pytest.raises(ImageError, match=r"must be \(3, H, W\) uint8"):
        predict(model, [image])


@pytest.mark.parametrize("image", ["street.jpg", Path("street.jpg"), Image.new("RGB", (8, 8)), torch.zeros(3, 8, 8)])
def test_a_single_image_is_no_list(model, image):
    with pytest.raises(ConfigError, match=r"write \[image\]"):
        predict(model, image)


@pytest.mark.parametrize(
    "options", [{"threshold": 5}, {"threshold": -1}, {"threshold": float("nan")}, {"batch_size": 0}]
)
def test_options_that_make_no_sense_are_refused(model, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        predict(model, [draw_scene(0).image], **options)
