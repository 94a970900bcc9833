"""Prediction: any image in, boxes or segments out, in its own pixels."""

import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detr_mini import DETRSegmentation, build, postprocess_panoptic
from detr_mini.data import ImageError, draw_scene, eval_transforms
from detr_mini.errors import ConfigError
from detr_mini.modeling import segmentation
from detr_mini.modeling.config import get_config
from detr_mini.modeling.detr import DETR
from detr_mini.prediction import predict, predict_both, predict_panoptic


@pytest.fixture
def model() -> DETR:
    torch.manual_seed(0)
    return DETR(get_config("nano", hidden_dim=16, nheads=2, num_queries=8)).eval()


class Dreamer(DETRSegmentation):
    """Says of an image what comes to its mind at the sight of it: 5 classes, the same for the same pixels."""

    def forward(self, samples):
        outputs = []
        for sample in samples:
            rng = torch.Generator().manual_seed(int(sample.abs().sum() * 100))
            logits, masks = torch.randn(7, 6, generator=rng) * 6, torch.randn(7, 5, 6, generator=rng)
            outputs.append({"pred_logits": logits, "pred_masks": masks, "pred_boxes": torch.rand(7, 4, generator=rng)})
        return {name: torch.stack([one[name] for one in outputs]) for name in outputs[0]}


def make_masked(stuff=frozenset({1, 2})):
    torch.manual_seed(0)
    model = Dreamer(get_config("nano", masks=True, hidden_dim=16, nheads=2, num_classes=5)).eval()
    model.stuff = stuff
    return model


@pytest.fixture
def masked() -> DETRSegmentation:
    return make_masked()


@pytest.fixture(params=[predict, predict_panoptic, predict_both])
def ask(request, masked):
    """Each of the functions that read images, for a model that has what they want."""
    return lambda images, **options: request.param(masked, images, **options)


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


def test_no_images(ask):
    assert ask([]) == []


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


def test_a_file_that_is_no_image_is_named(ask, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"not an image")
    with pytest.raises(ImageError, match=r"bad\.jpg"):
        ask([draw_scene(0).image, tmp_path / "bad.jpg"])


@pytest.mark.parametrize(
    "image",
    [torch.zeros(3, 8, 8), torch.zeros(8, 8, 3, dtype=torch.uint8), torch.zeros(3, 0, 8, dtype=torch.uint8)],
)
def test_a_tensor_of_another_kind_is_refused(model, image):
    with pytest.raises(ImageError, match=r"must be \(3, H, W\) uint8"):
        predict(model, [image])


@pytest.mark.parametrize(
    "make",
    [
        lambda path: str(path),
        lambda path: path,
        lambda path: Image.open(path),
        lambda path: np.array(Image.open(path)),
        lambda path: np.array(Image.open(path))[..., ::-1].copy()[..., ::-1],  # OpenCV's turned round: a stride of -1
        lambda path: np.array(Image.open(path))[None],
        lambda path: [np.array(Image.open(path))],
        lambda path: torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1),
    ],
)
def test_a_single_image_of_any_kind_is_a_list_of_one(model, tmp_path, make):
    draw_scene(4).image.save(tmp_path / "street.png")
    (wanted,) = predict(model, [tmp_path / "street.png"], threshold=0)
    (found,) = predict(model, make(tmp_path / "street.png"), threshold=0)
    torch.testing.assert_close(triples(found), triples(wanted), rtol=1e-4, atol=1e-3)


def test_red_and_blue_are_not_the_same(model):
    picture = np.array(draw_scene(4).image)
    first, second = predict(model, [picture, picture[..., ::-1]], threshold=0)
    assert not torch.equal(first["scores"], second["scores"])


def test_a_gray_array_has_three_equal_colors(model):
    gray = np.array(draw_scene(4).image.convert("L"))
    first, second = predict(model, [gray, np.stack([gray] * 3, axis=-1)], threshold=0)
    torch.testing.assert_close(triples(first), triples(second), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((8, 9, 3), np.float32), r"\(8, 9, 3\) float32"),
        (np.zeros((3, 8, 9), np.uint8), r"\(H, W, 3\) uint8.*\(3, 8, 9\) uint8"),
        (np.zeros((8, 0, 3), np.uint8), r"\(8, 0, 3\)"),
    ],
)
def test_an_array_of_another_kind_is_refused(ask, array, said):
    with pytest.raises(ImageError, match=said):
        ask(array)


@pytest.mark.parametrize(
    "options", [{"threshold": 5}, {"threshold": -1}, {"threshold": float("nan")}, {"batch_size": 0}]
)
def test_options_that_make_no_sense_are_refused(ask, options):
    with pytest.raises(ConfigError, match=f"^{next(iter(options))}"):
        ask([draw_scene(0).image], **options)


