"""Exercises of *The Transformer of 2017*, ``book/03_seq2seq``."""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_mini.modeling.decoding import BEGIN, END, PAD
from detr_mini.teaching.exercises import draw, exercise
from detr_mini.teaching.specimens import Writer


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=draw(seed))


def _sentences() -> list[tuple[Tensor]]:
    return [(torch.tensor([[1, 5, 4, 7, 2], [1, 6, 2, 0, 0]]),), (torch.tensor([[1, 3, 2]]),)]


@exercise(
    cases=_sentences,
    mistakes={
        "Nothing is shifted: at each place the model reads the word that it is asked for.": lambda t: (t, t),
        "Shorter by one, but not shifted: it reads the word that it is asked for.": lambda t: (t[:, :-1], t[:, :-1]),
        "Shifted the wrong way: it reads the next word and is asked for the one before it.": (
            lambda t: (t[:, 1:], t[:, :-1])
        ),
        "BEGIN is not read, so the first word is never asked for.": lambda t: (t[:, 1:-1], t[:, 2:]),
        "What is read still has the last token, after which nothing is asked: leave it out.": (lambda t: (t, t[:, 1:])),
    },
)
def shifted(target: Tensor) -> tuple[Tensor, Tensor]:
    """Ids (B, T + 1) to what is read and what is wanted, (B, T) each."""
    return target[:, :-1], target[:, 1:]


@exercise(
    cases=lambda: [(torch.tensor([2, 0, 3]), 4, 0.1), (torch.tensor([1]), 6, 0.3)],
    mistakes={
        "The right word gets 1 - eps alone: it is one of the words that share eps, too.": (
            lambda w, V, eps: torch.where(F.one_hot(w, V) > 0, 1 - eps, eps / V)
        ),
        "eps is shared by the other words alone: all words, the right one among them, get eps / V.": (
            lambda w, V, eps: torch.where(F.one_hot(w, V) > 0, 1 - eps, eps / (V - 1))
        ),
        "The right word keeps its whole 1, so the rows sum to more than 1.": (
            lambda w, V, eps: F.one_hot(w, V) + eps / V
        ),
        "There is no smoothing here.": lambda w, V, eps: F.one_hot(w, V).float(),
        "eps and 1 - eps are exchanged: the right word keeps most.": (
            lambda w, V, eps: smoothed_targets(w, V, 1 - eps)
        ),
    },
)
def smoothed_targets(words: Tensor, vocabulary: int, eps: float) -> Tensor:
    """Ids (N,) to probabilities (N, vocabulary)."""
    return (1 - eps) * F.one_hot(words, vocabulary) + eps / vocabulary


NextLogits = Callable[[list[int]], Tensor]


def _writers() -> list[tuple[NextLogits, int]]:
    return [(Writer(5, 3, 4, END), 10), (Writer(4, 4, 4, 4, 4, 4), 3), (Writer(END), 5), (Writer(3, END), 2)]


def _written(
    next_logits: NextLogits, max_length: int, *, begin: Sequence[int] = (BEGIN,), stop: bool = True, low: bool = False
) -> list[int]:
    """Greedy with a mistake."""
    words = list(begin)
    while len(words) - len(begin) < max_length and not (stop and words[-1:] == [END]):
        logits = next_logits(words)
        words.append(int((-logits if low else logits).argmax()))
    return words[len(begin) :]


@exercise(
    cases=_writers,
    mistakes={
        "BEGIN is returned, too: leave it out.": lambda f, n: [BEGIN, *_written(f, n)],
        "END is missing: it says that the sentence is complete.": (
            lambda f, n: [word for word in _written(f, n) if word != END]
        ),
        "It writes on after END.": lambda f, n: _written(f, n, stop=False),
        "It stops one word too late: max_length counts the words without BEGIN.": lambda f, n: _written(f, n + 1),
        "It stops one word too early: BEGIN does not count.": lambda f, n: _written(f, n - 1),
        "The function was given nothing to start with: the first words are [BEGIN].": (
            lambda f, n: _written(f, n, begin=())
        ),
        "Only the last word was given: the next one follows from all words so far.": (
            lambda f, n: _written(lambda words: f(words[-1:]), n)
        ),
        "This takes the least likely word.": lambda f, n: _written(f, n, low=True),
    },
)
def greedy(next_logits: NextLogits, max_length: int) -> list[int]:
    """The likeliest word each time, until END or max_length words."""
    words = [BEGIN]
    while words[-1] != END and len(words) <= max_length:
        words.append(int(next_logits(words).argmax()))
    return words[1:]


Words = list[str]


def _grams(words: Words, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))


def _in_any_order(words: Words, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(sorted(gram)) for gram in _grams(words, n).elements())


