"""``detr-mini check-data``."""

import argparse
from pathlib import Path

from detr_mini.commands.options import Commands, add_command
from detr_mini.errors import DataError


def add(commands: Commands) -> None:
    """Add the command with its options."""
    examples = ["data/tiny_town", "/path/to/coco", "data/tiny_town --panoptic"]
    summary = "report the faults of a COCO folder in one pass; exit code 2 if there is any"
    command = add_command(commands, "check-data", run, summary, examples)
    command.add_argument("folder", type=Path, metavar="DIR", help="a folder in COCO format")
    command.add_argument(
        "--panoptic",
        action="store_true",
        help="look at annotations/panoptic_SPLIT.json and its PNG files, not at instances_SPLIT.json",
    )


def run(options: argparse.Namespace) -> None:
    """Report the faults of a folder."""
    from detr_mini.data import check_data

    faults = check_data(options.folder, panoptic=options.panoptic)
    for fault in faults:
        print(fault)
    if faults:
        raise DataError(f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in {options.folder}, listed above")
    print(f"no faults in {options.folder}")
