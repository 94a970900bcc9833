"""``detr-mini browse``."""

import argparse
import sys
from pathlib import Path

from detr_mini.commands import settings
from detr_mini.commands.evaluate import other_names
from detr_mini.commands.options import PROGRAM, Commands, add_command, add_device, count, device

SUMMARY = (
    "show a data set on a page: its pictures and boxes, counts, possible faults; with --weights what a model finds"
)
ABOUT = """The page is one file that any browser opens, without a network. It can show faulty data, too: that is what it
is for. With many pictures it shows a part of them, chosen by a rule that it tells; its numbers are those of all.
With --weights it asks first whether annotations are wrong: where the model is sure of an object that has no box, or
of another class, or of another box. The kinds of errors that it counts are in the manner of TIDE (Bolya et al., ECCV
2020)."""
EXAMPLES = [
    "data/tiny_town",
    "my_data --split train --out my_data.html",
    "data/tiny_town --weights mini",
    "my_data --weights runs/mine/model.safetensors --split val",
]


def add(commands: Commands) -> None:
    """Add the command with its options."""
    command = add_command(commands, "browse", run, SUMMARY, EXAMPLES)
    command.description = f"{command.description}\n\n{ABOUT}"
    command.add_argument("folder", type=Path, metavar="DIR", help="a folder in COCO format")
    command.add_argument(
        "--out", type=Path, default=Path("browse.html"), metavar="FILE", help="the page (default %(default)s)"
    )
    command.add_argument(
        "--split",
        nargs="+",
        metavar="NAME",
        help="which to show (default: train and val; with --weights val alone, which the model has not learned from)",
    )
    command.add_argument("--weights", metavar="NAME|FILE", help="a shipped model, .safetensors or .pth")
    command.add_argument(
        "--pictures", type=count, default=1000, metavar="N", help="how many to show at most (default %(default)s)"
    )
    settings.add_config_option(command)
    add_device(command)


def run(options: argparse.Namespace) -> None:
    """Make the page, and say what is on it."""
    from detr_mini.browse.making import browse
    from detr_mini.errors import ConfigError, StorageError
    from detr_mini.weights import load_detector

    _require_free(options.out)
    changed = settings.config_overrides(options.set)
    if changed and not options.weights:
        raise ConfigError("--set changes the config of a model: name one with --weights, or leave --set out")
    model = load_detector(options.weights, device=device(options.device), **changed) if options.weights else None
    try:
        content = browse(
            options.folder,
            options.out,
            options.split or (["val"] if model else ["train", "val"]),
            model=model,
            name=options.weights or "",
            pictures=options.pictures,
            progress=sys.stderr.isatty(),
        )
    except OSError as error:
        if error.filename is None or options.out.name not in str(error.filename):
            raise
        raise StorageError(f"cannot write {options.out}: {error.strerror}. Name another (--out)") from None
    known = {one["id"]: one["name"] for one in content["summary"]["classes"]}
    if model and (difference := other_names(model.class_names, known)):
        print(f"{PROGRAM} browse: {difference}", file=sys.stderr)
    _report(content, options.out)


def _require_free(file: Path) -> None:
    """Refuse to replace what this command has not written.

    Raises:
        FolderInUseError: there is another file, or a folder, of that name.
    """
    from detr_mini.browse.page import MADE_BY
    from detr_mini.errors import FolderInUseError

    if file.is_file():
        with file.open("rb") as stream:
            if MADE_BY.encode() in stream.read(2000):
                return
    if file.exists():
        raise FolderInUseError(f"{file} is there and no page of this command: name another with --out, or remove it")


def _report(content: dict[str, object], file: Path) -> None:
    """Where the page is, and what was found."""
    kinds: dict[str, dict[str, object]] = content["kinds"]  # type: ignore[assignment]
    for kind in kinds.values():
        if kind["count"]:
            print(f"{kind['title']}: {kind['count']}, in {kind['pictures']} pictures")
    for word in [*content["words"], *content["mended"]]:  # type: ignore[misc]
        print(word)
    shown, total = len(content["pictures"]), content["total"]  # type: ignore[arg-type]
    part = f"{total} pictures" if shown == total else f"{shown} of {total} pictures"
    print(f"{file} shows {part}, {file.stat().st_size / 1e6:.1f} MB; open it in a browser")
