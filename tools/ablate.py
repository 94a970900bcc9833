"""Train variants of nano at equal budget, one thing changed in each, for the chapter on ablations.

    python tools/ablate.py --data data/tiny_town                           # what is not there yet
    python tools/ablate.py --data data/tiny_town --only encoder-0 --anew   # one row once more
    python tools/ablate.py --list

Each finished run is stored at once, as ``book/data/ablations/VARIANT-SEED.json``; a run that was stopped
goes on where it was. A run computes on one thread, so that its numbers are the same on any number of cores; ``--jobs``
runs go on side by side. The whole grid takes about five hours on two cores.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from grid import run_grid
from torch import Tensor, nn

from detr_mini.data import CocoDetection, eval_transforms
from detr_mini.evaluation import layer_metrics, layer_outputs
from detr_mini.files import write_atomically
from detr_mini.modeling.config import get_config
from detr_mini.modeling.detr import DETR
from detr_mini.training.recipe import RECIPES
from detr_mini.training.train import train

STORED = Path(__file__).resolve().parent.parent / "book" / "data" / "ablations"
# 24,000 pictures at a constant rate; what a falling one changes is asked at the end of the chapter.
BASE = replace(RECIPES["nano"], epochs=2, lr_drop=2)
FALLING = {"lr_drop": None}


@dataclass(frozen=True)
class Variant:
    """What is changed in nano, in its recipe, or in the finished model."""

    config: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    change: Callable[[DETR], object] | None = None


def no_positions(model: DETR) -> None:
    """Cells have no positions at all; queries are added once, to what enters the decoder (DETR, table 3, row 1)."""
    model.transformer.register_forward_pre_hook(lambda _, given: (*given[:3], torch.zeros_like(given[3])))
    _queries_at_input(model)


def positions_at_input(model: DETR) -> None:
    """Positions are added once, to what enters encoder and decoder (DETR, table 3, row 2)."""

    def add(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        features, mask, queries, pos = given
        return features + pos, mask, queries, torch.zeros_like(pos)

    model.transformer.register_forward_pre_hook(add)
    _queries_at_input(model)


def positions_not_in_encoder(model: DETR) -> None:
    """Positions for the attention of the decoder alone (DETR, table 3, row 4)."""
    model.transformer.encoder.register_forward_pre_hook(
        lambda _, given: (given[0], torch.zeros_like(given[1]), given[2])
    )


def _queries_at_input(model: DETR) -> None:
    def enter(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        tgt, query_pos, *rest = given
        return (tgt + query_pos, torch.zeros_like(query_pos), *rest)

    model.transformer.decoder.register_forward_pre_hook(enter)


def frozen_queries(model: DETR) -> None:
    """The object queries stay the random vectors they began as."""
    model.query_embed.requires_grad_(False)


def no_decoder_self_attention(model: DETR) -> None:
    """No slot sees another one."""
    for layer in model.transformer.decoder.layers:
        layer.self_attn.requires_grad_(False)
        layer.self_attn.register_forward_hook(lambda _, given, result: torch.zeros_like(result))


VARIANTS = {
    "base": Variant(),
    "encoder-0": Variant({"enc_layers": 0}),
    "encoder-1": Variant({"enc_layers": 1}),
    "decoder-1": Variant({"dec_layers": 1}),
    "decoder-6": Variant({"dec_layers": 6}),
    "positions-none": Variant(change=no_positions),
    "positions-at-input": Variant(change=positions_at_input),
    "positions-not-in-encoder": Variant(change=positions_not_in_encoder),
    "positions-learned": Variant({"position_embedding": "learned"}),
    "loss-without-giou": Variant(recipe={"giou_loss_coef": 0.0}),
    "loss-without-l1": Variant(recipe={"bbox_loss_coef": 0.0}),
    # As in the paper: a term that the loss lacks is missing from the matching cost, too.
    "without-giou": Variant(recipe={"giou_loss_coef": 0.0, "set_cost_giou": 0.0}),
    "without-l1": Variant(recipe={"bbox_loss_coef": 0.0, "set_cost_bbox": 0.0}),
    "no-auxiliary-losses": Variant({"aux_loss": False}),
    "eos-0.1": Variant(recipe={"eos_coef": 0.1}),
    "eos-1": Variant(recipe={"eos_coef": 1.0}),
    "queries-12": Variant({"num_queries": 12}),
    "queries-50": Variant({"num_queries": 50}),
    # With this eos_coef "no object" has the share of the class loss that it has with nano's 25 queries.
    "queries-50-eos-0.11": Variant({"num_queries": 50}, {"eos_coef": 0.11}),
    "frozen-queries": Variant(change=frozen_queries),
    "no-decoder-self-attention": Variant(change=no_decoder_self_attention),
    "post-norm": Variant({"pre_norm": False}),
    "post-norm-lr-2e-4": Variant({"pre_norm": False}, {"lr": 2e-4, "lr_backbone": 2e-4}),
    # The rate falls to zero, along a cosine, as in nano's own recipe.
    "base-falling": Variant(recipe=FALLING),
    "decoder-1-falling": Variant({"dec_layers": 1}, FALLING),
    "no-auxiliary-losses-falling": Variant({"aux_loss": False}, FALLING),
    "no-decoder-self-attention-falling": Variant(recipe=FALLING, change=no_decoder_self_attention),
}


def seeds(name: str) -> range:
    """The base is what every row is compared with, so it has more runs than any of them; a falling rate is a look."""
    return range(8 if name == "base" else 1 if name.endswith("-falling") else 2)


def build_variant(name: str, seed: int) -> DETR:
    """The untrained model of a run."""
    torch.manual_seed(seed)
    model = DETR(get_config("nano", **VARIANTS[name].config))
    if change := VARIANTS[name].change:
        change(model)
    return model


def run(name: str, seed: int, data: Path, out: Path, stored: Path = STORED) -> str:
    """Train a variant, measure every decoder layer with and without NMS, and store the numbers."""
    torch.set_num_threads(1)
    variant, folder = VARIANTS[name], out / f"{name}-{seed}"
    recipe = replace(BASE, **variant.recipe)
    model = train(build_variant(name, seed), recipe, data, folder, seed=seed, resume=True, progress=False)
    val = CocoDetection(data, "val", eval_transforms(model.config.image_size, model.config.max_size))
    outputs = layer_outputs(model, val)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    fired = outputs["pred_logits"][-1].softmax(-1)[..., :-1].amax(-1) > 0.5  # (images, N)
    result = {
        "variant": name,
        "seed": seed,
        "config": variant.config,
        "recipe": variant.recipe,
        "images": log[-1]["images"],
        "seconds": log[-1]["seconds"],
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "fired": fired.sum(1).float().mean().item(),
        "layers": layer_metrics(val, outputs),
        "layers_nms": layer_metrics(val, outputs, nms=0.7),
        "log": [line for line in log if line["step"] % 250 == 0],
    }
    stored.mkdir(parents=True, exist_ok=True)
    text = ",\n".join(f"{json.dumps(key)}: {json.dumps(_rounded(value))}" for key, value in result.items())
    write_atomically(stored / f"{name}-{seed}.json", f"{{{text}}}\n".encode())
    shutil.rmtree(folder)
    last = result["layers"][-1]
    return f"{name} seed {seed}: AP {last['AP']:.3f}  AP50 {last['AP50']:.3f}  ({result['seconds']:.0f} s)"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 5) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/tiny_town"), metavar="DIR", help="default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"), metavar="DIR", help="for unfinished runs")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="default: as many as are stored")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side (default %(default)s)")
    parser.add_argument("--anew", action="store_true", help="also what is stored already")
    parser.add_argument("--list", action="store_true", help="name the variants and end")
    options = parser.parse_args()
    if options.list:
        print("\n".join(VARIANTS))
        return
    wanted = [(name, seed) for name in options.only for seed in options.seeds or seeds(name)]
    run_grid(run, wanted, STORED, options)


if __name__ == "__main__":
    main()
