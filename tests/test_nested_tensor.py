"""Batches of pictures of different sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from detr_mini import NestedTensor

sizes = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4)


@settings(deadline=None)
@given(sizes)
def test_every_picture_comes_back_and_the_rest_is_masked_zeros(shapes: list[tuple[int, int]]) -> None:
    images = [torch.rand(3, h, w) + 1 for h, w in shapes]
    tensors, mask = NestedTensor.from_images(images).decompose()
    height, width = max(h for h, _ in shapes), max(w for _, w in shapes)
    assert tensors.shape == (len(images), 3, height, width)
    assert mask.shape == (len(images), height, width)
    for image, padded, ignored in zip(images, tensors, mask, strict=True):
        _, h, w = image.shape
        assert torch.equal(padded[:, :h, :w], image)
        assert not ignored[:h, :w].any()
        assert ignored.sum() == height * width - h * w
        assert (padded[:, ignored] == 0).all()


@given(sizes)
def test_padded_says_whether_the_mask_holds_anything(shapes: list[tuple[int, int]]) -> None:
    batch = NestedTensor.from_images([torch.zeros(3, h, w) for h, w in shapes])
    assert batch.padded == batch.mask.any()
    assert len(batch) == len(shapes)


def test_type_and_device_are_those_of_the_pictures() -> None:
    batch = NestedTensor.from_images([torch.ones(3, 2, 2, dtype=torch.float16), torch.ones(3, 1, 1).half()])
    assert batch.tensors.dtype == torch.float16
    assert batch.mask.dtype == torch.bool


def test_moving_keeps_everything() -> None:
    batch = NestedTensor.from_images([torch.ones(3, 2, 2), torch.ones(3, 2, 2)]).to("meta")
    assert batch.tensors.device.type == batch.mask.device.type == "meta"
    assert not batch.padded
    assert NestedTensor.from_images([torch.ones(3, 2, 2), torch.ones(3, 1, 2)]).to("meta").padded


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "empty list"),
        ([torch.ones(3, 4, 4), torch.ones(4, 4)], r"image 1 has shape \(4, 4\)"),
        ([torch.ones(3, 4, 4), torch.ones(1, 4, 4)], r"image 1 has shape \(1, 4, 4\).*C = 3"),
        ([torch.ones(3, 4, 4), torch.ones(3, 0, 0)], r"image 1 has shape \(3, 0, 0\), which is no pixel"),
        ([torch.ones(3, 0, 4)], r"image 0 has shape \(3, 0, 4\), which is no pixel"),
        ([torch.ones(1, 3, 4, 4)], r"image 0 has shape \(1, 3, 4, 4\)"),
    ],
)
def test_what_is_no_batch(images: list[torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NestedTensor.from_images(images)


@pytest.mark.gpu
def test_moving_to_a_gpu() -> None:
    images = [torch.rand(3, 4, 6), torch.rand(3, 5, 2)]
    moved = NestedTensor.from_images(images).to("cuda")
    made = NestedTensor.from_images([image.cuda() for image in images])
    assert moved.mask.is_cuda
    assert made.mask.is_cuda
    assert torch.equal(moved.tensors, made.tensors)
    assert torch.equal(moved.mask, made.mask)


@pytest.mark.gpu
def test_batches_of_a_loader_are_pinned():
    loader = DataLoader([torch.rand(3, 4, 5)] * 2, batch_size=2, collate_fn=NestedTensor.from_images, pin_memory=True)
    (samples,) = loader
    assert isinstance(samples, NestedTensor)
    assert samples.tensors.is_pinned()
    assert samples.mask.is_pinned()
    assert not samples.padded
