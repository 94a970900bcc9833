"""The Transformer of 2017: an encoder over the words of one language, a decoder that writes another's.

Chapter: *The Transformer of 2017*, ``book/03_seq2seq``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_mini.modeling.decoding import BEGIN, END, PAD, beam_search, greedy
from detr_mini.modeling.layer import DecoderParts, EncoderParts

if TYPE_CHECKING:
    from detr_mini.data.vocabulary import Vocabulary

__all__ = ["BEGIN", "END", "PAD", "Decoder", "Encoder", "Seq2SeqTransformer", "sine_positions"]


def sine_positions(length: int, d: int, *, start: int = 0, device: torch.device | None = None) -> Tensor:
    """Codes of the places ``start`` to ``start + length - 1``: ``(length, d)`` (Vaswani et al. 2017, section 3.5).

    Sines in the even channels, cosines in the odd ones; the waves grow from 2 pi places to almost 20,000 pi.
    """
    if d % 2:
        raise ValueError(f"sines and cosines come in pairs: the width has to be even, not {d}")
    place = torch.arange(start, start + length, device=device, dtype=torch.float32)
    exponent = torch.arange(0, d, 2, device=device, dtype=torch.float32) / d
    angle = place[:, None] / 10000**exponent  # (length, d / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)  # (length, d)


class Seq2SeqTransformer(nn.Module):
    """From a sentence to a sentence (Vaswani et al. 2017), with the parameter names of ``torch.nn.Transformer``.

    The embeddings of the target language are the rows of the last projection, too (section 3.4). PAD, BEGIN and END
    are the ids 0, 1 and 2 of both languages.

    Args:
        source_vocab: number of ids of the language read.
        target_vocab: number of ids of the language written.
        d: width; even, and divisible by ``heads``.
        heads: attention heads.
        enc_layers: number of encoder layers.
        dec_layers: number of decoder layers.
        dim_feedforward: width inside the feed-forward blocks.
        dropout: on the embeddings, on attention weights, inside and after each block.
        pre_norm: normalize the input of each block rather than its result, and the last result of either stack.
    """

    def __init__(
        self,
        source_vocab: int,
        target_vocab: int,
        *,
        d: int = 128,
        heads: int = 4,
        enc_layers: int = 2,
        dec_layers: int = 2,
        dim_feedforward: int = 512,
        dropout: float = 0.1,
        pre_norm: bool = False,  # as in the paper
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"dim_feedforward": dim_feedforward, "dropout": dropout, "pre_norm": pre_norm}
        sizes = {"d": d, "heads": heads, "enc_layers": enc_layers, "dec_layers": dec_layers}
        self.settings = {"source_vocab": source_vocab, "target_vocab": target_vocab, **sizes, **options}
        self.source: Vocabulary | None = None  # the words of the languages, where they are known
        self.target: Vocabulary | None = None
        self.source_embed = nn.Embedding(source_vocab, d)
        self.target_embed = nn.Embedding(target_vocab, d)
        encoder_layers = [EncoderLayer(d, heads, **options) for _ in range(enc_layers)]
        decoder_layers = [DecoderLayer(d, heads, **options) for _ in range(dec_layers)]
        self.encoder = Encoder(encoder_layers, nn.LayerNorm(d) if pre_norm else None)
        self.decoder = Decoder(decoder_layers, nn.LayerNorm(d) if pre_norm else None)
        self.dropout = nn.Dropout(dropout)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for embedding in (self.source_embed, self.target_embed):
            nn.init.normal_(embedding.weight, std=d**-0.5)  # of length 1, about, so that as an output it is no louder

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """What comes after each word of the target, all at once, as in training.

        Args:
            source: ``(B, S)`` ids, PAD after the last word of each sentence.
            target: ``(B, T)`` ids, BEGIN first.

        Returns:
            Logits ``(B, T, target_vocab)``; those at ``t`` follow from the source and the target up to ``t``.
        """
        return self.decode(target, *self.encode(source))

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Ids ``(B, S)`` to the memory ``(B, S, d)`` and its padding ``(B, S)`` bool."""
        padding = source == PAD
        return self.encoder(self.embed(self.source_embed, source), padding), padding

    def decode(self, target: Tensor, memory: Tensor, padding: Tensor) -> Tensor:
        """Ids ``(B, T)``, BEGIN first, and the encoded source to logits ``(B, T, target_vocab)``."""
        return self.logits(self.decoder(self.embed(self.target_embed, target), memory, padding))

    def embed(self, embedding: nn.Embedding, ids: Tensor, start: int = 0) -> Tensor:
        """Ids ``(B, L)`` that stand at ``start`` and after it, to their vectors with positions ``(B, L, d)``."""
        x = embedding(ids) * embedding.embedding_dim**0.5  # (B, L, d): as loud as the positions, which are added
        positions = sine_positions(ids.shape[1], embedding.embedding_dim, start=start, device=ids.device)
        embedded: Tensor = self.dropout(x + positions)
        return embedded

    def logits(self, y: Tensor) -> Tensor:
        """The decoder's ``(B, T, d)`` against every word of the target language: ``(B, T, target_vocab)``."""
        return F.linear(y, self.target_embed.weight)

    @torch.no_grad()
    def generate(self, source: Tensor, max_length: int = 100, *, beams: int = 1, use_cache: bool = True) -> Tensor:
        """Write the target sentences of ``source`` ``(B, S)``, one word after the other.

        Args:
            source: ids, PAD after the last word of each sentence.
            max_length: words at most, END included.
            beams: 1 takes the likeliest word each time; more keep that many beginnings (:func:`.beam_search`).
            use_cache: keep each layer's keys and values. Without, all words are read again for each new one: the same
                sentence, later.

        Returns:
            ``(B, L)`` ids, BEGIN left out, PAD after END; a sentence that did not end has no END.
        """
        if beams < 1 or max_length < 1:
            raise ValueError(f"at least one beam and one word are needed, not beams={beams}, max_length={max_length}")
        memory, padding = (x.repeat_interleave(beams, dim=0) for x in self.encode(source))
        writer = (_Cached if use_cache else _Uncached)(self, memory, padding)
        begin = torch.full((len(memory),), BEGIN, device=source.device)
        if beams == 1:
            return greedy(writer, begin, max_length)
        return beam_search(writer, begin, max_length, beams)


