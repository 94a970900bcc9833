"""Train on a few pictures of Night Harbor from several starts, and measure each model on pictures that it never met.

    python tools/own_pictures.py                      # what is not there yet
    python tools/own_pictures.py --seeds 0 --anew

A form is a start and a number of pictures: ``random-30`` begins config ``photo`` with random weights, ``weights-30``
with those of ``deformable_nano``, ``frozen-30`` too, but its backbone stays as it is; ``long-30`` is ``weights-30``
with ``LONG`` steps; ``mistakes-100`` is ``weights-100`` on the same pictures, of which ``MISTAKES`` are annotated
wrongly. A seed draws pictures, order and random weights. All train by the recipe for so many pictures, cut to ``STEPS``
steps, on one thread; the weights of the epoch that is best on ``valid`` are measured, once, on ``TEST`` other pictures,
the same for all. Each finished run is stored at once, as ``book/data/own_pictures/FORM-SEED.json``. Minutes are those
of a processor.
"""

import argparse
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from grid import run_grid
from torchvision.ops import box_convert, box_iou

from detr_mini.browse.making import browse
from detr_mini.data import CocoDetection, Mistake, eval_transforms, make_night_data, read_class_names
from detr_mini.evaluation import evaluate
from detr_mini.files import write_atomically
from detr_mini.modeling.build import Detector, build
from detr_mini.training.own_data import START, Figures, fitting
from detr_mini.training.recipe import BATCH, recipe_for
from detr_mini.training.train import train
from detr_mini.weights import load_to_train

STORED = Path(__file__).resolve().parent.parent / "book" / "data" / "own_pictures"
STEPS = 160  # of a run, about: whole epochs
LONG = 320
SIDE = 192  # pixels: the long side that pictures are shrunk to; train would take 256, and twice the time
VALID, TEST, TEST_SEED = 40, 300, 99
MISTAKES = 30
SEEDS = (0, 1, 2)
FORMS = (  # the first eight answer one question each: how many pictures, which start, what do mistakes cost
    *("long-30", "long-300"),
    *("weights-100", "mistakes-100", "weights-30", "weights-300", "random-100", "frozen-100"),
    *("frozen-30", "frozen-300", "random-30", "random-300"),
)
SHOWN = "mistakes-100", 0  # the run whose weights are stored: the chapter looks for the mistakes with them
KEPT = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def run(form: str, seed: int, data: Path, out: Path, stored: Path = STORED) -> str:
    """Train from a start on so many pictures, measure, and store the numbers."""
    torch.set_num_threads(1)
    start, pictures = form.split("-")[0], int(form.split("-")[1])
    test = data / "test"
    if not test.exists():
        make_night_data(test, 0, 0, TEST_SEED, test=TEST, progress=False)
    folder = data / f"{'mistakes' if start == 'mistakes' else 'sound'}-{pictures}-{seed}"
    mistakes = MISTAKES if start == "mistakes" else 0
    planted = make_night_data(folder, pictures, VALID, seed, mistakes, test=0, progress=False)
    steps_per_epoch = math.ceil(pictures / BATCH)
    recipe = recipe_for(pictures, VALID, round((LONG if start == "long" else STEPS) / steps_per_epoch))
    shutil.rmtree(out / f"{form}-{seed}", ignore_errors=True)  # a clock cannot be resumed
    model, began = begin(start, seed, folder), time.process_time()
    model = train(model, recipe, folder, out / f"{form}-{seed}", seed=seed, progress=False)
    minutes = (time.process_time() - began) / 60
    prepare = eval_transforms(model.config.image_size, model.config.max_size)
    metrics = evaluate(model, CocoDetection(test, "test", prepare))
    result = {"form": form, "seed": seed, "steps": recipe.epochs * steps_per_epoch, "minutes": round(minutes, 2)}
    result |= {key: round(metrics[key], 5) for key in KEPT}
    result["val"] = looks(out / f"{form}-{seed}")
    if planted:
        result["ranks"] = ranks(model, folder, planted, out / f"{form}-{seed}" / "browse.html")
    stored.mkdir(parents=True, exist_ok=True)
    if (form, seed) == SHOWN:
        weights = (out / f"{form}-{seed}" / "model.safetensors").read_bytes()
        write_atomically(stored / f"{form}-{seed}.safetensors", weights)
    write_atomically(stored / f"{form}-{seed}.json", f"{json.dumps(result)}\n".encode())
    return f"{form} seed {seed}: AP {metrics['AP']:.3f} after {minutes:.1f} minutes"


def looks(folder: Path) -> list[list[float]]:
    """Step and AP of each measurement on ``valid``, from the log of a run."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [[line["step"], line["AP"]] for line in lines if "AP" in line]


def begin(start: str, seed: int, folder: Path) -> Detector:
    """The model before training."""
    torch.manual_seed(seed)
    names = read_class_names(folder, "train")
    fitted = fitting(Figures.of(CocoDetection(folder, "train"))) | {"max_size": SIDE}
    if start == "random":
        return build("photo", num_classes=max(names) + 1, **fitted)
    model = load_to_train(START, class_names=names, **fitted)
    if start == "frozen":
        model.backbone.requires_grad_(False)
    return model


def ranks(model: Detector, folder: Path, planted: tuple[Mistake, ...], page: Path) -> dict[str, list[int]]:
    """By kind of mistake: the places, from 1, of those that are found, among all doubts of ``browse``, surest first.

    A doubt finds a mistake if its detection has a class and about the box (an IoU of 0.5) that would be right there.
    """
    content = browse(folder, page, ["train"], model=model)
    classes = [one["id"] for one in content["summary"]["classes"]]
    listed = [
        (sure, picture["name"], picture["detections"][detection])
        for picture in content["pictures"]
        for _, sure, detection, _ in picture["doubts"]
    ]
    listed.sort(key=lambda one: -one[0])
    places: dict[str, list[int]] = {one.kind: [] for one in planted} | {"listed": [len(listed)]}
    for mistake in planted:
        hits = (
            place
            for place, (_, name, detection) in enumerate(listed, 1)
            if Path(name).name == mistake.file_name and _is_right(classes[detection[0]], detection[1:5], mistake)
        )
        if place := next(hits, None):
            places[mistake.kind].append(place)
    return {kind: sorted(some) for kind, some in places.items()}


def _is_right(category: int, box: list[Any], mistake: Mistake) -> bool:
    for right, truth in mistake.truth:
        pair = box_convert(torch.tensor([box, list(truth)], dtype=torch.float32), "xywh", "xyxy")
        if category == right and float(box_iou(pair[:1], pair[1:])) >= 0.5:
            return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path("data/own_pictures"), metavar="DIR", help="default %(default)s"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/own_pictures"), metavar="DIR", help="for unfinished runs"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), metavar="SEED", help="default 0 1 2")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side (default %(default)s)")
    parser.add_argument("--anew", action="store_true", help="also what is stored already")
    options = parser.parse_args()
    wanted = [(form, seed) for form in FORMS for seed in options.seeds]
    run_grid(run, wanted, STORED, options)


if __name__ == "__main__":
    main()
