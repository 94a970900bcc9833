"""Deformable DETR by command: trained, gone on with, measured and used, as a DETR is; its recipes and rates."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from detr_mini import DeformableDETR, DeformableDETRConfig, build, load
from detr_mini.commands.cli import main
from detr_mini.modeling.config import DETRConfig
from detr_mini.training.optimization import make_optimizer
from detr_mini.training.recipe import RECIPES, Recipe, published_recipe

FIELDS = ("hidden_dim=32", "enc_layers=1", "dec_layers=2", "dim_feedforward=24", "num_feature_levels=1")
TINY = [word for field in FIELDS for word in ("--set", f"config.{field}")]


def test_trained_gone_on_with_measured_and_used(town: Path, tmp_path: Path, capsys: Any) -> None:
    """A run of two epochs in one go, and one that stops between them."""
    command = ["train", "--data", str(town), "--config", "deformable_nano", *TINY, "--batch-size", "8"]
    assert main([*command, "--epochs", "2", "--out", str(tmp_path / "whole")]) == 0
    # A run is the same up to where it was stopped: its first checkpoint is kept and gone on with.
    folder = tmp_path / "whole"
    _, first = sorted(folder.glob("checkpoint-*.pth"), reverse=True)
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    (stopped / first.name).write_bytes(first.read_bytes())
    assert main([*command, "--epochs", "2", "--out", str(stopped), "--resume"]) == 0
    weights = "model.safetensors"
    assert (stopped / weights).read_bytes() == (folder / weights).read_bytes()

    run = json.loads((folder / "config.json").read_text())
    assert run["config"]["num_feature_levels"] == 1
    assert run["recipe"]["lr"] == RECIPES["deformable_nano"].lr
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert {"loss_ce", "loss_giou_0", "cardinality_error", "AP"} <= set().union(*log)
    model = load(folder / weights)
    assert isinstance(model, DeformableDETR)
    assert model.class_names

    capsys.readouterr()
    assert main(["evaluate", "--data", str(town), "--weights", str(folder / weights)]) == 0
    assert "AP50" in capsys.readouterr().out
    options = ["--weights", str(folder / weights), "--threshold", "0", "--out", str(tmp_path / "found")]
    image = sorted((town / "val").iterdir())[0]
    assert main(["predict", str(image), *options]) == 0
    (told,) = (tmp_path / "found").glob("*.json")
    assert len(json.loads(told.read_text())["detections"]) == 100


def test_a_field_of_the_other_kind_is_refused(town: Path, tmp_path: Path, capsys: Any) -> None:
    command = ["train", "--data", str(town), "--out", str(tmp_path / "run")]
    assert main([*command, "--config", "deformable_nano", "--set", "config.pre_norm=true"]) == 2
    assert "DeformableDETRConfig has no pre_norm" in capsys.readouterr().err
    assert main([*command, "--set", "config.two_stage=true"]) == 2
    assert "DETRConfig has no two_stage" in capsys.readouterr().err


def test_published_recipes_are_those_of_the_kind_of_model() -> None:
    recipe = published_recipe(DeformableDETRConfig())
    assert (recipe.lr, recipe.lr_backbone, recipe.batch_size) == (2e-4, 2e-5, 32)
    assert (recipe.epochs, recipe.lr_drop, recipe.sampling_lr_factor) == (50, 40, 0.1)
    same = ("weight_decay", "clip_max_norm", "bbox_loss_coef", "giou_loss_coef", "set_cost_bbox", "set_cost_giou")
    assert {asdict(recipe)[name] == asdict(Recipe())[name] for name in same} == {True}
    assert published_recipe(DETRConfig()) == Recipe()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_where_to_look_is_learned_at_a_tenth_of_the_rate(optimizer: str) -> None:
    model = build("deformable_nano", enc_layers=1, dec_layers=1)
    recipe = Recipe(lr=2e-4, lr_backbone=1e-4, sampling_lr_factor=0.1, optimizer=optimizer)
    groups = make_optimizer(model, recipe).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [{names[id(p)] for p in group["params"]} for group in groups]
    assert groups[2]["lr"] == pytest.approx(2e-5)
    assert found[2] == {name for name in names.values() if "reference_points" in name or "sampling_offsets" in name}
    assert len(found[2]) == 6
    assert set().union(*found) == set(names.values())
    assert sum(map(len, found)) == len(names)
    if optimizer == "muon":
        assert "transformer.decoder.layers.0.cross_attn.value_proj.weight" in found[3]
        assert "transformer.level_embed" in found[0]
    assert len(make_optimizer(build("nano"), recipe).param_groups) == (2 if optimizer == "adamw" else 3)
