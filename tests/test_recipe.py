"""Recipes: the published one, what is refused, and how the rates go together."""

from dataclasses import replace
from typing import Any

import pytest

from detr_mini.errors import ConfigError
from detr_mini.training.recipe import RECIPES, Recipe


def test_the_published_recipe() -> None:
    recipe = Recipe()
    assert (recipe.lr, recipe.lr_backbone, recipe.weight_decay, recipe.clip_max_norm) == (1e-4, 1e-5, 1e-4, 0.1)
    assert (recipe.epochs, recipe.lr_drop, recipe.batch_size, recipe.eos_coef) == (300, 200, 64, 0.1)
    assert (recipe.bbox_loss_coef, recipe.giou_loss_coef) == (5, 2)
    assert recipe.sizes == (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": -1e-4}, r"lr=-0\.0001 must not be negative"),
        ({"lr": float("nan")}, "lr=nan must be a finite number"),
        ({"lr_backbone": "1e-4"}, "lr_backbone='1e-4' must be"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"batch_size": 8.0}, r"batch_size=8\.0 must be an integer"),
        ({"epochs": 0}, "epochs=0 must be at least 1"),
        ({"warmup_steps": -1}, "warmup_steps=-1 must not be negative"),
        ({"lr_drop": 0}, "lr_drop=0 must be an epoch from 1, or None"),
        ({"clip_max_norm": 0.0}, "clip_max_norm"),
        ({"clip_max_norm": -1.0}, "clip_max_norm"),
        ({"eos_coef": -1.0}, "eos_coef"),
        ({"bbox_loss_coef": -1.0}, "bbox_loss_coef"),
        ({"giou_loss_coef": float("inf")}, "giou_loss_coef"),
        ({"eval_every": 0}, "eval_every=0 must be at least 1"),
        ({"sizes": ()}, r"sizes=\(\) must be one size or more"),
        ({"sizes": (480, 0)}, "sizes"),
        ({"sizes": 480}, "sizes=480 must be a tuple of integers or None"),
    ],
)
def test_a_value_that_cannot_work_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(Recipe(), **change)


@pytest.mark.parametrize("recipe", [Recipe(), RECIPES["nano"], replace(Recipe(), lr=0.0, lr_backbone=0.0)])
def test_another_rate_scales_that_of_the_backbone(recipe: Recipe) -> None:
    changed = recipe.with_lr(3e-5)
    assert changed.lr == 3e-5
    assert changed.lr_backbone == pytest.approx(3e-5 * (recipe.lr_backbone / recipe.lr if recipe.lr else 1))
    assert changed.lr_muon == pytest.approx(recipe.lr_muon * (3e-5 / recipe.lr if recipe.lr else 1))
    assert replace(changed, lr=recipe.lr, lr_backbone=recipe.lr_backbone, lr_muon=recipe.lr_muon) == recipe
