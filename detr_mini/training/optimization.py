"""The optimizer of DETR and the schedule of its learning rates.

Chapter: *Training*, ``book/14_train``.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from detr_mini.errors import ConfigError
from detr_mini.modeling.segmentation import DETRSegmentation
from detr_mini.training.recipe import Recipe

WHERE_TO_LOOK = ("reference_points", "sampling_offsets")  # of a Deformable DETR, learned at a rate of their own


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW with two learning rates, the first group being everything but the backbone, the second the backbone.

    A Deformable DETR has a third, slower group: what says where to look. With ``optimizer="muon"`` the matrices of
    encoder and decoder leave the first group for Muon.
    """
    rest: list[nn.Parameter] = []
    backbone: list[nn.Parameter] = []
    looking: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        name = name.removeprefix("detr.")  # of a model with masks
        if name.startswith("backbone.0"):
            backbone.append(parameter)
        elif any(part in name for part in WHERE_TO_LOOK):
            looking.append(parameter)
        elif recipe.optimizer == "muon" and _is_matrix(name, parameter):
            matrices.append(parameter)
        else:
            rest.append(parameter)
    groups = [{"params": rest, "lr": recipe.lr}, {"params": backbone, "lr": recipe.lr_backbone}]
    if looking:
        groups.append({"params": looking, "lr": recipe.lr * recipe.sampling_lr_factor})
    adamw = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, fused=True)
    if recipe.optimizer == "adamw":
        return adamw
    # Scaled so that an update is as large as one of AdamW's: rates of the two are of one kind.
    scaled = {"adjust_lr_fn": "match_rms_adamw", "weight_decay": recipe.weight_decay}
    return Together(adamw, torch.optim.Muon(matrices, lr=recipe.lr_muon, **scaled))  # type: ignore[arg-type]


def _is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon is for it: a matrix of encoder or decoder, and no table."""
    return name.startswith("transformer.") and parameter.ndim == 2 and not name.endswith("level_embed")


class Together(torch.optim.Optimizer):
    """Optimizers that step as one, each on parameters of its own.

    Muon (Jordan et al. 2024) makes the update of a matrix orthogonal, so that no direction of it is learned much faster
    than another. It knows matrices only; what is left needs an optimizer beside it.
    """

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of each part."""
        if closure is not None:
            raise ValueError("optimizers that step together take no closure: each would call it")
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The states of the parts, in their order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state that :meth:`state_dict` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        # Loading gives the parts new groups; a schedule that sets the rates of ours has to reach them.
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def make_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int, finished_steps: int
) -> LambdaLR:
    """Warm up linearly, then follow the recipe's drop or cosine; a run goes on after ``finished_steps``.

    A warm-up takes half of the steps at most, whatever the recipe says.
    """
    total = recipe.epochs * steps_per_epoch
    warmup_steps = min(recipe.warmup_steps, total // 2)

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
        if recipe.lr_drop is not None:
            return warm * 0.1 ** (step // (recipe.lr_drop * steps_per_epoch))
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))

    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return LambdaLR(optimizer, factor, last_epoch=finished_steps - 1)


def freeze_detector(model: nn.Module) -> None:
    """Let the mask head alone learn.

    Raises:
        ConfigError: there is none.
    """
    if not isinstance(model, DETRSegmentation):
        raise ConfigError("freeze_detector=True trains the mask head alone, and this model has none: set masks=True")
    model.freeze_detector()
