"""Which parameters are trained by what, and that two optimizers step, save and go on as one."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from detr_mini.errors import ConfigError
from detr_mini.modeling.build import build
from detr_mini.modeling.detr import DETR
from detr_mini.training.optimization import Together, make_optimizer, make_schedule
from detr_mini.training.recipe import RECIPES, Recipe, get_recipe

MUON = Recipe(lr=1e-3, lr_backbone=5e-4, lr_muon=2e-3, weight_decay=0.1, optimizer="muon", warmup_steps=4, lr_drop=None)


@pytest.fixture
def model() -> DETR:
    torch.manual_seed(0)
    return build("nano", hidden_dim=16, nheads=2, enc_layers=1, dec_layers=1, dim_feedforward=32)


def names(model: nn.Module, group: dict[str, list[nn.Parameter]]) -> set[str]:
    of = {parameter: name for name, parameter in model.named_parameters()}
    return {of[parameter] for parameter in group["params"]}


def test_muon_gets_the_matrices_of_encoder_and_decoder_and_nothing_else(model):
    rest, backbone, matrices = (names(model, group) for group in make_optimizer(model, MUON).param_groups)
    assert rest | backbone | matrices == {name for name, _ in model.named_parameters()}
    assert len(rest) + len(backbone) + len(matrices) == len(list(model.parameters()))
    assert "transformer.encoder.layers.0.self_attn.in_proj_weight" in matrices
    assert "transformer.decoder.layers.0.multihead_attn.out_proj.weight" in matrices
    assert {"query_embed.weight", "class_embed.weight", "transformer.encoder.layers.0.linear1.bias"} < rest
    assert all(name.startswith("backbone.0") for name in backbone)


def test_each_part_steps_as_it_would_alone(model):
    """AdamW's first update is the rate times a sign; that of Muon a matrix whose directions are about equally long."""
    optimizer = make_optimizer(model, replace(MUON, weight_decay=0.0))
    before = {name: value.clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    moved = {name: value.detach() - before[name] for name, value in model.named_parameters()}
    torch.testing.assert_close(moved["query_embed.weight"].abs(), torch.full((25, 16), MUON.lr), rtol=1e-3, atol=0)
    conv = moved["backbone.0.body.conv1.weight"]
    torch.testing.assert_close(conv.abs(), torch.full_like(conv, MUON.lr_backbone), rtol=1e-3, atol=0)
    matrix = moved["transformer.encoder.layers.0.linear1.weight"]
    lengths = torch.linalg.svdvals(matrix)
    assert lengths.min() > 0.5 * lengths.max()
    assert matrix.square().mean().sqrt().item() == pytest.approx(0.2 * MUON.lr_muon, rel=0.3)  # as large as AdamW's


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_without_gradients_every_weight_decays_by_its_rate(model, kind):
    optimizer = make_optimizer(model, replace(MUON, optimizer=kind, lr=0.1, lr_backbone=0.2, lr_muon=0.3))
    before = {parameter: parameter.detach().clone() for parameter in model.parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for group, lr in zip(optimizer.param_groups, (0.1, 0.2, 0.3), strict=False):
        for parameter in group["params"]:
            torch.testing.assert_close(parameter.detach(), before[parameter] * (1 - lr * MUON.weight_decay))


def train(model: DETR, optimizer: torch.optim.Optimizer, done: int, steps: int) -> None:
    schedule = make_schedule(optimizer, MUON, 10, done)
    for step in range(done, done + steps):
        torch.manual_seed(step)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        schedule.step()


def test_a_run_goes_on_to_the_same_weights(model):
    straight, first = make_optimizer(model, MUON), build(model.config)
    first.load_state_dict(model.state_dict())
    train(model, straight, 0, 6)
    stopped = make_optimizer(first, MUON)
    train(first, stopped, 0, 3)
    second = build(model.config)
    second.load_state_dict(first.state_dict())
    resumed = make_optimizer(second, MUON)
    resumed.load_state_dict(stopped.state_dict())
    train(second, resumed, 3, 3)
    for name, value in model.state_dict().items():
        assert value.equal(second.state_dict()[name]), name
    assert [group["lr"] for group in resumed.param_groups] == [group["lr"] for group in straight.param_groups]


def test_a_schedule_reaches_both_parts(model):
    optimizer = make_optimizer(model, MUON)
    make_schedule(optimizer, MUON, 10, 0)
    assert isinstance(optimizer, Together)
    rates = [group["lr"] for part in optimizer.parts for group in part.param_groups]
    assert rates == pytest.approx([rate / 4 for rate in (MUON.lr, MUON.lr_backbone, MUON.lr_muon)])


def test_recipes_by_name():
    assert get_recipe("quick") == RECIPES["quick"]
    assert RECIPES["quick"].optimizer == "muon"
    with pytest.raises(ConfigError, match="'quik'; there are nano, mini, quick"):
        get_recipe("quik")
    with pytest.raises(ConfigError, match="optimizer='sgd' is not known; use adamw or muon"):
        Recipe(optimizer="sgd")


def test_one_rate_scales_all():
    scaled = MUON.with_lr(2e-3)
    assert (scaled.lr, scaled.lr_backbone, scaled.lr_muon) == (2e-3, 1e-3, 4e-3)
