"""``detr-mini predict``."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detr_mini.commands import settings
from detr_mini.commands.options import PROGRAM, Commands, add_command, add_device, add_weights, count, device, share
from detr_mini.errors import ConfigError, ImageError

if TYPE_CHECKING:
    from torch import Tensor

    from detr_mini.data.panoptic import Segments
    from detr_mini.modeling.build import Detector

EXAMPLES = [
    "scenes/val",
    "val2017 --weights detr-r50-e632da11.pth --threshold 0 --coco found.json "
    "--annotations annotations/instances_val2017.json",
    "holiday/*.jpg --weights runs/mine/model.safetensors --threshold 0.5 --out found",
]
PANOPTIC = """A model with masks also gives every pixel a segment. NAME.panoptic.jpg shows them. NAME.panoptic.png holds
the id of each pixel's segment as COCO encodes it, R + 256 G + 65,536 B, and 0 where there is none. The JSON file lists
the segments under "panoptic", in COCO's words: with an image id added, that is one of the annotations that COCO's
tools read."""
TOWN_ONLY = f"""The shipped detectors (nano, mini, mini_panoptic, deformable_nano) know a drawn town only: what they
say of a photograph is chance, however high it scores. Draw some scenes for them:
  {PROGRAM} make-data scenes --train 0 --val 20
  {PROGRAM} predict scenes/val"""


def add(commands: Commands) -> None:
    """Add the command with its options."""
    summary = "detect objects in images; write the boxes of each as NAME.boxes.json and drawn, NAME.boxes.jpg"
    command = add_command(commands, "predict", run, summary, EXAMPLES)
    command.description = f"{command.description}\n\n{PANOPTIC}\n\n{TOWN_ONLY}"
    command.add_argument("images", nargs="+", metavar="IMAGE", help="a file, a folder, or a pattern such as 'a/*.jpg'")
    command.add_argument(
        "--threshold", type=share, default=0.7, metavar="SCORE", help="lowest score shown (default %(default)s)"
    )
    command.add_argument(
        "--panoptic-threshold",
        type=share,
        default=0.85,
        metavar="SCORE",
        help="lowest score that gives a segment, with masks (default %(default)s)",
    )
    command.add_argument(
        "--coco",
        type=Path,
        metavar="FILE",
        help="write all boxes into one file of COCO results, too: x, y, width, height. Image ids are from "
        "--annotations. "
        "Without it images are numbered, and listed beside it in NAME.images.json. For AP, give --threshold 0",
    )
    command.add_argument(
        "--annotations", type=Path, metavar="FILE", help="annotation file in COCO format that has the images' ids"
    )
    command.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help="default %(default)s")
    command.add_argument(
        "--batch-size", type=count, default=4, metavar="N", help="images in memory at once (default %(default)s)"
    )
    add_weights(command)
    settings.add_config_option(command)
    add_device(command)


def run(options: argparse.Namespace) -> None:
    """Detect objects and write what was found."""
    from tqdm import tqdm

    from detr_mini.commands.coco_results import CocoResults
    from detr_mini.commands.images import find_images
    from detr_mini.commands.results import Results
    from detr_mini.modeling.segmentation import DETRSegmentation
    from detr_mini.weights import load_detector

    if options.annotations and not options.coco:
        raise ConfigError("--annotations gives the ids for --coco FILE, which is missing")
    images, faults = find_images(options.images)
    if images:
        coco = CocoResults(options.coco, images, options.annotations) if options.coco else None
        changed = settings.config_overrides(options.set)
        model = load_detector(options.weights, device=device(options.device), **changed)
        if _knows_tiny_town(model):
            print(f"{PROGRAM} predict: {_town_notice(options.weights, model)}", file=sys.stderr)
        about = {"weights": options.weights, "classes": model.class_names, "threshold": options.threshold}
        if isinstance(model, DETRSegmentation):
            about["panoptic_threshold"] = options.panoptic_threshold
        results = Results(options.out, images)
        with tqdm(total=len(images), desc="predict", unit="image", disable=None, leave=False) as bar:
            for start in range(0, len(images), options.batch_size):
                batch = images[start : start + options.batch_size]
                for path, image, found, segments in _predictions(model, batch, options, faults):
                    if coco:
                        coco.add(path, image, found)
                    for written in results.write(path, image, found, model.class_names, about, segments):
                        bar.write(str(written))
                bar.update(len(batch))
        if coco:
            print(*coco.write(model.class_names), sep="\n")
    if len(faults) == 1:
        raise ImageError(faults[0])
    if faults:
        raise ImageError(f"{len(faults)} inputs gave nothing:" + "".join(f"\n  {fault}" for fault in faults))


def _predictions(
    model: "Detector", paths: list[Path], options: argparse.Namespace, faults: list[str]
) -> "Iterator[tuple[Path, Tensor, dict[str, Any], Segments | None]]":
    """Path, pixels, detections and segments of the images that can be read; without masks, None for segments.

    ``faults`` receives what is wrong with the other images.
    """
    from detr_mini.data import ImageError, read_image
    from detr_mini.prediction import predict_both

    images = {}
    for path in paths:
        try:
            images[path] = read_image(path)
        except ImageError as error:
            faults.append(str(error))
    found = predict_both(
        model,
        list(images.values()),
        threshold=options.threshold,
        panoptic_threshold=options.panoptic_threshold,
        batch_size=len(paths),
    )
    for (path, image), (boxes, segments) in zip(images.items(), found, strict=True):
        yield path, image, boxes, segments


def _knows_tiny_town(model: "Detector") -> bool:
    """Whether it was trained on the drawn data set, on its things or on all of it, by the names of its classes."""
    from detr_mini.data import CATEGORIES

    things = {category.id: category.name for category in CATEGORIES if category.isthing}
    return model.class_names in (things, {category.id: category.name for category in CATEGORIES})


def _town_notice(weights: str, model: "Detector") -> str:
    names = ", ".join(model.class_names.values())
    return (
        f"{weights} knows a drawn town only ({names}); what it says about photographs is chance, however high it "
        f"scores. '{PROGRAM} predict --help' says how to draw scenes for it"
    )
