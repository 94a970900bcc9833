"""``tools/fly_kites.py``: it runs the chapter's cells, its ways differ in what they say, what is stored is whole."""

import json

import fly_kites
import pytest
import torch

import detr_mini


@pytest.fixture(scope="module")
def names(undo_setup_at_end):
    cells = fly_kites.chapter(tuple(cell for cell in fly_kites.CELLS if cell != "kite-data"))
    pairs = [cells["fly_kite"](i, "train") for i in range(2)]
    from detr_mini.data import eval_transforms
    from detr_mini.prediction import to_image

    cells["training"] = cells["testing"] = [(eval_transforms(None)(to_image(p)), target) for p, target in pairs]
    return cells


@pytest.mark.parametrize("way", fly_kites.RATES)
def test_a_part_without_a_rate_stays_as_it_is(names, way):
    model = detr_mini.load("nano")
    torch.manual_seed(0)
    model.class_embed = names["extend_head"](model.class_embed, names["KITE"] + 1)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    names["fine_tune"](model, names["training"], 1, *fly_kites.RATES[way])
    moved = {name for name, weight in model.named_parameters() if not weight.equal(before[name])}
    head, rest = fly_kites.RATES[way]
    assert ("class_embed.weight" in moved) == (head > 0)
    assert ("query_embed.weight" in moved) == (rest > 0)
    assert any(name.startswith("backbone.0") for name in moved) == (rest > 0)


def test_a_run_gives_three_counts_and_its_row_depends_on_the_seed(names):
    first, second = (fly_kites.fly(names, "fast", seed, steps=0) for seed in (0, 0))
    assert first == second
    assert len(first) == 3
    assert first[1] > 0, "the other objects are found as before"


def test_what_is_stored_are_whole_runs():
    stored = json.loads(fly_kites.STORED.read_text())
    assert list(stored) == list(fly_kites.RATES)
    for counts in stored.values():
        assert [len(run) for run in counts] == [3] * len(fly_kites.SEEDS)
        assert all(0 <= kites <= 48 for kites, _, _ in counts)
