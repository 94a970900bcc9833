"""What several commands share: the look of their help, and the options for device, weights, workers and counts."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from detr_mini.errors import ConfigError

PROGRAM = "detr-mini"

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], None], summary: str, examples: Sequence[str]
) -> argparse.ArgumentParser:
    """A parser for the command ``name``, whose help ends in ``examples``: what follows its name on a line."""
    lines = "\n".join(f"  {PROGRAM} {name} {example}" for example in examples)
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary}.",
        epilog=f"examples:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def add_data(command: argparse.ArgumentParser) -> None:
    """``--data``: a folder."""
    command.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="a folder in COCO format, as any of the usual tools lays it out, or one of its annotation files",
    )


def add_device(command: argparse.ArgumentParser) -> None:
    """``--device``; see :func:`device`."""
    command.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto (a GPU with CUDA if there is one, else that of a Mac, mps, which is untried, else the CPU), cpu, "
        "cuda, cuda:1 or mps (default %(default)s)",
    )


def add_workers(command: argparse.ArgumentParser) -> None:
    """``--workers``: processes that read."""
    command.add_argument(
        "--workers", type=count_or_none, default=0, metavar="N", help="processes that read images (default %(default)s)"
    )


def add_weights(command: argparse.ArgumentParser) -> None:
    """``--weights``; see :func:`detr_mini.load`."""
    command.add_argument(
        "--weights",
        default="nano",
        metavar="NAME|FILE",
        help="a shipped model, .safetensors or .pth (default %(default)s)",
    )


def device(name: str) -> str:
    """The device that ``--device`` names, for ``torch.device``.

    Raises:
        ConfigError: there is none of that name here.
    """
    import torch

    if name in ("auto", "cuda") and torch.cuda.is_available():
        return "cuda"  # which one is left open: of several processes each takes its own
    if name == "auto" and torch.backends.mps.is_available():
        print("the GPU of this Mac is used, which is untried; --device cpu does without", file=sys.stderr)
        return "mps"
    if name == "auto":
        return "cpu"
    try:
        return str(torch.empty(0, device=name).device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name} is not to be had here: {str(error).splitlines()[0]}") from None


def count(text: str) -> int:
    """A whole number from 1 up, as a type of argparse."""
    return _at_least(1, text)


def count_or_none(text: str) -> int:
    """A whole number from 0 up, as a type of argparse."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
    return value


def share(text: str) -> float:
    """A number from 0 to 1, as a type of argparse."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, got {text}")
    return value


def require_sound(folder: Path, splits: Sequence[str], panoptic: bool = False) -> None:
    """Let the first process look through the data and tell what it found, while the others wait for its verdict."""
    from detr_mini import data, distributed

    report = data.Report()
    if distributed.rank() == 0:
        images = _is_quick_to_decode(folder, splits, panoptic)
        report = data.require_sound(folder, splits, images, panoptic)
    distributed.broadcast(None)
    for notice in report.notices:
        print(notice, file=sys.stderr)
    if report.faults:
        print(
            f"{folder}: {len(report.faults)} of its faults do no harm, such as boxes without area, which are left out; "
            f"'{PROGRAM} check-data {folder}{' --panoptic' if panoptic else ''}' lists them",
            file=sys.stderr,
        )


def _is_quick_to_decode(folder: Path, splits: Sequence[str], panoptic: bool) -> bool:
    """Whether decoding all images takes seconds rather than minutes; for more, that is left to check-data."""
    from detr_mini.data import find_panoptic_split, find_split
    from detr_mini.errors import DataError

    find = find_panoptic_split if panoptic else find_split
    try:
        return sum(len(os.listdir(find(folder, split)[0])) for split in splits) <= 20_000
    except (OSError, DataError):
        return False
