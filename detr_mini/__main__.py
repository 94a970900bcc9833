"""The command line: ``python -m detr_mini COMMAND ...``."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

PROGRAM = "python -m detr_mini"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 where the user has something to mend, 130 after Ctrl-C."""
    options = make_parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError, FloatingPointError) as error:
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
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_make_data, _check_data, _train, _evaluate, _predict):
        add(commands)
    return root


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], summary: str, examples: Sequence[str]
) -> argparse.ArgumentParser:
    lines = "\n".join(f"  {PROGRAM} {name} {example}" for example in examples)
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary}.",
        epilog=f"examples:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def _make_data(commands: Any) -> None:
    examples = ["data/tiny_town", "data/tiny_town_small --train 500 --val 50"]
    command = _command(commands, "make-data", run_make_data, "draw Tiny Town into a folder, in COCO format", examples)
    command.add_argument("folder", type=Path, metavar="DIR")
    command.add_argument("--train", type=_count, default=12_000, help="number of training scenes (default %(default)s)")
    command.add_argument("--val", type=_count, default=500, help="number of validation scenes (default %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default %(default)s)")
    command.add_argument("--workers", type=_count, help="processes that draw (default: one for each core)")


def run_make_data(options: argparse.Namespace) -> None:
    """Draw Tiny Town."""
    from detr_mini.data import make_data

    make_data(options.folder, options.train, options.val, options.seed, options.workers)
    print(f"{options.train} training and {options.val} validation scenes are in {options.folder}")


def _check_data(commands: Any) -> None:
    examples = ["data/tiny_town", "/path/to/coco"]
    summary = "report every fault of a COCO folder in one pass; exit code 2 if there is any"
    command = _command(commands, "check-data", run_check_data, summary, examples)
    command.add_argument("folder", type=Path, metavar="DIR")


def run_check_data(options: argparse.Namespace) -> None:
    """Report the faults of a folder."""
    from detr_mini.data import check_data

    faults = check_data(options.folder)
    for fault in faults:
        print(fault)
    if faults:
        raise ValueError(f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in {options.folder}, listed above")
    print(f"no faults in {options.folder}")


def _train(commands: Any) -> None:
    examples = [
        "--data data/tiny_town --config nano --out runs/nano",
        "--data data/tiny_town --config nano --out runs/nano --resume",
        "--data /path/to/coco --config detr_resnet50 --out runs/r50 --device cuda --workers 8 --batch-size 16",
    ]
    parallel = (
        "torchrun --nproc-per-node 8 -m detr_mini train --data /path/to/coco --config detr_resnet50 --out runs/r50"
    )
    summary = "train a model on the train split of a COCO folder and measure it on val"
    command = _command(commands, "train", run_train, summary, examples)
    command.epilog = f"{command.epilog}\n\non several GPUs:\n  {parallel}"
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="a folder in COCO format")
    command.add_argument("--config", default="nano", help="name of a config (default %(default)s)")
    command.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for log, checkpoint, weights")
    command.add_argument("--resume", action="store_true", help="go on with the run in RUN; start it if there is none")
    command.add_argument(
        "--num-classes", type=_count, metavar="N", help="highest category id + 1 (default: the config's)"
    )
    command.add_argument("--epochs", type=_count, metavar="N", help="default: the config's recipe")
    command.add_argument(
        "--batch-size", type=_count, metavar="N", help="over all processes; default: the config's recipe"
    )
    command.add_argument("--lr", type=float, metavar="RATE", help="learning rate; default: the config's recipe")
    command.add_argument("--seed", type=int, default=0, help="default %(default)s")
    command.add_argument(
        "--save-every",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="between checkpoints within an epoch (default %(default)s)",
    )
    _add_device(command)


