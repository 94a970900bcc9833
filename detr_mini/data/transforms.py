"""From a picture in pixels to what the model is trained on: flips, sizes, crops, normalisation.

Everything is built on ``torchvision.transforms.v2``, which moves boxes and masks along with the picture, and
draws from torch's generator alone: ``torch.manual_seed`` fixes the result.

Book: the chapter on data preparation.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from detr_mini.data.coco import Target

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PAPER_SIZES = tuple(range(480, 801, 32))  # the short sides DETR is trained on, in pixels
CROP_RANGE = (384, 600)  # shortest and longest side of the random crop, in pixels


def train_transforms(sizes: Sequence[int] | None, max_size: int = 1333) -> v2.Compose:
    """The augmentation of DETR's training (paper, appendix A.4), or with ``sizes=None`` only a random flip.

    With sizes, such as ``PAPER_SIZES``: flip half of the time; then half of the time resize the short side to
    one of ``sizes``, else resize it to 400, 500 or 600, crop at random, and resize to one of ``sizes``. The long
    side is kept within ``max_size``. Last come normalisation and ``NormalizeBoxes``.

    Takes and returns (image, target) as ``CocoDetection`` makes them.

    Raises:
        ValueError: a size is not below ``max_size``.
    """
    steps: list[nn.Module] = [v2.RandomHorizontalFlip()]
    if sizes is not None:
        resize = v2.RandomChoice([_resize(size, max_size) for size in sizes])
        before_crop = v2.RandomChoice([v2.Resize(size) for size in (400, 500, 600)])
        steps.append(v2.RandomChoice([resize, v2.Compose([before_crop, RandomSizeCrop(*CROP_RANGE), resize])]))
        steps.append(v2.ClampBoundingBoxes())  # a resize may round 480 up to 480.00003, which the next step would drop
        steps.append(v2.SanitizeBoundingBoxes(labels_getter=_per_object))  # drop what the crop left without area
    return v2.Compose([*steps, *_to_model()])


def eval_transforms(size: int | None, max_size: int = 1333) -> v2.Compose:
    """Resize the short side to ``size`` (DETR: 800), the long side to ``max_size`` at most, and normalise.

    With ``size=None`` only a picture whose long side exceeds ``max_size`` is resized, to that. Takes and returns
    (image, target) as ``CocoDetection`` makes them, or an image alone.

    Raises:
        ValueError: the size is not below ``max_size``.
    """
    return v2.Compose([Shrink(max_size) if size is None else _resize(size, max_size), *_to_model()])


class Shrink(v2.Transform):
    """Resize pictures whose long side exceeds ``max_size`` pixels; leave the others as they are."""

    def __init__(self, max_size: int) -> None:
        super().__init__()
        self.max_size = max_size

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The new height and width for a picture, the first of the inputs."""
        sides = F.get_size(flat_inputs[0])
        share = min(1.0, self.max_size / max(sides))
        return {"size": [max(1, round(side * share)) for side in sides]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize the picture, its boxes or its masks; nothing happens where the size is the same."""
        return self._call_kernel(F.resize, inpt, **params)


class RandomSizeCrop(v2.Transform):
    """Crop a window whose height and width are drawn, each alone, from ``shortest`` pixels to ``longest``.

    A side that is shorter than ``longest`` allows crops up to itself; one below ``shortest`` is kept whole.
    """

    def __init__(self, shortest: int, longest: int) -> None:
        super().__init__()
        self.shortest = shortest
        self.longest = longest

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the window for a picture, the first of the inputs."""
        height, width = F.get_size(flat_inputs[0])
        crop_height, crop_width = self._side(height), self._side(width)
        return {
            "top": _randint(0, height - crop_height),
            "left": _randint(0, width - crop_width),
            "height": crop_height,
            "width": crop_width,
        }

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Crop the picture, its boxes or its masks."""
        return self._call_kernel(F.crop, inpt, **params)

    def _side(self, side: int) -> int:
        return _randint(min(self.shortest, side), min(self.longest, side))


class NormalizeBoxes(nn.Module):
    """Boxes xyxy in pixels become plain cxcywh in [0, 1], (T, 4); the last step before the model.

    ``size`` (2,) becomes the height and width of the picture as the model sees it; picture and masks become
    plain tensors, (3, H, W) and (T, H, W).
    """

    def forward(self, image: Tensor, target: Target | None = None) -> Any:
        """Return the picture and a new target, or the picture alone; see the class."""
        if target is None:
            return image.as_subclass(Tensor)
        height, width = image.shape[-2:]
        boxes = F.convert_bounding_box_format(target["boxes"], new_format="CXCYWH")
        scale = torch.tensor([width, height, width, height])
        plain = {name: value.as_subclass(Tensor) for name, value in target.items()}
        plain["boxes"] = boxes.as_subclass(Tensor) / scale
        plain["size"] = torch.tensor([height, width])
        return image.as_subclass(Tensor), plain


def denormalise(image: Tensor) -> NDArray[np.uint8]:
    """Turn a normalised picture (3, H, W) back into one to show: (H, W, 3) uint8."""
    mean, std = (torch.tensor(v, device=image.device).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = (image * std + mean).clamp(0, 1).mul(255).round().to(torch.uint8)
    return pixels.permute(1, 2, 0).cpu().numpy()


def _to_model() -> list[nn.Module]:
    return [
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        NormalizeBoxes(),
    ]


def _resize(size: int, max_size: int) -> v2.Resize:
    if not 0 < size < max_size:
        raise ValueError(f"size {size} must lie between 1 and max_size {max_size}, exclusive of the latter")
    return v2.Resize(size, max_size=max_size)


def _per_object(sample: tuple[Tensor, Target]) -> tuple[Tensor, ...]:
    """What goes with a box when it is dropped; masks go by themselves."""
    target = sample[1]
    return target["labels"], target["area"], target["iscrowd"]


def _randint(low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``, both included."""
    return int(torch.randint(low, high + 1, ()))
