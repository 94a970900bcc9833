"""``detr-mini make-data``."""

import argparse
from pathlib import Path

from detr_mini.commands.options import Commands, add_command, count, count_or_none
from detr_mini.errors import ConfigError, StorageError, UserError

SCENES = {"town": (12_000, 500, 0), "night": (300, 100, 50)}  # how many to train, to validate and to test with


def add(commands: Commands) -> None:
    """Add the command with its options."""
    examples = [
        "data/tiny_town",
        "data/tiny_town_small --train 500 --val 50",
        "scenes --train 0 --val 20",
        "data/harbor --scenes night",
    ]
    summary = "draw Tiny Town into a folder, in COCO format, or Night Harbor, as Roboflow exports it"
    command = add_command(commands, "make-data", run, summary, examples)
    command.add_argument("folder", type=Path, metavar="DIR", help="a new folder, or one that this command made")
    command.add_argument(
        "--scenes",
        choices=tuple(SCENES),
        default="town",
        help="town: streets by day, Tiny Town; night: a harbor after dark (default %(default)s)",
    )
    for at, (option, what) in enumerate((("train", "training"), ("val", "validation"), ("test", "test"))):
        town, night = (numbers[at] for numbers in SCENES.values())
        default = f"default {town}, at night {night}" if town else f"only at night; default {night}"
        command.add_argument(
            f"--{option}", type=count_or_none, metavar="N", help=f"number of {what} scenes ({default})"
        )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same bytes (default %(default)s)")
    command.add_argument(
        "--workers", type=count, metavar="N", help="processes that draw the town (default: one for each core)"
    )


def run(options: argparse.Namespace) -> None:
    """Draw Tiny Town or Night Harbor."""
    from detr_mini.data import make_data, make_night_data

    if options.test is not None and options.scenes == "town":
        raise ConfigError("--test goes with --scenes night: Tiny Town has train and val only")
    if options.workers is not None and options.scenes == "night":
        raise ConfigError(
            "--workers goes with --scenes town: a night of 450 scenes is drawn by one process, in seconds"
        )
    asked = (options.train, options.val, options.test)
    train, val, test = (usual if n is None else n for n, usual in zip(asked, SCENES[options.scenes], strict=True))
    try:
        if options.scenes == "town":
            make_data(options.folder, train, val, options.seed, options.workers)
        else:
            make_night_data(options.folder, train, val, options.seed, test=test)
    except UserError:
        raise
    except OSError as error:  # of the folder: no rights, a full disk
        raise StorageError(f"cannot write {error.filename or options.folder}: {error.strerror or error}") from error
    tests = f", {val} validation and {test} test" if test else f" and {val} validation"
    print(f"{train} training{tests} scenes are in {options.folder}")
