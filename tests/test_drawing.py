"""Detections drawn with Pillow: where they belong, in the color of their class, at any size."""

import numpy as np
import pytest
import torch
from PIL import ImageColor

from detr_mini.colours import COLOURS
from detr_mini.drawing import draw_detections

NAMES = {3: "dog", 7: "cat"}


def found(*boxes, labels=None):
    return {
        "scores": torch.linspace(0.9, 0.5, len(boxes)),
        "labels": torch.tensor(labels or [3] * len(boxes)),
        "boxes": torch.tensor(boxes, dtype=torch.float).reshape(-1, 4),
    }


def colour_of(picture, x, y):
    """The color of the book's palette that a pixel has, if any."""
    pixel = picture.getpixel((x, y))
    return next((name for name, colour in COLOURS.items() if ImageColor.getrgb(colour) == pixel), None)


def test_a_box_is_drawn_on_its_edges_and_nowhere_else():
    gray = torch.full((3, 600, 1000), 128, dtype=torch.uint8)
    picture = draw_detections(gray, found([200, 150, 700, 500]), NAMES)
    assert picture.size == (1000, 600)
    for x, y in [(200, 300), (700, 300), (450, 150), (450, 500)]:
        assert colour_of(picture, x, y) == "blue"
    changed = (np.asarray(picture) != 128).any(-1)
    rows, columns = changed.nonzero()
    assert columns.min() >= 195
    assert columns.max() <= 705
    assert rows.max() <= 505
    assert rows.min() >= 110, "the label, above the box"
    assert not changed[160:490, 210:690].any()


def test_a_class_has_its_colour():
    boxes = [100, 100, 300, 300], [500, 100, 700, 300], [100, 400, 300, 550]
    picture = draw_detections(torch.zeros(3, 600, 900, dtype=torch.uint8), found(*boxes, labels=[3, 7, 3]), NAMES)
    assert [colour_of(picture, box[0], box[3] - 40) for box in boxes] == ["blue", "vermilion", "blue"]


def test_a_small_image_is_enlarged_with_its_boxes():
    picture = draw_detections(torch.zeros(3, 96, 128, dtype=torch.uint8), found([16, 32, 96, 64]), NAMES)
    assert picture.size == (800, 600)
    assert colour_of(picture, 100, 300) == "blue"
    assert colour_of(picture, 600, 300) == "blue"


@pytest.mark.parametrize("size", [(3000, 4000), (30, 4000), (2000, 3), (1, 1)])
def test_any_size_and_boxes_that_reach_out(size):
    height, width = size
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    boxes = [-0.2 * width, -0.1 * height, 0.5 * width, 1.2 * height], [0.9 * width, 0, 1.1 * width, 0.01 * height]
    picture = draw_detections(image, found(*boxes), NAMES)
    assert picture.width / picture.height == pytest.approx(width / height, rel=0.3)
    assert np.asarray(picture).any()


def test_lines_and_text_follow_the_size():
    shares = []
    for scale in (1, 5):
        image = torch.zeros(3, 600 * scale, 800 * scale, dtype=torch.uint8)
        box = [200 * scale, 200 * scale, 600 * scale, 500 * scale]
        shares.append((np.asarray(draw_detections(image, found(box), NAMES)) > 0).any(-1).mean())
    assert shares[0] == pytest.approx(shares[1], rel=0.2)


def test_nothing_found_is_the_image_itself_which_stays_as_it_was():
    image = torch.randint(0, 255, (3, 600, 900), dtype=torch.uint8)
    before = image.clone()
    assert np.array_equal(np.asarray(draw_detections(image, found(), {})), before.permute(1, 2, 0).numpy())
    draw_detections(image, found([100, 100, 300, 300]), {})
    assert torch.equal(image, before)
