"""What the user is told before training and after it: what will be done, and what came of it.

Chapter: *Training*, ``book/14_train``.
"""

import statistics
from collections.abc import Mapping, Sequence

from detr_mini.data import DetectionDataset
from detr_mini.modeling.config import DetectorConfig
from detr_mini.training.own_data import Figures, describe, several
from detr_mini.training.pace import Pace
from detr_mini.training.prepare import expected_steps, remarks
from detr_mini.training.recipe import Recipe

NOTHING = 0.01  # AP50 below which a model has learned next to nothing
ROSE = 1.3  # times the loss that was logged first: it falls at a rate that is not too high
TINY = 8.0  # pixels: a cell of a map of stride 8; smaller objects are hard to tell from their surroundings


def first_screen(
    train_set: DetectionDataset,
    val_set: DetectionDataset,
    config: DetectorConfig,
    recipe: Recipe,
    pace: Pace | None,
    *,
    trained: bool,
    folder: bool,
    done: int = 0,
) -> list[str]:
    """What a user should know before training starts, a line each: data, sizes, steps, time and memory.

    Args:
        train_set, val_set: the data to train and to measure on.
        config, recipe: of the run.
        pace: of this machine, if it could be measured.
        trained: the model begins with trained weights.
        folder: the transforms are those of :func:`.open_data`.
        done: epochs that are over, of a run that goes on.
    """
    images = len(train_set)
    lines = describe(Figures.of(train_set), config.num_queries)
    lines += [f"{several(len(val_set), 'image')} to measure on"]
    said = remarks(train_set, config, recipe, folder=folder, trained=trained)
    if folder and not any("config.max_size" in line for line in said):
        lines.append(
            f"images keep their size in training and evaluation, up to config.max_size={config.max_size} pixels"
        )
    lines += said
    if pace is not None and recipe.epochs > done:
        lines.append(pace.describe(recipe, images, done))
    return lines


def verdict(
    log: Sequence[Mapping[str, float]], figures: Figures, config: DetectorConfig, recipe: Recipe, *, trained: bool
) -> list[str]:
    """What a user should know at the end of a run, a line each.

    Args:
        log: the lines of ``log.jsonl``.
        figures: of the data that was trained on.
        config, recipe: of the run.
        trained: it began with trained weights.
    """
    measured = [line for line in log if "AP" in line]
    if not measured:
        return []
    best = max(measured, key=lambda line: line["AP"])
    if best["AP"] < 0:
        return ["val has no object to measure with, so AP is -1 and says nothing: annotate some"]
    lines = []
    if recipe.keep_best and len(measured) > 1:
        lines.append(
            f"best: AP {best['AP']:.3f}  AP50 {best['AP50']:.3f} after epoch {best['epoch']}, which is kept "
            f"(recipe.keep_best); of {len(measured)} measurements on the same images the best is a little too good"
        )
    if best["AP50"] < NOTHING:
        causes = _causes(log, figures, config, recipe, trained)
        lines.append(
            f"AP50 of {best['AP50']:.3f}: the model has learned next to nothing. What may help, first things first:"
        )
        lines += [f"  {number}. {cause}" for number, cause in enumerate(causes, 1)]
    return lines


def _causes(
    log: Sequence[Mapping[str, float]], figures: Figures, config: DetectorConfig, recipe: Recipe, trained: bool
) -> list[str]:
    """What may be the matter, the likeliest first."""
    causes = []
    losses = [line["loss"] for line in log if "loss" in line]
    if losses and max(losses) > ROSE * losses[0]:
        causes.append(
            f"the loss rose from {losses[0]:.1f} to {max(losses):.1f}: the learning rate is too high (--lr, now "
            f"{recipe.lr:g}); try a tenth of it"
        )
    steps, wanted = max(int(line["step"]) for line in log), expected_steps(recipe, trained)
    if steps < wanted:
        epochs = -(-wanted * recipe.epochs // max(1, steps))
        start = "trained" if trained else "random"
        causes.append(f"{steps} steps are few: from {start} weights it takes some {wanted} (epochs={epochs})")
    fall = _fall(losses)
    if fall is not None and fall > 0.03:
        causes.append(f"the loss still fell at the end, by {100 * fall:.0f} % in the last fifth: train longer (epochs)")
    side = figures.smallest * min(figures.longest, config.max_size)
    if config.image_size is None and side < TINY:
        causes.append(
            f"a tenth of the objects have a side below {side:.1f} pixels once images are resized to "
            f"{config.max_size}: larger ones show them, in four times the time "
            f"(--set config.max_size={2 * config.max_size})"
        )
    if figures.images < 100:
        causes.append(f"{figures.images} images are few for {figures.classes} classes: a hundred or more are better")
    causes.append(
        "the boxes or classes may be wrong: look at some images with their boxes (detr-mini check-data finds what can "
        "be found without looking), and see AP stays at 0.000 in the book's Troubleshooting"
    )
    return causes


def _fall(losses: Sequence[float]) -> float | None:
    """By which share the loss fell from the fourth fifth of a run to the last; None where too little was logged."""
    fifth = len(losses) // 5
    if fifth < 1:
        return None
    before, last = statistics.fmean(losses[-2 * fifth : -fifth]), statistics.fmean(losses[-fifth:])
    return 1 - last / before
