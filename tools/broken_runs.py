"""Train nano for a while with one thing wrong, and once with nothing wrong, for the chapter on training.

    python tools/broken_runs.py --data data/tiny_town                # what is not there yet
    python tools/broken_runs.py --only learning-rate --anew          # one of them once more
    python tools/broken_runs.py --list

Each run is the first epoch of nano's own training, 1500 steps of 8 pictures, on one thread: some five minutes. Its log,
with the losses every 50 steps and the AP on the validation scenes every 500, is stored as
``book/data/broken/NAME.jsonl`` when it ends. ``healthy`` is the beginning of nano's log.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from detr_mini.boxes import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh
from detr_mini.data import BucketSampler, CocoDetection, SeededImages, collate, eval_transforms, train_transforms
from detr_mini.evaluation import evaluate
from detr_mini.files import write_atomically
from detr_mini.modeling.config import get_config
from detr_mini.training.recipe import RECIPES
from detr_mini.training.trainer import Trainer

STORED = Path(__file__).resolve().parent.parent / "book" / "data" / "broken"
CONFIG = get_config("nano")
PARTS = 21  # of 500 steps in the whole of nano's training: what the run takes for its epochs
Targets = list[dict[str, Tensor]]


@dataclass(frozen=True)
class Fault:
    """What is wrong: with the recipe, with the run once it has been made, or with the targets of each batch."""

    recipe: dict[str, Any] = field(default_factory=dict)
    run: Callable[[Trainer], object] = lambda run: None
    targets: Callable[[Targets], Targets] = lambda targets: targets


def read_xywh_as_cxcywh(targets: Targets) -> Targets:
    """The left top corner is taken for the center; a box that reaches out of the picture is clipped to it."""

    def spoil(boxes: Tensor) -> Tensor:
        corner, size = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]  # x, y and width, height, as in a COCO file
        return box_xyxy_to_cxcywh(box_cxcywh_to_xyxy(torch.cat([corner, size], dim=1)).clamp(0, 1))

    return [{**target, "boxes": spoil(target["boxes"])} for target in targets]


def forget_the_class_term(run: Trainer) -> None:
    """The class term has a weight under a name that no term has, so it is left out of the total."""
    weights = run.criterion.weight_dict
    weights["loss_class"] = weights.pop("loss_ce")


def replace_the_head(run: Trainer) -> None:
    """The class head is replaced after the optimizer was made, which goes on stepping the old one."""
    old = run.model.class_embed
    run.model.class_embed = nn.Linear(old.in_features, old.out_features)


FAULTS = {
    "box-form": Fault(targets=read_xywh_as_cxcywh),
    "class-term": Fault(run=forget_the_class_term),
    "healthy": Fault(),
    "learning-rate": Fault(recipe={"lr": 2e-2, "lr_backbone": 2e-2}),  # 25 times nano's
    "no-clipping": Fault(recipe={"clip_max_norm": 1e9}),
    "no-warm-up": Fault(recipe={"warmup_steps": 0}),
    "old-head": Fault(run=replace_the_head),
}


def train(name: str, data: Path, stored: Path = STORED, *, parts: int = 3, steps: int = 500) -> Path:
    """Train with a fault for some parts of ``steps`` batches, measure after each of them, and store the log."""
    torch.set_num_threads(1)
    fault = FAULTS[name]
    recipe = replace(RECIPES["nano"], epochs=PARTS, **fault.recipe)
    train_set = CocoDetection(data, "train", train_transforms(recipe.sizes))
    val_set = CocoDetection(data, "val", eval_transforms(CONFIG.image_size, CONFIG.max_size))
    batches = BucketSampler(train_set, recipe.batch_size)
    loader = DataLoader(SeededImages(train_set), batch_sampler=batches, collate_fn=collate)
    with tempfile.TemporaryDirectory() as folder:
        run = Trainer(CONFIG, recipe, Path(folder), steps * recipe.batch_size)
        fault.run(run)
        for samples, targets in loader:
            run.step(samples, fault.targets(targets))
            if run.batch == steps:
                run.finish_epoch(evaluate(run.model, val_set))
            if run.epoch == parts:
                break
        stored.mkdir(parents=True, exist_ok=True)
        write_atomically(stored / f"{name}.jsonl", run.folder.log.read_bytes())
    return stored / f"{name}.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/tiny_town"), metavar="DIR", help="default %(default)s")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS), metavar="NAME")
    parser.add_argument("--anew", action="store_true", help="also what is stored already")
    parser.add_argument("--list", action="store_true", help="name the runs and end")
    options = parser.parse_args()
    if options.list:
        print("\n".join(FAULTS))
        return
    for name in options.only:
        if options.anew or not (STORED / f"{name}.jsonl").exists():
            print(train(name, options.data), flush=True)


if __name__ == "__main__":
    main()
