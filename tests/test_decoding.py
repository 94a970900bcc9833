"""Greedy and beam decoding of a model that is a table, against all sentences there are."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detr_mini.modeling.decoding import BEGIN, END, PAD, beam_search, greedy

WORDS = (END, 3, 4)  # what may be written; PAD and BEGIN never are


class Table:
    """Log probabilities of the next word for each beginning, drawn from a seed: a writer with a memory of all words."""

    def __init__(self, sources: int, beams: int, seed: int) -> None:
        self.seed, self.beginnings = seed, [(source,) for source in range(sources) for _ in range(beams)]

    def scores(self, beginning: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(hash((self.seed, beginning)) % 2**31)
        logits = torch.full((5,), float("-inf"))
        logits[list(WORDS)] = 2 * torch.randn(len(WORDS), generator=generator)
        return logits.log_softmax(-1)

    def next_words(self, words: Tensor) -> Tensor:
        self.beginnings = [(*begun, word) for begun, word in zip(self.beginnings, words.tolist(), strict=True)]
        return torch.stack([self.scores(begun) for begun in self.beginnings])

    def keep(self, rows: Tensor) -> None:
        self.beginnings = [self.beginnings[row] for row in rows.tolist()]

    def total(self, source: int, words: tuple[int, ...]) -> float:
        """Log probability of a sentence."""
        beginning = (source, BEGIN)
        total = 0.0
        for word in words:
            total += self.scores(beginning)[word].item()
            beginning = (*beginning, word)
        return total


def all_sentences(max_length: int) -> list[tuple[int, ...]]:
    """Every sentence that ends within ``max_length`` words, and every one that is cut there."""
    inner = [word for word in WORDS if word != END]
    ended = [(*begun, END) for length in range(max_length) for begun in itertools.product(inner, repeat=length)]
    return ended + list(itertools.product(inner, repeat=max_length))


def beam(table: Table, sources: int, beams: int, max_length: int, alpha: float) -> list[tuple[int, ...]]:
    written = beam_search(table, torch.full((sources * beams,), BEGIN), max_length, beams, alpha)
    return [tuple(word for word in row if word != PAD) for row in written.tolist()]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.sampled_from([0.0, 0.6, 1.0]))
def test_a_wide_beam_finds_the_best_of_all_sentences(seed: int, max_length: int, alpha: float) -> None:
    beams = len(all_sentences(max_length))  # wide enough that no beginning is dropped
    table = Table(2, beams, seed)
    found = beam(table, 2, beams, max_length, alpha)
    for source in range(2):

        def worth(words: tuple[int, ...], source: int = source) -> float:
            return table.total(source, words) / ((5 + len(words)) / 6) ** alpha

        best = max(all_sentences(max_length), key=worth)
        assert worth(found[source]) == pytest.approx(worth(best), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_a_beam_of_one_is_greedy(seed: int, max_length: int) -> None:
    written = greedy(Table(3, 1, seed), torch.full((3,), BEGIN), max_length)
    rows = [tuple(word for word in row if word != PAD) for row in written.tolist()]
    assert rows == beam(Table(3, 1, seed), 3, 1, max_length, alpha=0.6)


def test_a_beam_finds_what_greedy_misses() -> None:
    """Of sixty tables, better in some; in none of these worse, which a beam does not promise."""
    gains = []
    for seed in range(60):
        table = Table(1, 1, seed)
        first = tuple(w for w in greedy(table, torch.tensor([BEGIN]), 5)[0].tolist() if w != PAD)
        (second,) = beam(Table(1, 8, seed), 1, 8, 5, alpha=0.0)
        gains.append(table.total(0, second) - table.total(0, first))
    assert min(gains) > -1e-5
    assert sum(gain > 1e-3 for gain in gains) >= 5


def test_what_has_ended_stays_ended() -> None:
    for written in (
        greedy(Table(40, 1, 0), torch.full((40,), BEGIN), 12),
        beam_search(Table(40, 3, 0), torch.full((120,), BEGIN), 12, 3),
    ):
        assert written.shape[0] == 40
        for row in written.tolist():
            end = row.index(END) if END in row else len(row)
            assert set(row[end + 1 :]) <= {PAD}
            assert PAD not in row[:end]
            assert BEGIN not in row


def test_length_is_worth_more_with_a_larger_alpha() -> None:
    lengths = [
        sum(len(w) for seed in range(30) for w in beam(Table(1, 8, seed), 1, 8, 6, alpha)) for alpha in (0.0, 2.0)
    ]
    assert lengths[0] < lengths[1]
