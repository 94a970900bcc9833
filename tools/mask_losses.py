"""Train mask heads on one frozen detector that differ in their loss alone, side by side, for some hundred steps.

    python tools/mask_losses.py --data data/tiny_town --weights mini_panoptic

All heads of a seed start from the same numbers and see the same batches, so they differ in the loss and in nothing
else. What comes of them on validation scenes is stored as ``book/data/mask_losses/seed-SEED.json``.
"""

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_mini import load
from detr_mini.class_terms import FocalTerm
from detr_mini.data import CocoPanoptic, collate, eval_transforms
from detr_mini.files import write_atomically
from detr_mini.mask_terms import dice
from detr_mini.matcher import HungarianMatcher
from detr_mini.modeling.mask_head import AttentionMap, MaskHead
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.modeling.segmentation import DETRSegmentation, SlotMasks, at_size
from detr_mini.training.recipe import RECIPES

STORED = Path(__file__).resolve().parent.parent / "book" / "data" / "mask_losses"
FORMS = ("cross-entropy", "focal", "dice", "focal and dice")
STEPS, BATCH, WARMUP = 400, 4, 50
SCENES = 100  # of validation, that are measured
RECIPE = RECIPES["mini_panoptic_masks"]


def loss_of(form: str, logits: Tensor, truth: Tensor) -> Tensor:
    """The loss of M masks, logits and truth ``(M, P)``, as a sum over them."""
    terms = {
        "cross-entropy": lambda: F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(1),
        "focal": lambda: focal(FocalTerm(), logits, truth),
        "dice": lambda: dice(logits, truth),
    }
    return torch.stack([terms[name]().sum() for name in form.split(" and ")]).sum()


def focal(term: FocalTerm, logits: Tensor, truth: Tensor) -> Tensor:
    """Focal loss of each mask, the mean over its pixels, ``(M,)``."""
    return (truth * term.yes(logits) + (1 - truth) * term.no(logits)).mean(1)


def new_heads(model: DETRSegmentation, seed: int) -> dict[str, DETRSegmentation]:
    """For each form the frozen detector with a head of its own, all of the same random numbers."""
    torch.manual_seed(seed)
    d, heads = model.config.hidden_dim, model.config.nheads
    channels = [adapter.in_channels for adapter in model.mask_head.children() if _is_adapter(adapter)]
    model.bbox_attention, model.mask_head = AttentionMap(d, heads), MaskHead(d, heads, channels)
    model.freeze_detector()
    return {form: copy.deepcopy(model).train() for form in FORMS}


def _is_adapter(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)


@torch.no_grad()
def see(model: DETRSegmentation, batch: Any) -> tuple[Any, Tensor, Tensor]:
    """What the detector saw of a batch, the slots of its objects ``(M,)`` and their masks ``(M, H, W)``."""
    samples, targets = batch
    outputs, seen = model.detr.detect(samples)
    pairs = HungarianMatcher()(outputs, targets)
    slots = torch.cat([n * model.config.num_queries + slot for n, (slot, _) in enumerate(pairs)])
    masks = [target["masks"].as_subclass(Tensor)[which] for target, (_, which) in zip(targets, pairs, strict=True)]
    return seen, slots, torch.cat(masks)


def rate(step: int, steps: int) -> float:
    """The share of the learning rate in a step: it rises, and falls as a cosine."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * (step - WARMUP) / (steps - WARMUP)))))


def train(heads: dict[str, DETRSegmentation], data: CocoPanoptic, seed: int, steps: int = STEPS) -> None:
    """Teach all heads the same batches, each by its own loss."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).tolist()
    weights = {form: [w for w in model.parameters() if w.requires_grad] for form, model in heads.items()}
    made = {form: torch.optim.AdamW(w, lr=RECIPE.lr, weight_decay=RECIPE.weight_decay) for form, w in weights.items()}
    for step in range(steps):
        some = [data[order[(step * BATCH + n) % len(order)]] for n in range(BATCH)]
        seen, slots, truth = see(next(iter(heads.values())), collate(some))
        for form, model in heads.items():
            logits = SlotMasks(model, seen)[slots][:, None]
            logits = F.interpolate(logits, truth.shape[-2:], mode="bilinear", align_corners=False).flatten(1)
            loss = loss_of(form, logits, truth.flatten(1).float()) / max(len(slots), 1)
            made[form].param_groups[0]["lr"] = RECIPE.lr * rate(step, steps)
            made[form].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights[form], RECIPE.clip_max_norm)
            made[form].step()


@torch.no_grad()
def measure(heads: dict[str, DETRSegmentation], data: CocoPanoptic, scenes: int = SCENES) -> dict[str, Any]:
    """Of each object area and label, and for each form the IoU of its slot's mask and that mask's area."""
    found: dict[str, Any] = {"area": [], "label": []} | {form: {"iou": [], "area": []} for form in heads}
    for image, target in (data[n] for n in range(scenes)):
        seen, slots, truth = see(next(iter(heads.values())), (NestedTensor.from_images([image]), [target]))
        found["area"] += truth.sum((1, 2)).tolist()
        found["label"] += target["labels"][_order(truth, target)].tolist()
        for form, model in heads.items():
            mask = at_size(SlotMasks(model, seen)[slots], image.shape[1:]) > 0
            iou = (mask & truth).sum((1, 2)) / (mask | truth).sum((1, 2)).clamp(min=1)
            found[form]["iou"] += [round(value, 3) for value in iou.tolist()]
            found[form]["area"] += mask.sum((1, 2)).tolist()
    return found


def _order(truth: Tensor, target: dict[str, Tensor]) -> Tensor:
    """Which of a target's objects each of some masks is."""
    own = target["masks"].as_subclass(Tensor)
    return torch.tensor([int((own == mask).all((1, 2)).nonzero()[0]) for mask in truth], dtype=torch.int64)


def run(weights: str, seed: int, data: Path, stored: Path = STORED, steps: int = STEPS, scenes: int = SCENES) -> str:
    """Train and measure the heads of a seed, and store what came of them."""
    torch.set_num_threads(1)
    model = load(weights)
    assert isinstance(model, DETRSegmentation)
    heads = new_heads(model, seed)
    train(heads, CocoPanoptic(data, "train", eval_transforms(None)), seed, steps)
    result = measure(heads, CocoPanoptic(data, "val", eval_transforms(None)), scenes)
    stored.mkdir(parents=True, exist_ok=True)
    kept = {"seed": seed, "steps": steps, "batch": BATCH, "scenes": scenes} | result
    write_atomically(stored / f"seed-{seed}.json", f"{json.dumps(kept)}\n".encode())
    means = ", ".join(f"{form} {sum(result[form]['iou']) / len(result[form]['iou']):.3f}" for form in FORMS)
    return f"seed {seed}: {means}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/tiny_town"), metavar="DIR", help="default %(default)s")
    parser.add_argument("--weights", default="mini_panoptic", help="whose detector it is (default %(default)s)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED", help="default 0")
    options = parser.parse_args()
    for seed in options.seeds:
        print(run(options.weights, seed, options.data), flush=True)


if __name__ == "__main__":
    main()
