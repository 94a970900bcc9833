"""Teach nano kites at several learning rates, with the cells of the chapter on training.

    python tools/fly_kites.py          # a quarter of an hour on a quiet core

Each way to fine-tune is run from three random rows for the new class, on one thread. ``book/data/kites.json`` keeps for
each run the chapter's three counts on its held-out scenes: kites found, other objects found, false kites.
"""

import json
import sys
from pathlib import Path
from typing import Any

from detr_mini.files import write_atomically

BOOK = Path(__file__).resolve().parent.parent / "book"
STORED = BOOK / "data" / "kites.json"
CELLS = (
    "imports",
    "clip",
    "fly-kite",
    "kite-data",
    "extend-head",
    "kite-groups",
    "fine-tune",
    "found",
)
RATES = {  # of the class head, and of all but head and backbone
    "fast": (4e-3, 4e-4),
    "as the rest": (4e-4, 4e-4),
    "slow": (1e-4, 4e-4),
    "frozen": (0.0, 4e-4),
    "alone": (4e-3, 0.0),
}
SEEDS = (0, 1, 2)
STEPS = 120


def chapter(cells: tuple[str, ...] = CELLS) -> dict[str, Any]:
    """What the named cells of the chapter define."""
    from nb import read_text

    sources = {cell.id: cell.source for cell in read_text("14_train", BOOK).cells}
    names: dict[str, Any] = {}
    for cell in cells:
        exec(sources[cell], names)
    return names


def fly(names: dict[str, Any], way: str, seed: int, *, steps: int = STEPS) -> list[int]:
    """The three counts after fine-tuning from the random row that a seed gives."""
    import torch

    import detr_mini

    head, rest = RATES[way]
    model = detr_mini.load("nano")
    torch.manual_seed(seed)
    model.class_embed = names["extend_head"](model.class_embed, names["KITE"] + 1)
    names["fine_tune"](model, names["training"], steps, head, rest)
    return list(names["found"](model, names["testing"]))


def main() -> None:
    names = chapter()
    counts: dict[str, list[list[int]]] = {}
    for way in RATES:
        counts[way] = [fly(names, way, seed) for seed in SEEDS]
        print(way, counts[way], file=sys.stderr, flush=True)
        write_atomically(STORED, (json.dumps(counts, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
