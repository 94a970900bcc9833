"""How a model is trained: one frozen dataclass, and a table of names.

Chapter: *Training*, ``book/14_train``.
"""

from dataclasses import dataclass, replace

from detr_mini.data.transforms import PAPER_SIZES
from detr_mini.loss import EOS_COEF, LOSS_WEIGHTS


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. The defaults are the published ones (DETR, section 4 and A.4)."""

    lr: float = 1e-4
    lr_backbone: float = 1e-5  # a pre-trained backbone moves slowly
    weight_decay: float = 1e-4
    batch_size: int = 64  # pictures of a step, over all processes; 16 GPUs in the paper
    epochs: int = 300
    warmup_steps: int = 0
    lr_drop: int | None = 200  # epoch after which the rates fall to a tenth; None: a cosine down to zero
    clip_max_norm: float = 0.1
    eos_coef: float = EOS_COEF  # weight of "no object" in the class loss
    bbox_loss_coef: float = LOSS_WEIGHTS[
        "loss_bbox"
    ]  # weight of the L1 loss; the matching cost keeps the published weights
    giou_loss_coef: float = LOSS_WEIGHTS["loss_giou"]
    sizes: tuple[int, ...] | None = PAPER_SIZES  # short sides drawn in training; None: pictures as they are
    eval_every: int = 1  # epochs


# From scratch, many small steps beat few large ones: with batches of 8 the AP after as many pictures is far better than
# with batches of 16. With 25 queries for four or five objects, eos_coef=0.25 gives "no object" about the share of the
# class loss that 0.1 gives it with the published 100 queries for seven objects.
_FROM_SCRATCH = Recipe(
    lr=8e-4, lr_backbone=8e-4, batch_size=8, warmup_steps=200, lr_drop=None, eos_coef=0.25, sizes=None
)
RECIPES = {
    "nano": replace(_FROM_SCRATCH, epochs=7),
    "mini": replace(_FROM_SCRATCH, epochs=6),  # of three times as many pictures
}
