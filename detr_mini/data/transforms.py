"""From a picture in pixels to what the model is trained on: flips, sizes, crops, normalization.

Everything is built on ``torchvision.transforms.v2``, which moves boxes and masks along with the picture, and
draws from torch's generator alone: ``torch.manual_seed`` fixes the result.

Chapter: *Data preparation*, ``book/04_data``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from detr_mini.data.augmentation import photo_augmentation
from detr_mini.data.coco import Target
from detr_mini.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_MEAN, _STD = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
PAPER_SIZES = tuple(range(480, 801, 32))  # the short sides DETR is trained on, in pixels
BEFORE_CROP = (400, 500, 600)  # the short sides before a random crop
CROP_RANGE = (384, 600)  # shortest and longest side of the random crop, in pixels
LONGEST = 10_000  # pixels: the long side before a crop, whatever the proportions; a 1 x 30,000 picture must fit memory


def train_transforms(
    sizes: Sequence[int] | None, max_size: int = 1333, *, image_size: int | None = None, augment: bool = False
) -> v2.Compose:
    """The augmentation of DETR's training (paper, section 4, and its code), or with ``sizes=None`` only a flip.

    With sizes, such as ``PAPER_SIZES``: flip half of the time; then half of the time resize the short side to
    one of ``sizes``, else resize it to 400, 500 or 600, crop at random, and resize to one of ``sizes``. The long
    side is kept within ``max_size``. Those numbers, and the sides of a crop, are for sizes up to 800, and change in
    proportion. Without sizes, images have the size that ``eval_transforms(image_size, max_size)`` gives them. Last
    come normalization and ``NormalizeBoxes``. With ``augment``, colors and zoom vary too, before all else but the flip:
    see :func:`.photo_augmentation`.

    Takes and returns (image, target) as ``CocoDetection`` makes them.

    Raises:
        ConfigError: a size is above ``max_size``.
    """
    steps: list[nn.Module] = [RandomFlip(), *(photo_augmentation() if augment else [])]
    if sizes is None:
        steps.append(_resize(image_size, max_size))
    else:
        before, shortest, longest = _crop_sizes(max(sizes))
        resize = v2.RandomChoice([ResizeShort(size, max_size) for size in sizes])
        before_crop = v2.RandomChoice([ResizeShort(size, LONGEST) for size in before])
        steps.append(v2.RandomChoice([resize, v2.Compose([before_crop, RandomSizeCrop(shortest, longest), resize])]))
        steps.append(v2.ClampBoundingBoxes())  # a resize may round 480 up to 480.00003, which the next step would drop
        steps.append(v2.SanitizeBoundingBoxes(labels_getter=_per_object))  # drop what the crop left without area
    return v2.Compose([*steps, *_to_model()])


def eval_transforms(size: int | None, max_size: int = 1333) -> v2.Compose:
    """Resize the short side to ``size`` (DETR: 800), the long side to ``max_size`` at most, and normalize.

    With ``size=None`` only a picture whose long side exceeds ``max_size`` is resized, to that. Takes and returns
    (image, target) as ``CocoDetection`` makes them, or an image alone.

    Raises:
        ConfigError: the size is above ``max_size``.
    """
    return v2.Compose([_resize(size, max_size), *_to_model()])


class RandomFlip(nn.Module):
    """Flip picture, boxes and masks left to right, half of the time.

    ``v2.RandomHorizontalFlip`` draws and does the same; on small pictures it takes longer to look through the target
    than to flip.
    """

    def forward(self, image: Tensor, target: Target) -> tuple[Tensor, Target]:
        """Return the picture and its target, or both flipped. Boxes are xyxy in pixels."""
        if torch.rand(1) >= 0.5:
            return image, target
        boxes = target["boxes"]
        corners = boxes.as_subclass(Tensor)[:, [2, 1, 0, 3]]
        corners[:, ::2] = image.shape[-1] - corners[:, ::2]
        target = target | {"boxes": tv_tensors.wrap(corners, like=boxes)}
        if "masks" in target:
            target["masks"] = F.horizontal_flip(target["masks"])
        return tv_tensors.wrap(image.as_subclass(Tensor).flip(-1), like=image), target


class _Resize(v2.Transform):
    """Resize picture, boxes and masks to the height and width that ``new_size`` gives for those of the picture."""

    def new_size(self, height: int, width: int) -> tuple[int, int]:
        raise NotImplementedError

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The new size, at least a pixel each way, for a picture, the first of the inputs."""
        return {"size": [max(1, side) for side in self.new_size(*F.get_size(flat_inputs[0]))]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize the picture, its boxes or its masks; nothing happens where the size is the same."""
        return self._call_kernel(F.resize, inpt, **params)


class Shrink(_Resize):
    """Resize pictures whose long side exceeds ``max_size`` pixels; leave the others as they are."""

    def __init__(self, max_size: int) -> None:
        super().__init__()
        self.max_size = max_size

    def forward(self, *inputs: Any) -> Any:
        """Return what came in, picture alone or with its target, or all of it resized."""
        image = inputs[0]  # looking through a target takes longer than all else that is done to a small picture
        return super().forward(*inputs) if max(F.get_size(image)) > self.max_size else _as_given(inputs)

    def new_size(self, height: int, width: int) -> tuple[int, int]:
        """The height and width within ``max_size``."""
        share = min(1.0, self.max_size / max(height, width))
        return round(height * share), round(width * share)


class ResizeShort(_Resize):
    """Resize the short side to ``size`` pixels, or less where the long side would exceed ``max_size``.

    The sizes are those of ``v2.Resize(size, max_size=max_size)``, which rounds the short side of a thin strip to 0.

    Raises:
        ConfigError: the size is above ``max_size``.
    """

    def __init__(self, size: int, max_size: int) -> None:
        super().__init__()
        if not 0 < size <= max_size:
            raise ConfigError(f"size {size} must lie between 1 and max_size {max_size}")
        self.size = size
        self.max_size = max_size

    def new_size(self, height: int, width: int) -> tuple[int, int]:
        """The height and width in these proportions."""
        short, long = self.size, int(self.size * max(height, width) / min(height, width))
        if long > self.max_size:
            short, long = int(self.max_size * short / long), self.max_size
        return (long, short) if height > width else (short, long)


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


class NormalizeImage(nn.Module):
    """A picture (3, H, W), uint8 or float in [0, 1], becomes float, with ImageNet's mean 0 and standard deviation 1."""

    def forward(self, image: Tensor, target: Target | None = None) -> Any:
        """Return the picture and its target, or the picture alone."""
        # Files have a pixel's colors side by side; the arithmetic is five times faster on one color after the other.
        pixels = F.to_dtype_image(image.as_subclass(Tensor).contiguous(), torch.float32, scale=True)
        pixels = pixels.sub(_MEAN).div_(_STD)
        return pixels if target is None else (pixels, target)


class NormalizeBoxes(nn.Module):
    """Boxes xyxy in pixels become plain cxcywh in [0, 1], (T, 4); the last step before the model.

    ``size`` (2,) becomes the height and width of the picture as the model sees it; picture and masks become
    plain tensors, (3, H, W) and (T, H, W).
    """

    def forward(self, image: Tensor, target: Target | None = None) -> Any:
        """Return the picture and a new target, or the picture alone; see the class."""
        if target is None:
            return image.as_subclass(Tensor)
        plain = {name: value.as_subclass(Tensor) for name, value in target.items()}
        height, width = image.shape[-2:]
        corners = plain["boxes"].numpy()  # NumPy takes half the time of torch for a handful of numbers
        sides = corners[:, 2:] - corners[:, :2]
        centers = corners[:, :2] + sides / 2
        scale = np.array([width, height, width, height], dtype=np.float32)
        plain["boxes"] = torch.from_numpy(np.concatenate([centers, sides], axis=1) / scale)
        plain["size"] = torch.tensor([height, width])
        return image.as_subclass(Tensor), plain


def denormalise(image: Tensor) -> NDArray[np.uint8]:
    """Turn a normalized picture (3, H, W) back into one to show: (H, W, 3) uint8."""
    mean, std = (torch.tensor(v, device=image.device).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = (image * std + mean).clamp(0, 1).mul(255).round().to(torch.uint8)
    return pixels.permute(1, 2, 0).cpu().numpy()


def _resize(size: int | None, max_size: int) -> nn.Module:
    return Shrink(max_size) if size is None else ResizeShort(size, max_size)


def _crop_sizes(largest: int) -> tuple[list[int], int, int]:
    """Short sides before a crop, and its shortest and longest side, for training on sizes up to ``largest``."""
    scale = largest / max(PAPER_SIZES)
    before, (shortest, longest) = (
        [max(1, round(scale * size)) for size in sizes] for sizes in (BEFORE_CROP, CROP_RANGE)
    )
    return before, shortest, longest


def _as_given(inputs: tuple[Any, ...]) -> Any:
    return inputs[0] if len(inputs) == 1 else inputs


def _to_model() -> list[nn.Module]:
    return [NormalizeImage(), NormalizeBoxes()]


def _per_object(sample: tuple[Tensor, Target]) -> tuple[Tensor, ...]:
    """What goes with a box when it is dropped; masks go by themselves."""
    target = sample[1]
    return target["labels"], target["area"], target["iscrowd"]


def _randint(low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``, both included."""
    return int(torch.randint(low, high + 1, ()))
