"""How a model that gives the next word writes a sentence: greedily, or with a beam.

Chapter: *The Transformer of 2017*, ``book/03_seq2seq``.
"""

from typing import Protocol

import torch
from torch import Tensor

PAD, BEGIN, END = 0, 1, 2  # ids of no word: filling up a batch, before the first word, after the last


class Writer(Protocol):
    """What writes several sentences side by side, one word of each at a time."""

    def next_words(self, words: Tensor) -> Tensor:
        """Append ``words`` ``(R,)``, one to each sentence; returns what comes next, logits ``(R, V)``."""

    def keep(self, rows: Tensor) -> None:
        """Go on with the sentences ``rows`` ``(R',)`` as they stand, some of them dropped and some doubled."""


def greedy(writer: Writer, begin: Tensor, max_length: int) -> Tensor:
    """The likeliest word, each time, until END.

    Args:
        writer: of ``B`` sentences of which nothing is written.
        begin: ``(B,)``, BEGIN in each of them.
        max_length: words at most, END included.

    Returns:
        ``(B, L)`` ids, BEGIN left out, PAD after END; a sentence that did not end has no END.
    """
    words, ended = begin, torch.zeros_like(begin, dtype=torch.bool)
    written = []
    for _ in range(max_length):
        words = writer.next_words(words).argmax(-1).masked_fill(ended, PAD)  # (B,)
        written.append(words)
        ended = ended | (words == END)
        if bool(ended.all()):
            break
    return torch.stack(written, dim=1)


def beam_search(writer: Writer, begin: Tensor, max_length: int, beams: int, alpha: float = 0.6) -> Tensor:
    """The best sentence found when the ``beams`` best beginnings are kept, each time (Wu et al. 2016, section 7).

    A beginning is as good as its log probability over ``((5 + length) / 6) ** alpha``: with ``alpha`` 0, as its
    probability; a larger one makes longer sentences worth more.

    Args:
        writer: of ``B * beams`` sentences of which nothing is written, those of one source side by side.
        begin: ``(B * beams,)``, BEGIN in each of them.
        max_length: words at most, END included.
        beams: how many beginnings of each sentence are kept.
        alpha: of the length; the paper's is 0.6.

    Returns:
        ``(B, L)`` ids, as :func:`greedy`.
    """
    first_rows = torch.arange(0, len(begin), beams, device=begin.device)[:, None]  # (B, 1): each source's first row
    words, ended = begin, torch.zeros_like(begin, dtype=torch.bool)
    written = begin[:, None]  # (B * beams, 1 + words so far)
    total = torch.full((len(first_rows), beams), float("-inf"), device=begin.device)  # log probability of each
    total[:, 0] = 0.0  # at first all are alike, and one of each source is enough
    lengths = torch.zeros_like(total)
    for _ in range(max_length):
        scores = writer.next_words(words).log_softmax(-1)  # (B * beams, V)
        nothing = torch.full_like(scores, float("-inf"))
        nothing[:, PAD] = 0.0
        scores = torch.where(ended[:, None], nothing, scores)  # what has ended is padded, and costs nothing
        totals = total[..., None] + scores.unflatten(0, (-1, beams))  # (B, beams, V)
        longer = lengths + ~ended.view_as(lengths)  # (B, beams)
        worth = totals / _penalty(longer, alpha)[..., None]
        chosen = worth.flatten(1).topk(beams).indices  # (B, beams)
        total, lengths = totals.flatten(1).gather(1, chosen), longer.gather(1, chosen // scores.shape[-1])
        rows = (first_rows + chosen // scores.shape[-1]).flatten()  # (B * beams,)
        words = (chosen % scores.shape[-1]).flatten()
        written = torch.cat([written[rows], words[:, None]], dim=1)
        ended = ended[rows] | (words == END)
        if bool(ended.all()):
            break
        writer.keep(rows)
    best = (total / _penalty(lengths, alpha)).argmax(1, keepdim=True)  # (B, 1)
    return written[(first_rows + best).flatten(), 1:]


def _penalty(lengths: Tensor, alpha: float) -> Tensor:
    return ((5 + lengths) / 6) ** alpha
