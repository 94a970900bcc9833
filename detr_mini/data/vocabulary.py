"""Words and their numbers: what stands between a sentence and a model that reads ids.

Chapter: *The Transformer of 2017*, ``book/03_seq2seq``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from detr_mini.errors import UnknownWordError
from detr_mini.modeling.decoding import BEGIN, END, PAD

__all__ = ["BEGIN", "END", "PAD", "Vocabulary"]


class Vocabulary:
    """A closed list of words, numbered from 3 on in the order given; ids 0, 1 and 2 pad, begin and end.

    Args:
        words: all words that there are, none twice.
        joiner: what stands between two words where :meth:`decode` writes a sentence: a space in English, nothing in
            Chinese.

    Raises:
        ValueError: a word is empty or comes twice.
    """

    def __init__(self, words: Sequence[str], joiner: str = " ") -> None:
        self.words = tuple(words)
        self.joiner = joiner
        self._ids = {word: number for number, word in enumerate(self.words, END + 1)}
        if len(self._ids) != len(self.words) or "" in self._ids:
            raise ValueError("a word of the vocabulary is empty or comes twice")

    def __len__(self) -> int:
        """How many ids there are, those of pad, begin and end among them."""
        return END + 1 + len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def encode(self, words: Sequence[str]) -> list[int]:
        """The ids of words, in their order, without begin and end.

        Raises:
            UnknownWordError: a word is not in the vocabulary; the message names it and words that look like it.
        """
        for word in words:
            if word not in self._ids:
                raise UnknownWordError(self._unknown(word))
        return [self._ids[word] for word in words]

    def tokens(self, ids: Iterable[int] | Tensor) -> list[str]:
        """The words of ids (L,): pad and begin are left out, and so is all from the first end on.

        Raises:
            ValueError: an id has no word.
        """
        found = []
        for number in (int(one) for one in ids):
            if number == END:
                break
            if not 0 <= number < len(self):
                raise ValueError(f"id {number} has no word; the ids run from 0 to {len(self) - 1}")
            if number > END:
                found.append(self.words[number - END - 1])
        return found

    def decode(self, ids: Iterable[int] | Tensor) -> str:
        """The sentence of ids (L,), as :meth:`tokens` reads them, written with ``joiner`` between its words."""
        return self.joiner.join(self.tokens(ids))

    def batch(self, sentences: Sequence[Sequence[str]], *, begin: bool = False, end: bool = False) -> Tensor:
        """The ids of several sentences (B, L), int64, with zeros after the shorter ones.

        Args:
            sentences: B lists of words.
            begin: put the id of begin before each.
            end: put the id of end after each.
        """
        rows = [[BEGIN] * begin + self.encode(words) + [END] * end for words in sentences]
        batch = torch.full((len(rows), max(map(len, rows), default=0)), PAD)
        for row, ids in zip(batch, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
        return batch

    def _unknown(self, word: str) -> str:
        near = difflib.get_close_matches(word, self.words, n=3, cutoff=0.5)
        hint = f"; near it are {', '.join(near)}" if near else ""
        return f"{word!r} is none of the {len(self.words)} words of this vocabulary{hint}"
