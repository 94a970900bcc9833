"""Boxes and their overlap, against slow versions and torchvision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import ops

from detr_mini.boxes import (
    box_area,
    box_cxcywh_to_xyxy,
    box_xyxy_to_cxcywh,
    generalized_box_iou,
    generalized_box_iou_cxcywh,
)

corner = st.floats(-2, 2, width=32)
corners = st.tuples(corner, corner, corner, corner)


@st.composite
def xyxy(draw: st.DrawFn) -> list[float]:
    """A box as (left, top, right, bottom), possibly without area."""
    a, b, c, d = draw(corners)
    return [min(a, c), min(b, d), max(a, c), max(b, d)]


def slow_giou(a: list[float], b: list[float]) -> float:
    """Rezatofighi et al. 2019, algorithm 1, for boxes with area."""
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return shared / union - (hull - union) / hull


def random_boxes(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    low = torch.rand(*shape, 2, generator=rng, dtype=dtype)
    return torch.cat([low, low + 0.05 + torch.rand(*shape, 2, generator=rng, dtype=dtype)], dim=-1)


def test_conversions_by_hand() -> None:
    cxcywh, wanted = torch.tensor([0.5, 0.4, 0.2, 0.6]), torch.tensor([0.4, 0.1, 0.6, 0.7])
    torch.testing.assert_close(box_cxcywh_to_xyxy(cxcywh), wanted)
    torch.testing.assert_close(box_xyxy_to_cxcywh(wanted), cxcywh)


@given(xyxy())
def test_round_trip(box: list[float]) -> None:
    boxes = torch.tensor([[box]], dtype=torch.float64)
    torch.testing.assert_close(box_cxcywh_to_xyxy(box_xyxy_to_cxcywh(boxes)), boxes)
    torch.testing.assert_close(box_xyxy_to_cxcywh(box_cxcywh_to_xyxy(boxes)), boxes)


def test_conversions_agree_with_torchvision() -> None:
    boxes = random_boxes(50)
    torch.testing.assert_close(box_xyxy_to_cxcywh(boxes), ops.box_convert(boxes, "xyxy", "cxcywh"))
    torch.testing.assert_close(box_cxcywh_to_xyxy(boxes), ops.box_convert(boxes, "cxcywh", "xyxy"))


def test_area_of_boxes_and_of_none() -> None:
    boxes = torch.tensor([[1.0, 2.0, 4.0, 4.0], [1.0, 2.0, 1.0, 9.0], [4.0, 2.0, 1.0, 9.0], [4.0, 9.0, 1.0, 2.0]])
    assert box_area(boxes).tolist() == [6.0, 0.0, 0.0, 0.0]


def test_giou_by_hand() -> None:
    squares = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]])
    torch.testing.assert_close(generalized_box_iou(*squares), torch.tensor([1 / 7 - 2 / 9]))
    apart = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[9.0, 0.0, 10.0, 1.0]])
    torch.testing.assert_close(generalized_box_iou(*apart), torch.tensor([-0.8]))


def test_giou_agrees_with_torchvision_for_all_pairs() -> None:
    first, second = random_boxes(30, seed=1), random_boxes(20, seed=2)
    ours = generalized_box_iou(first[:, None], second[None])
    torch.testing.assert_close(ours, ops.generalized_box_iou(first, second))


@given(st.integers(0, 10_000))
def test_giou_agrees_with_the_slow_version(seed: int) -> None:
    first, second = random_boxes(2, 3, seed=seed), random_boxes(2, 3, seed=seed + 1)
    ours = generalized_box_iou(first, second)
    slow = [[slow_giou(first[i, j].tolist(), second[i, j].tolist()) for j in range(3)] for i in range(2)]
    torch.testing.assert_close(ours, torch.tensor(slow, dtype=torch.float64))


@given(xyxy(), xyxy())
def test_giou_bounds_and_symmetry_with_any_area(first: list[float], second: list[float]) -> None:
    a, b = torch.tensor(first), torch.tensor(second)
    giou = generalized_box_iou(a, b)
    assert giou.isfinite()
    assert -1 - 1e-6 <= giou <= 1 + 1e-6
    torch.testing.assert_close(giou, generalized_box_iou(b, a), rtol=0, atol=1e-6)


@given(st.integers(0, 10_000))
def test_giou_never_exceeds_iou_and_ignores_scale(seed: int) -> None:
    first, second = random_boxes(8, seed=seed), random_boxes(8, seed=seed + 1)
    giou = generalized_box_iou(first, second)
    assert (giou <= ops.box_iou(first, second).diagonal() + 1e-12).all()
    torch.testing.assert_close(generalized_box_iou(first * 640, second * 640), giou)
    torch.testing.assert_close(generalized_box_iou(first, first), torch.ones(8, dtype=torch.float64))


def test_giou_falls_with_the_distance() -> None:
    here = torch.tensor([0.0, 0.0, 1.0, 1.0])
    steps = torch.arange(0.0, 10.0, 0.5)[:, None]
    giou = generalized_box_iou(here, here + steps)
    assert (giou.diff() < 0).all()


@pytest.mark.parametrize(
    "pair",
    [
        ([0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]),  # the same point
        ([0.5, 0.5, 0.5, 0.5], [0.1, 0.1, 0.1, 0.1]),  # two points
        ([0.5, 0.0, 0.5, 1.0], [0.5, 0.0, 0.5, 1.0]),  # the same line
        ([0.9, 0.9, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1]),  # corners the wrong way round
    ],
)
def test_two_empty_boxes_have_an_iou_of_zero(pair: tuple[list[float], list[float]]) -> None:
    giou = generalized_box_iou(*torch.tensor(pair))
    assert giou.isfinite()
    assert -1 <= giou <= 0


def test_an_empty_box_has_finite_gradients_against_a_real_one() -> None:
    for empty in ([0.5, 0.5, 0.5, 0.5], [0.5, 0.2, 0.5, 0.9], [5.0, 5.0, 5.0, 5.0]):
        box = torch.tensor(empty, requires_grad=True)
        generalized_box_iou(box, torch.tensor([0.2, 0.2, 0.8, 0.8])).backward()
        assert box.grad is not None
        assert box.grad.isfinite().all()
        assert box.grad.abs().max() < 100


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_giou_gradients(seed: int) -> None:
    first, second = random_boxes(5, seed=seed).requires_grad_(), random_boxes(5, seed=seed + 1).requires_grad_()
    assert torch.autograd.gradcheck(generalized_box_iou, (first, second))
    first, second = (box_xyxy_to_cxcywh(boxes.detach()).requires_grad_() for boxes in (first, second))
    assert torch.autograd.gradcheck(generalized_box_iou_cxcywh, (first, second))


def test_giou_of_cxcywh_is_that_of_the_corners() -> None:
    first, second = random_boxes(30, 1, seed=1), random_boxes(20, seed=2)
    ours = generalized_box_iou_cxcywh(box_xyxy_to_cxcywh(first), box_xyxy_to_cxcywh(second))
    torch.testing.assert_close(ours, generalized_box_iou(first, second))
    negative, empty = torch.tensor([0.5, 0.5, -0.4, -0.2]), torch.tensor([0.5, 0.5, 0.0, 0.0])
    box = torch.tensor([0.4, 0.5, 0.3, 0.3])
    assert generalized_box_iou_cxcywh(negative, box) == generalized_box_iou_cxcywh(empty, box)


def test_giou_leaves_its_inputs_alone() -> None:
    for function in (generalized_box_iou, generalized_box_iou_cxcywh):
        first, second = random_boxes(5, seed=1), random_boxes(5, seed=2)
        before = first.clone(), second.clone()
        function(first, second)
        assert torch.equal(first, before[0])
        assert torch.equal(second, before[1])
