"""Train nano and forms of its deformable twin that differ in one thing from each other, for one epoch.

    python tools/one_change.py --data data/tiny_town                 # what is not there yet
    python tools/one_change.py --data data/tiny_town --seeds 0 --anew

All have the recipe of ``deformable_nano`` at a constant rate, which for ``nano`` is its own. A run computes on one
thread; each finished run is stored at once, as ``book/data/one_change/FORM-SEED.json``.
"""

import argparse
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from grid import run_grid

from detr_mini.data import CocoDetection, eval_transforms
from detr_mini.evaluation import layer_metrics, layer_outputs
from detr_mini.files import write_atomically
from detr_mini.modeling.build import build
from detr_mini.training.recipe import RECIPES
from detr_mini.training.train import train

STORED = Path(__file__).resolve().parent.parent / "book" / "data" / "one_change"
RECIPE = replace(RECIPES["deformable_nano"], epochs=1, lr_drop=1)
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "nano": ("nano", {}),
    "one-level": ("deformable_nano", {"num_feature_levels": 1, "with_box_refine": False}),
    "one-level-refined": ("deformable_nano", {"num_feature_levels": 1}),
    "two-levels": ("deformable_nano", {"with_box_refine": False}),
    "two-levels-refined": ("deformable_nano", {}),
    "two-levels-two-stage": ("deformable_nano", {"two_stage": True}),
}
KEPT = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def run(form: str, seed: int, data: Path, out: Path, stored: Path = STORED) -> str:
    """Train a form, measure every decoder layer, and store the numbers."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    name, changes = FORMS[form]
    folder = out / f"{form}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    began = time.process_time()
    model = train(build(name, **changes), RECIPE, data, folder, seed=seed, progress=False)
    minutes = (time.process_time() - began) / 60
    val = CocoDetection(data, "val", eval_transforms(model.config.image_size, model.config.max_size))
    layers = layer_metrics(val, layer_outputs(model, val), postprocess=lambda *given: model.postprocess(*given))
    result = {"form": form, "seed": seed, "config": changes, "minutes": round(minutes, 2)}
    result["layers"] = [{key: round(layer[key], 5) for key in KEPT} for layer in layers]
    stored.mkdir(parents=True, exist_ok=True)
    write_atomically(stored / f"{form}-{seed}.json", f"{json.dumps(result)}\n".encode())
    return f"{form} seed {seed}: AP {layers[-1]['AP']:.3f} after {minutes:.1f} minutes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/tiny_town"), metavar="DIR", help="default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("runs/one_change"), metavar="DIR", help="for unfinished runs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED", help="default 0")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side (default %(default)s)")
    parser.add_argument("--anew", action="store_true", help="also what is stored already")
    options = parser.parse_args()
    wanted = [(form, seed) for seed in options.seeds for form in FORMS]
    run_grid(run, wanted, STORED, options)


if __name__ == "__main__":
    main()
