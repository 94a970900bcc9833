"""Training the Transformer of 2017 to say in Chinese what is said in English: ``make translator``.

Chapter: *The Transformer of 2017*, ``book/03_seq2seq``.
"""

import argparse
import json
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_mini.data.grammar import CHINESE, ENGLISH, Sentence, chinese, corpus, english
from detr_mini.files import write_atomically
from detr_mini.modeling.seq2seq import PAD, Seq2SeqTransformer
from detr_mini.seq2seq_weights import load_translator, save_translator
from detr_mini.translation import bleu

SNAPSHOT_EVERY = 100  # steps
Words = tuple[str, ...]
LossFunction = Callable[[Seq2SeqTransformer, Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class TranslatorRecipe:
    """How the translator is trained: as in Vaswani et al. 2017, section 5, but for the sizes."""

    sentences: int = 100_000
    epochs: int = 2
    batch_size: int = 64  # sentences of a step, of about equal length
    warmup_steps: int = 400  # in which the learning rate rises; 4000 in the paper. 0: a constant rate, ``lr``
    lr: float = 1e-3  # without warm-up alone; with it, the rate follows from the width
    label_smoothing: float = 0.1
    averaged: int = 5  # the model is the mean of its weights 0, 100, 200, ... steps before the end (section 6.1)
    seed: int = 0
    eval_every: int = 500  # steps between two looks at the validation sentences


def make_translator() -> Seq2SeqTransformer:
    """The shipped translator's sizes, with random weights and the words of both languages."""
    model = Seq2SeqTransformer(len(ENGLISH), len(CHINESE), dim_feedforward=256)
    model.source, model.target = ENGLISH, CHINESE
    return model


def translation_loss(model: Seq2SeqTransformer, source: Tensor, target: Tensor, label_smoothing: float) -> Tensor:
    """Cross entropy of every next word, the words before it given ("teacher forcing"): a scalar.

    Args:
        model: in training mode.
        source: ids ``(B, S)``.
        target: ids ``(B, T + 1)`` from BEGIN to END. The model reads all but the last, and is asked for all but the
            first.
        label_smoothing: share of the right word's 1 that goes to all words alike (section 5.4).
    """
    logits = model(source, target[:, :-1])  # (B, T, V)
    wanted = target[:, 1:]  # (B, T)
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=PAD, label_smoothing=label_smoothing)


def noam_rate(step: int, d: int, warmup_steps: int) -> float:
    """The paper's learning rate at ``step``, from 1 on (section 5.3): up in a line, then down with the root."""
    return float(d**-0.5 * min(step**-0.5, step * warmup_steps**-1.5))


def fit(
    model: Seq2SeqTransformer,
    recipe: TranslatorRecipe,
    *,
    loss_function: LossFunction = translation_loss,
    progress: bool = False,
) -> list[dict[str, float]]:
    """Train the model where it is; returns a row of the log for each ``eval_every`` steps.

    A row has the step, the mean loss since the row before it, and the share of 250 sentences of the splits "seen" and
    "held_out" that come out exactly right.
    """
    torch.manual_seed(recipe.seed)  # of dropout
    device = model.target_embed.weight.device
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr, betas=(0.9, 0.98), eps=1e-9)
    snapshots: deque[dict[str, Tensor]] = deque(maxlen=recipe.averaged)
    log: list[dict[str, float]] = []
    losses: list[Tensor] = []
    model.train()
    for step, (source, target) in enumerate(steps_of(recipe), start=1):
        if recipe.warmup_steps:
            rate = noam_rate(step, model.target_embed.embedding_dim, recipe.warmup_steps)
            optimizer.param_groups[0]["lr"] = rate
        loss = loss_function(model, source.to(device), target.to(device), recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if step % SNAPSHOT_EVERY == 0:
            snapshots.append({name: value.clone() for name, value in model.state_dict().items()})
        if step % recipe.eval_every == 0:
            log.append(_row(step, losses, model))
            losses.clear()
            if progress:
                print("  ".join(f"{key} {value:.4g}" for key, value in log[-1].items()), flush=True)
    if snapshots:
        mean = {name: torch.stack([one[name] for one in snapshots]).mean(0) for name in snapshots[0]}
        model.load_state_dict(mean)
    return log


def steps_of(recipe: TranslatorRecipe) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of all epochs, in their order; see :func:`batches`."""
    pairs = [(english(sentence), chinese(sentence)) for sentence in corpus("train", recipe.sentences, recipe.seed)]
    rng = random.Random(recipe.seed)
    for _ in range(recipe.epochs):
        yield from batches(pairs, recipe.batch_size, rng)


def _row(step: int, losses: list[Tensor], model: Seq2SeqTransformer) -> dict[str, float]:
    exact = {split: score(model, corpus(split, 250))["exact"] for split in ("seen", "held_out")}
    return {"step": step, "loss": torch.stack(losses).mean().item(), **exact}


def batches(pairs: list[tuple[Words, Words]], batch_size: int, rng: random.Random) -> Iterator[tuple[Tensor, Tensor]]:
    """All pairs once, in a random order, those of about equal length together, so that little of a batch is padding.

    Yields sources ``(B, S)`` and targets ``(B, T + 1)`` from BEGIN to END.
    """
    order = list(range(len(pairs)))
    rng.shuffle(order)
    pool = 50 * batch_size
    groups = []
    for start in range(0, len(order), pool):
        some = sorted(order[start : start + pool], key=lambda number: len(pairs[number][1]))
        groups += [some[at : at + batch_size] for at in range(0, len(some), batch_size)]
    rng.shuffle(groups)
    for group in groups:
        source = ENGLISH.batch([pairs[number][0] for number in group])
        yield source, CHINESE.batch([pairs[number][1] for number in group], begin=True, end=True)


def score(model: Seq2SeqTransformer, sentences: list[Sentence], *, beams: int = 1) -> dict[str, float]:
    """The share of translations that are exactly right, and their BLEU (in percent). The model's mode is kept."""
    training = model.training
    model.eval()
    device = model.target_embed.weight.device
    written: list[list[str]] = []
    for start in range(0, len(sentences), 250):
        source = ENGLISH.batch([english(sentence) for sentence in sentences[start : start + 250]]).to(device)
        written += [CHINESE.tokens(row) for row in model.generate(source, beams=beams).tolist()]
    model.train(training)
    wanted = [list(chinese(sentence)) for sentence in sentences]
    exact = sum(ours == theirs for ours, theirs in zip(written, wanted, strict=True)) / len(wanted)
    return {"exact": exact, "bleu": bleu(written, wanted)}


def train_translator(out: Path, recipe: TranslatorRecipe | None = None, *, progress: bool = True) -> dict[str, Any]:
    """Train, write ``translator.safetensors`` and ``translator.json`` (the log) to a folder, and return the log.

    What the log says of the finished model is measured on the file, on 1000 sentences of each split.
    """
    recipe = recipe or TranslatorRecipe()
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    began = time.perf_counter()
    model = make_translator()
    steps = fit(model, recipe, progress=progress)
    minutes = (time.perf_counter() - began) / 60
    weights = out / "translator.safetensors"
    save_translator(model, weights)
    stored = load_translator(weights)
    splits = {split: score(stored, corpus(split, 1000)) for split in ("seen", "held_out", "longer")}
    log = {"recipe": asdict(recipe), "splits": splits, "steps": steps, "minutes": round(minutes, 1)}
    write_atomically(out / "translator.json", json.dumps(log, indent=1).encode() + b"\n")
    return log


def main() -> None:
    """Run ``python -m detr_mini.training.translator --out DIR``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the weights and the log")
    out = parser.parse_args().out
    # On one thread, so that any number of cores gives the same weights.
    torch.set_num_threads(1)
    log = train_translator(out)
    for split, found in log["splits"].items():
        print(f"{split}: {found['exact']:.1%} exactly right, BLEU {found['bleu']:.1f}")
    print(f"{log['minutes']} minutes; {out / 'translator.safetensors'}")


if __name__ == "__main__":
    main()
