"""Prediction: images in, boxes or segments out.

Chapter: *A tour*, ``book/01_tour``.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from detr_mini.data import eval_transforms, read_image
from detr_mini.data.image import image_size, image_to_tensor
from detr_mini.data.panoptic import Segments
from detr_mini.errors import ConfigError, ImageError
from detr_mini.evaluation import evaluation_mode
from detr_mini.modeling.build import Detector
from detr_mini.modeling.segmentation import THRESHOLD, DETRSegmentation, postprocess_panoptic

Array: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
ImageLike: TypeAlias = str | os.PathLike[str] | Image.Image | Tensor | Array
Images: TypeAlias = ImageLike | Sequence[ImageLike]
T = TypeVar("T")


class _Batch(NamedTuple):
    outputs: dict[str, Any]  # of the model
    processed_sizes: Tensor  # (B, 2), height and width of each image as the model saw it
    sizes: Tensor  # (B, 2), those of each original image


_Reader: TypeAlias = Callable[[_Batch], Iterable[T]]  # from a batch to what is said of each of its images


def predict(model: Detector, images: Images, *, threshold: float = 0.7, batch_size: int = 8) -> list[dict[str, Tensor]]:
    """Detect objects in images of any size.

    A file is read when its turn comes, so that any number of them can be given: one decoded image is in memory at a
    time, besides a batch of those scaled for the model. Images of one size share a batch. Others do not, since they
    would have to be padded, and padding moves the boxes of a ResNet a little: what is found
    in an image does not depend on its company.

    Args:
        model: on any device; it is put into evaluation mode for as long as this takes.
        images: file names, PIL images, tensors ``(3, H, W)`` uint8 as ``detr_mini.data.read_image`` gives them, or
            arrays ``(H, W, 3)`` uint8 in the order red, green, blue. That an array of OpenCV has blue first cannot be
            seen: give ``array[..., ::-1]``. A single image counts as a list of one.
        threshold: detections that score less are left out. This is no non-maximum suppression: nothing is compared.
        batch_size: images that go through the model at once, at most.

    Returns:
        For each image ``scores`` ``(M,)`` from high to low, ``labels`` ``(M,)`` and ``boxes`` ``(M, 4)``, xyxy in its
        own pixels, on the CPU. A box may reach a little out of its image: these are the model's own, as the published
        evaluation compares them. The command ``detr-mini predict`` clips them.

    Raises:
        ImageError: an image that cannot be read or used; the message names its file.
        ConfigError: a threshold outside of [0, 1], or a batch size below 1.
    """
    return _read(model, images, batch_size, _boxes(model, threshold))


def predict_panoptic(
    model: Detector, images: Images, *, threshold: float = THRESHOLD, batch_size: int = 8
) -> list[Segments]:
    """One segment for every pixel of images of any size, by a model with masks: see :func:`.postprocess_panoptic`.

    Images are read and put into batches as by :func:`predict`. The masks of one image at a time are in memory at the
    size that the model saw it in; the ids of all images are, with 8 bytes a pixel.

    Args:
        model: with masks, on any device. Which of its classes are stuff, ``model.stuff`` says.
        images: as for :func:`predict`.
        threshold: a slot that is less sure of its class has no segment; 0.85 is the published value.
        batch_size: images that go through the model at once, at most.

    Returns:
        For each image ``ids`` ``(H, W)`` int64 at its own size, the segment of every pixel, and ``segments``, for each
        ``id``, ``isthing``, ``category_id``, ``area`` in pixels and ``bbox``, xywh in pixels; on the CPU. Ids begin
        with 1. Where no slot is sure, all of the image is 0, which in COCO's files means: without a segment.

    Raises:
        ImageError: as :func:`predict`.
        ConfigError: as :func:`predict`, or a model without masks.
    """
    return _read(model, images, batch_size, _segments(model, threshold))


def predict_both(
    model: Detector,
    images: Images,
    *,
    threshold: float = 0.7,
    panoptic_threshold: float = THRESHOLD,
    batch_size: int = 8,
) -> list[tuple[dict[str, Tensor], Segments | None]]:
    """Boxes and segments from one pass through the model.

    Args:
        model: with masks or without, on any device.
        images: as for :func:`predict`.
        threshold: of :func:`predict`.
        panoptic_threshold: of :func:`predict_panoptic`.
        batch_size: images that go through the model at once, at most.

    Returns:
        For each image what :func:`predict` gives and what :func:`predict_panoptic` gives, or None by a model without
        masks.

    Raises:
        ImageError, ConfigError: as :func:`predict`.
    """
    _require_share("panoptic_threshold", panoptic_threshold)
    boxes, segments = _boxes(model, threshold), None
    if isinstance(model, DETRSegmentation):
        segments = _segments(model, panoptic_threshold)

    def both(batch: _Batch) -> Iterable[tuple[dict[str, Tensor], Segments | None]]:
        return zip(boxes(batch), segments(batch) if segments else [None] * len(batch.sizes), strict=True)

    return _read(model, images, batch_size, both)


@torch.no_grad()
def _read(model: Detector, images: Images, batch_size: int, read: _Reader[T]) -> list[T]:
    """What ``read`` says of each image, once the model has seen it in a batch of its size."""
    images = _as_list(images)
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size} must be at least 1")
    device = next(model.parameters()).device
    prepare = eval_transforms(model.config.image_size, model.config.max_size)
    said: dict[int, T] = {}
    with evaluation_mode(model):
        for numbers in _batches_of_one_size(images, batch_size):
            samples, sizes = [], []
            for number in numbers:
                image = to_image(images[number])
                sizes.append(image.shape[-2:])
                samples.append(prepare(image).to(device))
            processed_sizes = torch.tensor([sample.shape[-2:] for sample in samples])
            said |= zip(numbers, read(_Batch(model(samples), processed_sizes, torch.tensor(sizes))), strict=True)
    return [said[number] for number in range(len(images))]


def _as_list(images: Images) -> Sequence[ImageLike]:
    if isinstance(images, (Tensor, np.ndarray)):
        return list(images) if images.ndim == 4 else [images]
    return [images] if isinstance(images, (str, os.PathLike, Image.Image)) else images


def _boxes(model: Detector, threshold: float) -> _Reader[dict[str, Tensor]]:
    """Reads what :func:`predict` gives."""
    _require_share("threshold", threshold)
    return lambda batch: [_best(one, threshold) for one in model.postprocess(batch.outputs, batch.sizes)]


def _segments(model: Detector, threshold: float) -> _Reader[Segments]:
    """Reads what :func:`predict_panoptic` gives, image by image."""
    _require_share("threshold", threshold)
    if not isinstance(model, DETRSegmentation):
        raise ConfigError(
            "this model has no masks, and predict gives its boxes. For segments, train a DETR with masks=True in its "
            "config; it may start from the weights of one without"
        )
    is_thing = {number: number not in model.stuff for number in range(model.config.num_classes)}

    def read(batch: _Batch) -> Iterator[Segments]:
        for k in range(len(batch.sizes)):
            one = slice(k, k + 1)
            outputs = {name: batch.outputs[name][one] for name in ("pred_logits", "pred_masks")}
            (found,) = postprocess_panoptic(outputs, batch.processed_sizes[one], batch.sizes[one], is_thing, threshold)
            yield _as_coco(found)

    return read


def _as_coco(found: Segments) -> Segments:
    """On the CPU, with ids from 1 instead of 0, and the box around each segment."""
    ids = found["ids"].cpu()
    if found["segments"]:
        ids += 1
    segments = [
        {**segment, "id": segment["id"] + 1, "bbox": [x.start, y.start, x.stop - x.start, y.stop - y.start]}
        for segment, (y, x) in zip(found["segments"], ndimage.find_objects(ids.numpy()), strict=True)
    ]
    return {"ids": ids, "segments": segments}


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name}={value} must lie between 0 and 1, as scores do")


def to_image(image: ImageLike) -> Tensor:
    """A file, turned upright, or another image as it is, as ``(3, H, W)`` uint8; see ``detr_mini.data.image``.

    Raises:
        ImageError: it cannot be read, or is a tensor or an array of another kind.
    """
    if isinstance(image, Image.Image):
        return image_to_tensor(image)
    if isinstance(image, np.ndarray):
        return _array_to_tensor(image)
    if not isinstance(image, Tensor):
        return read_image(image)
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ImageError(
            f"a tensor must be (3, H, W) uint8, as read_image gives it: colors from 0 to 255, not normalized. This is "
            f"{tuple(image.shape)} {str(image.dtype).removeprefix('torch.')}"
        )
    return image


def _array_to_tensor(image: Array) -> Tensor:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or 0 in image.shape:
        raise ImageError(
            f"an array must be (H, W, 3) uint8, red, green, blue from 0 to 255, or (H, W), gray. This is {image.shape} "
            f"{image.dtype}"
        )
    colors = np.broadcast_to(image if image.ndim == 3 else image[..., None], (*image.shape[:2], 3))
    return torch.from_numpy(colors.transpose(2, 0, 1).copy())


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
    if isinstance(image, (Tensor, np.ndarray)):
        height, width = to_image(image).shape[1:]
        return height, width
    return image_size(image)


def _best(found: dict[str, Tensor], threshold: float) -> dict[str, Tensor]:
    """The detections of an image that score ``threshold`` or more, best first, on the CPU."""
    order = found["scores"].argsort(descending=True, stable=True)
    order = order[found["scores"][order] >= threshold]
    return {name: value[order].cpu() for name, value in found.items()}
