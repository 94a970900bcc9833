"""Sentences in, sentences out, and BLEU as sacrebleu has it; with a translator that looks each sentence up."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU
from torch import Tensor

import detr_mini
from detr_mini import seq2seq_weights
from detr_mini.commands.cli import main
from detr_mini.data.grammar import chinese, corpus, english
from detr_mini.data.lexicon import CHINESE, ENGLISH
from detr_mini.data.vocabulary import END, PAD, Vocabulary
from detr_mini.errors import ConfigError, UnknownWordError
from detr_mini.modeling import seq2seq
from detr_mini.translation import AT_ONCE, bleu, read_sentence, translate

SENTENCES = corpus("train", 150)
TEXTS = [" ".join(english(sentence)) for sentence in SENTENCES]
GOLD = ["".join(chinese(sentence)) for sentence in SENTENCES]
TWO_CARS = "there are two red cars left of a bus"


class Dictionary(seq2seq.Seq2SeqTransformer):
    """Knows some sentences by heart, and answers others with its first word."""

    def __init__(self) -> None:
        super().__init__(len(ENGLISH), len(CHINESE), d=8, heads=2, dim_feedforward=8)
        self.source, self.target = ENGLISH, CHINESE
        self.known = {tuple(ENGLISH.encode(english(one))): CHINESE.encode(chinese(one)) for one in SENTENCES}
        self.known[tuple(ENGLISH.encode(TWO_CARS.split()))] = CHINESE.encode(
            ["一", "辆", "公交车", "的", "左边", "有", "两", "辆", "红色", "的", "汽车"]
        )
        self.asked: list[tuple[int, int]] = []

    def generate(self, source: Tensor, max_length: int = 100, *, beams: int = 1, use_cache: bool = True) -> Tensor:
        assert source.dtype == torch.int64
        assert torch.is_inference_mode_enabled()
        self.asked.append((len(source), beams))
        rows = [self.known.get(tuple(row[row != PAD].tolist()), [3]) for row in source]
        target = torch.full((len(rows), max(map(len, rows)) + 2), PAD)
        for line, row in zip(target, rows, strict=True):
            line[: len(row) + 1] = torch.tensor([*row, END])
        return target


@pytest.fixture
def dictionary() -> Dictionary:
    return Dictionary()


def test_sentences_come_out_in_their_order(dictionary: Dictionary) -> None:
    assert translate(dictionary, TEXTS) == GOLD
    assert [number for number, _ in dictionary.asked] == [AT_ONCE, AT_ONCE, 150 - 2 * AT_ONCE]
    assert translate(dictionary, []) == []
    assert translate(dictionary, ["", TEXTS[0], " . "]) == ["", GOLD[0], ""]


def test_beams_are_handed_on(dictionary: Dictionary) -> None:
    translate(dictionary, [TEXTS[0]], beams=3)
    assert dictionary.asked == [(1, 3)]


def test_a_model_without_training_translates_too() -> None:
    model = seq2seq.Seq2SeqTransformer(len(ENGLISH), len(CHINESE), d=8, heads=2, dim_feedforward=8).eval()
    with pytest.raises(ConfigError, match=r"ids and no words; set model.source"):
        translate(model, [TWO_CARS])
    model.source, model.target = ENGLISH, CHINESE
    (found,) = translate(model, [TWO_CARS])
    ids = model.generate(ENGLISH.batch([TWO_CARS.split()]))
    assert found == CHINESE.decode(ids[0])


@pytest.mark.parametrize(
    "sentence",
    [
        "two red cars left of a bus",
        "There are two red cars left of a bus.",
        "  TWO  red\tcars, left of a bus!\n",
        "there're two red cars left of a bus",
        "“Two red cars left of a bus”",
    ],
)
def test_case_and_marks_are_forgiven(sentence: str) -> None:
    assert " ".join(read_sentence(sentence, ENGLISH)) == TWO_CARS


def test_a_bare_phrase_gets_its_verb() -> None:
    assert read_sentence("an orange tree", ENGLISH)[:2] == ["there", "is"]
    assert read_sentence("a dog and two cars", ENGLISH)[:2] == ["there", "is"]
    assert read_sentence("many people", ENGLISH)[:2] == ["there", "are"]
    assert read_sentence("there’s a dog", ENGLISH) == ["there", "is", "a", "dog"]
    assert read_sentence("", ENGLISH) == []


def test_an_unknown_word_is_named_with_its_sentence(dictionary: Dictionary) -> None:
    with pytest.raises(UnknownWordError, match=r"^in 'two red carts': 'carts' is none of .* near it are cars"):
        translate(dictionary, ["a dog", "two red carts\n"])
    assert dictionary.asked == []


# --- BLEU

words = st.lists(st.sampled_from(["一", "两", "辆", "汽车", "的"]), max_size=9)


@given(st.lists(st.tuples(words, words.filter(bool)), min_size=1, max_size=6))
def test_bleu_is_sacrebleus(pairs: list[tuple[list[str], list[str]]]) -> None:
    candidates, references = [one for one, _ in pairs], [other for _, other in pairs]
    peer = BLEU(tokenize="none", smooth_method="none", force=True)
    theirs = peer.corpus_score([" ".join(one) for one in candidates], [[" ".join(other) for other in references]])
    assert bleu(candidates, references) == pytest.approx(theirs.score, abs=1e-9)


def test_bleu_is_sacrebleus_on_sentences_of_the_grammar() -> None:
    """With mistakes of the kind that translators make: the next sentence's words, one word less, two exchanged."""
    references = [chinese(sentence) for sentence in SENTENCES]
    candidates = [list(one) for one in references]
    candidates[:20] = [list(one) for one in references[1:21]]
    for number in range(20, 60):
        del candidates[number][-2]
    for number in range(60, 100):
        candidates[number][:2] = reversed(candidates[number][:2])
    peer = BLEU(tokenize="none", smooth_method="none", force=True)
    theirs = peer.corpus_score([" ".join(one) for one in candidates], [[" ".join(other) for other in references]])
    assert 50 < theirs.score < 95
    assert bleu(candidates, references) == pytest.approx(theirs.score, abs=1e-9)


