"""``detr-mini predict``."""

import argparse
from pathlib import Path

from detr_mini.commands.options import Commands, add_command, add_device, add_weights, device

EXAMPLES = ["street.jpg", "holiday/*.jpg --weights runs/nano/model.safetensors --threshold 0.5 --out found"]


def add(commands: Commands) -> None:
    """Add the command with its options."""
    summary = "detect objects; write NAME.json and NAME.png, the picture with its boxes, for each picture"
    command = add_command(commands, "predict", run, summary, EXAMPLES)
    command.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    command.add_argument("--threshold", type=float, default=0.7, help="lowest score shown (default %(default)s)")
    command.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help="default %(default)s")
    add_weights(command)
    add_device(command)


def run(options: argparse.Namespace) -> None:
    """Detect objects and write what was found."""
    from detr_mini.prediction import write_predictions
    from detr_mini.weights import load

    model = load(options.weights, device=device(options.device))
    for path in write_predictions(model, options.images, options.out, threshold=options.threshold):
        print(path)
