"""Measure what is claimed of mini on the validation scenes of Tiny Town, and print it as it is.

    python tools/claims.py --data data/tiny_town [--weights mini]

A line for each claim: whether it holds, and the numbers.
"""

import argparse
from pathlib import Path

import torch

import detr_mini
from detr_mini.data import CocoDetection, eval_transforms
from detr_mini.evaluation import layer_metrics, layer_outputs
from detr_mini.matcher import HungarianMatcher

THRESHOLD = 0.5  # a query that gives a class more than this says that there is an object


def claims(weights: str, data: Path) -> list[tuple[bool, str]]:
    """Each claim: whether it holds, and the numbers."""
    model = detr_mini.load(weights)
    val = CocoDetection(data, "val", eval_transforms(model.config.image_size, model.config.max_size))
    outputs = layer_outputs(model, val)
    plain, clean = layer_metrics(val, outputs), layer_metrics(val, outputs, nms=0.7)
    first, last = (100 * (clean[layer]["AP50"] - plain[layer]["AP50"]) for layer in (0, -1))
    fires = outputs["pred_logits"][-1].softmax(-1)[..., :-1].amax(-1) > THRESHOLD  # (images, N)
    targets = [val[i][1] for i in range(len(val))]
    predicted = {name: outputs[name][-1] for name in ("pred_logits", "pred_boxes")}
    matched = torch.cat([query for query, _ in HungarianMatcher()(predicted, targets)])
    scenes, objects = fires.sum(0), torch.bincount(matched, minlength=model.config.num_queries)
    ap, ap50 = plain[-1]["AP"], plain[-1]["AP50"]
    return [
        (ap50 >= 0.85 and ap >= 0.55, f"accuracy: AP50 {ap50:.3f} (0.85 claimed), AP {ap:.3f} (0.55 claimed)"),
        (
            abs(last) < 1 and first > abs(last),
            f"no NMS needed: NMS at 0.7 changes AP50 by {last:+.2f} points after the last decoder layer "
            f"(less than 1 claimed), by {first:+.2f} after the first",
        ),
        (
            bool(scenes.min() > 0 and objects.min() > 0),
            f"every query is used: the least used one sees an object in {scenes.min()} of {len(val)} scenes and "
            f"is matched to {objects.min()} of {len(matched)} objects; the most used: {scenes.max()}, {objects.max()}",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/tiny_town"), metavar="DIR", help="default %(default)s")
    parser.add_argument("--weights", default="mini", metavar="NAME|FILE", help="default %(default)s")
    options = parser.parse_args()
    for holds, numbers in claims(options.weights, options.data):
        print("holds      " if holds else "falls short", numbers)


if __name__ == "__main__":
    main()