def run_train(options: argparse.Namespace) -> None:
    """Train a model."""
    from detr_mini import distributed
    from detr_mini.modeling.config import get_config
    from detr_mini.training.recipe import RECIPES, Recipe
    from detr_mini.training.train import train

    changed = {"num_classes": options.num_classes} if options.num_classes else {}
    config = get_config(options.config, **changed)
    recipe = RECIPES.get(options.config, Recipe())
    wanted = {name: getattr(options, name) for name in ("epochs", "batch_size", "lr")}
    recipe = replace(recipe, **{name: value for name, value in wanted.items() if value is not None})
    with distributed.processes(_device(options.device)) as device:
        _require_sound(options.data, ("train", "val"))
        train(
            config,
            recipe,
            options.data,
            options.out,
            resume=options.resume,
            device=device,
            seed=options.seed,
            workers=options.workers,
            save_every=options.save_every,
        )
        if distributed.rank() == 0:
            print(f"the weights are in {options.out / 'model.safetensors'}, the log in {options.out / 'log.jsonl'}")


def _evaluate(commands: Any) -> None:
    examples = ["--data data/tiny_town --weights nano", "--data /path/to/coco --weights detr-r50.pth --device cuda"]
    command = _command(commands, "evaluate", run_evaluate, "print COCO's twelve numbers, by pycocotools", examples)
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="a folder in COCO format")
    command.add_argument("--split", default="val", help="default %(default)s")
    command.add_argument("--batch-size", type=_count, default=16, help="default %(default)s")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    _add_weights(command)
    _add_device(command)


def run_evaluate(options: argparse.Namespace) -> None:
    """Print and store the twelve numbers."""
    from detr_mini import distributed
    from detr_mini.data import CocoDetection, eval_transforms
    from detr_mini.evaluation import evaluate
    from detr_mini.files import write_atomically
    from detr_mini.weights import load

    with distributed.processes(_device(options.device)) as device:
        _require_sound(options.data, (options.split,))
        model = load(options.weights, device=device)
        prepare = eval_transforms(model.config.image_size, model.config.max_size)
        dataset = CocoDetection(options.data, options.split, prepare)
        results = evaluate(
            model,
            dataset,
            device=device,
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


def _predict(commands: Any) -> None:
    examples = ["street.jpg", "holiday/*.jpg --weights runs/nano/model.safetensors --threshold 0.5 --out found"]
    summary = "detect objects; write NAME.json and NAME.png, the picture with its boxes, for each picture"
    command = _command(commands, "predict", run_predict, summary, examples)
    command.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    command.add_argument("--threshold", type=float, default=0.7, help="lowest score shown (default %(default)s)")
    command.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help="default %(default)s")
    _add_weights(command)
    _add_device(command)


def run_predict(options: argparse.Namespace) -> None:
    """Detect objects and write what was found."""
    from detr_mini.prediction import write_predictions
    from detr_mini.weights import load

    model = load(options.weights, device=_device(options.device))
    for path in write_predictions(model, options.images, options.out, threshold=options.threshold):
        print(path)


def _require_sound(folder: Path, splits: Sequence[str]) -> None:
    """Let the first process look through the data, while the others wait for its verdict."""
    from detr_mini import distributed
    from detr_mini.data import require_sound

    harmless = []
    if distributed.rank() == 0:
        harmless = require_sound(folder, splits, images=_few_pictures(folder, splits))
    distributed.broadcast(None)
    if harmless:
        print(
            f"{folder}: {len(harmless)} of its faults do no harm, such as boxes without area, which are left out; "
            f"'{PROGRAM} check-data {folder}' lists them",
            file=sys.stderr,
        )


def _few_pictures(folder: Path, splits: Sequence[str]) -> bool:
    """Whether decoding all of them takes seconds rather than minutes; for more, that is left to check-data."""
    from detr_mini.data import find_split

    try:
        return sum(len(os.listdir(find_split(folder, split)[0])) for split in splits) <= 20_000
    except OSError:
        return False


def _add_weights(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--weights",
        default="nano",
        metavar="NAME|FILE",
        help="a shipped model, .safetensors or .pth (default %(default)s)",
    )


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1 ...")
    if command.prog.endswith(("train", "evaluate")):
        command.add_argument(
            "--workers", type=int, default=0, help="processes that read pictures (default %(default)s)"
        )


def _device(name: str) -> str:
    import torch

    if name in ("auto", "cuda") and torch.cuda.is_available():
        return "cuda"  # which one is left open: of several processes each takes its own
    if name == "auto":
        return "cpu"
    try:
        return str(torch.empty(0, device=name).device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name} is not to be had here: {str(error).splitlines()[0]}") from None


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
