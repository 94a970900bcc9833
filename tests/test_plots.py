"""Plots: every box is drawn, in the color of its kind."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from detr_mini.colours import COLOURS, QUIET
from detr_mini.plots import (
    detection_texts,
    draw_boxes,
    draw_cells,
    draw_frames,
    draw_names,
    slot_kinds,
    slot_panels,
    zoom_on,
)

FOUND = {
    "scores": torch.tensor([0.987, 0.5]),
    "labels": torch.tensor([7, 9]),
    "boxes": torch.tensor([[10.0, 20.0, 40.0, 60.0], [50.0, 5.0, 90.0, 30.0]]),
}


@given(st.integers(0, 2**31), st.integers(1, 40))
def test_every_box_has_exactly_one_kind(seed, number):
    boxes = torch.rand(number, 4, generator=torch.Generator().manual_seed(seed))
    kinds = slot_kinds(boxes)
    assert sorted(b for kind, _, _ in kinds for b in kind.tolist()) == sorted(boxes.tolist())


@pytest.mark.parametrize(
    ("width", "height", "colour"),
    [(0.1, 0.1, "green"), (0.8, 0.4, "vermilion"), (0.4, 0.8, "blue"), (0.2, 0.2, None)],
)
def test_kinds_by_size_and_shape(width, height, colour):
    kinds = slot_kinds(torch.tensor([[0.5, 0.5, width, height]]))
    assert [c for kind, c, _ in kinds if len(kind)] == [COLOURS[colour] if colour else QUIET]


def test_slot_panels_show_the_queries_asked_for():
    boxes = torch.rand(12, 8, 4)
    figure = slot_panels(boxes, queries=[5, 0, 3], columns=2)
    shown = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in shown] == ["5", "0", "3"]
    drawn = torch.cat([torch.as_tensor(c.get_offsets().data) for c in shown[0].collections])
    expected = boxes[:, 5, :2].double()
    torch.testing.assert_close(drawn[drawn[:, 0].argsort()], expected[expected[:, 0].argsort()])
    assert shown[0].get_ylim() == (1, 0), "y grows downwards, as in pictures"


def test_slot_panels_fade_the_points_of_silent_queries():
    boxes, fires = torch.rand(12, 2, 4), torch.arange(24).view(12, 2) % 3 == 0
    panel = slot_panels(boxes, fires=fires).axes[1]
    strong = torch.cat([torch.as_tensor(c.get_offsets().data) for c in panel.collections if c.get_alpha() > 0.5])
    pale = torch.cat([torch.as_tensor(c.get_offsets().data) for c in panel.collections if c.get_alpha() < 0.2])
    for drawn, expected in ((strong, boxes[fires[:, 1], 1, :2]), (pale, boxes[~fires[:, 1], 1, :2])):
        assert sorted(drawn.tolist()) == sorted(expected.double().tolist())


def test_boxes_are_where_they_belong():
    ax = Figure().add_subplot()
    draw_boxes(ax, Image.new("RGB", (100, 80)), FOUND["boxes"], ["dog 0.99", ""], colours=["#0072b2", "#d55e00"])
    corners = [(p.get_x(), p.get_y(), p.get_x() + p.get_width(), p.get_y() + p.get_height()) for p in ax.patches]
    assert corners[1::2] == [tuple(box) for box in FOUND["boxes"].tolist()]
    assert [to_hex(p.get_edgecolor()) for p in ax.patches[1::2]] == ["#0072b2", "#d55e00"]
    assert [text.get_text() for text in ax.texts] == ["dog 0.99"]


def test_texts_name_classes_and_fall_back_to_ids():
    assert detection_texts(FOUND, {7: "dog"}) == ["dog 0.99", "9 0.50"]


def test_frames_are_drawn_where_their_boxes_are():
    axes = Figure().subplots()
    draw_frames(axes, FOUND["boxes"], ec=COLOURS["blue"])
    assert [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in axes.patches] == [
        (10, 20, 30, 40),
        (50, 5, 40, 25),
    ]
    assert {to_hex(patch.get_edgecolor()) for patch in axes.patches} == {COLOURS["blue"].lower()}


def test_cells_lie_on_the_pixels_they_stand_for():
    axes = Figure().subplots()
    drawn = draw_cells(axes, Image.new("RGB", (30, 20)), torch.arange(12.0).view(3, 4), 8, vmin=-1)
    assert drawn.get_extent() == [0, 32, 24, 0]
    assert drawn.norm.vmin == -1
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 30), (20, 0)), "cells beyond the picture are cut off"
    assert axes.images[0].get_extent() == [0, 30, 20, 0]


def test_names_keep_their_distance_and_their_order():
    ax = Figure().add_subplot()
    draw_names(ax, 3.0, [(0.5, "high", "red"), (0.0, "low", "blue"), (0.12, "middle", "green")], gap=0.125)
    written = [(text.get_text(), *text.get_position(), text.get_color()) for text in ax.texts]
    assert written == [("low", 3.0, 0.0625, "blue"), ("middle", 3.0, 0.1875, "green"), ("high", 3.0, 0.5, "red")]


@pytest.mark.parametrize("box", [[40.0, 30, 60, 50], [0.0, 0, 4, 90], [190.0, 90, 200, 100], [0.0, 0, 200, 100]])
def test_a_zoom_is_a_square_within_the_picture_that_shows_what_it_can_of_the_box(box):
    ax = Figure().add_subplot()
    zoom_on(ax, Image.new("RGB", (200, 100)), torch.tensor(box))
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert right - left == pytest.approx(bottom - top)
    assert 0 <= left < right <= 200
    assert 0 <= top < bottom <= 100, "y grows downwards"
    if box[2] - box[0] < 100:
        assert left <= box[0]
        assert box[2] <= right
        assert top <= box[1]
        assert box[3] <= bottom
