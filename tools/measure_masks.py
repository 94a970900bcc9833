"""Measure the masks of mini_panoptic on all validation scenes, and what is left of them when one thing is taken away.

    python tools/measure_masks.py --data data/tiny_town

What the chapter *Panoptic segmentation* reads of it is stored in ``book/data/masks``: of each object the IoU of its
slot's mask, as it is and changed in one thing, and of each scene the counts behind PQ. Needs transformers, whose
post-processing is measured beside the published one.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from detr_mini import NestedTensor, load, postprocess_panoptic
from detr_mini.boxes import box_cxcywh_to_xyxy
from detr_mini.data import CocoPanoptic, eval_transforms
from detr_mini.evaluation import evaluate
from detr_mini.files import write_atomically
from detr_mini.matcher import HungarianMatcher
from detr_mini.modeling.segmentation import THRESHOLD, DETRSegmentation, SlotMasks, at_size
from detr_mini.panoptic_quality import Tally, add_tallies, compare_segments, panoptic_quality

STORED = Path(__file__).resolve().parent.parent / "book" / "data" / "masks"
STRIDES = (8, 4, 2)  # of the small body's maps that the head reads, the coarsest first
SHARES = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, *(n / 10 for n in range(1, 10))]  # of its peak: there it is a mask
THRESHOLDS = (0.0, 0.3, 0.5, 0.7, THRESHOLD, 0.95, 0.99)
LESSONS = 100  # training scenes, on which a threshold is chosen
MEASURES = (
    "head",
    "true box",
    "box",
    "attention",
    "even attention",
    *(f"without 1/{stride}" for stride in STRIDES),
    "without all three",
    *(f"perfect at 1/{stride}" for stride in STRIDES),
)


class Scene:
    """One scene alone in its batch: what the detector made of it, and the slot of each of its objects."""

    @torch.no_grad()
    def __init__(self, model: DETRSegmentation, image: Tensor, target: dict[str, Tensor]) -> None:
        self.model, self.size = model, (image.shape[1], image.shape[2])
        self.outputs, self.seen = model.detr.detect(NestedTensor.from_images([image]))
        ((slot, which),) = HungarianMatcher()(self.outputs, [target])
        self.slot = slot[which.argsort()]  # (T,)
        self.truth = target["masks"].as_subclass(Tensor)  # (T, H, W)
        self.true_boxes, self.labels = target["boxes"].as_subclass(Tensor), target["labels"]

    @torch.no_grad()
    def maps(self, slots: Tensor) -> Tensor:
        """Where some slots attend, ``(S, M, h, w)``."""
        return SlotMasks(self.model, self.seen).maps[0, slots]  # type: ignore[no-any-return]

    @torch.no_grad()
    def logits(self, maps: Tensor, without: tuple[int, ...] = ()) -> Tensor:
        """The head's masks ``(S, h, w)`` of some maps. Of the levels ``without``, the mean over the scene is left."""
        finer = [level.tensors for level in reversed(self.seen.levels[:-1])]
        finer = [
            level.mean((2, 3), keepdim=True).expand_as(level) if n in without else level
            for n, level in enumerate(finer)
        ]
        return self.model.mask_head(self.seen.cells, maps, None, finer, [None] * 4)  # type: ignore[no-any-return]


def overlap(found: Tensor, truth: Tensor) -> Tensor:
    """IoU of masks ``(T, H, W)`` with those of the annotation, ``(T,)``."""
    both, any_ = (found & truth).sum((1, 2)), (found | truth).sum((1, 2))
    return both / any_.clamp(min=1)


def lit(maps: Tensor, size: tuple[int, int], share: float) -> Tensor:
    """Where a slot's attention, over all heads, has more than a share of its peak: ``(S, H, W)``."""
    whole = maps.sum(1)  # (S, h, w)
    return at_size(whole / whole.amax((1, 2), keepdim=True), size) > share


