"""``detr-mini check-data``."""

import argparse
from pathlib import Path

from detr_mini.commands.options import Commands, add_command
from detr_mini.errors import DataError


def add(commands: Commands) -> None:
    """Add the command with its options."""
    examples = ["data/tiny_town", "/path/to/coco", "my_export/result.json", "data/tiny_town --panoptic"]
    summary = (
        "tell how a folder is read, what is mended in reading it, and all of its faults in one pass; exit code 2 if "
        "there is a fault"
    )
    command = add_command(commands, "check-data", run, summary, examples)
    command.add_argument("folder", type=Path, metavar="DIR", help="a folder in COCO format, or an annotation file")
    command.add_argument(
        "--panoptic",
        action="store_true",
        help="look at annotations/panoptic_SPLIT.json and its PNG files, not at instances_SPLIT.json",
    )


def run(options: argparse.Namespace) -> None:
    """Tell what a folder holds, what is mended in reading it, and its faults."""
    from detr_mini.data import look_through, split_names

    folder = options.folder
    splits = ("train", "val") if options.panoptic else split_names(folder)
    report = look_through(folder, splits, panoptic=options.panoptic)
    if report.layout:
        print(f"layout: {report.layout}")
    for split in report.splits:
        counts = f"{split.images:,} pictures, {split.objects:,} objects, {split.classes:,} classes"
        print(f"{split.name}: {counts}; {split.file}, pictures in {split.folder}")
    for notice in report.notices:
        print(f"{'look at' if notice.warning else 'note'}: {notice}")
    for fault in report.faults:
        print(f"fault: {fault}")
    if report.faults:
        raise DataError(f"{len(report.faults)} fault{'s' if len(report.faults) > 1 else ''} in {folder}, listed above")
    print(f"no faults in {folder}")
