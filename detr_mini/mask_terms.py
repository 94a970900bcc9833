"""The mask terms of the loss: focal loss for every pixel, dice for the whole of a mask.

Carion et al. 2020, section 4.4: focal loss of Lin et al. 2017, dice of Milletari et al. 2016.
"""

import torch.nn.functional as F
from torch import Tensor

from detr_mini.class_terms import FocalTerm

MASK_WEIGHTS = {"loss_mask": 1.0, "loss_dice": 1.0}


def mask_terms(logits: Tensor, targets: Tensor, focal: FocalTerm | None = None) -> dict[str, Tensor]:
    """``loss_mask`` and ``loss_dice``, each a sum over M masks, ``()``.

    Masks are compared at the targets' size, to which the logits are interpolated.

    Args:
        logits: ``(M, h, w)``, of the matched queries.
        targets: ``(M, H, W)`` bool.
        focal: alpha and gamma of the focal loss; the published ones unless given.
    """
    if not len(logits):
        return dict.fromkeys(MASK_WEIGHTS, logits.sum())
    logits = F.interpolate(logits[:, None], size=targets.shape[-2:], mode="bilinear", align_corners=False).flatten(1)
    truth = targets.flatten(1).to(logits.dtype)  # (M, H * W)
    pixels = _focal(logits, truth, focal or FocalTerm())  # (M, H * W)
    return {"loss_mask": pixels.mean(1).sum(), "loss_dice": dice(logits, truth).sum()}


def _focal(logits: Tensor, truth: Tensor, term: FocalTerm) -> Tensor:
    return truth * term.yes(logits) + (1 - truth) * term.no(logits)


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """One minus the dice coefficient of probabilities and truth, ``(M,)`` for ``(M, P)`` pixels of each.

    The coefficient is twice what both share, over the sum of the two. A 1 is added to both, so that an empty mask that
    is right costs nothing.
    """
    p = logits.sigmoid()
    return 1 - (2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum(1) + 1)
