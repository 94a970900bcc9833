"""``detr-mini make-data``."""

import argparse
from pathlib import Path

from detr_mini.commands.options import Commands, add_command, count, count_or_none
from detr_mini.errors import StorageError, UserError


def add(commands: Commands) -> None:
    """Add the command with its options."""
    examples = ["data/tiny_town", "data/tiny_town_small --train 500 --val 50", "scenes --train 0 --val 20"]
    command = add_command(commands, "make-data", run, "draw Tiny Town into a folder, in COCO format", examples)
    command.add_argument("folder", type=Path, metavar="DIR", help="a new folder, or one that this command made")
    command.add_argument(
        "--train",
        type=count_or_none,
        default=12_000,
        metavar="N",
        help="number of training scenes (default %(default)s)",
    )
    command.add_argument(
        "--val", type=count_or_none, default=500, metavar="N", help="number of validation scenes (default %(default)s)"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same bytes (default %(default)s)")
    command.add_argument("--workers", type=count, metavar="N", help="processes that draw (default: one for each core)")


def run(options: argparse.Namespace) -> None:
    """Draw Tiny Town."""
    from detr_mini.data import make_data

    try:
        make_data(options.folder, options.train, options.val, options.seed, options.workers)
    except UserError:
        raise
    except OSError as error:  # of the folder: no rights, a full disk
        raise StorageError(f"cannot write {error.filename or options.folder}: {error.strerror or error}") from error
    print(f"{options.train} training and {options.val} validation scenes are in {options.folder}")
