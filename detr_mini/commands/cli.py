"""``detr-mini COMMAND ...``: all commands in one parser, and how each of them ends."""

import argparse
import sys
from collections.abc import Sequence

import detr_mini
from detr_mini.commands import check_data, evaluate, make_data, predict, train
from detr_mini.commands.options import PROGRAM
from detr_mini.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 where the user has something to mend, 130 after Ctrl-C."""
    options = make_parser().parse_args(arguments)
    try:
        options.run(options)
    except (UserError, ValueError, OSError, FloatingPointError) as error:
        print(f"{PROGRAM} {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\n{PROGRAM} {options.command}: stopped{f', {stop}' if stop.args else ''}", file=sys.stderr)
        if options.command == "train":
            print("go on with the same command and --resume", file=sys.stderr)
        return 130
    return 0


def make_parser() -> argparse.ArgumentParser:
    """All commands with their options and examples."""
    root = argparse.ArgumentParser(
        PROGRAM,
        description="Detection transformers: data, training, evaluation, prediction.",
        epilog=f"'{PROGRAM} COMMAND --help' shows the options of a command, with examples.",
    )
    root.add_argument("--version", action="version", version=f"{PROGRAM} {detr_mini.__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (make_data, check_data, train, evaluate, predict):
        module.add(commands)
    return root
