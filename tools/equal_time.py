"""Train nano and its deformable twin, and measure both at equal processor time.

    python tools/equal_time.py --data data/tiny_town                 # what is not there yet
    python tools/equal_time.py --data data/tiny_town --seeds 0 --anew

A run is a model's own recipe, whole, on one thread. Its clock counts the processor's time that training takes, whatever
else the machine does, and stops while the model is measured. Each finished run is stored at once, as
``book/data/equal_time/MODEL-SEED.json``. Both models of a seed run side by side: what slows one slows the other.
"""

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from grid import run_grid

from detr_mini.data import CocoDetection, eval_transforms
from detr_mini.evaluation import evaluate
from detr_mini.files import write_atomically
from detr_mini.modeling.build import Detector
from detr_mini.modeling.config import get_config
from detr_mini.training.recipe import RECIPES
from detr_mini.training.train import train

STORED = Path(__file__).resolve().parent.parent / "book" / "data" / "equal_time"
MODELS = ("nano", "deformable_nano")
SEEDS = (0, 1, 2)
MINUTES = (2, 4, 8, 16)  # of one processor, at which a model is measured; and at the end of its run
KEPT = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class Watch:
    """Measures a model when training has taken so many minutes of processor time; looking does not count."""

    def __init__(self, val: CocoDetection, minutes: tuple[float, ...]) -> None:
        self.val, self.left = val, list(minutes)
        self.points: list[dict[str, Any]] = []
        self.spent, self.since = 0.0, time.process_time()

    def __call__(self, step: int, model: Detector) -> None:
        self.spent += time.process_time() - self.since
        if self.left and self.spent >= 60 * self.left[0]:
            self.left.pop(0)
            self.measure(step, model)
        self.since = time.process_time()

    def measure(self, step: int, model: Detector) -> None:
        """Note COCO's numbers after so many steps."""
        training = model.training
        metrics = evaluate(model, self.val)
        model.train(training)
        self.points.append({"step": step, "minutes": self.spent / 60} | {key: metrics[key] for key in KEPT})


def run(name: str, seed: int, data: Path, out: Path, stored: Path = STORED) -> str:
    """Train a model, measure it on the way and at the end, and store the numbers."""
    torch.set_num_threads(1)
    config, recipe, folder = get_config(name), RECIPES[name], out / f"{name}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)  # a clock cannot be resumed
    watch = Watch(CocoDetection(data, "val", eval_transforms(config.image_size, config.max_size)), MINUTES)
    model = train(config, recipe, data, folder, seed=seed, progress=False, callback=watch)
    steps = json.loads((folder / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])["step"]
    watch.measure(steps, model)
    lines = [json.dumps({key: round(value, 5) for key, value in point.items()}) for point in watch.points]
    head = json.dumps({"model": name, "seed": seed, "epochs": recipe.epochs, "batch_size": recipe.batch_size})[:-1]
    stored.mkdir(parents=True, exist_ok=True)
    text = f'{head},\n"points": [\n' + ",\n".join(lines) + "\n]}\n"
    write_atomically(stored / f"{name}-{seed}.json", text.encode())
    last = watch.points[-1]
    return f"{name} seed {seed}: AP {last['AP']:.3f} after {last['minutes']:.1f} minutes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/tiny_town"), metavar="DIR", help="default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("runs/equal_time"), metavar="DIR", help="for unfinished runs")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), metavar="SEED", help="default 0 1 2")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side (default %(default)s)")
    parser.add_argument("--anew", action="store_true", help="also what is stored already")
    options = parser.parse_args()
    wanted = [(name, seed) for seed in options.seeds for name in MODELS]
    run_grid(run, wanted, STORED, options)


if __name__ == "__main__":
    main()
