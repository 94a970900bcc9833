"""``detr-mini COMMAND ...``: all commands in one parser, and how each of them ends."""

import argparse
import os
import sys
from collections.abc import Sequence

import detr_mini
from detr_mini.commands import browse, check_data, course, evaluate, export, make_data, predict, train, translate
from detr_mini.commands.options import PROGRAM
from detr_mini.errors import UserError

EXIT_CODES = {  # and what each says
    0: "done",
    1: "a fault of the program, with a traceback",
    2: "there is something to mend, which the message names",
    130: "stopped with Ctrl-C",
    141: "whoever read the output has gone, as in '... | head'",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns one of ``EXIT_CODES``."""
    # What the GPU of a Mac cannot do, the CPU does. PyTorch reads this when it is imported.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    options = make_parser().parse_args(arguments)
    title = f"{PROGRAM} {options.command}"
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes once more at its end, and would complain
        return 141
    except KeyboardInterrupt as stop:
        print(f"\n{title}: stopped{f', {stop}' if stop.args else ''}", file=sys.stderr)
        if options.command == "train":
            print("go on with the same command and --resume", file=sys.stderr)
        return 130
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        print(f"{title}: {sentence}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 2
    return 0


def make_parser() -> argparse.ArgumentParser:
    """All commands with their options and examples."""
    codes = "\n".join(f"  {code:3}  {meaning}" for code, meaning in EXIT_CODES.items())
    root = argparse.ArgumentParser(
        PROGRAM,
        description="Detection transformers: data, training, evaluation, prediction.",
        epilog=f"'{PROGRAM} COMMAND --help' shows the options of a command, with examples.\n\nexit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"{PROGRAM} {detr_mini.__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (make_data, check_data, browse, train, evaluate, predict, export, translate, course):
        module.add(commands)
    return root


def _sentence(error: Exception) -> str | None:
    """What to tell of an error that the user can mend; None for a bug, which keeps its traceback."""
    if isinstance(error, UserError):
        return str(error)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return f"the GPU's memory is too small for this: {str(error).splitlines()[0]} Try a smaller --batch-size"
    return None
