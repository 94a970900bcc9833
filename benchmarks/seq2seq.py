"""The Transformer of 2017 against PyTorch's: a forward pass, a step of training, and writing word by word."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from benchmarks.measure import Settings, compare
from benchmarks.report import Case, Row, timed_row
from detr_mini.modeling.seq2seq import BEGIN, END, PAD, Seq2SeqTransformer

PEER = "`torch.nn.Transformer`"


@dataclass(frozen=True)
class Sizes:
    """Of a model, and of what it reads: ``sentences`` of ``words`` in either language."""

    name: str
    d: int
    heads: int
    layers: int
    dim_feedforward: int
    sentences: int
    words: int
    vocab: int = 70


TRANSLATOR = Sizes("the shipped translator", 128, 4, 2, 256, sentences=64, words=24)
BASE = Sizes("the paper's base model", 512, 8, 6, 2048, sentences=8, words=40)


def make_pair(sizes: Sizes, device: torch.device) -> tuple[Seq2SeqTransformer, nn.Transformer]:
    """Ours and PyTorch's with the same random weights, without dropout."""
    torch.manual_seed(0)
    d, heads, layers, inner = sizes.d, sizes.heads, sizes.layers, sizes.dim_feedforward
    ours = Seq2SeqTransformer(
        sizes.vocab,
        sizes.vocab,
        d=d,
        heads=heads,
        enc_layers=layers,
        dec_layers=layers,
        dim_feedforward=inner,
        dropout=0.0,
    )
    nn.init.zeros_(ours.target_embed.weight[END])  # never the likeliest word: all sentences are as long as they may be
    layer = nn.TransformerEncoderLayer(d, heads, inner, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
    theirs = nn.Transformer(d, heads, layers, layers, inner, dropout=0.0, batch_first=True, custom_encoder=encoder)
    theirs.decoder.norm = None  # PyTorch's has a last norm in post-norm, too; the paper's has none
    state = {key: value for key, value in ours.state_dict().items() if key.startswith(("encoder.", "decoder."))}
    theirs.load_state_dict(state, strict=True)
    return ours.to(device), theirs.to(device)


def make_sentences(sizes: Sizes, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random words, each sentence with up to three places of padding: source and target ``(B, L)``."""
    rng = torch.Generator().manual_seed(0)
    source, target = torch.randint(END + 1, sizes.vocab, (2, sizes.sentences, sizes.words), generator=rng)
    target[:, 0] = BEGIN
    for row in range(sizes.sentences):
        source[row, sizes.words - row % 4 :] = PAD
        target[row, sizes.words - (row + 1) % 4 :] = PAD
    return source.to(device), target.to(device)


def peer_logits(ours: Seq2SeqTransformer, theirs: nn.Transformer, source: Tensor, target: Tensor) -> Tensor:
    """What PyTorch's makes of the embeddings of ours, with all masks: ``(B, T, V)``."""
    padding = source == PAD
    later = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool, device=target.device).triu(1)
    written = theirs(
        ours.embed(ours.source_embed, source),
        ours.embed(ours.target_embed, target),
        tgt_mask=later,
        tgt_is_causal=True,
        src_key_padding_mask=padding,
        tgt_key_padding_mask=target == PAD,
        memory_key_padding_mask=padding,
    )
    return ours.logits(written)


def forward(settings: Settings, sizes: Sizes, target: float, backward: bool) -> Row:
    """A forward pass in evaluation, or with the backward pass in training; dropout is 0 in both."""
    ours, theirs = (model.train(backward) for model in make_pair(sizes, settings.device))
    source, written = make_sentences(sizes, settings.device)
    real = written != PAD

    def step(logits: Callable[[], Tensor]) -> Tensor:
        if backward:
            ours.zero_grad()
            theirs.zero_grad()
            loss = logits()[real].square().mean()
            loss.backward()
            return loss.detach()
        with torch.no_grad():
            return logits()

    def peer() -> Tensor:
        return step(lambda: peer_logits(ours, theirs, source, written))

    def us() -> Tensor:
        return step(lambda: ours(source, written))

    first, second = peer(), us()
    assert_close(*((first, second) if backward else (first[real], second[real])), rtol=1e-4, atol=1e-4)
    what = f"{sizes.name}, {sizes.sentences} sentences of {sizes.words} words, forward{' and backward' * backward}"
    return timed_row(what, PEER, compare(peer, us, settings), target, "both make the same matrix products.")


def decoding(settings: Settings, sizes: Sizes, target: float, against_peer: bool, length: int = 40) -> Row:
    """Write ``length`` words of each sentence with a cache, against all words read again for each new one."""
    ours, theirs = (model.eval() for model in make_pair(sizes, settings.device))
    source, _ = make_sentences(sizes, settings.device)

    @torch.no_grad()
    def peer() -> Tensor:
        if not against_peer:
            return ours.generate(source, length, use_cache=False)
        padding = source == PAD
        memory = theirs.encoder(ours.embed(ours.source_embed, source), src_key_padding_mask=padding)
        words = torch.full((len(source), 1), BEGIN, device=source.device)
        for _ in range(length):
            later = torch.ones(words.shape[1], words.shape[1], dtype=torch.bool, device=source.device).triu(1)
            y = ours.embed(ours.target_embed, words)
            y = theirs.decoder(y, memory, tgt_mask=later, tgt_is_causal=True, memory_key_padding_mask=padding)
            words = torch.cat([words, ours.logits(y[:, -1:]).argmax(-1)], dim=1)
        return words[:, 1:]

    def us() -> Tensor:
        return ours.generate(source, length)

    if not torch.equal(peer(), us()) or us().shape[1] != length:
        raise AssertionError("the two sides do not write the same words")
    what = f"writing {length} words of {sizes.sentences} sentences with a cache, {sizes.name}"
    name = f"{PEER}, without a cache" if against_peer else "ours, without a cache"
    return timed_row(what, name, compare(peer, us, settings), target)


CASES: dict[str, Case] = {
    "seq2seq-forward": partial(forward, sizes=TRANSLATOR, target=1.0, backward=False),
    "seq2seq-forward-base": partial(forward, sizes=BASE, target=1.0, backward=False),
    "seq2seq-train": partial(forward, sizes=TRANSLATOR, target=1.0, backward=True),
    "seq2seq-train-base": partial(forward, sizes=BASE, target=1.0, backward=True),
    "seq2seq-write": partial(decoding, sizes=TRANSLATOR, target=3.0, against_peer=False),
    "seq2seq-write-peer": partial(decoding, sizes=TRANSLATOR, target=3.0, against_peer=True),
}
