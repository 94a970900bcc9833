"""Prediction: images in, boxes out.

Chapter: *A tour*, ``book/01_tour``.
"""

import os
from collections import defaultdict
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from detr_mini.data import eval_transforms, read_image
from detr_mini.data.image import image_size, image_to_tensor
from detr_mini.errors import ConfigError, ImageError
from detr_mini.evaluation import evaluation_mode
from detr_mini.modeling.build import Detector

ImageLike = str | os.PathLike[str] | Image.Image | Tensor


@torch.no_grad()
def predict(
    model: Detector, images: Sequence[ImageLike], *, threshold: float = 0.7, batch_size: int = 8
) -> list[dict[str, Tensor]]:
    """Detect objects in images of any size.

    A file is read when its turn comes, so that any number of them can be given: one decoded image is in memory at a
    time, besides a batch of those scaled for the model. Images of one size share a batch. Others do not, since they
    would have to be padded, and padding moves the boxes of a ResNet a little: what is found
    in an image does not depend on its company.

    Args:
        model: on any device; it is put into evaluation mode for as long as this takes.
        images: file names, PIL images, or tensors ``(3, H, W)`` uint8 as ``detr_mini.data.read_image`` gives them.
        threshold: detections that score less are left out. This is no non-maximum suppression: nothing is compared.
        batch_size: images that go through the model at once, at most.

    Returns:
        For each image ``scores`` ``(M,)`` from high to low, ``labels`` ``(M,)`` and ``boxes`` ``(M, 4)``, xyxy in its
        own pixels, on the CPU. A box may reach a little out of its image.

    Raises:
        ImageError: an image that cannot be read or used; the message names its file.
        ConfigError: a threshold outside of [0, 1], a batch size below 1, or a single image instead of a list.
    """
    if isinstance(images, (str, os.PathLike, Image.Image)) or (isinstance(images, Tensor) and images.ndim == 3):
        raise ConfigError("predict takes a list of images; for a single one write [image]")
    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold={threshold} must lie between 0 and 1, as scores do")
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size} must be at least 1")
    device = next(model.parameters()).device
    prepare = eval_transforms(model.config.image_size, model.config.max_size)
    detections: list[dict[str, Tensor]] = [{} for _ in images]
    with evaluation_mode(model):
        for batch in _batches_of_one_size(images, batch_size):
            samples, sizes = [], []
            for index in batch:
                image = to_image(images[index])
                sizes.append(image.shape[-2:])
                samples.append(prepare(image).to(device))
            found = model.postprocess(model(samples), torch.tensor(sizes))
            for index, one in zip(batch, found, strict=True):
                detections[index] = _best(one, threshold)
    return detections


def to_image(image: ImageLike) -> Tensor:
    """A file, turned upright, or a PIL image or tensor, as it is, as ``(3, H, W)`` uint8; see ``detr_mini.data.image``.

    Raises:
        ImageError: it cannot be read, or is a tensor of another kind.
    """
    if isinstance(image, Image.Image):
        return image_to_tensor(image)
    if not isinstance(image, Tensor):
        return read_image(image)
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ImageError(
            f"a tensor must be (3, H, W) uint8, as read_image gives it: colors from 0 to 255, not normalized. This is "
            f"{tuple(image.shape)} {str(image.dtype).removeprefix('torch.')}"
        )
    return image


def _batches_of_one_size(images: Sequence[ImageLike], batch_size: int) -> list[list[int]]:
    """The numbers of the images, those of one size together, in the order of the first of each batch."""
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        by_size[_size(image)].append(index)
    batches = [same[i : i + batch_size] for same in by_size.values() for i in range(0, len(same), batch_size)]
    return sorted(batches)


def _size(image: ImageLike) -> tuple[int, int]:
    """Height and width, of a file without decoding it."""
    if isinstance(image, Image.Image):
        return image.height, image.width
    if isinstance(image, Tensor):
        height, width = to_image(image).shape[1:]
        return height, width
    return image_size(image)


def _best(found: dict[str, Tensor], threshold: float) -> dict[str, Tensor]:
    """The detections of an image that score ``threshold`` or more, best first, on the CPU."""
    order = found["scores"].argsort(descending=True, stable=True)
    order = order[found["scores"][order] >= threshold]
    return {name: value[order].cpu() for name, value in found.items()}
