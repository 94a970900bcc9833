"""Exercises of the chapter *NestedTensor*."""

from typing import Any

import torch
from torch import Tensor

from detr_mini.teaching.exercises import draw, exercise


def _masks() -> list[tuple[Tensor]]:
    """Frames of 4 x 6 pixels with pictures of 3 x 6, 4 x 2 and 4 x 6, and of 5 x 3 with pictures of 1 x 1 and 5 x 2."""
    found = []
    for sizes, (height, width) in (([(3, 6), (4, 2), (4, 6)], (4, 6)), ([(1, 1), (5, 2)], (5, 3))):
        mask = torch.ones(len(sizes), height, width, dtype=torch.bool)
        for number, (h, w) in enumerate(sizes):
            mask[number, :h, :w] = False
        found.append((mask,))
    return found


@exercise(
    cases=_masks,
    mistakes={
        "This is the share of real pixels. True means padding: count the True ones.": (
            lambda mask: (~mask).float().mean((1, 2))
        ),
        "This is one number for the whole batch; each picture has a share of its own.": (
            lambda mask: mask.float().mean()
        ),
        "This counts pixels. Divide by the number of pixels in a frame, H times W.": (
            lambda mask: mask.float().sum((1, 2))
        ),
    },
)
def share_of_padding(mask: Tensor) -> Tensor:
    """Mask (B, H, W) to shares (B,)."""
    return mask.float().mean(dim=(1, 2))


@exercise(
    cases=_masks,
    mistakes={
        "This is width before height; the height comes first, as in (H, W).": lambda mask: real_sizes(mask).flip(1),
        "This counts padding. True means padding, so turn the mask round first.": (
            lambda mask: torch.stack([mask[:, :, 0].sum(1), mask[:, 0].sum(1)], dim=1)
        ),
        "This is the size of the frame, the same for all. The mask says how much of it each picture fills.": (
            lambda mask: torch.tensor([mask.shape[1:]] * len(mask))
        ),
        "This adds up over the whole picture. Look at one column for the height, and at one row for the width.": (
            lambda mask: torch.stack([(~mask).sum((1, 2))] * 2, dim=1)
        ),
    },
)
def real_sizes(mask: Tensor) -> Tensor:
    """Mask (B, H, W), True at padding, to heights and widths (B, 2)."""
    real = ~mask
    heights = real[:, :, 0].sum(dim=1)  # real pixels of the first column
    widths = real[:, 0, :].sum(dim=1)  # real pixels of the first row
    return torch.stack([heights, widths], dim=1)


def _frames() -> list[tuple[Tensor, Tensor]]:
    generator = draw(0)
    batches = []
    for (mask,) in _masks():
        frames = torch.rand(len(mask), 3, *mask.shape[1:], generator=generator)
        batches.append((frames * ~mask[:, None], mask))
    return batches


@exercise(
    cases=_frames,
    mistakes={
        "These are still whole frames: cut the padding off.": lambda frames, mask: list(frames),
        "The pixels were picked with the mask, which leaves a list of them without rows: cut with slices instead.": (
            lambda frames, mask: [frame[:, ~hidden] for frame, hidden in zip(frames, mask, strict=True)]
        ),
        "Height and width are swapped: the first column says the height, and the first row the width.": (
            lambda frames, mask: [f[:, :w, :h] for f, (h, w) in zip(frames, real_sizes(mask), strict=True)]
        ),
        "This keeps as much as there is padding. True means padding, so count the False ones.": (
            lambda frames, mask: [f[:, :h, :w] for f, (h, w) in zip(frames, real_sizes(~mask), strict=True)]
        ),
        "All pictures are cut to the size of the smallest: each has a size of its own.": (
            lambda frames, mask: list(frames[:, :, : real_sizes(mask)[:, 0].min(), : real_sizes(mask)[:, 1].min()])
        ),
        "The colors come last here, as Matplotlib likes them; the images came as (C, H, W).": (
            lambda frames, mask: [image.permute(1, 2, 0) for image in unpad(frames, mask)]
        ),
    },
)
def unpad(frames: Tensor, mask: Tensor) -> list[Tensor]:
    """Frames (B, C, H, W), mask (B, H, W) to a list of (C, H_i, W_i)."""
    images = []
    for frame, hidden in zip(frames, mask, strict=True):
        height, width = (~hidden[:, 0]).sum(), (~hidden[0]).sum()
        images.append(frame[:, :height, :width])
    return images


def _pictures() -> list[tuple[list[Tensor], int]]:
    """Random pictures, of which each first one has a black corner."""
    generator = draw(1)
    found = []
    for sizes, multiple in (([(5, 7), (8, 3)], 4), ([(32, 32)], 32), ([(10, 33), (31, 2)], 32)):
        images = [torch.rand(3, h, w, generator=generator) for h, w in sizes]
        images[0][:, -2:, -2:] = 0
        found.append((images, multiple))
    return found


def _build(images: list[Tensor], height: int, width: int) -> tuple[Tensor, Tensor]:
    """The batch in a frame of this size: a blank picture that fills the frame forces it, and is dropped."""
    frames, mask = pad_to_multiple([*images, torch.zeros(3, height, width)], 1)
    return frames[:-1], mask[:-1]


def _largest(images: list[Tensor], axis: int) -> int:
    return max(image.shape[axis] for image in images)


def _always_one_more(images: list[Tensor], multiple: int) -> Any:
    return _build(images, *((_largest(images, axis) // multiple + 1) * multiple for axis in (1, 2)))


def _mask_from_frame(images: list[Tensor], multiple: int) -> Any:
    """Real from edge to edge of the frame: what is added to reach the multiple is not marked as padding."""
    frames, mask = pad_to_multiple(images, multiple)
    mask[:, : _largest(images, 1), : _largest(images, 2)] = False
    return frames, mask


def _inverted(images: list[Tensor], multiple: int) -> Any:
    frames, mask = pad_to_multiple(images, multiple)
    return frames, ~mask


@exercise(
    cases=_pictures,
    mistakes={
        "This frame is that of the largest picture; its sides have still to be rounded up to the multiple.": (
            lambda images, multiple: _build(images, _largest(images, 1), _largest(images, 2))
        ),
        "A side that is a multiple already got a whole multiple more: round up only what needs it.": _always_one_more,
        "The frame is right, but the mask knows only the frame of the largest picture: each picture has a size of its "
        "own.": _mask_from_frame,
        "The mask is the wrong way round: True means padding.": _inverted,
        "Black pixels count as padding here: make the mask from the sizes, which know better than the values.": (
            lambda images, multiple: (
                (frames := pad_to_multiple(images, multiple)[0]),
                (frames == 0).all(1),
            )
        ),
        "The 32 is written into this function: take the multiple that it is given.": (
            lambda images, multiple: pad_to_multiple(images, 32)
        ),
    },
)
def pad_to_multiple(images: list[Tensor], multiple: int) -> tuple[Tensor, Tensor]:
    """Images (C, H_i, W_i) to frames (B, C, H, W) and mask (B, H, W)."""
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    height, width = (-(-side // multiple) * multiple for side in (height, width))
    frames = images[0].new_zeros(len(images), images[0].shape[0], height, width)
    mask = torch.ones(len(images), height, width, dtype=torch.bool)
    for frame, hidden, image in zip(frames, mask, images, strict=True):
        h, w = image.shape[1:]
        frame[:, :h, :w] = image
        hidden[:h, :w] = False
    return frames, mask