@pytest.mark.parametrize("masks", [False, True])
def test_the_threshold_of_segments_is_told_by_its_name(model, masked, masks):
    with pytest.raises(ConfigError, match=r"^panoptic_threshold=1\.5 must lie"):
        predict_both(masked if masks else model, [], panoptic_threshold=1.5)


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    stuff=st.frozensets(st.integers(0, 4)),
    seed=st.integers(0, 1000),
    threshold=st.sampled_from([0.0, 0.5, 0.85, 0.999, 1.0]),
)
def test_every_pixel_has_a_segment_or_none_has(size, stuff, seed, threshold):
    picture = torch.randint(0, 255, (3, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    (found,) = predict_panoptic(make_masked(stuff=stuff), [picture], threshold=threshold)
    ids, segments = found["ids"], found["segments"]
    assert (ids.shape, ids.dtype, ids.device.type) == (size, torch.int64, "cpu")
    assert sorted(ids.unique().tolist()) == ([segment["id"] for segment in segments] or [0])
    assert [segment["id"] for segment in segments] == list(range(1, len(segments) + 1))
    for segment in segments:
        mask = ids == segment["id"]
        assert segment["area"] == mask.sum()
        rows, columns = mask.nonzero().unbind(1)
        left, top, width, height = segment["bbox"]
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width - 1, top + height - 1) == (columns.max(), rows.max())
        assert segment["isthing"] == (segment["category_id"] not in stuff)
    kinds = [segment["category_id"] for segment in segments if not segment["isthing"]]
    assert len(kinds) == len(set(kinds)), "stuff of a kind is one segment"


def test_the_dreamer_finds_some(masked):
    """Of things and of stuff, or the tests here would say little."""
    found = predict_panoptic(masked, [draw_scene(i).image for i in range(6)])
    kinds = [segment["isthing"] for one in found for segment in one["segments"]]
    assert kinds.count(True) >= 4
    assert kinds.count(False) >= 4
    assert len({len(one["segments"]) for one in found}) > 1


def test_segments_are_those_of_the_published_steps_but_for_the_first_id(masked):
    """Seen smaller than it is, so that the two sizes cannot be taken for each other."""
    masked.config = get_config(masked.config, max_size=64)
    picture = torch.randint(0, 255, (3, 60, 128), dtype=torch.uint8)
    outputs = masked([eval_transforms(None, 64)(picture)])
    kinds = {number: number not in masked.stuff for number in range(5)}
    sizes = torch.tensor([[30, 64]]), torch.tensor([[60, 128]])
    (wanted,) = postprocess_panoptic(outputs, *sizes, kinds)
    (found,) = predict_panoptic(masked, [picture])
    assert len(wanted["segments"]) > 1
    assert torch.equal(found["ids"], wanted["ids"] + 1)
    for one, other in zip(found["segments"], wanted["segments"], strict=True):
        assert one == {**other, "id": other["id"] + 1, "bbox": one["bbox"]}


def test_segments_of_an_image_do_not_depend_on_its_company(masked):
    pictures = [draw_scene(i).image for i in range(5)]
    pictures += [draw_scene(i).image.resize(pictures[0].size) for i in (5, 6)]
    together = predict_panoptic(masked, pictures, batch_size=4)
    for picture, found in zip(pictures, together, strict=True):
        (alone,) = predict_panoptic(masked, [picture])
        assert torch.equal(alone["ids"], found["ids"])
        assert alone["segments"] == found["segments"]


@pytest.mark.parametrize("sure", [False, True])
def test_only_a_slot_that_is_sure_has_a_segment(sure):
    """By a model that looks at the picture: its random numbers are sure of nothing, and a bias makes them so."""
    torch.manual_seed(0)
    model = build("nano", masks=True, hidden_dim=16, nheads=2, num_queries=8).eval()
    if sure:
        torch.nn.init.constant_(model.detr.class_embed.bias[3:4], 20)
    (found,) = predict_panoptic(model, [draw_scene(0).image])
    assert found["ids"].shape == draw_scene(0).image.size[::-1]
    assert {segment["category_id"] for segment in found["segments"]} == ({3} if sure else set())
    assert found["ids"].all() if sure else not found["ids"].any()
    for threshold in (0, 1):
        (found,) = predict_panoptic(model, [draw_scene(0).image], threshold=threshold)
        assert bool(found["segments"]) == (threshold == 0)


def test_both_is_both_in_one_pass(masked, monkeypatch):
    pictures = [draw_scene(i).image for i in range(3)] * 2
    boxes, segments = predict(masked, pictures, threshold=0.9), predict_panoptic(masked, pictures, threshold=0.95)
    passes = []
    forward = Dreamer.forward
    monkeypatch.setattr(Dreamer, "forward", lambda self, x: passes.append(len(x)) or forward(self, x))
    both = predict_both(masked, pictures, threshold=0.9, panoptic_threshold=0.95)
    assert sum(passes) == 6
    for box, segment, (this, that) in zip(boxes, segments, both, strict=True):
        torch.testing.assert_close(this, box)
        assert torch.equal(that["ids"], segment["ids"])
        assert that["segments"] == segment["segments"]


def test_a_model_without_masks_has_boxes_alone(model):
    with pytest.raises(ConfigError, match=r"has no masks.*masks=True"):
        predict_panoptic(model, [draw_scene(0).image])
    ((boxes, segments),) = predict_both(model, [draw_scene(0).image], threshold=0)
    assert segments is None
    torch.testing.assert_close(boxes, predict(model, [draw_scene(0).image], threshold=0)[0])


def test_one_image_at_a_time_has_its_masks_in_full(masked, monkeypatch):
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    counts = []

    def watched(*arguments):
        counts.append(len(alive))
        masks = at_size(*arguments)
        alive.add(masks)
        return masks

    at_size = segmentation.at_size
    monkeypatch.setattr(segmentation, "at_size", watched)
    predict_panoptic(masked, [draw_scene(3).image] * 6, batch_size=3)
    assert counts == [0] * 6
