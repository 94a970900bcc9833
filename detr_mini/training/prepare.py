"""What training needs of its data before the first step: data sets with transforms, and what to tell the user.

Chapter: *Training*, ``book/14_train``.
"""

import hashlib
import math
import os

import torch
from torchvision.transforms import v2

from detr_mini.data import (
    PAPER_SIZES,
    CocoDetection,
    CocoPanoptic,
    DetectionDataset,
    RememberedImages,
    eval_transforms,
    train_transforms,
)
from detr_mini.data.augmentation import NEAREST
from detr_mini.data.transforms import Shrink
from detr_mini.errors import ConfigError
from detr_mini.modeling.config import DetectorConfig, DETRConfig
from detr_mini.training.recipe import Recipe

Data = str | os.PathLike[str] | tuple[DetectionDataset, DetectionDataset]
FEW_STEPS = 1000  # a model that starts from random weights has learned hardly anything by then
FEW_MORE_STEPS = 100  # and a trained one hardly anything new


def open_data(
    data: Data, config: DetectorConfig, recipe: Recipe, panoptic: bool = False
) -> tuple[DetectionDataset, DetectionDataset]:
    """The data sets to train and to measure on: those given, or ``train`` and ``val`` of a COCO folder.

    The images of a folder are resized in training to what evaluation and prediction will resize them to: that is what
    the config says, ``image_size`` and ``max_size``. A recipe with ``sizes`` draws from sizes up to that. With
    ``panoptic`` the objects of a folder are its things and stuff.

    Raises:
        NotFoundError: there is no such split.
        ConfigError: the recipe's ``sizes`` do not go with the config's ``image_size``.
    """
    if isinstance(data, tuple):
        return data
    if recipe.sizes is not None:
        _check_sizes(recipe.sizes, config)
    augment = train_transforms(recipe.sizes, config.max_size, image_size=config.image_size, augment=recipe.augment)
    prepare = eval_transforms(config.image_size, config.max_size)
    masks = isinstance(config, DETRConfig) and config.masks
    kind = CocoPanoptic if panoptic else CocoDetection
    if panoptic or not recipe.augment:
        return kind(data, "train", augment, masks=masks), kind(data, "val", prepare, masks=False)
    # Photographs are decoded once; those to measure on get the very size that they have in evaluation.
    shrunk = CocoDetection(data, "train", Shrink(round(NEAREST * config.max_size)), masks=masks)
    resize, *rest = prepare.transforms
    return RememberedImages(shrunk, augment), RememberedImages(CocoDetection(data, "val", resize), v2.Compose(rest))


def _check_sizes(sizes: tuple[int, ...], config: DetectorConfig) -> None:
    """Refuse to train at sizes among which that of evaluation is not."""
    size = config.image_size
    if size is None:
        raise ConfigError(
            f"the recipe trains on short sides of {min(sizes)} to {max(sizes)} pixels, but evaluation leaves images as "
            f"they are, up to max_size={config.max_size}: set recipe.sizes=None, or config.image_size={max(sizes)} and "
            f"a config.max_size above it"
        )
    if not min(sizes) <= size <= max(sizes):
        scaled = ",".join(str(round(s * size / max(PAPER_SIZES))) for s in PAPER_SIZES)
        raise ConfigError(
            f"the recipe trains on short sides of {min(sizes)} to {max(sizes)} pixels, but evaluation resizes images "
            f"to image_size={size}: set config.image_size={max(sizes)}, or recipe.sizes={scaled} (the published sizes "
            f"in proportion)"
        )


def fingerprint(dataset: DetectionDataset) -> str:
    """What tells one training set from another: the first digits of a checksum of its classes and image sizes."""
    described = repr((sorted(dataset.class_names.items()), [tuple(size) for size in dataset.sizes]))
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def remarks(
    dataset: DetectionDataset, config: DetectorConfig, recipe: Recipe, *, folder: bool, trained: bool = False
) -> list[str]:
    """What a user should know before training starts, a line each: how images are resized, and few steps.

    Args:
        folder: the transforms are those of :func:`open_data`.
        trained: the model begins with trained weights.
    """
    lines = [_on_sizes(dataset, config, recipe)] if folder else []
    return [line for line in (*lines, _on_steps(len(dataset), recipe, trained)) if line]


def _on_sizes(dataset: DetectionDataset, config: DetectorConfig, recipe: Recipe) -> str:
    longest = int(torch.tensor(dataset.sizes).max())
    if config.image_size is not None:
        drawn = (config.image_size,) if recipe.sizes is None else tuple(recipe.sizes)
        sides = f"{min(drawn)} to {max(drawn)}" if len(set(drawn)) > 1 else f"{drawn[0]}"
        return (
            f"images are resized: short side {sides} pixels in training, {config.image_size} in evaluation "
            f"(config.image_size), long side at most {config.max_size} (config.max_size)"
        )
    if longest > config.max_size:
        return (
            f"images of up to {longest} pixels are shrunk to a long side of {config.max_size} (config.max_size), in "
            f"training as in evaluation; a larger one shows small objects better and takes longer"
        )
    return ""


def expected_steps(recipe: Recipe, trained: bool) -> int:
    """How many steps it takes until something can be expected of a model."""
    return max(FEW_MORE_STEPS if trained else FEW_STEPS, 5 * recipe.warmup_steps)


def _on_steps(images: int, recipe: Recipe, trained: bool) -> str:
    per_epoch = math.ceil(images / recipe.batch_size)
    total, wanted = recipe.epochs * per_epoch, expected_steps(recipe, trained)
    if total >= wanted:
        return ""
    warmup = f", and the learning rate rises during the first {recipe.warmup_steps}" if recipe.warmup_steps else ""
    return (
        f"{total} steps in all (epochs={recipe.epochs}, {per_epoch} each){warmup}: "
        f"{'' if trained else 'from random weights, '}expect little below some {wanted}, which is "
        f"epochs={math.ceil(wanted / per_epoch)}"
    )