class Encoder(nn.Module):
    """A stack of encoder layers; ``norm`` is there in pre-norm models alone."""

    def __init__(self, layers: list["EncoderLayer"], norm: nn.Module | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """Words ``(B, S, d)``, of which some may be padding ``(B, S)``, to the memory ``(B, S, d)``."""
        for layer in self.layers:
            x = layer(x, padding)
        return x if self.norm is None else self.norm(x)


class Decoder(nn.Module):
    """A stack of decoder layers; ``norm`` is there in pre-norm models alone."""

    def __init__(self, layers: list["DecoderLayer"], norm: nn.Module | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(self, y: Tensor, memory: Tensor, padding: Tensor | None = None) -> Tensor:
        """Words ``(B, T, d)``, which read each other and the memory ``(B, S, d)``, to ``(B, T, d)``."""
        for layer in self.layers:
            y = layer(y, memory, padding)
        return y if self.norm is None else self.norm(y)

    def step(self, y: Tensor, caches: list["Cache"], padding: Tensor | None = None) -> Tensor:
        """One word more, ``(B, 1, d)``; the words before it and the memory are in the layers' caches."""
        for layer, cache in zip(self.layers, caches, strict=True):
            assert isinstance(layer, DecoderLayer)
            y = layer.step(y, cache, padding)
        return y if self.norm is None else self.norm(y)


class EncoderLayer(EncoderParts):
    """Every word reads every word; then the feed-forward block."""

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """Words ``(B, S, d)`` and their padding ``(B, S)`` to words ``(B, S, d)``."""
        x = self.residual(self.norm1, x, lambda x: self.self_attn(x, x, x, padding))
        return self.residual(self.norm2, x, self.feed_forward)


@dataclass
class Cache:
    """Keys and values ``(B, heads, L, d / heads)`` of one decoder layer: of the words so far, and of the memory."""

    words: tuple[Tensor, Tensor]
    memory: tuple[Tensor, Tensor]

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows of the batch. Those of one source share its memory, which need not change."""
        self.words = (self.words[0][rows], self.words[1][rows])


class DecoderLayer(DecoderParts):
    """Every word reads itself and those before it, then the memory; then the feed-forward block."""

    def forward(self, y: Tensor, memory: Tensor, padding: Tensor | None = None) -> Tensor:
        """Words ``(B, T, d)`` and the memory ``(B, S, d)`` with its padding ``(B, S)`` to words ``(B, T, d)``.

        The padding of the words themselves needs no mask: it comes last, and no word reads what comes after it.
        """
        y = self.residual(self.norm1, y, lambda y: self.self_attn(y, y, y, causal=True))
        y = self.residual(self.norm2, y, lambda y: self.multihead_attn(y, memory, memory, padding))
        return self.residual(self.norm3, y, self.feed_forward)

    def step(self, y: Tensor, cache: Cache, padding: Tensor | None = None) -> Tensor:
        """One word more, ``(B, 1, d)``: what :meth:`forward` gives for the last word of all so far."""
        y = self.residual(self.norm1, y, lambda y: self.read_words(y, cache))
        y = self.residual(self.norm2, y, lambda y: self.read_memory(y, cache, padding))
        return self.residual(self.norm3, y, self.feed_forward)

    def read_words(self, y: Tensor, cache: Cache) -> Tensor:
        """The new word is put into the cache, and reads all that is there."""
        new = self.self_attn.keys_values(y)
        cache.words = (torch.cat([cache.words[0], new[0]], dim=2), torch.cat([cache.words[1], new[1]], dim=2))
        return self.self_attn.read(self.self_attn.queries(y), *cache.words)

    def read_memory(self, y: Tensor, cache: Cache, padding: Tensor | None) -> Tensor:
        """The memory's keys and values were made once for the whole sentence."""
        return self.multihead_attn.read(self.multihead_attn.queries(y), *cache.memory, padding)

    def new_cache(self, memory: Tensor) -> Cache:
        """The cache of a sentence without words, to be written about ``memory`` ``(B, S, d)``."""
        nothing = self.self_attn.keys_values(memory[:, :0])
        return Cache(nothing, self.multihead_attn.keys_values(memory))


class _Cached:
    """Writes with a cache: each layer reads the new word alone (:class:`.Writer`)."""

    def __init__(self, model: Seq2SeqTransformer, memory: Tensor, padding: Tensor) -> None:
        self.model, self.padding = model, padding
        self.caches = [layer.new_cache(memory) for layer in model.decoder.layers if isinstance(layer, DecoderLayer)]
        self.length = 0

    def next_words(self, words: Tensor) -> Tensor:
        y = self.model.embed(self.model.target_embed, words[:, None], start=self.length)  # (R, 1, d)
        self.length += 1
        return self.model.logits(self.model.decoder.step(y, self.caches, self.padding))[:, 0]  # (R, V)

    def keep(self, rows: Tensor) -> None:
        for cache in self.caches:
            cache.keep(rows)


class _Uncached:
    """Writes as the model is trained: all words so far are read again for each new one (:class:`.Writer`)."""

    def __init__(self, model: Seq2SeqTransformer, memory: Tensor, padding: Tensor) -> None:
        self.model, self.memory, self.padding = model, memory, padding
        self.words = torch.zeros(len(memory), 0, dtype=torch.int64, device=memory.device)

    def next_words(self, words: Tensor) -> Tensor:
        self.words = torch.cat([self.words, words[:, None]], dim=1)
        return self.model.decode(self.words, self.memory, self.padding)[:, -1]  # (R, V)

    def keep(self, rows: Tensor) -> None:
        self.words = self.words[rows]
