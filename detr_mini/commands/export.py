"""``detr-mini export``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from detr_mini.commands import settings
from detr_mini.commands.options import Commands, add_command, add_weights

EXAMPLES = [
    "--weights mini --out mini.onnx",
    "--weights runs/mine/model.safetensors --image street.jpg --out mine.pt2",
]
ABOUT = """The ending of --out says what is written: .onnx for onnxruntime and others (pip install "detr-mini[onnx]"),
.pt2 for torch.export.load. It is compared with the model on pictures of three sizes first, and is there only if it
gives the same. Class names, what pictures are resized to, mean and standard deviation are in the file. A short
script beside it, NAME.py, runs it on a picture; it needs Pillow and onnxruntime or torch, and nothing of this
package."""


def add(commands: Commands) -> None:
    """Add the command with its options."""
    summary = "write a model as a program that predicts without this package: ONNX or PyTorch's .pt2"
    command = add_command(commands, "export", run, summary, EXAMPLES)
    command.description = f"{command.description}\n\n{ABOUT}"
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="ends in .onnx or .pt2")
    command.add_argument("--image", metavar="IMAGE", help="compare on this picture, too")
    add_weights(command)
    settings.add_config_option(command)


def run(options: argparse.Namespace) -> None:
    """Write the program and its script."""
    from detr_mini.exporting import write_program
    from detr_mini.weights import load_detector

    model = load_detector(options.weights, **{"aux_loss": False, **settings.config_overrides(options.set)})
    differences = []

    def told(size: Sequence[int], difference: float) -> None:
        differences.append(difference)
        print(f"{' x '.join(map(str, size))}: differs from the model by {difference:.1e} at most", flush=True)

    beside = write_program(model, options.out, image=options.image, progress=told)
    print(f"largest difference: {max(differences):.1e}")
    print(options.out, beside, sep="\n")
