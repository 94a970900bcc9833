"""The optimiser of DETR and the schedule of its learning rates.

Chapter: *Training*, ``book/14_train``.
"""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from detr_mini.training.recipe import Recipe


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with two learning rates: the first group is everything but the backbone, the second the backbone."""
    rest: list[nn.Parameter] = []
    backbone: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (backbone if name.startswith("backbone.0") else rest).append(parameter)
    groups = [{"params": rest, "lr": recipe.lr}, {"params": backbone, "lr": recipe.lr_backbone}]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, fused=True)


def make_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int, finished_steps: int
) -> LambdaLR:
    """Warm up linearly, then follow the recipe's drop or cosine; a run goes on after ``finished_steps``."""
    total = recipe.epochs * steps_per_epoch

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
        if recipe.lr_drop is not None:
            return warm * 0.1 ** (step // (recipe.lr_drop * steps_per_epoch))
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))

    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return LambdaLR(optimizer, factor, last_epoch=finished_steps - 1)
