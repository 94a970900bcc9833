"""``detr-mini evaluate``."""

import argparse
import json
from pathlib import Path

from detr_mini.commands.options import (
    Commands,
    add_command,
    add_data,
    add_device,
    add_weights,
    add_workers,
    count,
    device,
    require_sound,
)

EXAMPLES = ["--data data/tiny_town --weights nano", "--data /path/to/coco --weights detr-r50.pth --device cuda"]


def add(commands: Commands) -> None:
    """Add the command with its options."""
    command = add_command(commands, "evaluate", run, "print COCO's twelve numbers, by pycocotools", EXAMPLES)
    add_data(command)
    command.add_argument("--split", default="val", help="default %(default)s")
    command.add_argument("--batch-size", type=count, default=16, help="default %(default)s")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    add_weights(command)
    add_device(command)
    add_workers(command)


def run(options: argparse.Namespace) -> None:
    """Print and store the twelve numbers."""
    from detr_mini import distributed
    from detr_mini.data import CocoDetection, eval_transforms
    from detr_mini.evaluation import evaluate
    from detr_mini.files import write_atomically
    from detr_mini.weights import load

    with distributed.processes(device(options.device)) as here:
        require_sound(options.data, (options.split,))
        model = load(options.weights, device=here)
        prepare = eval_transforms(model.config.image_size, model.config.max_size)
        dataset = CocoDetection(options.data, options.split, prepare)
        results = evaluate(
            model,
            dataset,
            device=here,
            batch_size=options.batch_size,
            workers=options.workers,
            progress=distributed.rank() == 0,
        )
        if distributed.rank() > 0:
            return
    for name, value in results.items():
        print(f"{name:6} {value:.3f}")
    if options.json:
        write_atomically(options.json, (json.dumps(results, indent=2) + "\n").encode())
