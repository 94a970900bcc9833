"""``detr-mini evaluate``."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from detr_mini.commands import settings
from detr_mini.commands.options import (
    PROGRAM,
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

SIZES = ("image_size", "max_size")  # fields of a config that say what pictures are resized to
SUMMARY = "print COCO's twelve numbers, by pycocotools, and for a model with masks those of its masks"
EXAMPLES = [
    "--data data/tiny_town --weights nano",
    "--data /path/to/coco --weights detr-r50-e632da11.pth --device cuda",
    "--data data/tiny_town --weights runs/masks/model.safetensors --panoptic",
]


def add(commands: Commands) -> None:
    """Add the command with its options."""
    command = add_command(commands, "evaluate", run, SUMMARY, EXAMPLES)
    add_data(command)
    command.add_argument("--split", default="val", metavar="NAME", help="default %(default)s")
    command.add_argument(
        "--panoptic",
        action="store_true",
        help="compare with panoptic_SPLIT.json, things and stuff, and print PQ, SQ and RQ too; for a model with masks",
    )
    command.add_argument("--batch-size", type=count, default=16, metavar="N", help="default %(default)s")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    add_weights(command)
    settings.add_config_option(command)
    add_device(command)
    add_workers(command)


def run(options: argparse.Namespace) -> None:
    """Print and store the numbers."""
    from detr_mini import distributed
    from detr_mini.data import CocoDetection, CocoPanoptic, eval_transforms
    from detr_mini.errors import ConfigError
    from detr_mini.evaluation import evaluate
    from detr_mini.modeling.segmentation import DETRSegmentation
    from detr_mini.weights import load_detector

    with distributed.processes(device(options.device)) as here:
        require_sound(options.data, (options.split,), panoptic=options.panoptic)
        changed = settings.config_overrides(options.set)
        model = load_detector(options.weights, device=here, **changed)
        has_masks = isinstance(model, DETRSegmentation)
        if options.panoptic and not has_masks:
            raise ConfigError(
                f"--panoptic compares masks, but the model {options.weights} has none. Leave --panoptic out to compare "
                f"boxes, or name a model with masks: '{PROGRAM} train --panoptic --set config.masks=true' trains one"
            )
        prepare = eval_transforms(model.config.image_size, model.config.max_size)
        kind = CocoPanoptic if options.panoptic else CocoDetection
        dataset = kind(options.data, options.split, prepare)
        first = distributed.rank() == 0
        if first and (difference := other_names(model.class_names, dataset.class_names)):
            print(f"{PROGRAM} evaluate: {difference}", file=sys.stderr)
        if first and (sizes := [f"config.{name}={changed[name]}" for name in SIZES if name in changed]):
            print(
                f"{PROGRAM} evaluate: measured at {' and '.join(sizes)}, as --set says; a model knows objects of the "
                f"sizes that it was trained with (config.json of its run tells them)",
                file=sys.stderr,
            )
        results = evaluate(model, dataset, batch_size=options.batch_size, workers=options.workers, progress=first)
    if first:
        if has_masks and "mask_AP" not in results:
            print(
                f"{PROGRAM} evaluate: objects are annotated without a mask; boxes alone are compared", file=sys.stderr
            )
        _report(results, options.json)


def other_names(model: Mapping[int, str], data: Mapping[int, str]) -> str | None:
    """A sentence where classes of the data bear another name in the model, or none; a model may not know its names."""
    if not model or all(model.get(number) == name for number, name in data.items()):
        return None
    known, asked = (", ".join(f"{number} {name}" for number, name in names.items()) for names in (model, data))
    return f"the model's classes are {known}; the data's are {asked}. They are compared by number"


def _report(results: Mapping[str, float], file: Path | None) -> None:
    """Print the numbers, and store them where a file is named."""
    from detr_mini.errors import StorageError
    from detr_mini.files import write_atomically

    width = max(map(len, results)) + 1
    for name, value in results.items():
        print(f"{name:{width}} {value:.3f}")
    if file is None:
        return
    try:
        write_atomically(file, (json.dumps(results, indent=2) + "\n").encode())
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error.strerror or error}. Name another (--json)") from None
