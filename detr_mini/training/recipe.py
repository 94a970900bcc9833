"""How a model is trained: one frozen dataclass, and a table of names.

Chapter: *Training*, ``book/14_train``.
"""

import math
from dataclasses import dataclass, replace

from detr_mini.data.transforms import PAPER_SIZES
from detr_mini.errors import ConfigError
from detr_mini.loss import EOS_COEF, LOSS_WEIGHTS
from detr_mini.matcher import MATCHING_COSTS
from detr_mini.modeling.config import DeformableDETRConfig, DetectorConfig, require_field_types

OPTIMIZERS = ("adamw", "muon")


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. The defaults are the published ones (DETR, section 4 and A.4).

    Raises:
        ConfigError: a value of the wrong type or out of its range; also a ``ValueError``. The message says which and
            what would work.
    """

    lr: float = 1e-4  # learning rate of all but the backbone, for AdamW
    lr_backbone: float = 1e-5  # a pre-trained backbone moves slowly
    sampling_lr_factor: float = 0.1  # a Deformable DETR's reference points and sampling offsets learn at lr times this
    weight_decay: float = 1e-4  # of both optimizers
    optimizer: str = "adamw"  # or "muon": Muon for the matrices of encoder and decoder, AdamW for all else
    lr_muon: float = 2e-3  # of Muon's part, if there is one
    batch_size: int = 64  # pictures of a step, over all processes; 16 GPUs in the paper
    epochs: int = 300  # how often every picture is seen
    warmup_steps: int = 0  # in which the rates rise from 0
    lr_drop: int | None = 200  # epoch after which the rates fall to a tenth; None: a cosine down to zero
    clip_max_norm: float = 0.1  # a longer gradient is shortened to this
    eos_coef: float = EOS_COEF  # weight of "no object" in the class loss
    bbox_loss_coef: float = LOSS_WEIGHTS["loss_bbox"]  # weight of the L1 loss
    giou_loss_coef: float = LOSS_WEIGHTS["loss_giou"]  # weight of the GIoU loss
    set_cost_bbox: float = MATCHING_COSTS["cost_bbox"]  # weight of the L1 distance in the matching cost
    set_cost_giou: float = MATCHING_COSTS["cost_giou"]  # weight of the GIoU in the matching cost
    freeze_detector: bool = False  # train the mask head alone, on a detector that stays as it is
    sizes: tuple[int, ...] | None = PAPER_SIZES  # short sides drawn in training; None: as in evaluation
    augment: bool = False  # colors and zoom vary in training, as among photographs
    eval_every: int = 1  # epochs between evaluations
    keep_best: bool = False  # model.safetensors holds the weights with the best AP on val, not the last ones

    def __post_init__(self) -> None:
        require_field_types(self)
        for field in ("batch_size", "epochs", "eval_every"):
            self._require(field, getattr(self, field) >= 1, "must be at least 1")
        self._require("optimizer", self.optimizer in OPTIMIZERS, f"is not known; use {' or '.join(OPTIMIZERS)}")
        not_negative = (
            "lr",
            "lr_backbone",
            "lr_muon",
            "sampling_lr_factor",
            "weight_decay",
            "warmup_steps",
            "eos_coef",
        )
        box_terms = ("bbox_loss_coef", "giou_loss_coef", "set_cost_bbox", "set_cost_giou")
        for field in (*not_negative, *box_terms):
            self._require(field, getattr(self, field) >= 0, "must not be negative")
        self._require("clip_max_norm", self.clip_max_norm > 0, "must be above 0; a very large one clips nothing")
        self._require("lr_drop", self.lr_drop is None or self.lr_drop >= 1, "must be an epoch from 1, or None")
        if self.sizes is not None:
            sound = bool(self.sizes) and min(self.sizes) >= 1
            self._require("sizes", sound, "must be one size or more, each at least 1 pixel; or None")

    def _require(self, field: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ConfigError(f"{field}={getattr(self, field)!r} {rule}")

    def with_lr(self, lr: float) -> "Recipe":
        """The recipe with another learning rate; the others change in proportion."""
        if self.lr == 0:
            return replace(self, lr=lr, lr_backbone=lr)
        factor = lr / self.lr
        return replace(self, lr=lr, lr_backbone=self.lr_backbone * factor, lr_muon=self.lr_muon * factor)


# From scratch, many small steps beat few large ones: with batches of 8 the AP after as many pictures is far better than
# with batches of 16. With 25 queries for four or five objects, eos_coef=0.25 gives "no object" about the share of the
# class loss that 0.1 gives it with the published 100 queries for seven objects.
_FROM_SCRATCH = Recipe(
    lr=8e-4, lr_backbone=8e-4, batch_size=8, warmup_steps=200, lr_drop=None, eos_coef=0.25, sizes=None
)
RECIPES = {
    "nano": replace(_FROM_SCRATCH, epochs=7),
    "mini": replace(_FROM_SCRATCH, epochs=6),  # of three times as many pictures
    "quick": replace(_FROM_SCRATCH, epochs=4, optimizer="muon"),  # for nano's config, in fewer steps
    # From scratch, the places that are read learn as fast as all else.
    "deformable_nano": replace(_FROM_SCRATCH, epochs=6, sampling_lr_factor=1.0),
    "deformable_mini": replace(_FROM_SCRATCH, epochs=6, sampling_lr_factor=1.0),
    # In two steps, as published: mini learns stuff beside its things, and then a mask head learns on this detector.
    "mini_panoptic_detector": replace(_FROM_SCRATCH, epochs=3).with_lr(2e-4),
    "mini_panoptic_masks": replace(_FROM_SCRATCH, epochs=2, freeze_detector=True),
}


BATCH = 8
FEWEST_STEPS = 600  # however few images there are
MORE_STEPS = 220  # times the root of an epoch's steps: four times as many images are trained on for twice as long
MEASUREMENTS = 20  # of a run, about


def recipe_for(images: int, val_images: int, epochs: int | None = None) -> Recipe:
    """How to train on from weights on data of your own: its length follows from the number of images.

    Warm-up is a tenth of the steps or less. Measuring takes a fifth of the time of training at most, since an
    image takes a third of the time of a training step's there.

    Args:
        images: to train on.
        val_images: to measure on.
        epochs: where they are given, the rest follows from them.
    """
    # Measured on Night Harbor, AP on 100 others: from 160 images, 300 steps, 0.55 with augment and without; from 30,
    # 160 steps, two seeds, 0.43 and 0.41 with it, 0.39 and 0.37 without. Half of this rate was worse on other shapes.
    images = max(1, images)
    per_epoch = math.ceil(images / BATCH)
    epochs = epochs or max(2, math.ceil(max(FEWEST_STEPS, MORE_STEPS * math.sqrt(per_epoch)) / per_epoch))
    eval_every = max(math.ceil(epochs / MEASUREMENTS), math.ceil(val_images / (0.3 * images)))
    return replace(
        _FROM_SCRATCH,
        lr=1e-3,
        lr_backbone=1e-3,
        sampling_lr_factor=1.0,
        batch_size=BATCH,
        epochs=epochs,
        warmup_steps=min(100, epochs * per_epoch // 10),
        augment=True,
        eval_every=min(eval_every, epochs),
        keep_best=True,
    )


def published_recipe(config: DetectorConfig) -> Recipe:
    """How the published models of a kind were trained: see :class:`Recipe`; Deformable DETR, section 5."""
    if isinstance(config, DeformableDETRConfig):
        return Recipe(lr=2e-4, lr_backbone=2e-5, batch_size=32, epochs=50, lr_drop=40)
    return Recipe()


def get_recipe(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        ConfigError: no recipe is called so; the message names those there are.
    """
    if name not in RECIPES:
        raise ConfigError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]
