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
def test_there_is_a_padding_mask_where_something_is_padded(shapes: list[tuple[int, int]]) -> None:
    batch = NestedTensor.from_images([torch.zeros(3, h, w) for h, w in shapes])
    assert (batch.padding_mask is not None) == batch.mask.any()
    assert batch.mask.shape == (len(shapes), *batch.tensors.shape[2:])
    assert len(batch) == len(shapes)


def test_pictures_that_are_one_tensor_already_are_a_batch() -> None:
    images = torch.rand(2, 3, 4, 6)
    batch = NestedTensor.from_images(images)
    assert batch.tensors is images
    assert batch.padding_mask is None
    tensors, mask = NestedTensor(images).decompose()
    assert tensors is images
    assert torch.equal(mask, torch.zeros(2, 4, 6, dtype=torch.bool))


def test_writing_into_the_mask_of_an_unpadded_batch_fails_rather_than_being_lost() -> None:
    with pytest.raises(RuntimeError, match="single memory location"):
        NestedTensor.from_images([torch.rand(3, 4, 6)]).mask[0] = True


def test_type_and_device_are_those_of_the_pictures() -> None:
    batch = NestedTensor.from_images([torch.ones(3, 2, 2, dtype=torch.float16), torch.ones(3, 1, 1).half()])
    assert batch.tensors.dtype == torch.float16
    assert batch.mask.dtype == torch.bool


def test_moving_keeps_everything() -> None:
    batch = NestedTensor.from_images([torch.ones(3, 2, 2), torch.ones(3, 2, 2)]).to("meta")
    assert batch.tensors.device.type == batch.mask.device.type == "meta"
    assert batch.padding_mask is None
    padded = NestedTensor.from_images([torch.ones(3, 2, 2), torch.ones(3, 1, 2)]).to("meta")
    assert padded.padding_mask is not None
    assert padded.mask.device.type == "meta"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "empty list"),
        ([torch.ones(3, 4, 4), torch.ones(4, 4)], r"image 1 has shape \(4, 4\)"),
        ([torch.ones(3, 4, 4), torch.ones(1, 4, 4)], r"image 1 has shape \(1, 4, 4\).*C = 3"),
        ([torch.ones(3, 4, 4), torch.ones(3, 0, 0)], r"image 1 has shape \(3, 0, 0\), which is no pixel"),
        ([torch.ones(3, 0, 4)], r"image 0 has shape \(3, 0, 4\), which is no pixel"),
        ([torch.ones(1, 3, 4, 4)], r"image 0 has shape \(1, 3, 4, 4\)"),
        (torch.ones(3, 4, 5), r"shape \(3, 4, 5\) is one image; a batch is \(B, C, H, W\): image\[None\] or \[image\]"),
        (torch.ones(4, 5), r"shape \(4, 5\) is no batch of images"),
        (torch.ones(0, 3, 4, 4), r"shape \(0, 3, 4, 4\) has no pixel"),
        (torch.ones(2, 3, 0, 4), r"shape \(2, 3, 0, 4\) has no pixel"),
    ],
)
def test_what_is_no_batch(images: list[torch.Tensor] | torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NestedTensor.from_images(images)


@pytest.mark.gpu
def test_moving_to_a_gpu() -> None:
    images = [torch.rand(3, 4, 6), torch.rand(3, 5, 2)]
    moved = NestedTensor.from_images(images).to("cuda")
    assert NestedTensor.from_images(images[:1]).to("cuda").mask.is_cuda
    made = NestedTensor.from_images([image.cuda() for image in images])
    assert moved.mask.is_cuda
    assert made.mask.is_cuda
    assert torch.equal(moved.tensors, made.tensors)
    assert torch.equal(moved.mask, made.mask)


@pytest.mark.gpu
def test_batches_of_a_loader_are_pinned():
    images = [torch.rand(3, 4, 5), torch.rand(3, 4, 6)]
    (samples,) = DataLoader(images, batch_size=2, collate_fn=NestedTensor.from_images, pin_memory=True)  # type: ignore
    assert isinstance(samples, NestedTensor)
    assert samples.tensors.is_pinned()
    assert samples.mask.is_pinned()
