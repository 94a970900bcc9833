"""Words to ids and back."""

import pytest
import torch

from detr_mini.data.vocabulary import BEGIN, END, PAD, Vocabulary
from detr_mini.errors import UnknownWordError, UserError

WORDS = Vocabulary(["a", "red", "bus", "buses"])


def test_words_are_numbered_after_pad_begin_and_end() -> None:
    assert (PAD, BEGIN, END) == (0, 1, 2)
    assert len(WORDS) == 7
    assert WORDS.encode(["bus", "a", "bus"]) == [5, 3, 5]
    assert WORDS.encode([]) == []
    assert "red" in WORDS
    assert "blue" not in WORDS


def test_ids_are_read_up_to_the_first_end() -> None:
    assert WORDS.tokens([BEGIN, 4, PAD, 6, END, 3]) == ["red", "buses"]
    assert WORDS.decode(torch.tensor([BEGIN, 4, 6, END, PAD])) == "red buses"
    assert Vocabulary(["红色", "的"], joiner="").decode([3, 4]) == "红色的"
    assert WORDS.decode([]) == ""


@pytest.mark.parametrize("number", [-1, 7])
def test_an_id_without_a_word_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=f"id {number} has no word; the ids run from 0 to 6"):
        WORDS.decode([3, number])


def test_a_batch_is_filled_up_with_pad() -> None:
    sentences = [["a", "bus"], [], ["red", "red", "buses"]]
    batch = WORDS.batch(sentences)
    assert batch.dtype == torch.int64
    assert batch.tolist() == [[3, 5, 0], [0, 0, 0], [4, 4, 6]]
    assert WORDS.batch(sentences[:1], begin=True).tolist() == [[BEGIN, 3, 5]]
    assert WORDS.batch(sentences, begin=True, end=True).tolist() == [
        [BEGIN, 3, 5, END, PAD],
        [BEGIN, END, PAD, PAD, PAD],
        [BEGIN, 4, 4, 6, END],
    ]
    assert WORDS.batch([]).shape == (0, 0)


def test_an_unknown_word_is_named_with_those_near_it() -> None:
    with pytest.raises(UnknownWordError, match=r"'busses' is none of the 4 words .* near it are buses, bus$"):
        WORDS.encode(["a", "busses"])
    with pytest.raises(UserError, match=r"'zebra' is none of the 4 words of this vocabulary$"):
        WORDS.encode(["zebra"])
    with pytest.raises(UnknownWordError, match="'<pad>'"):
        WORDS.encode(["<pad>"])


@pytest.mark.parametrize("words", [["a", "b", "a"], ["a", ""]])
def test_words_are_there_once(words: list[str]) -> None:
    with pytest.raises(ValueError, match="empty or comes twice"):
        Vocabulary(words)
