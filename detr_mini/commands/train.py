"""``detr-mini train``."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detr_mini.commands import settings
from detr_mini.commands.options import (
    Commands,
    add_command,
    add_data,
    add_device,
    add_workers,
    count,
    device,
    require_sound,
)
from detr_mini.errors import ConfigError, FolderInUseError, StorageError

if TYPE_CHECKING:
    from detr_mini.modeling.build import Detector
    from detr_mini.modeling.config import DetectorConfig
    from detr_mini.training.recipe import Recipe

EXAMPLES = [
    "--data my_photos --out runs/mine",
    "--data my_photos --out runs/mine --minutes 10",
    "--data data/tiny_town --config nano --out runs/nano",
    "--data data/tiny_town --config nano --out runs/nano --resume",
    "--data data/tiny_town --config nano --out runs/deep --set config.dec_layers=6 --set recipe.epochs=12",
    "--data my_photos --weights detr-r50-e632da11.pth --out runs/mine --epochs 50 --batch-size 4 "
    "--set recipe.lr_drop=40",
    "--data /path/to/coco --config detr_resnet50 --backbone-weights imagenet --out runs/r50 --workers 8",
]
PARALLEL = (
    "torchrun --nproc-per-node 8 -m detr_mini train --data /path/to/coco --weights detr-r50-e632da11.pth --out runs/r50"
)


def add(commands: Commands) -> None:
    """Add the command with its options."""
    summary = "train a model on the train split of a COCO folder and measure it on val"
    command = add_command(commands, "train", run, summary, EXAMPLES)
    command.epilog = f"{command.epilog}\n\non several GPUs:\n  {PARALLEL}"
    add_data(command)
    _add_model(command)
    command.add_argument(
        "--panoptic",
        action="store_true",
        help="train on the folder's things and stuff (annotations/panoptic_SPLIT.json and its PNG files); with masks "
        "where the config has them (--set config.masks=true)",
    )
    command.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for log, checkpoint, weights")
    command.add_argument("--resume", action="store_true", help="go on with the run in RUN; start it if there is none")
    _add_recipe(command)
    command.add_argument("--seed", type=int, default=0, help="default %(default)s")
    command.add_argument(
        "--save-every",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="between checkpoints within an epoch (default %(default)s)",
    )
    settings.add_option(command)
    add_device(command)
    add_workers(command)


def _add_model(command: argparse.ArgumentParser) -> None:
    """What to train: a config, or weights to start from."""
    command.add_argument("--config", help="name of a config, trained from random weights")
    command.add_argument(
        "--weights",
        metavar="NAME|FILE",
        help="start from these, with their config: a shipped model, .safetensors or .pth, published or of your own "
        "(default without --config: deformable_nano, with sizes and queries that fit the data; on Tiny Town nano's "
        "config from random weights); "
        "other classes get a new class head, another number of queries new ones",
    )
    command.add_argument(
        "--backbone-weights",
        metavar="FILE|imagenet",
        help="start the ResNet of --config from a file with torchvision's names, or from ImageNet's, which are fetched",
    )
    command.add_argument(
        "--num-classes", type=count, metavar="N", help="highest category id + 1 (default: that of the data)"
    )


def _add_recipe(command: argparse.ArgumentParser) -> None:
    """How to train: a recipe, its length, its batches and its rate."""
    command.add_argument(
        "--recipe",
        help="name of a recipe (default: that of the config; from small weights on data of your own, one whose length "
        "follows from the number of images). quick is for nano, with Muon and in fewer epochs; "
        "mini_panoptic_masks trains a mask head alone",
    )
    length = command.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=count, metavar="N", help="default: the recipe's")
    length.add_argument(
        "--minutes", type=float, metavar="M", help="as many epochs as M minutes hold here, judged by a few timed steps"
    )
    command.add_argument("--batch-size", type=count, metavar="N", help="over all processes; default: the recipe's")
    command.add_argument(
        "--lr",
        type=float,
        metavar="RATE",
        help="learning rate; the backbone's changes in proportion (default: the recipe's)",
    )


def run(options: argparse.Namespace) -> None:
    """Train a model."""
    from detr_mini import distributed
    from detr_mini.training.train import train

    with distributed.processes(device(options.device)) as here:
        require_sound(options.data, ("train", "val"), panoptic=options.panoptic)
        with _advice():
            names = _class_names(options)
            start, fitted = _start(options, names)
            model = _model(options, names, start, fitted)
            recipe = _recipe(_usual_recipe(options, model.config, names), options)
            if recipe.freeze_detector:
                _require_detector(start, model.class_names)
            train(
                model,
                recipe,
                options.data,
                options.out,
                resume=options.resume,
                device=here,
                seed=options.seed,
                workers=options.workers,
                save_every=options.save_every,
                weights=start or options.backbone_weights,
                panoptic=options.panoptic,
                minutes=options.minutes,
            )
        if distributed.rank() == 0:
            print(f"the weights are in {options.out / 'model.safetensors'}, the log in {options.out / 'log.jsonl'}")


def _class_names(options: argparse.Namespace) -> dict[int, str]:
    """Category id to name, of the data that is trained on."""
    from detr_mini.data import CocoPanoptic, read_class_names

    panoptic = CocoPanoptic(options.data, "train") if options.panoptic else None
    return panoptic.class_names if panoptic else read_class_names(options.data, "train")


def _start(options: argparse.Namespace, names: dict[int, str]) -> tuple[str | None, dict[str, Any]]:
    """The weights to begin with, if any, and fields of the config that follow from the data.

    Data of your own begins with shipped weights where nothing else is said; stderr says so.
    """
    from detr_mini import distributed
    from detr_mini.data import CocoDetection
    from detr_mini.training.own_data import START, Figures, fitting, is_tiny_town

    if options.weights or options.config or options.backbone_weights or options.panoptic or is_tiny_town(names):
        return options.weights, {}
    if distributed.rank() == 0:
        print(
            f"starts from the weights of {START}, as config photo (--weights or --config begin with something else)",
            file=sys.stderr,
        )
    return START, fitting(Figures.of(CocoDetection(options.data, "train")))


def _model(options: argparse.Namespace, names: dict[int, str], start: str | None, fitted: dict[str, Any]) -> "Detector":
    """What the options say to begin with: a config with random weights, or weights of the whole or of the backbone."""
    import torch

    from detr_mini.modeling.build import build
    from detr_mini.weights import load_backbone, load_to_train

    if options.weights and (options.config or options.backbone_weights):
        other = "--config" if options.config else "--backbone-weights"
        raise ConfigError(
            f"--weights brings its own config and backbone, so {other} cannot be given as well; "
            f"--set config.FIELD=VALUE changes a field"
        )
    changed = fitted | settings.config_overrides(options.set)
    if options.num_classes:
        changed.setdefault("num_classes", options.num_classes)
    torch.manual_seed(options.seed)
    if start:
        return load_to_train(start, class_names=names, **changed)
    changed.setdefault("num_classes", max(names, default=0) + 1)
    model = build(options.config or "nano", **changed)
    if options.backbone_weights:
        load_backbone(model, options.backbone_weights)
    return model


def _require_detector(weights: str | None, wanted: dict[int, str]) -> None:
    """Refuse to freeze what starts from random numbers: a whole detector, or the class head of one."""
    from detr_mini.weights import load_detector

    if not weights:
        raise ConfigError("this recipe trains a mask head alone, on a trained detector: give its --weights")
    known = load_detector(weights).class_names
    if known and (new := [name for number, name in wanted.items() if known.get(number) != name]):
        raise ConfigError(
            f"this recipe trains a mask head alone, and {weights} does not know the data's {', '.join(new[:3])}: its "
            f"class head would keep its random numbers. Train the detector on this data first, with another recipe"
        )


def _usual_recipe(options: argparse.Namespace, config: "DetectorConfig", names: dict[int, str]) -> "Recipe":
    """The recipe by name, or of a config or Tiny Town's weights by their name; else that of the kind.

    A large model has the published one. A small one on data of your own has one for its number of images.
    """
    from detr_mini.data import CocoDetection
    from detr_mini.training.own_data import is_tiny_town
    from detr_mini.training.recipe import RECIPES, get_recipe, published_recipe, recipe_for

    if options.recipe:
        return get_recipe(options.recipe)
    if config.backbone != "small":
        return published_recipe(config)
    if options.config in RECIPES or is_tiny_town(names) or options.panoptic:
        return RECIPES.get(options.config or options.weights or "nano", RECIPES["nano"])
    train, val = (len(CocoDetection(options.data, split)) for split in ("train", "val"))
    return recipe_for(train, val, options.epochs)


def _recipe(recipe: "Recipe", options: argparse.Namespace) -> "Recipe":
    """The recipe with what the options change; a field that ``--set`` names goes before another option."""
    from detr_mini.training.recipe import Recipe

    if options.lr is not None:
        recipe = recipe.with_lr(options.lr)
    wanted = {name: getattr(options, name) for name in ("epochs", "batch_size")}
    changed = {name: value for name, value in wanted.items() if value is not None}
    return replace(recipe, **changed | settings.overrides([Recipe], "recipe", options.set))


@contextlib.contextmanager
def _advice() -> Iterator[None]:
    """Add to an error of training which options to give."""
    try:
        yield
    except ConfigError as error:
        if "random weights" in str(error):
            error.add_note(
                "by command: --weights NAME|FILE, --backbone-weights FILE|imagenet, or --set config.freeze_resnet=false"
            )
        raise
    except FolderInUseError as error:
        error.add_note("--resume goes on with it, --out names another folder")
        raise
    except StorageError as error:
        error.add_note("go on with the same command and --resume")
        raise