def test_bleu_by_hand() -> None:
    reference = list("abcde")
    assert bleu([reference], [reference]) == pytest.approx(100)
    assert bleu([list("abcd")], [reference]) == pytest.approx(100 * 2.718281828459045 ** (1 - 5 / 4))
    assert bleu([list("abcdf")], [reference]) == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert bleu([list("abc")], [reference]) == 0
    assert bleu([[]], [reference]) == 0
    assert bleu([], []) == 0
    with pytest.raises(ValueError, match="1 candidates and 0 references"):
        bleu([reference], [])


# --- the command


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch, dictionary: Dictionary) -> Dictionary:
    """The dictionary in the place of the shipped translator."""
    load = seq2seq_weights.load_translator
    monkeypatch.setattr(
        seq2seq_weights, "load_translator", lambda path: dictionary if path == seq2seq_weights.SHIPPED else load(path)
    )
    return dictionary


def test_the_command_speaks(shipped: Dictionary, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", "two red cars left of a bus", TEXTS[3], "--beams", "4"]) == 0
    assert capsys.readouterr() == (f"一辆公交车的左边有两辆红色的汽车\n{GOLD[3]}\n", "")
    assert shipped.asked == [(2, 4)]


def test_the_command_reads_lines(
    shipped: Dictionary, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{TEXTS[0]}\n\n{TEXTS[1]}"))
    assert main(["translate"]) == 0
    assert capsys.readouterr().out == f"{GOLD[0]}\n\n{GOLD[1]}\n"


def test_the_command_takes_bytes_as_they_come(shipped: Dictionary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Latin-1 in, and a terminal that has no Chinese: a word that it does not know, and no traceback."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a caf\xe9\n"), encoding="ascii"))
    assert main(["translate"]) == 2
    assert main(["translate", TEXTS[0]]) == 0
    out.flush()
    assert out.buffer.getvalue().decode() == f"{GOLD[0]}\n"  # type: ignore[attr-defined]


def test_the_command_says_what_it_knows(shipped: Dictionary, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", "two red trucks"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, known, where = err.splitlines()
    assert first.startswith("detr-mini translate: in 'two red trucks': 'trucks' is none of the 58 words")
    assert known == f"the words it knows: {', '.join(ENGLISH.words)}"
    assert where == "'detr-mini translate --help' has sentences made of them"


def test_another_translator_is_read_from_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = seq2seq.Seq2SeqTransformer(5, 4, d=8, heads=2, dim_feedforward=8).eval()
    model.source, model.target = Vocabulary(["hum", "are"]), Vocabulary(["ba"])
    seq2seq_weights.save_translator(model, tmp_path / "mine.safetensors")
    assert main(["translate", "ha", "--weights", str(tmp_path / "mine.safetensors")]) == 2
    assert "the words it knows: hum, are\n" in capsys.readouterr().err


def test_a_detector_is_no_translator(capsys: pytest.CaptureFixture[str]) -> None:
    nano = Path(detr_mini.__file__).parent / "checkpoints" / "nano.safetensors"
    assert main(["translate", "a dog", "--weights", str(nano)]) == 2
    assert "these are no weights of a translator" in capsys.readouterr().err
    assert main(["translate", "a dog", "--weights", "nowhere"]) == 2
    assert "there is no file nowhere" in capsys.readouterr().err


def test_no_beams_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["translate", "a dog", "--beams", "0"])
    assert "must be at least 1, got 0" in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    code = "import sys; from detr_mini.commands.cli import make_parser; make_parser(); sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=False).returncode == 0
