"""Training the translator: its loss, its learning rate, its batches; the shipped one, and its file."""

import json
import math
import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.testing import assert_close

import detr_mini
from detr_mini.commands.cli import main
from detr_mini.data.grammar import CHINESE, ENGLISH, chinese, corpus, english
from detr_mini.errors import ConfigError, NotFoundError, WeightsError
from detr_mini.modeling.seq2seq import BEGIN, END, PAD, Seq2SeqTransformer
from detr_mini.seq2seq_weights import SHIPPED, load_translator, save_translator
from detr_mini.training.translator import (
    TranslatorRecipe,
    batches,
    fit,
    make_translator,
    noam_rate,
    score,
    steps_of,
    train_translator,
    translation_loss,
)

TINY = TranslatorRecipe(sentences=64, epochs=2, batch_size=16, warmup_steps=20, eval_every=4)


def tiny() -> Seq2SeqTransformer:
    torch.manual_seed(0)
    model = Seq2SeqTransformer(len(ENGLISH), len(CHINESE), d=16, heads=2, enc_layers=1, dec_layers=1, dropout=0.0)
    model.source, model.target = ENGLISH, CHINESE
    return model


def test_the_loss_is_that_of_each_next_word_by_itself() -> None:
    """Against the formula, word by word: the smoothed target gives every word a share of the rest."""
    model = tiny().eval()
    source, target = torch.tensor([[5, 6, 7], [8, 9, PAD]]), torch.tensor([[BEGIN, 4, 9, END], [BEGIN, 7, END, PAD]])
    terms = []
    for row, length in ((0, 4), (1, 3)):
        for place in range(1, length):
            logits = model(source[row : row + 1, : 3 - row], target[row : row + 1, :place])[0, -1]
            scores = logits.log_softmax(-1)
            wanted = 0.9 * F.one_hot(target[row, place], len(CHINESE)) + 0.1 / len(CHINESE)
            terms.append(-(wanted * scores).sum())
    assert_close(translation_loss(model, source, target, 0.1), torch.stack(terms).mean())


def test_the_rate_rises_in_a_line_and_falls_with_the_root() -> None:
    assert noam_rate(400, 128, 400) == pytest.approx(128**-0.5 * 400**-0.5)
    assert noam_rate(100, 128, 400) == pytest.approx(noam_rate(400, 128, 400) / 4)
    assert noam_rate(1600, 128, 400) == pytest.approx(noam_rate(400, 128, 400) / 2)
    assert noam_rate(4000, 512, 4000) == pytest.approx(7e-4, rel=0.01)  # the peak of the paper's base model


def test_batches_have_every_pair_once_and_little_padding() -> None:
    pairs = [(english(sentence), chinese(sentence)) for sentence in corpus("train", 1000)]
    found, real, places = [], 0, 0
    for source, target in batches(pairs, 32, random.Random(0)):
        assert (target[:, 0] == BEGIN).all()
        assert ((target == END).sum(1) == 1).all()
        real, places = real + int((target != PAD).sum()), places + target.numel()
        found += [(tuple(ENGLISH.tokens(s)), tuple(CHINESE.tokens(t))) for s, t in zip(source, target, strict=True)]
    assert sorted(found) == sorted(pairs)
    assert real / places > 0.9
    longest = max(len(words) for _, words in pairs) + 2
    assert places < 0.75 * longest * len(pairs)


def test_a_fit_gets_better_and_is_the_same_twice() -> None:
    recipe = replace(TINY, sentences=256, epochs=10, eval_every=20)
    torch.set_num_threads(1)
    first, second = (tiny(), tiny())
    log, again = fit(first, recipe), fit(second, recipe)
    assert log == again
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert math.isclose(log[-1]["step"], 160)


def test_without_warm_up_the_rate_is_constant() -> None:
    """One step of Adam moves each weight by about the rate."""
    model = tiny()
    before = model.target_embed.weight.detach().clone()
    fit(model, replace(TINY, sentences=16, epochs=1, warmup_steps=0, lr=0.01))
    moved = (model.target_embed.weight - before).abs()
    assert moved.max().item() == pytest.approx(0.01, rel=1e-3)


def test_the_model_is_the_mean_of_its_last_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detr_mini.training.translator.SNAPSHOT_EVERY", 2)
    recipe = replace(TINY, eval_every=100)  # 8 steps
    states = []
    for epochs, averaged in ((1, 1), (2, 1), (2, 3)):
        model = tiny()
        fit(model, replace(recipe, epochs=epochs, averaged=averaged))
        states.append(model.target_embed.weight.detach().clone())

    def at_step(step: int) -> torch.Tensor:
        """Of the same run, cut after ``step`` steps."""
        model = tiny()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("detr_mini.training.translator.steps_of", lambda _: islice(steps_of(recipe), step))
            fit(model, replace(recipe, averaged=1))
        return model.target_embed.weight.detach().clone()

    assert torch.equal(states[0], at_step(4))
    assert torch.equal(states[1], at_step(8))
    assert_close(states[2], torch.stack([at_step(step) for step in (4, 6, 8)]).mean(0))
    model = tiny()
    fit(model, replace(recipe, averaged=0))
    assert torch.equal(model.target_embed.weight, states[1])