def _texts() -> list[tuple[Words, Words, int]]:
    reference = ["there", "is", "a", "red", "car", "and", "a", "red", "bus"]
    return [
        (["a", "a", "a", "a", "red"], reference, 1),
        (["there", "is", "a", "red", "bus", "a", "red", "car", "a", "red"], reference, 2),
        (["a", "red", "car"], reference, 4),
        (["car", "red", "a", "a", "red", "car"], reference, 3),
        (["a", "red"], reference, 1),
        (["car", "red", "bus"], reference, 2),
    ]


def _precision(candidate: Words, reference: Words, n: int) -> float:
    one, other = _grams(candidate, n), _grams(reference, n)
    return sum(count for gram, count in one.items() if gram in other) / max(1, one.total())


@exercise(
    cases=_texts,
    mistakes={
        "Not clipped: a run of words counts at most as often as it stands in the reference.": _precision,
        "Divided by the reference's runs: that is recall, precision asks for a share of the candidate's.": (
            lambda one, other, n: (_grams(one, n) & _grams(other, n)).total() / _grams(other, n).total()
        ),
        "Each run counts once, however often the candidate has it.": (
            lambda one, other, n: len(_grams(one, n).keys() & _grams(other, n).keys()) / max(1, len(_grams(one, n)))
        ),
        "These are single words whatever n is.": lambda one, other, n: clipped_precision(one, other, 1),
        "The words of a run count in any order here: car red is not red car.": (
            lambda one, other, n: (_in_any_order(one, n) & _in_any_order(other, n)).total() / max(1, len(one) - n + 1)
        ),
        "Divided by the candidate's words: it has n - 1 runs fewer.": (
            lambda one, other, n: (_grams(one, n) & _grams(other, n)).total() / len(one)
        ),
    },
)
def clipped_precision(candidate: Words, reference: Words, n: int) -> float:
    """The share of the candidate's n-grams that the reference has, each at most as often as there."""

    def grams(words: Words) -> Counter[tuple[str, ...]]:
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    one, other = grams(candidate), grams(reference)
    return (one & other).total() / max(1, one.total())


def _beams() -> list[tuple[Tensor, Tensor, Tensor]]:
    scores = torch.stack([_random(6, seed=seed).log_softmax(-1) for seed in (3, 4, 5)])
    totals = torch.tensor([-1.0, -1.2, -1.9])
    none, one = torch.zeros(3, dtype=torch.bool), torch.tensor([False, True, False])
    return [(totals, scores, none), (totals, scores, one), (3 * totals, scores[[2, 0, 1]], one.roll(1))]


BeamStep = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def _chosen(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    best, at = values.flatten().topk(len(values))
    return at // values.shape[1], at % values.shape[1], best


def _frozen(scores: Tensor, ended: Tensor) -> Tensor:
    stays = torch.full_like(scores, float("-inf"))
    stays[:, PAD] = 0.0
    return torch.where(ended[:, None], stays, scores)


def _each_its_best(totals: Tensor, scores: Tensor, ended: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    best, words = _frozen(scores, ended).max(-1)
    order = (totals + best).argsort(descending=True)
    return order, words[order], (totals + best)[order]


def _rows_and_words_exchanged(totals: Tensor, scores: Tensor, ended: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows, words, best = beam_step(totals, scores, ended)
    return words, rows, best


def _padding_kept_open(totals: Tensor, scores: Tensor, ended: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scores = scores.clone()
    scores[ended, PAD] = 0.0
    return _chosen(totals[:, None] + scores)


def _divided_by_beams(totals: Tensor, scores: Tensor, ended: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    best, at = (totals[:, None] + _frozen(scores, ended)).flatten().topk(len(totals))
    return at % len(totals), at // len(totals), best


@exercise(
    cases=_beams,
    mistakes={
        "What has ended goes on writing: it has PAD alone, at no cost.": (
            lambda totals, scores, ended: _chosen(totals[:, None] + scores)
        ),
        "What has ended may still take other words than PAD: minus infinity for those.": _padding_kept_open,
        "Each beginning gives its best word: the best of all may come from one beginning.": _each_its_best,
        "The totals so far were left out.": lambda totals, scores, ended: _chosen(_frozen(scores, ended)),
        "Rows and words are exchanged.": _rows_and_words_exchanged,
        "The index counts through the words of a row first: divide by V, not by the number of beginnings.": (
            _divided_by_beams
        ),
        "Log probabilities are added, not multiplied.": (
            lambda totals, scores, ended: _chosen(totals[:, None] * _frozen(scores, ended))
        ),
    },
)
def beam_step(totals: Tensor, scores: Tensor, ended: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The K best of K * V continuations: rows (K,), words (K,), totals (K,)."""
    nothing = torch.full_like(scores, float("-inf"))
    nothing[:, PAD] = 0.0
    scores = torch.where(ended[:, None], nothing, scores)
    best, chosen = (totals[:, None] + scores).flatten().topk(len(totals))
    return chosen // scores.shape[1], chosen % scores.shape[1], best