def filled(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes ``(T, 4)`` cxcywh as masks ``(T, H, W)``: the pixels whose middle lies inside."""
    height, width = size
    low_x, low_y, high_x, high_y = box_cxcywh_to_xyxy(boxes)[:, :, None, None].unbind(1)  # (T, 1, 1) each
    y, x = (torch.arange(height)[:, None] + 0.5) / height, (torch.arange(width) + 0.5) / width
    return (x > low_x) & (x < high_x) & (y > low_y) & (y < high_y)


def perfect(truth: Tensor, stride: int) -> Tensor:
    """The share of each cell that a mask covers, enlarged as the head's masks are: ``(T, H, W)``."""
    height, width = truth.shape[-2:]
    edges = (0, -width % stride, 0, -height % stride)
    covered, real = (F.avg_pool2d(F.pad(x.float(), edges)[None], stride)[0] for x in (truth, torch.ones_like(truth)))
    return at_size(covered / real, (height, width)) > 0.5


def masks_of(scene: Scene, share: float) -> dict[str, Tensor]:
    """The masks of a scene's objects ``(T, H, W)`` under all ``MEASURES``."""
    maps = scene.maps(scene.slot)
    even = torch.full_like(maps, 1 / maps[0].numel())
    logits = {"head": scene.logits(maps), "even attention": scene.logits(even)}
    for n, stride in enumerate(STRIDES):
        logits[f"without 1/{stride}"] = scene.logits(maps, (n,))
    logits["without all three"] = scene.logits(maps, (0, 1, 2))
    return {name: at_size(mask, scene.size) > 0 for name, mask in logits.items()} | {
        "true box": filled(scene.true_boxes, scene.size),
        "box": filled(scene.outputs["pred_boxes"][0, scene.slot], scene.size),
        "attention": lit(maps, scene.size, share),
        **{f"perfect at 1/{stride}": perfect(scene.truth, stride) for stride in STRIDES},
    }


def about(scene: Scene, stuff: frozenset[int]) -> Tensor:
    """Of each object label, area, thickness, how much of its box other things cover, and its slot's p: ``(T, 5)``."""
    things = torch.tensor([int(label) not in stuff for label in scene.labels], dtype=torch.bool)
    boxes = filled(scene.true_boxes, scene.size)
    p = scene.outputs["pred_logits"][0].softmax(-1)[scene.slot, scene.labels]
    rows = []
    for t, mask in enumerate(scene.truth):
        thickness = 2 * distance_transform_edt(np.pad(mask.numpy(), 1)).max()
        others = scene.truth[things & (torch.arange(len(things)) != t)].any(0)
        crowded = (boxes[t] & others).sum() / boxes[t].sum().clamp(min=1)
        rows.append([float(scene.labels[t]), float(mask.sum()), thickness, float(crowded), float(p[t])])
    return torch.tensor(rows).reshape(-1, 5)


def choose_share(model: DETRSegmentation, train: CocoPanoptic) -> dict[str, float]:
    """The mean IoU of attention as a mask, for each share of its peak, over the objects of some training scenes."""
    found: dict[float, list[Tensor]] = {share: [] for share in SHARES}
    for image, target in (train[i] for i in range(LESSONS)):
        scene = Scene(model, image, target)
        maps = scene.maps(scene.slot)
        for share, ious in found.items():
            ious.append(overlap(lit(maps, scene.size, share), scene.truth))
    return {str(share): round(float(torch.cat(ious).mean()), 4) for share, ious in found.items()}


def everyone(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs as if no slot could say that it sees no object."""
    logits = outputs["pred_logits"].clone()
    logits[..., -1] = -torch.inf
    return {**outputs, "pred_logits": logits}


def by_hugging_face(outputs: Mapping[str, Any], size: tuple[int, int], stuff: frozenset[int], p: float) -> Any:
    """The segments that the post-processing of transformers makes of the same outputs."""
    from transformers import DetrImageProcessor

    given = SimpleNamespace(logits=outputs["pred_logits"].clone(), pred_masks=outputs["pred_masks"].clone())
    make = DetrImageProcessor().post_process_panoptic_segmentation
    (found,) = make(given, threshold=p, label_ids_to_fuse=set(stuff), target_sizes=[size])
    segments = {one["id"]: {"id": one["id"], "category_id": one["label_id"]} for one in found["segments_info"]}
    return {"ids": found["segmentation"].long().clamp(min=0), "segments": list(segments.values())}


def ways(scene: Scene, stuff: frozenset[int]) -> dict[str, Any]:
    """The segments of a scene by each way of making them."""
    slots = torch.arange(scene.model.config.num_queries)
    outputs = {**scene.outputs, "pred_masks": scene.logits(scene.maps(slots))[None]}
    size = torch.tensor([scene.size])
    is_thing = {number: number not in stuff for number in range(scene.model.config.num_classes)}
    found = {str(p): postprocess_panoptic(outputs, size, size, is_thing, p)[0] for p in THRESHOLDS}
    found["every slot"] = postprocess_panoptic(everyone(outputs), size, size, is_thing, 0.0)[0]
    for p in (0.5, THRESHOLD):
        found[f"Hugging Face {p}"] = by_hugging_face(outputs, scene.size, stuff, p)
    return found


def as_rows(tallies: list[dict[int, Tally]], classes: int) -> Tensor:
    """Tallies of P scenes, ``(P, K, 4)``: matched, wrong, missed, and the matched IoU."""
    rows = torch.zeros(len(tallies), classes, 4, dtype=torch.float64)
    for row, tally in zip(rows, tallies, strict=True):
        for category, counts in tally.items():
            row[category] = torch.tensor(counts, dtype=torch.float64)
    return rows


def measure(model: DETRSegmentation, train: CocoPanoptic, val: CocoPanoptic, stored: Path = STORED) -> None:
    """Measure and store everything."""
    shares = choose_share(model, train)
    share = float(max(shares, key=lambda key: shares[key]))
    ious, facts, scenes = [], [], []
    tallies: dict[str, list[dict[int, Tally]]] = {}
    for index in range(len(val)):
        scene = Scene(model, *val[index])
        masks = masks_of(scene, share)
        ious.append(torch.stack([overlap(masks[name], scene.truth) for name in MEASURES], 1))  # (T, measures)
        facts.append(about(scene, val.stuff))
        scenes.append(torch.full((len(scene.labels),), index))
        for name, found in ways(scene, val.stuff).items():
            tallies.setdefault(name, []).append(compare_segments(found, val.panoptic(index)))
    stored.mkdir(parents=True, exist_ok=True)
    tensors = {"iou": torch.cat(ious).float(), "about": torch.cat(facts).float(), "scene": torch.cat(scenes).short()}
    rows = as_rows(tallies[str(THRESHOLD)], model.config.num_classes)
    save_file(tensors | {"tallies": rows}, stored / "objects.safetensors")
    quality = {name: panoptic_quality(of, val.class_names, val.stuff) for name, of in tallies.items()}
    counts = {name: {category: list(t) for category, t in add_tallies(of).items()} for name, of in tallies.items()}
    numbers = {"measures": MEASURES, "shares": shares, "share": share, "metrics": evaluate(model, val)}
    numbers |= {"quality": quality, "counts": counts}
    write_atomically(stored / "numbers.json", f"{json.dumps(numbers, indent=1)}\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/tiny_town"), metavar="DIR", help="default %(default)s")
    parser.add_argument("--weights", default="mini_panoptic", help="default %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load(options.weights)
    assert isinstance(model, DETRSegmentation)
    measure(model, *(CocoPanoptic(options.data, split, eval_transforms(None)) for split in ("train", "val")))


if __name__ == "__main__":
    main()
