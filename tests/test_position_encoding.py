"""Positions against the formula of the paper, cell by cell."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from detr_mini import NestedTensor
from detr_mini.modeling.position_encoding import PositionEmbeddingLearned, PositionEmbeddingSine


def padded_mask(h: int, w: int, height: int, width: int) -> torch.Tensor:
    mask = torch.ones(1, height, width, dtype=torch.bool)
    mask[:, :h, :w] = False
    return mask


def formula(h: int, w: int, d: int, temperature: float, scale: float) -> torch.Tensor:
    """``(d, h, w)``: PE(p, 2i) = sin(p / T^(2i/D)), PE(p, 2i+1) = cos(the same), D = d/2, first for y, then for x."""
    encoding = torch.zeros(d, h, w, dtype=torch.float64)
    per_axis = d // 2
    for row in range(h):
        for column in range(w):
            places = (row + 1) / (h + 1e-6) * scale, (column + 1) / (w + 1e-6) * scale
            for axis, place in enumerate(places):
                for i in range(per_axis // 2):
                    angle = place / temperature ** (2 * i / per_axis)
                    encoding[axis * per_axis + 2 * i, row, column] = math.sin(angle)
                    encoding[axis * per_axis + 2 * i + 1, row, column] = math.cos(angle)
    return encoding.float()


@pytest.mark.parametrize(("temperature", "scale"), [(10000.0, 2 * math.pi), (16.0, 16 * math.pi)])
def test_sine_follows_the_formula(temperature: float, scale: float) -> None:
    encoding = PositionEmbeddingSine(16, temperature=temperature, scale=scale)
    wanted = formula(3, 5, 16, temperature, scale)
    assert_close(encoding(padded_mask(3, 5, 3, 5))[0], wanted, rtol=0, atol=1e-5)
    assert_close(encoding(padded_mask(3, 5, 7, 6))[0, :, :3, :5], wanted, rtol=0, atol=1e-5)


def test_the_defaults_are_the_published_ones() -> None:
    wanted = formula(4, 2, 8, 10000.0, 2 * math.pi)
    assert_close(PositionEmbeddingSine(8)(padded_mask(4, 2, 4, 2))[0], wanted, rtol=0, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(*[st.integers(1, 12)] * 2, *[st.integers(0, 7)] * 2)
def test_padding_changes_nothing(h: int, w: int, below: int, right: int) -> None:
    encoding = PositionEmbeddingSine(8)
    alone = encoding(padded_mask(h, w, h, w))
    padded = encoding(padded_mask(h, w, h + below, w + right))
    assert torch.equal(padded[:, :, :h, :w], alone)
    assert padded.isfinite().all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 90), st.integers(1, 90), st.sampled_from([4, 20, 64]))
def test_without_padding_one_column_and_one_row_give_the_same_bits(b: int, h: int, w: int, d: int) -> None:
    encoding = PositionEmbeddingSine(d, temperature=20.0, scale=50.0)
    nothing = torch.zeros(b, h, w, dtype=torch.bool)
    assert torch.equal(encoding(NestedTensor(torch.empty(b, 1, h, w))), encoding(nothing))


@pytest.mark.parametrize("encoding", [PositionEmbeddingSine(8), PositionEmbeddingLearned(8)])
def test_of_a_batch_only_the_mask_matters(encoding: torch.nn.Module) -> None:
    mask = torch.cat([padded_mask(2, 6, 4, 6), padded_mask(4, 3, 4, 6)])
    assert torch.equal(encoding(NestedTensor(torch.rand(2, 5, 4, 6), mask)), encoding(mask))


@pytest.mark.parametrize("encoding", [PositionEmbeddingSine(8), PositionEmbeddingLearned(8)])
def test_without_padding_a_batch_shares_one_map(encoding: torch.nn.Module) -> None:
    pos = encoding(NestedTensor(torch.empty(3, 1, 4, 5)))
    assert pos.shape == (3, 8, 4, 5)
    assert pos.stride(0) == 0
    assert pos.flatten(2).data_ptr() == pos.data_ptr()  # as the transformer takes it, still no copy


def test_every_picture_of_a_batch_has_its_own_places() -> None:
    encoding = PositionEmbeddingSine(8)
    batch = torch.cat([padded_mask(2, 6, 4, 6), padded_mask(4, 3, 4, 6)])
    assert_close(encoding(batch)[:1, :, :2, :6], encoding(padded_mask(2, 6, 2, 6)))
    assert_close(encoding(batch)[1:, :, :4, :3], encoding(padded_mask(4, 3, 4, 3)))


def test_sine_is_float32_and_finite_where_all_is_padding() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        encoding = PositionEmbeddingSine(8)(torch.ones(1, 3, 3, dtype=torch.bool))
    assert encoding.dtype == torch.float32
    assert encoding.isfinite().all()


def test_learned_takes_columns_first_then_rows() -> None:
    encoding = PositionEmbeddingLearned(6)
    pos = encoding(torch.zeros(2, 4, 50, dtype=torch.bool))
    assert pos.shape == (2, 6, 4, 50)
    for row in range(4):
        for column in (0, 1, 49):
            wanted = torch.cat([encoding.col_embed.weight[column], encoding.row_embed.weight[row]])
            assert torch.equal(pos[0, :, row, column], wanted)
            assert torch.equal(pos[1, :, row, column], wanted)


def test_learned_ignores_the_mask() -> None:
    encoding = PositionEmbeddingLearned(6)
    assert torch.equal(encoding(padded_mask(2, 3, 5, 4)), encoding(padded_mask(5, 4, 5, 4)))


def test_learned_stretches_beyond_fifty_cells() -> None:
    encoding = PositionEmbeddingLearned(4)
    ramp = torch.arange(50.0)[:, None]
    with torch.no_grad():
        encoding.row_embed.weight.copy_(ramp * torch.tensor([1.0, -2.0]))
        encoding.col_embed.weight.copy_(ramp * torch.tensor([3.0, 5.0]))
    pos = encoding(torch.zeros(1, 99, 60, dtype=torch.bool))[0]
    rows, columns = torch.linspace(0, 49, 99), torch.linspace(0, 49, 60)  # a line stays a line, its ends in place
    assert_close(pos[2], rows[:, None].expand(99, 60), rtol=0, atol=1e-4)
    assert_close(pos[3], -2 * rows[:, None].expand(99, 60), rtol=0, atol=1e-4)
    assert_close(pos[0], 3 * columns.expand(99, 60), rtol=0, atol=1e-4)
    assert_close(pos[1], 5 * columns.expand(99, 60), rtol=0, atol=1e-4)


def test_learned_learns() -> None:
    encoding = PositionEmbeddingLearned(4)
    encoding(torch.zeros(1, 60, 3, dtype=torch.bool)).sum().backward()
    assert encoding.row_embed.weight.grad is not None
    assert (encoding.row_embed.weight.grad != 0).all()
    assert encoding.col_embed.weight.grad is not None
    assert (encoding.col_embed.weight.grad[:3] != 0).all()
    assert (encoding.col_embed.weight.grad[3:] == 0).all()


def test_tables_start_uniform() -> None:
    torch.manual_seed(0)
    table = PositionEmbeddingLearned(128).row_embed.weight
    assert table.min() >= 0
    assert table.max() <= 1
    assert abs(table.mean() - 0.5) < 0.02


def test_widths_that_do_not_work() -> None:
    with pytest.raises(ValueError, match="divisible by 4, got 6"):
        PositionEmbeddingSine(6)
    with pytest.raises(ValueError, match="even width, got 5"):
        PositionEmbeddingLearned(5)
