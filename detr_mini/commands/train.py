"""``detr-mini train``."""

import argparse
from dataclasses import replace
from pathlib import Path

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

EXAMPLES = [
    "--data data/tiny_town --config nano --out runs/nano",
    "--data data/tiny_town --config nano --out runs/nano --resume",
    "--data data/tiny_town --config nano --out runs/deep --set config.dec_layers=6 --set recipe.epochs=12",
    "--data /path/to/coco --config detr_resnet50 --out runs/r50 --device cuda --workers 8 --batch-size 16",
]
PARALLEL = "torchrun --nproc-per-node 8 -m detr_mini train --data /path/to/coco --config detr_resnet50 --out runs/r50"


def add(commands: Commands) -> None:
    """Add the command with its options."""
    summary = "train a model on the train split of a COCO folder and measure it on val"
    command = add_command(commands, "train", run, summary, EXAMPLES)
    command.epilog = f"{command.epilog}\n\non several GPUs:\n  {PARALLEL}"
    add_data(command)
    command.add_argument("--config", default="nano", help="name of a config (default %(default)s)")
    command.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for log, checkpoint, weights")
    command.add_argument("--resume", action="store_true", help="go on with the run in RUN; start it if there is none")
    command.add_argument(
        "--num-classes", type=count, metavar="N", help="highest category id + 1 (default: the config's)"
    )
    command.add_argument("--epochs", type=count, metavar="N", help="default: the config's recipe")
    command.add_argument(
        "--batch-size", type=count, metavar="N", help="over all processes; default: the config's recipe"
    )
    command.add_argument("--lr", type=float, metavar="RATE", help="learning rate; default: the config's recipe")
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


def run(options: argparse.Namespace) -> None:
    """Train a model."""
    from detr_mini import distributed
    from detr_mini.modeling.config import DETRConfig, get_config
    from detr_mini.training.recipe import RECIPES, Recipe
    from detr_mini.training.train import train

    changed = {"num_classes": options.num_classes} if options.num_classes else {}
    config = get_config(options.config, **changed | settings.overrides(DETRConfig, "config", options.set))
    wanted = {name: getattr(options, name) for name in ("epochs", "batch_size", "lr")}
    changed = {name: value for name, value in wanted.items() if value is not None}
    recipe = RECIPES.get(options.config, Recipe())
    recipe = replace(recipe, **changed | settings.overrides(Recipe, "recipe", options.set))
    with distributed.processes(device(options.device)) as here:
        require_sound(options.data, ("train", "val"))
        train(
            config,
            recipe,
            options.data,
            options.out,
            resume=options.resume,
            device=here,
            seed=options.seed,
            workers=options.workers,
            save_every=options.save_every,
        )
        if distributed.rank() == 0:
            print(f"the weights are in {options.out / 'model.safetensors'}, the log in {options.out / 'log.jsonl'}")
