"""Train a DETR with one fault, for each exhibit of the museum of bugs, and store what is to be seen of it.

    python tools/museum.py --data data/tiny_town                 # what is not there yet, of seeds 0 and 1
    python tools/museum.py --only "labels off by one" --seeds 0 --anew        # one of them once more
    python tools/museum.py --list

Every fault is one line of ``FAULTS``, under the name of its cause; the run without it, ``healthy``, is its twin. All
go on from ``nano``'s weights with a class head of random weights, as with classes of one's own: ``STEPS`` steps of 8
pictures of Tiny Town on one thread, a minute each. Those of the setting ``few`` have ``FEW`` pictures, seen over and
over. What is measured after the last step is stored as ``book/data/museum/NUMBER-SEED.json``, without the name of the
fault; seed 0 is for the book, 1 for assignments.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from museum_evidence import evidence, relative_changes
from torch import Tensor, nn
from torch.utils.data import DataLoader

from detr_mini.boxes import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh
from detr_mini.data import CocoDetection, SeededImages, collate, eval_transforms, train_transforms
from detr_mini.files import write_atomically
from detr_mini.modeling.build import Detector
from detr_mini.modeling.detr import postprocess
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.training.optimization import make_schedule
from detr_mini.training.recipe import RECIPES
from detr_mini.training.trainer import Trainer
from detr_mini.weights import load_to_train

STORED = Path(__file__).resolve().parent.parent / "book" / "data" / "museum"
STEPS, EPOCH = 300, 10  # the log has a line an epoch
RECIPE = replace(RECIPES["nano"], epochs=STEPS // EPOCH, warmup_steps=20).with_lr(4e-4)
FEW = 40
SEEDS = (0, 1)
Targets = list[dict[str, Tensor]]
Batch = tuple[NestedTensor, Targets]


@dataclass(frozen=True)
class Fault:
    """What is wrong: with the recipe, with the run once it is made, with each batch, or with how it is measured."""

    recipe: dict[str, Any] = field(default_factory=dict)
    run: Callable[[Trainer], object] = lambda run: None
    batch: Callable[[NestedTensor, Targets], Batch] = lambda samples, targets: (samples, targets)
    measured: Callable[[Detector], object] = lambda model: None
    setting: str = "many"  # or "few": so many pictures to train on
    on: str = "val"  # or "train": what AP is measured on


def each(targets: Targets, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Targets:
    """The targets with a part of each changed."""
    return [{**target, **change(target)} for target in targets]


def clipped(boxes: Tensor) -> Tensor:
    """Boxes without what lies outside of the picture: the loss here would refuse them, where another goes on."""
    return box_xyxy_to_cxcywh(box_cxcywh_to_xyxy(boxes).clamp(0, 1))


def flipped(samples: NestedTensor, mask: Tensor) -> NestedTensor:
    """The batch with the pictures of the mask (B,) mirrored, each within its own width."""
    tensors = samples.tensors.clone()
    for picture in mask.nonzero().flatten().tolist():
        height, width = (~samples.mask[picture]).nonzero().amax(0).add(1).tolist()
        tensors[picture, :, :height, :width] = tensors[picture, :, :height, :width].flip(-1)
    return NestedTensor(tensors, samples.padding_mask)


def shares_of_frame(samples: NestedTensor, boxes: Tensor, size: Tensor) -> Tensor:
    """Boxes that were shares of their picture, as shares of the padded frame."""
    height, width = (size / torch.tensor(samples.tensors.shape[-2:])).tolist()
    return boxes * torch.tensor([width, height, width, height])


def inverted(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """For a forward hook: the batch with its padding mask inverted."""
    return (NestedTensor(inputs[0].tensors, ~inputs[0].mask),)


def blue_first(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """For a forward hook: the batch with its channels in the order of OpenCV."""
    return (NestedTensor(inputs[0].tensors.flip(1), inputs[0].padding_mask),)


def forgotten(module: nn.Module) -> None:
    """Give a layer random weights."""
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()  # type: ignore[operator]


def doubled(target: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every object of a target, and then every object once more."""
    return {name: torch.cat([target[name], target[name]]) for name in ("boxes", "labels")}


