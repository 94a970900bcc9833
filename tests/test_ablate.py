"""``tools/ablate.py``: each variant is changed in what it names and in nothing else, and its run is stored."""

import json
import sys
from dataclasses import replace

import ablate
import pytest
import torch

from detr_mini.data import CocoDetection, collate, train_transforms
from detr_mini.modeling.config import get_config
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.training.trainer import Trainer


def transformed(name: str, shuffle: bool = False) -> torch.Tensor:
    """What the decoder of a variant makes of random features, or of the same features in another order."""
    model = ablate.build_variant(name, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    features, pos = torch.randn(2, 1, 96, 3, 4, generator=generator)
    order = torch.randperm(12, generator=generator) if shuffle else torch.arange(12)
    features = features.flatten(2)[..., order].view_as(features)
    with torch.no_grad():
        hs, _ = model.transformer(features, None, model.query_embed.weight, pos)
    return hs


def test_without_positions_the_order_of_the_cells_does_not_matter():
    torch.testing.assert_close(transformed("positions-none"), transformed("positions-none", shuffle=True))
    for other in ("base", "positions-at-input"):
        assert not torch.allclose(transformed(other), transformed(other, shuffle=True), atol=1e-2), other


def test_positions_at_input_are_added_once():
    model = ablate.build_variant("positions-at-input", seed=0).eval()
    features, pos = torch.randn(2, 1, 96, 3, 4)
    with torch.no_grad():
        hs, memory = model.transformer(features, None, model.query_embed.weight, pos)
        here = (features + pos).flatten(2).transpose(1, 2)
        expected = model.transformer.encoder(here, torch.zeros_like(here))
        queries = model.query_embed.weight[None]
        none = torch.zeros_like(queries)
        decoder = ablate.build_variant("base", seed=0).eval().transformer.decoder
        found = decoder(queries, none, expected, torch.zeros_like(expected))
    torch.testing.assert_close(memory, expected)
    torch.testing.assert_close(hs, found)


def test_positions_can_be_the_decoders_alone():
    model = ablate.build_variant("positions-not-in-encoder", seed=0).eval()
    base = ablate.build_variant("base", seed=0).eval().transformer
    features, pos = torch.randn(2, 1, 96, 3, 4)
    with torch.no_grad():
        hs, memory = model.transformer(features, None, model.query_embed.weight, pos)
        cells, places = features.flatten(2).transpose(1, 2), pos.flatten(2).transpose(1, 2)
        expected = base.encoder(cells, torch.zeros_like(cells))
        queries = model.query_embed.weight[None]
        found = base.decoder(torch.zeros_like(queries), queries, expected, places)
    torch.testing.assert_close(memory, expected)
    torch.testing.assert_close(hs, found)


def test_without_self_attention_no_slot_depends_on_another():
    def slot_3(name: str, elsewhere: float) -> torch.Tensor:
        model = ablate.build_variant(name, seed=0).eval()
        queries = model.query_embed.weight.detach().clone()
        queries[7] += elsewhere
        with torch.no_grad():
            hs, _ = model.transformer(torch.ones(1, 96, 3, 4), None, queries, torch.ones(1, 96, 3, 4))
        return hs[-1, 0, 3]

    name = "no-decoder-self-attention"
    torch.testing.assert_close(slot_3(name, 0.0), slot_3(name, 5.0), rtol=0, atol=0)
    assert not torch.allclose(slot_3("base", 0.0), slot_3("base", 5.0))


@pytest.mark.parametrize("name", ["base", "frozen-queries"])
def test_frozen_queries_stay(name, town, tmp_path):
    model = ablate.build_variant(name, seed=0)
    before = model.query_embed.weight.detach().clone()
    data = CocoDetection(town, "train", train_transforms(None))
    Trainer(model, ablate.BASE, tmp_path, len(data)).step(*collate([data[0], data[1]]))
    assert model.query_embed.weight.equal(before) == (name == "frozen-queries")


@pytest.mark.parametrize("name", [n for n, v in ablate.VARIANTS.items() if v.config])
def test_a_config_is_nano_but_for_what_is_named(name):
    variant = ablate.VARIANTS[name]
    config = ablate.build_variant(name, seed=0).config
    assert config != get_config("nano")
    assert replace(config, **{field: getattr(get_config("nano"), field) for field in variant.config}) == get_config(
        "nano"
    )


def test_a_loss_that_is_left_out_has_no_gradient(town, tmp_path):
    data = CocoDetection(town, "train", train_transforms(None))
    samples, targets = collate([data[0], data[1]])
    totals = {}
    for name in ("base", "loss-without-l1", "loss-without-giou"):
        recipe = replace(ablate.BASE, **ablate.VARIANTS[name].recipe)
        run = Trainer(ablate.build_variant(name, seed=0), recipe, tmp_path / name, len(data))
        losses = run.criterion(run.model.eval()(NestedTensor(samples.tensors, samples.mask)), targets)
        totals[name] = run.criterion.total(losses)
        left_out = {"loss-without-l1": ("loss_bbox", 5.0), "loss-without-giou": ("loss_giou", 2.0)}
        if name != "base":
            term, weight = left_out[name]
            missing = weight * sum(v for k, v in losses.items() if k.startswith(term))
            torch.testing.assert_close(totals[name], totals["base"] - missing)


@pytest.mark.parametrize(("name", "term"), [("without-giou", "giou"), ("without-l1", "bbox")])
def test_a_term_that_is_left_out_of_the_cost_too_does_not_choose(name, term, tmp_path):
    recipe = replace(ablate.BASE, **ablate.VARIANTS[name].recipe)
    criterion = Trainer(ablate.build_variant(name, seed=0), recipe, tmp_path, 8).criterion
    assert criterion.weight_dict[f"loss_{term}"] == getattr(criterion.matcher, f"cost_{term}") == 0
    other = {"giou": "bbox", "bbox": "giou"}[term]
    assert criterion.weight_dict[f"loss_{other}"] > 0 < getattr(criterion.matcher, f"cost_{other}")


def test_a_finished_run_is_stored_and_not_run_again(town, tmp_path, monkeypatch, capsys):
    stored = tmp_path / "stored"
    monkeypatch.setattr(ablate, "STORED", stored)
    line = ablate.run("decoder-1", 3, town, tmp_path / "runs", stored)
    assert line.startswith("decoder-1 seed 3: AP ")
    kept = json.loads((stored / "decoder-1-3.json").read_text())
    assert kept["config"] == {"dec_layers": 1}
    assert kept["images"] == 64
    assert len(kept["layers"]) == len(kept["layers_nms"]) == 1
    assert not list((tmp_path / "runs").iterdir()), "what resuming needed is gone"
    monkeypatch.setattr(sys, "argv", ["ablate.py", "--only", "decoder-1", "--seeds", "3", "--data", "nowhere"])
    ablate.main()
    assert capsys.readouterr().out == ""


def test_the_grid_is_stored_whole_and_nothing_else():
    stored = {path.stem: json.loads(path.read_text()) for path in ablate.STORED.glob("*.json")}
    assert stored.keys() == {f"{name}-{seed}" for name in ablate.VARIANTS for seed in ablate.seeds(name)}
    for stem, kept in stored.items():
        variant = ablate.VARIANTS[kept["variant"]]
        assert stem == f"{kept['variant']}-{kept['seed']}"
        assert (kept["config"], kept["recipe"]) == (variant.config, variant.recipe)
        assert kept["images"] == 24_000
