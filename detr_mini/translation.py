"""English to Chinese by a trained translator, and how near a translation comes to the right one.

Chapter: *The Transformer of 2017*, ``book/03_seq2seq``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import torch

from detr_mini.data.vocabulary import Vocabulary
from detr_mini.errors import ConfigError, UnknownWordError
from detr_mini.modeling.seq2seq import Seq2SeqTransformer

__all__ = ["bleu", "read_sentence", "translate"]

AT_ONCE = 64  # sentences in one batch


def translate(model: Seq2SeqTransformer, sentences: Sequence[str], *, beams: int = 1) -> list[str]:
    """Translate sentences, each by itself.

    Args:
        model: a translator in evaluation mode, as ``detr_mini.load("translator")`` gives it.
        sentences: in English; see :func:`read_sentence`. One without words is translated by one without words.
        beams: how many beginnings of a translation are kept while it is written.

    Raises:
        UnknownWordError: a sentence has a word that the model has not learned; the message names both.
        ConfigError: the model has no words, ``model.source`` and ``model.target``.
    """
    if model.source is None or model.target is None:
        raise ConfigError("the model has ids and no words; set model.source and model.target to a Vocabulary")
    read = [read_sentence(sentence, model.source) for sentence in sentences]
    found = [""] * len(read)
    waiting = sorted((number for number, words in enumerate(read) if words), key=lambda number: len(read[number]))
    device = next(model.parameters()).device
    for start in range(0, len(waiting), AT_ONCE):
        numbers = waiting[start : start + AT_ONCE]
        source = model.source.batch([read[number] for number in numbers])
        with torch.inference_mode():
            target = model.generate(source.to(device), beams=beams)
        for number, ids in zip(numbers, target.tolist(), strict=True):
            found[number] = model.target.decode(ids)
    return found


def read_sentence(sentence: str, vocabulary: Vocabulary) -> list[str]:
    """The words of an English sentence as the grammar has them: in small letters, without punctuation.

    Before a bare phrase, "two red cars", goes "there are" or "there is".

    Raises:
        UnknownWordError: a word is not in the vocabulary; the message has the sentence, the word and those near it.
    """
    words = re.findall(r"[^\W_]+", re.sub(r"\b(there)['’](s|re)\b", _spelled_out, sentence.lower()))
    if words and words[0] != "there":
        words = ["there", "is" if words[0] in ("a", "an") else "are", *words]
    try:
        vocabulary.encode(words)
    except UnknownWordError as error:
        raise UnknownWordError(f"in {sentence.strip()!r}: {error}") from None
    return words


def _spelled_out(match: re.Match[str]) -> str:
    return f"{match[1]} {'is' if match[2] == 's' else 'are'}"


def bleu(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """How much of the translations stands in the right ones, 0 to 100: BLEU-4 over a corpus (Papineni et al. 2002).

    The geometric mean of four shares, those of words, pairs, triples and fours of words that the reference has, too,
    each counted as often as there at most; times exp(1 - r / c) where the candidates' c words are fewer than the
    references' r. Without smoothing, as sacrebleu's ``smooth_method="none"``: 0 where not a single four is right.

    Args:
        candidates: the words of each translation.
        references: the words of the right one of each.

    Raises:
        ValueError: there are not as many of the one as of the other.
    """
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} candidates and {len(references)} references: each candidate needs its own")
    precisions = []
    for n in (1, 2, 3, 4):
        pairs = [(_ngrams(one, n), _ngrams(other, n)) for one, other in zip(candidates, references, strict=True)]
        right = sum((one & other).total() for one, other in pairs)
        precisions.append(right / max(1, sum(one.total() for one, _ in pairs)))
    if min(precisions) == 0:
        return 0.0
    written, wanted = sum(map(len, candidates)), sum(map(len, references))
    brevity = min(1.0, math.exp(1 - wanted / written))
    return 100 * brevity * math.exp(sum(map(math.log, precisions)) / 4)


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))
