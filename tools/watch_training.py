"""Train nano or mini and keep what it was along the way, for the chapters that look at learning.

    python tools/watch_training.py nano --data data/tiny_town --out runs/watched
    python tools/watch_training.py mini --data data/tiny_town_large --out runs/mini --resume

The weights at chosen steps go to ``RUN/snapshots``; what those models see on the validation scenes is put together in
``RUN/watched.safetensors``. A run that was stopped goes on with ``--resume``. The last weights are those that
``python -m detr_mini train`` gives. ``--ship`` puts the weights into the package, and what the book reads beside it.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

import detr_mini
from detr_mini.data import CocoDetection, collate, eval_transforms
from detr_mini.evaluation import evaluate, layer_metrics, layer_outputs
from detr_mini.files import write_atomically
from detr_mini.matcher import HungarianMatcher
from detr_mini.modeling.config import get_config
from detr_mini.modeling.detr import DETR
from detr_mini.teaching.notebook import SCENE
from detr_mini.training.recipe import RECIPES
from detr_mini.training.train import train
from detr_mini.weights import CHECKPOINTS

STEPS = {
    "nano": [0, 20, 50, 100, 200, 300, 400, *range(500, 10_501, 500)],
    "mini": [0, 50, 100, 200, 500, 1000, 1500, 2000, 3000, *range(4500, 27_001, 1500)],
}
BOOK_DATA = Path(__file__).resolve().parent.parent / "book" / "data"
SHIPPED_STEPS = {"nano": [], "mini": [500, 3000, 9000]}  # the models on the way that come with the package
SCENES = range(SCENE - 16, SCENE + 16)  # of the validation set, of which nano's predictions are kept


class Watcher:
    """Writes the weights at some steps to ``folder``; after an interruption they are made again, the same."""

    def __init__(self, steps: list[int], folder: Path) -> None:
        self.steps, self.folder = set(steps), folder
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, step: int, model: DETR) -> None:
        if step in self.steps:
            detr_mini.save(model, snapshot(self.folder, step), dtype=None)


def snapshot(folder: Path, step: int) -> Path:
    """Where the weights of a step are."""
    return folder / f"{step:08}.safetensors"


@torch.no_grad()
def predictions(model: DETR, val: CocoDetection) -> dict[str, Tensor]:
    """What a model predicts on a few scenes: ``logits`` ``(P, N, K + 1)`` and ``boxes`` ``(P, N, 4)``."""
    samples, _ = collate([val[i] for i in SCENES])
    outputs = model(samples)
    return {"logits": outputs["pred_logits"].half(), "boxes": outputs["pred_boxes"].half()}


@torch.no_grad()
def slots(model: DETR, val: CocoDetection) -> dict[str, Tensor]:
    """What each query does on all scenes, and how good each decoder layer is.

    ``boxes`` ``(P, N, 4)`` and ``scores`` ``(P, N)`` of the last layer; ``matched`` ``(layers, objects)``, the query
    that the matcher gives each object of the scenes one after the other; ``ap`` and ``ap50`` ``(layers, 2)``, without
    and with NMS at 0.7.
    """
    outputs = layer_outputs(model, val)
    targets = [val[i][1] for i in range(len(val))]
    matched = []
    for logits, boxes in zip(outputs["pred_logits"], outputs["pred_boxes"], strict=True):
        pairs = HungarianMatcher()({"pred_logits": logits, "pred_boxes": boxes}, targets)
        matched.append(torch.cat([query[target.argsort()] for query, target in pairs]))
    metrics = [layer_metrics(val, outputs), layer_metrics(val, outputs, nms=0.7)]
    kept = {
        "boxes": outputs["pred_boxes"][-1].half(),
        "scores": outputs["pred_logits"][-1].softmax(-1)[..., :-1].amax(-1).half(),
        "matched": torch.stack(matched).to(torch.uint8),
    }
    for name in ("AP", "AP50"):
        kept[name.lower()] = torch.tensor([[layer[name] for layer in layers] for layers in metrics]).T.contiguous()
    return kept


def look(see: Callable[[DETR, CocoDetection], dict[str, Tensor]], path: Path, val: CocoDetection) -> dict[str, Tensor]:
    """What the weights in a file see; it is kept beside them, since looking takes longer than reading."""
    kept = path.with_suffix(".seen")
    if not kept.exists():
        write_atomically(kept, to_bytes(see(detr_mini.load(path), val)))
    return load_file(kept)


def put_together(name: str, folder: Path, val: CocoDetection) -> dict[str, Tensor]:
    """What was seen at every step, stacked, and the ``steps`` ``(S,)`` themselves."""
    see = predictions if name == "nano" else slots
    seen = [look(see, snapshot(folder, step), val) for step in STEPS[name]]
    scenes = {"scenes": torch.tensor(list(SCENES))} if name == "nano" else {}
    stacked = {key: torch.stack([one[key] for one in seen]) for key in seen[0]}
    return {"steps": torch.tensor(STEPS[name]), **scenes, **stacked}


def ship(name: str, run: Path, val: CocoDetection, package: Path = CHECKPOINTS, book: Path = BOOK_DATA) -> None:
    """Put a finished run's weights and COCO's numbers into the package, its log and what was watched into the book."""
    shutil.copyfile(run / "model.safetensors", package / f"{name}.safetensors")
    shutil.copyfile(run / "log.jsonl", book / f"{name}.jsonl")
    metrics = evaluate(detr_mini.load(package / f"{name}.safetensors"), val)
    (package / f"{name}.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(run / "watched.safetensors", book / "watched" / f"{name}.safetensors")
    for step in SHIPPED_STEPS[name]:
        model = detr_mini.load(snapshot(run / "snapshots", step))
        detr_mini.save(model, book / "watched" / f"{name}-{step:05}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", choices=sorted(STEPS))
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a folder that make-data wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="a folder for the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN; start it if there is none")
    parser.add_argument("--ship", action="store_true", help="put the results into detr_mini/checkpoints and book/data")
    parser.add_argument("--device", default="cpu", help="default %(default)s")
    parser.add_argument("--workers", type=int, default=0, help="processes that read pictures (default %(default)s)")
    options = parser.parse_args()
    config, snapshots = get_config(options.config), options.out / "snapshots"
    train(
        config,
        RECIPES[options.config],
        options.data,
        options.out,
        resume=options.resume,
        device=options.device,
        workers=options.workers,
        callback=Watcher(STEPS[options.config], snapshots),
    )
    val = CocoDetection(options.data, "val", eval_transforms(config.image_size, config.max_size))
    write_atomically(options.out / "watched.safetensors", to_bytes(put_together(options.config, snapshots, val)))
    if options.ship:
        ship(options.config, options.out, val)
    print(f"what {options.config} was along the way is in {options.out}")


if __name__ == "__main__":
    main()
