"""NestedTensor: pictures of different sizes in one batch, with a mask that says which pixels are padding.

Chapter: *NestedTensor*, ``book/05_nested_tensor``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class NestedTensor:
    """A batch of padded pictures, or of the feature maps made from them.

    Args:
        tensors: ``(B, C, H, W)``, each picture in the top left corner, zeros around it.
        mask: ``(B, H, W)`` bool, **True where there is padding**; None where nothing is padded.

    Attributes:
        tensors: ``(B, C, H, W)``.
        padding_mask: ``(B, H, W)`` bool, or None where nothing is padded, so that attention needs no mask. It is known
            when the batch is made, from sizes that are Python numbers; asking a mask later would make a GPU wait.
    """

    def __init__(self, tensors: Tensor, mask: Tensor | None = None) -> None:
        self.tensors = tensors
        self.padding_mask = mask

    @property
    def mask(self) -> Tensor:
        """``(B, H, W)`` bool, True at padding, also where nothing is padded."""
        if self.padding_mask is not None:
            return self.padding_mask
        b, _, h, w = self.tensors.shape
        return torch.zeros(1, 1, 1, dtype=torch.bool, device=self.tensors.device).expand(b, h, w)

    @classmethod
    def from_images(cls, images: Sequence[Tensor] | Tensor) -> "NestedTensor":
        """Pad ``(C, H_i, W_i)`` pictures to the largest height and the largest width among them.

        Pictures that are one tensor ``(B, C, H, W)`` already are taken as they are: nothing is padded.

        Raises:
            ValueError: no pictures, or pictures without pixels, not three-dimensional or of different channels.
        """
        if isinstance(images, Tensor):
            return cls(_checked(images))
        if not images:
            raise ValueError("a batch needs at least one image, got an empty list")
        for number, image in enumerate(images):
            if image.ndim != 3 or image.shape[0] != images[0].shape[0]:
                raise ValueError(
                    f"image {number} has shape {tuple(image.shape)}; a batch needs (C, H, W) images, all with "
                    f"C = {images[0].shape[0]}"
                )
            if image.numel() == 0:
                raise ValueError(
                    f"image {number} has shape {tuple(image.shape)}, which is no pixel at all; leave it out"
                )
        height = max(image.shape[1] for image in images)
        width = max(image.shape[2] for image in images)
        if all(image.shape[1:] == (height, width) for image in images):
            return cls(torch.stack(list(images)))
        tensors = images[0].new_zeros(len(images), images[0].shape[0], height, width)  # (B, C, H, W)
        mask = torch.ones(len(images), height, width, dtype=torch.bool, device=tensors.device)
        for number, image in enumerate(images):
            _, h, w = image.shape
            tensors[number, :, :h, :w] = image
            mask[number, :h, :w] = False
        return cls(tensors, mask)

    def to(self, device: torch.device | str) -> "NestedTensor":
        """The same batch on another device."""
        mask = self.padding_mask
        return NestedTensor(
            self.tensors.to(device, non_blocking=True), None if mask is None else mask.to(device, non_blocking=True)
        )

    def pin_memory(self) -> "NestedTensor":
        """The same batch in memory that a GPU reads on its own; ``DataLoader`` asks for it by this name."""
        mask = self.padding_mask
        return NestedTensor(self.tensors.pin_memory(), None if mask is None else mask.pin_memory())

    def decompose(self) -> tuple[Tensor, Tensor]:
        """The pictures ``(B, C, H, W)`` and the mask ``(B, H, W)``."""
        return self.tensors, self.mask

    def __len__(self) -> int:
        return self.tensors.shape[0]


def _checked(images: Tensor) -> Tensor:
    shape = tuple(images.shape)
    if images.ndim == 3:
        raise ValueError(f"a tensor of shape {shape} is one image; a batch is (B, C, H, W): image[None] or [image]")
    if images.ndim != 4:
        raise ValueError(f"a tensor of shape {shape} is no batch of images, which is (B, C, H, W)")
    if images.numel() == 0:
        raise ValueError(f"a batch of shape {shape} has no pixel at all")
    return images
