"""``tools/break_translator.py``: each change does what it says, and what is stored is what it makes."""

from __future__ import annotations

import json

import break_translator
import pytest
import torch
from break_translator import CHANGES, EVERY, SEEDS, STEPS, STORED, make_model, train, unshifted_loss
from torch.testing import assert_close

from detr_mini.modeling.seq2seq import BEGIN, sine_positions
from detr_mini.training.translator import translation_loss

SOURCE = torch.tensor([[3, 5, 9, 15, 28], [3, 4, 7, 0, 0]])
TARGET = torch.tensor([[BEGIN, 3, 8, 25, 2], [BEGIN, 3, 5, 2, 0]])


def test_all_start_from_the_same_weights() -> None:
    wanted = make_model(CHANGES["healthy"], 3).state_dict()
    for change in CHANGES.values():
        for key, value in make_model(change, 3).state_dict().items():
            assert torch.equal(value, wanted[key]), key


@torch.no_grad()
def test_without_the_mask_a_later_word_changes_earlier_answers() -> None:
    other = TARGET.clone()
    other[0, 3] = 30
    for name, same in (("healthy", True), ("no-causal-mask", False)):
        model = make_model(CHANGES[name], 0).eval()
        before, after = model(SOURCE, TARGET)[0, :3], model(SOURCE, other)[0, :3]
        assert torch.allclose(before, after, atol=1e-5) == same


@torch.no_grad()
def test_padding_that_is_read_changes_the_memory() -> None:
    for name, same in (("healthy", True), ("padding-read", False)):
        model = make_model(CHANGES[name], 0).eval()
        together, alone = model.encode(SOURCE)[0][1, :3], model.encode(SOURCE[1:, :3])[0][0]
        assert torch.allclose(together, alone, atol=1e-4) == same


def test_the_embeddings_are_not_multiplied() -> None:
    model = make_model(CHANGES["no-scale"], 0).eval()
    embedded = model.embed(model.target_embed, TARGET, start=2)
    assert_close(embedded, model.target_embed.weight[TARGET] + sine_positions(5, 128, start=2))


@torch.no_grad()
def test_nothing_is_shifted() -> None:
    model = make_model(CHANGES["not-shifted"], 0).eval()
    log_p = model(SOURCE, TARGET).log_softmax(-1).gather(2, TARGET[..., None])[..., 0]
    assert_close(unshifted_loss(model, SOURCE, TARGET, 0.0), -log_p[TARGET != 0].mean())
    assert not torch.isclose(
        unshifted_loss(model, SOURCE, TARGET, 0.0), translation_loss(model, SOURCE, TARGET, 0.0), atol=0.1
    )


@pytest.mark.parametrize("name", ["healthy", "no-causal-mask", "rate-peak"])
def test_a_run_measures_what_became_of_it(name: str) -> None:
    found = train(name, 0, steps=2, sentences=2)
    assert len(found["losses"]) == 1
    assert set(found["splits"]) == {"seen", "held_out", "longer"}
    assert 2 < found["nats"] < 8
    assert 0 <= found["alone"] <= 1


def test_one_thing_is_changed() -> None:
    assert CHANGES["healthy"] == break_translator.Change()
    for name, change in CHANGES.items():
        changed = [
            change.model is not CHANGES["healthy"].model,
            change.loss is not CHANGES["healthy"].loss,
            bool(change.recipe),
        ]
        assert sum(changed) == (name != "healthy"), name


def test_what_is_stored_are_whole_runs() -> None:
    stored = json.loads(STORED.read_text("utf-8"))
    assert set(stored) == set(CHANGES)
    for rows in stored.values():
        assert [row["seed"] for row in rows] == list(SEEDS)
        assert all(len(row["losses"]) == STEPS // EVERY for row in rows)
