"""Train the translator for a while with one thing changed, and with nothing changed, for the chapter on it.

    python tools/break_translator.py                        # what is not there yet
    python tools/break_translator.py --only no-scale --anew  # one of them once more
    python tools/break_translator.py --list

Each run is two epochs of 19,200 sentences, 600 steps of 64, on one thread: a minute or two. It is made once for each
seed, and stored in ``book/data/translator_runs.json`` when it ends: ``losses``, means of every 50 steps; ``nats``, the
loss of a next word of the split "seen" without smoothing and dropout, the right words before it given; ``splits``, how
much of what the model writes is right, 250 sentences of each split in one batch; ``alone``, the share of those of
"seen" that are exactly right where each is a batch of its own; and ``writes``, its first twelve words for ``SAID``.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_mini.data.grammar import CHINESE, ENGLISH, chinese, corpus, english
from detr_mini.files import write_atomically
from detr_mini.modeling.attention import MultiheadAttention
from detr_mini.modeling.seq2seq import PAD, DecoderLayer, Seq2SeqTransformer, sine_positions
from detr_mini.training.translator import TranslatorRecipe, fit, make_translator, score, translation_loss

STORED = Path(__file__).resolve().parent.parent / "book" / "data" / "translator_runs.json"
SEEDS = (0, 1)
STEPS, EVERY = 600, 50
SAID = "there are two red cars on the road left of a bus"
PEAK = 128**-0.5 * 400**-0.5  # of the paper's learning rate, at this width and warm-up


class ReadsAhead(MultiheadAttention):
    """The causal mask is asked for, and is not there."""

    def read(
        self, q: Tensor, k: Tensor, v: Tensor, key_padding_mask: Tensor | None = None, *, causal: bool = False
    ) -> Tensor:
        return super().read(q, k, v, key_padding_mask)


class NoCausalMask(Seq2SeqTransformer):
    """Every target word reads all of them. It writes without a cache, so that words read as they did in training."""

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options)
        for layer in self.decoder.layers:
            assert isinstance(layer, DecoderLayer)
            old = layer.self_attn
            layer.self_attn = ReadsAhead(old.out_proj.in_features, old.heads, dropout=old.dropout)
            layer.self_attn.load_state_dict(old.state_dict())

    def generate(self, source: Tensor, max_length: int = 40, *, beams: int = 1, use_cache: bool = False) -> Tensor:
        return super().generate(source, max_length, beams=beams, use_cache=use_cache)


class PaddingRead(Seq2SeqTransformer):
    """The source's padding is read like words."""

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        nothing = torch.zeros_like(source, dtype=torch.bool)
        return self.encoder(self.embed(self.source_embed, source), nothing), nothing


class NoScale(Seq2SeqTransformer):
    """Embeddings are added to the positions as they are, without the root of the width."""

    def embed(self, embedding: nn.Embedding, ids: Tensor, start: int = 0) -> Tensor:
        positions = sine_positions(ids.shape[1], embedding.embedding_dim, start=start)
        embedded: Tensor = self.dropout(embedding(ids) + positions)
        return embedded


def unshifted_loss(model: Seq2SeqTransformer, source: Tensor, target: Tensor, label_smoothing: float) -> Tensor:
    """The model reads the words that it is asked for, each at its own place."""
    logits = model(source, target)  # (B, T + 1, V)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD, label_smoothing=label_smoothing)


@dataclass(frozen=True)
class Change:
    """What is not as it was: the model, the loss, or the recipe."""

    model: type[Seq2SeqTransformer] = Seq2SeqTransformer
    loss: Callable[[Seq2SeqTransformer, Tensor, Tensor, float], Tensor] = translation_loss
    recipe: dict[str, Any] = field(default_factory=dict)


CHANGES = {
    "healthy": Change(),
    "no-causal-mask": Change(model=NoCausalMask),
    "not-shifted": Change(loss=unshifted_loss),
    "padding-read": Change(model=PaddingRead),
    "no-scale": Change(model=NoScale),
    "no-smoothing": Change(recipe={"label_smoothing": 0.0}),
    "rate-peak": Change(recipe={"warmup_steps": 0, "lr": PEAK}),
    "rate-0.001": Change(recipe={"warmup_steps": 0, "lr": 1e-3}),
}


def make_model(change: Change, seed: int) -> Seq2SeqTransformer:
    """The shipped translator's sizes, with the weights that the seed gives, the same for all changes."""
    torch.manual_seed(seed)
    plain = make_translator()
    model = change.model(**plain.settings)
    model.load_state_dict(plain.state_dict())
    model.source, model.target = plain.source, plain.target
    return model


def train(name: str, seed: int, *, steps: int = STEPS, sentences: int = 250) -> dict[str, Any]:
    """Train with a change, and measure what became of it."""
    torch.set_num_threads(1)
    change = CHANGES[name]
    recipe = TranslatorRecipe(
        **{"sentences": steps * 32, "epochs": 2, "seed": seed, "eval_every": steps + 1, "averaged": 1, **change.recipe}
    )
    model, losses = make_model(change, seed), []

    def noted(*given: Any) -> Tensor:
        loss = change.loss(*given)
        losses.append(loss.detach())
        return loss

    fit(model, recipe, loss_function=noted)
    curve = torch.stack(losses).unflatten(0, (-1, min(EVERY, steps))).mean(1)
    return {"seed": seed, "losses": [round(loss, 4) for loss in curve.tolist()], **measure(model, change, sentences)}


@torch.no_grad()
def measure(model: Seq2SeqTransformer, change: Change, sentences: int) -> dict[str, Any]:
    """Nats a word with the right words given, and exact match and BLEU of what the model writes."""
    model.eval()
    splits = {split: corpus(split, sentences) for split in ("seen", "held_out", "longer")}
    nats, words = 0.0, 0
    for sentence in splits["seen"]:
        source = ENGLISH.batch([english(sentence)])
        target = CHINESE.batch([chinese(sentence)], begin=True, end=True)
        nats += change.loss(model, source, target, 0.0).item() * (target.shape[1] - 1)
        words += target.shape[1] - 1
    found = {split: score(model, some) for split, some in splits.items()}
    alone = [score(model, [sentence])["exact"] for sentence in splits["seen"]]
    rounded = {split: {key: round(value, 4) for key, value in scores.items()} for split, scores in found.items()}
    ids = model.generate(ENGLISH.batch([SAID.split()]))[0]
    scores = {"nats": round(nats / words, 4), "splits": rounded, "alone": round(sum(alone) / len(alone), 4)}
    return {**scores, "writes": CHINESE.tokens(ids)[:12]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES), metavar="NAME")
    parser.add_argument("--anew", action="store_true", help="also what is stored already")
    parser.add_argument("--list", action="store_true", help="name the runs and end")
    options = parser.parse_args()
    if options.list:
        print("\n".join(CHANGES))
        return
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    for seed in SEEDS:
        for name in options.only:
            rows = stored.setdefault(name, [])
            if not options.anew and any(row["seed"] == seed for row in rows):
                continue
            row = train(name, seed)
            rows[:] = sorted([*(one for one in rows if one["seed"] != seed), row], key=lambda one: one["seed"])
            write_atomically(STORED, json.dumps(stored, indent=1, ensure_ascii=False).encode() + b"\n")
            print(name, json.dumps(row, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
