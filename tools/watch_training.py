"""Train nano again and keep what its queries predict along the way, for the chapters that look at learning.

    python tools/watch_training.py [--data data/tiny_town] [--out runs/watched]

The weights come out equal to the shipped ones, byte for byte, where the machine is like the one that trained them; the
predictions go to ``detr_mini/checkpoints/watched/nano.safetensors``. A quarter of an hour on two free cores.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from detr_mini.config import get_config
from detr_mini.data import CocoDetection, collate, eval_transforms
from detr_mini.detr import DETR
from detr_mini.notebook import SCENE
from detr_mini.recipe import RECIPES
from detr_mini.train import train

STORED = Path(__file__).resolve().parent.parent / "detr_mini" / "checkpoints" / "watched" / "nano.safetensors"
STEPS = {0, 20, 50, 100, 200, 300, 400, *range(500, 10_501, 500)}
SCENES = range(SCENE - 16, SCENE + 16)  # of the validation set


class Watcher:
    """Keeps the predictions for a few pictures at a few steps."""

    def __init__(self, val: CocoDetection) -> None:
        self.samples, _ = collate([val[i] for i in SCENES])
        self.steps: list[int] = []
        self.logits: list[Tensor] = []
        self.boxes: list[Tensor] = []

    @torch.no_grad()
    def __call__(self, step: int, model: DETR) -> None:
        if step not in STEPS:
            return
        outputs = model.eval()(self.samples)
        self.steps.append(step)
        self.logits.append(outputs["pred_logits"].half())
        self.boxes.append(outputs["pred_boxes"].half())

    def tensors(self) -> dict[str, Tensor]:
        return {
            "steps": torch.tensor(self.steps),  # (S,)
            "scenes": torch.tensor(list(SCENES)),  # (P,)
            "logits": torch.stack(self.logits),  # (S, P, N, K + 1)
            "boxes": torch.stack(self.boxes),  # (S, P, N, 4)
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/tiny_town"), help="where `make nano` puts Tiny Town")
    parser.add_argument("--out", type=Path, default=Path("runs/watched"), help="a folder for the run")
    args = parser.parse_args()
    config = get_config("nano")
    watcher = Watcher(CocoDetection(args.data, "val", eval_transforms(config.image_size, config.max_size)))
    train(config, RECIPES["nano"], args.data, args.out, watch=watcher)
    save_file(watcher.tensors(), STORED)
    print(f"kept {len(watcher.steps)} steps in {STORED.name}")


if __name__ == "__main__":
    main()
