"""Deformable attention: the operator against a loop, ``grid_sample`` and Hugging Face; the module and its start."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from detr_mini.modeling.deformable_attention import DeformableAttention, ms_deform_attn

SHAPES = [(5, 7), (3, 4), (1, 2)]


def loop(value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """The meaning of the operator, cell by cell."""
    b, queries, heads, levels, points, _ = locations.shape
    result = value.new_zeros(b, queries, heads, value.shape[-1])
    for i, q, m, level, p in torch.cartesian_prod(*map(torch.arange, (b, queries, heads, levels, points))).tolist():
        h, w = shapes[level]
        first = sum(height * width for height, width in shapes[:level])
        x = float(locations[i, q, m, level, p, 0]) * w - 0.5
        y = float(locations[i, q, m, level, p, 1]) * h - 0.5
        for row in range(h):
            for column in range(w):
                share = max(0.0, 1 - abs(x - column)) * max(0.0, 1 - abs(y - row))
                read = value[i, first + row * w + column, m]
                result[i, q, m] += weights[i, q, m, level, p] * share * read
    return result.flatten(2)


def sampled(value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """The readable form with gradients: ``grid_sample`` level by level."""
    maps = value.split([h * w for h, w in shapes], dim=1)
    result = torch.zeros(())
    for level, (h, w) in enumerate(shapes):
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)  # (B * M, Q, P, 2)
        image = maps[level].permute(0, 2, 3, 1).flatten(0, 1).unflatten(-1, (h, w))  # (B * M, D, h, w)
        read = F.grid_sample(image, grid, align_corners=False).unflatten(0, (len(weights), -1))
        result = result + torch.einsum("bmdqp,bqmp->bqmd", read, weights[:, :, :, level])
    return result.flatten(2)


def inputs(
    shapes: Sequence[tuple[int, int]] = SHAPES,
    batch: int = 2,
    queries: int = 6,
    heads: int = 2,
    d: int = 3,
    points: int = 4,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor, Tensor]:
    """Values, places from well inside to far outside of the maps, and weights."""
    rng = torch.Generator().manual_seed(0)
    cells = sum(h * w for h, w in shapes)
    value = torch.randn(batch, cells, heads, d, generator=rng)
    locations = torch.rand(batch, queries, heads, len(shapes), points, 2, generator=rng) * 1.6 - 0.3
    weights = torch.randn(batch, queries, heads, len(shapes) * points, generator=rng).softmax(-1)
    return value.to(dtype), locations.to(dtype), weights.unflatten(-1, (len(shapes), points)).to(dtype)


def gradients(function: Any, value: Tensor, shapes: Any, locations: Tensor, weights: Tensor) -> list[Tensor]:
    """The result, and the gradients of a sum of it in which every number counts differently."""
    leaves = [x.clone().requires_grad_() for x in (value, locations, weights)]
    result = function(leaves[0], shapes, leaves[1], leaves[2])
    (result * torch.linspace(-1, 2, result.numel()).view_as(result)).sum().backward()
    return [result.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def test_the_operator_is_the_loop() -> None:
    value, locations, weights = inputs()
    assert (locations < 0).any()
    assert (locations > 1).any()
    expected = loop(value, SHAPES, locations, weights)
    assert expected.abs().min() > 1e-4  # nothing is 0 on both sides
    assert_close(ms_deform_attn(value, SHAPES, locations, weights), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shapes", [SHAPES, [(9, 4)]])
def test_the_operator_and_its_gradients_are_those_of_grid_sample(shapes: Any) -> None:
    value, locations, weights = inputs(shapes)
    ours = gradients(ms_deform_attn, value, shapes, locations, weights)
    assert len(ours) == 4
    assert_close(ours, gradients(sampled, value, shapes, locations, weights), rtol=1e-5, atol=1e-5)


def test_the_operator_and_its_gradients_are_those_of_hugging_face() -> None:
    theirs = pytest.importorskip("transformers.models.deformable_detr.modeling_deformable_detr")
    attention = theirs.MultiScaleDeformableAttention()

    def function(value: Tensor, shapes: Any, locations: Tensor, weights: Tensor) -> Tensor:
        return attention(value, torch.tensor(shapes), shapes, None, locations, weights, 64)

    value, locations, weights = inputs()
    ours = gradients(ms_deform_attn, value, SHAPES, locations, weights)
    assert_close(ours, gradients(function, value, SHAPES, locations, weights), rtol=1e-5, atol=1e-5)


def test_gradients_by_finite_differences() -> None:
    value, locations, weights = inputs([(3, 4), (2, 2)], queries=3, d=2, points=2, dtype=torch.float64)
    leaves = [x.requires_grad_() for x in (value, locations, weights)]
    shapes = [(3, 4), (2, 2)]
    assert torch.autograd.gradcheck(lambda v, x, a: ms_deform_attn(v, shapes, x, a), leaves, eps=1e-7, atol=1e-6)


def test_the_middle_of_a_cell_is_the_cell_and_between_two_is_their_mean() -> None:
    value = torch.arange(6.0).view(1, 6, 1, 1)  # a map of two rows and three columns
    places = torch.tensor([[2.5 / 3, 0.25], [1 / 3, 0.75], [0.5 / 3, 0.5], [-0.5 / 3, 0.25]])
    read = ms_deform_attn(value, [(2, 3)], places.view(1, 4, 1, 1, 1, 2), torch.ones(1, 4, 1, 1, 1))
    assert_close(read.flatten(), torch.tensor([2.0, 3.5, 1.5, 0.0]))


def test_far_outside_nothing_is_read_and_what_is_no_number_stays_none() -> None:
    value, locations, weights = inputs()
    for far in (-1e30, -3.0, 4.0, 1e30, math.inf):
        assert not ms_deform_attn(value, SHAPES, torch.full_like(locations, far), weights).any()
    locations[0, 0] = math.nan
    read = ms_deform_attn(value, SHAPES, locations, weights)
    assert read[0, 0].isnan().all()
    assert read[1].isfinite().all()


def test_half_precision_values_keep_their_places() -> None:
    value, locations, weights = inputs([(40, 60)])
    read = ms_deform_attn(value.bfloat16(), [(40, 60)], locations, weights)
    assert read.dtype == torch.bfloat16
    assert_close(read.float(), ms_deform_attn(value, [(40, 60)], locations, weights), rtol=0, atol=0.05)


def make(**changes: Any) -> DeformableAttention:
    torch.manual_seed(0)
    return DeformableAttention(**({"d": 32, "heads": 8, "levels": 3, "points": 4} | changes))


def test_names_and_shapes_are_the_published_ones() -> None:
    shapes = {name: tuple(value.shape) for name, value in make(d=256, levels=4).state_dict().items()}
    assert shapes == {
        "sampling_offsets.weight": (256, 256),
        "sampling_offsets.bias": (256,),
        "attention_weights.weight": (128, 256),
        "attention_weights.bias": (128,),
        "value_proj.weight": (256, 256),
        "value_proj.bias": (256,),
        "output_proj.weight": (256, 256),
        "output_proj.bias": (256,),
    }


def test_heads_begin_as_directions_and_points_as_steps() -> None:
    attention = make()
    offsets = attention.sampling_offsets.bias.view(8, 3, 4, 2).detach()
    corners = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for head, corner in enumerate(corners):
        for point in range(4):
            expected = (torch.tensor(corner) * (point + 1.0)).expand(3, 2)
            assert_close(offsets[head, :, point], expected, rtol=0, atol=1e-5)
    query, reference = torch.randn(2, 5, 32), torch.rand(2, 5, 3, 2)
    locations, weights = attention.sampling(query, reference, SHAPES)
    assert_close(weights, torch.full((2, 5, 8, 3, 4), 1 / 12))
    right = locations[:, :, 0, :, 1] - reference  # head 0, point 2: two cells to the right on every level
    assert_close(right, torch.tensor([[2 / 7, 0], [2 / 4, 0], [2 / 2, 0]]).expand_as(right), rtol=0, atol=1e-6)


def test_a_box_scales_the_offsets() -> None:
    attention = make()
    box = torch.tensor([0.5, 0.4, 0.2, 0.1]).expand(1, 1, 3, 4)
    locations, _ = attention.sampling(torch.randn(1, 1, 32), box, SHAPES)
    last = locations[0, 0, :, :, 3]  # the fourth point of each head lies on the edge of the box
    assert_close(last[0], torch.tensor([0.6, 0.4]).expand(3, 2))
    assert_close(last[3], torch.tensor([0.4, 0.45]).expand(3, 2))


def test_padding_is_read_as_zero() -> None:
    attention = make()
    query, memory = torch.randn(2, 5, 32), torch.randn(2, 49, 32)
    reference = torch.rand(2, 5, 3, 2)
    padding = torch.zeros(2, 49, dtype=torch.bool)
    assert_close(attention(query, reference, memory, SHAPES, padding), attention(query, reference, memory, SHAPES))
    padding[1, ::2] = True
    hidden = attention(query, reference, memory, SHAPES, padding)
    memory[padding] = 1e3
    assert_close(attention(query, reference, memory, SHAPES, padding), hidden)
    assert (hidden[1] - attention(query, reference, memory, SHAPES)[1]).abs().max() > 0.1


def test_a_width_that_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="a width of 30 cannot be split into 8 equal heads"):
        make(d=30)
