"""NestedTensor: pictures of different sizes in one batch, with a mask that says which pixels are padding.

Chapter: *NestedTensor*, ``book/05_nested_tensor``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class NestedTensor:
    """A batch of padded pictures, or of the feature maps made from them.

    Args:
        tensors: ``(B, C, H, W)``, each picture in the top left corner, zeros around it.
        mask: ``(B, H, W)`` bool, **True where there is padding**.
        padded: ``False`` promises that ``mask`` holds no ``True``, so that attention needs no mask. It is known when
            the batch is made, from sizes that are Python numbers; asking the mask later would make a GPU wait.
    """

    tensors: Tensor
    mask: Tensor
    padded: bool = True

    @classmethod
    def from_images(cls, images: Sequence[Tensor]) -> "NestedTensor":
        """Pad a list of ``(C, H_i, W_i)`` pictures to the largest height and the largest width among them.

        Raises:
            ValueError: no pictures, or pictures without pixels, not three-dimensional or of different channels.
        """
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
        tensors = images[0].new_zeros(len(images), images[0].shape[0], height, width)  # (B, C, H, W)
        mask = torch.ones(len(images), height, width, dtype=torch.bool, device=tensors.device)
        for number, image in enumerate(images):
            _, h, w = image.shape
            tensors[number, :, :h, :w] = image
            mask[number, :h, :w] = False
        padded = any(image.shape[1:] != (height, width) for image in images)
        return cls(tensors, mask, padded)

    def to(self, device: torch.device | str) -> "NestedTensor":
        """The same batch on another device."""
        return NestedTensor(
            self.tensors.to(device, non_blocking=True), self.mask.to(device, non_blocking=True), self.padded
        )

    def pin_memory(self) -> "NestedTensor":
        """The same batch in memory that a GPU reads on its own; ``DataLoader`` asks for it by this name."""
        return NestedTensor(self.tensors.pin_memory(), self.mask.pin_memory(), self.padded)

    def decompose(self) -> tuple[Tensor, Tensor]:
        """The pictures ``(B, C, H, W)`` and the mask ``(B, H, W)``."""
        return self.tensors, self.mask

    def __len__(self) -> int:
        return self.tensors.shape[0]