FAULTS = {
    "rate falls to 0 too soon": Fault(
        run=lambda run: setattr(run, "scheduler", make_schedule(run.optimizer, run.recipe, 1, 0)),
    ),
    "boxes in corners": Fault(
        batch=lambda s, t: (s, each(t, lambda one: {"boxes": clipped(box_cxcywh_to_xyxy(one["boxes"]))})),
    ),
    "weight of no object is 0": Fault(recipe={"eos_coef": 0.0}),
    "targets in another order": Fault(batch=lambda s, t: (s, t[1:] + t[:1])),
    "first decoder layer measured": Fault(
        measured=lambda model: setattr(model, "postprocess", lambda o, sizes: postprocess(o["aux_outputs"][0], sizes)),
    ),
    "padding mask inverted": Fault(run=lambda run: run.model.register_forward_pre_hook(inverted)),
    "labels off by one": Fault(batch=lambda s, t: (s, each(t, lambda one: {"labels": one["labels"] - 1}))),
    "height and width swapped": Fault(
        measured=lambda model: setattr(model, "postprocess", lambda o, sizes: postprocess(o, sizes.flip(-1))),
    ),
    "backbone not loaded, frozen": Fault(run=lambda run: run.model.backbone.apply(forgotten).requires_grad_(False)),
    "mirrored without boxes": Fault(batch=lambda s, t: (flipped(s, torch.arange(len(t)) % 2 == 0), t)),
    "AP on the training pictures": Fault(setting="few", on="train"),
    "every object twice": Fault(batch=lambda s, t: (s, each(t, doubled))),
    "red and blue swapped": Fault(measured=lambda model: model.register_forward_pre_hook(blue_first)),
    "all queries equal": Fault(run=lambda run: nn.init.zeros_(run.model.query_embed.weight).requires_grad_(False)),
    "shares of the padded frame": Fault(
        batch=lambda s, t: (s, each(t, lambda one: {"boxes": shares_of_frame(s, one["boxes"], one["size"])})),
    ),
    "learning rate too high": Fault(recipe={"lr": 2e-2, "lr_backbone": 2e-2}),
    "positions left out": Fault(
        run=lambda run: run.model.backbone[1].register_forward_hook(lambda module, inputs, pos: torch.zeros_like(pos)),
    ),
}
HEALTHY = {"healthy-many": Fault(), "healthy-few": Fault(setting="few")}


def number(name: str) -> str:
    """The name of the files of a fault, which does not tell it: its place in the museum."""
    return name if name in HEALTHY else str([*FAULTS].index(name))


def batches(data: CocoDetection, pictures: int, seed: int) -> Iterator[Batch]:
    """Batches of 8 of so many pictures, drawn over and over; pictures of several sizes come together."""
    rng = torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(pictures, generator=rng) for _ in range(-(-8 * STEPS // pictures))])
    seeds = torch.randint(2**62, (len(order),), generator=rng).tolist()
    draws = list(zip(order.tolist(), seeds, strict=True))
    chosen = [draws[8 * step : 8 * step + 8] for step in range(STEPS)]
    yield from DataLoader(SeededImages(data), batch_sampler=chosen, collate_fn=collate)


def train(name: str, seed: int, data: Path, stored: Path = STORED, *, steps: int = STEPS, measured: int = 200) -> Path:
    """Train with a fault, measure on so many pictures, and store what is to be seen."""
    torch.set_num_threads(1)
    fault = (HEALTHY | FAULTS)[name]
    train_set = CocoDetection(data, "train", train_transforms(None, 136))
    pictures = min(FEW if fault.setting == "few" else 10**9, len(train_set))
    torch.manual_seed(seed)
    model = load_to_train("nano", class_names=train_set.class_names)
    model.class_embed.apply(forgotten)
    with tempfile.TemporaryDirectory() as folder:
        run = Trainer(model, replace(RECIPE, **fault.recipe), Path(folder), EPOCH * RECIPE.batch_size, seed=seed)
        fault.run(run)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        seen: Batch | None = None
        for step, plain in enumerate(batches(train_set, pictures, seed), 1):
            seen = fault.batch(*plain)
            run.step(*seen)
            if run.batch == EPOCH:
                run.finish_epoch({})
            if step == steps:
                break
        log = [json.loads(line) for line in run.folder.log.read_text("utf-8").splitlines()]
    assert seen is not None
    changes = relative_changes(model, before)
    prepare = eval_transforms(None, 136)
    sets = {split: CocoDetection(data, split, prepare) for split in ("train", "val")}
    found = evidence(model, log, seen, sets, fault.on, min(measured, pictures), fault.measured)
    found = {"setting": fault.setting, "seed": seed, "steps": steps, "pictures": pictures, **found, "weights": changes}
    stored.mkdir(parents=True, exist_ok=True)
    path = stored / f"{number(name)}-{seed}.json"
    write_atomically(path, f"{json.dumps(found)}\n".encode())
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/tiny_town"), metavar="DIR", help="default %(default)s")
    parser.add_argument("--only", nargs="+", choices=[*HEALTHY, *FAULTS], default=[*HEALTHY, *FAULTS], metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), metavar="SEED", help="default 0 1")
    parser.add_argument("--anew", action="store_true", help="also what is stored already")
    parser.add_argument("--list", action="store_true", help="number and name the runs, and end")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{number(name):>12} {name}" for name in [*HEALTHY, *FAULTS]))
        return
    for seed in options.seeds:
        for name in options.only:
            if options.anew or not (STORED / f"{number(name)}-{seed}.json").exists():
                print(train(name, seed, options.data), flush=True)


if __name__ == "__main__":
    main()