def test_a_score_of_right_and_wrong_translations() -> None:
    class Parrot(Seq2SeqTransformer):
        """Knows the first half of the sentences by heart, and says one word of the others."""

        def generate(self, source: torch.Tensor, max_length: int = 100, **_: object) -> torch.Tensor:
            rows = []
            for ids in source:
                words = known.get(tuple(ENGLISH.tokens(ids)), ("有",))
                rows.append(words)
            return CHINESE.batch(rows, end=True)

    sentences = corpus("seen", 20)
    known = {english(sentence): chinese(sentence) for sentence in sentences[:10]}
    model = Parrot(len(ENGLISH), len(CHINESE), d=16, heads=2)
    model.train()
    found = score(model, sentences)
    assert found["exact"] == 0.5
    assert 0 < found["bleu"] < 100
    assert model.training
    assert score(model, sentences[:10]) == {"exact": 1.0, "bleu": pytest.approx(100)}


@pytest.mark.slow
def test_training_writes_the_model_and_its_log(tmp_path: Path) -> None:
    log = train_translator(tmp_path, replace(TINY, sentences=32, epochs=1, eval_every=1), progress=False)
    assert json.loads((tmp_path / "translator.json").read_text()) == log
    assert [row["step"] for row in log["steps"]] == [1, 2]
    assert set(log["splits"]) == {"seen", "held_out", "longer"}
    model = load_translator(tmp_path / "translator.safetensors")
    assert not model.training
    assert model.source is not None
    assert model.source.words == ENGLISH.words


def test_a_file_gives_the_same_model_back(tmp_path: Path) -> None:
    model = tiny()
    save_translator(model, tmp_path / "tiny.safetensors")
    again = load_translator(tmp_path / "tiny.safetensors")
    assert again.settings == model.settings
    for (name, value), (other, found) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(value.half().float(), found)
    assert (again.source.words, again.target.joiner) == (ENGLISH.words, "")


def test_what_is_no_translator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file"):
        load_translator(tmp_path / "nothing.safetensors")
    with pytest.raises(WeightsError, match="no weights of a translator"):
        load_translator(SHIPPED.with_name("nano.safetensors"))
    with pytest.raises(WeightsError, match="with its words"):
        save_translator(Seq2SeqTransformer(5, 5, d=16), tmp_path / "mute.safetensors")
    with pytest.raises(WeightsError, match="not a checkpoint of DETR"):
        detr_mini.load(SHIPPED)


def test_a_damaged_translator_is_told(tmp_path: Path) -> None:
    model = tiny()
    model.settings = {**model.settings, "heads": 3}
    save_translator(model, tmp_path / "odd.safetensors")
    with pytest.raises(WeightsError, match="damaged translator: a width of 16 cannot be split into 3"):
        load_translator(tmp_path / "odd.safetensors")


# --- the shipped one


def test_the_shipped_translator_is_as_good_as_its_log_says() -> None:
    log = json.loads(SHIPPED.with_suffix(".json").read_text())
    model = detr_mini.load("translator")
    assert SHIPPED.stat().st_size < 2e6
    assert log["splits"]["seen"]["exact"] >= 0.99
    assert log["splits"]["held_out"]["exact"] >= 0.95
    for split in ("seen", "held_out"):
        assert score(model, corpus(split, 1000)[:200])["exact"] == pytest.approx(
            log["splits"][split]["exact"], abs=0.03
        )


def test_the_shipped_translator_is_of_the_recipe_of_today() -> None:
    log = json.loads(SHIPPED.with_suffix(".json").read_text())
    assert log["recipe"] == TranslatorRecipe().__dict__
    assert detr_mini.load("translator").settings == make_translator().settings


@pytest.mark.parametrize("command", ["predict p.png", "evaluate --data town", "train --data town --out run"])
def test_a_detector_is_asked_for_where_a_translator_is_given(
    command: str, town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "town").symlink_to(town)
    Image.new("RGB", (64, 48)).save("p.png")
    assert main([*command.split(), "--weights", "translator"]) == 2
    assert "not a checkpoint of DETR but a translator" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_translator_has_no_fields_of_a_detector() -> None:
    with pytest.raises(ConfigError, match="no num_queries to set"):
        detr_mini.load("translator", num_queries=3)
