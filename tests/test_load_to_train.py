"""Training from weights: whole models with other classes or queries, and ResNets with torchvision's names."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from test_prepare import write_folder
from torch import Tensor

from detr_mini import DETR, build, load, save
from detr_mini.commands.cli import main
from detr_mini.errors import ConfigError, NotFoundError, WeightsError
from detr_mini.hugging_face import to_hugging_face
from detr_mini.training.recipe import Recipe
from detr_mini.training.train import train
from detr_mini.weights import load_backbone, load_to_train

TINY: dict[str, Any] = {"hidden_dim": 16, "dim_feedforward": 24, "nheads": 2, "enc_layers": 1, "dec_layers": 1}
PUBLISHED = TINY | {"nheads": 8, "backbone": "resnet18", "num_queries": 5}
HEAD = {"class_embed.weight", "class_embed.bias"}


def write_weights(path: Path, names: dict[int, str] | None = None, **changes: Any) -> DETR:
    """Weights of a small model, which knows classes by ``names``."""
    torch.manual_seed(5)
    model = build("nano", **TINY | {"num_classes": 4, "num_queries": 6} | changes)
    model.class_names = names or {}
    save(model, path, dtype=None)
    return model


def changed(a: DETR, b: DETR) -> set[str]:
    theirs = b.state_dict()
    return {k for k, v in a.state_dict().items() if k not in theirs or not v.equal(theirs[k])}


@pytest.mark.parametrize(
    ("known", "classes", "number", "expected", "said"),
    [
        ({1: "dog", 3: "cat"}, {1: "dog", 3: "cat"}, None, 4, ""),
        ({1: "dog", 3: "cat"}, {3: "cat"}, None, 4, ""),  # of the classes that the weights know, some
        ({1: "dog", 3: "cat"}, None, None, 4, ""),
        (None, {1: "dog", 3: "cat"}, None, 4, ""),  # nothing says that they are others
        (
            {1: "dog", 3: "cat"},
            {1: "disc"},
            None,
            2,
            "num_classes=2, starts from random numbers: .* know the data's disc",
        ),
        ({1: "dog", 3: "cat"}, {1: "dog", 3: "disc"}, None, 4, "num_classes=4, starts .* know the data's disc"),
        (None, {1: "disc", 7: "square"}, None, 8, "num_classes=8, starts .*: the weights have 4"),
        ({1: "dog", 3: "cat"}, {1: "dog"}, 9, 9, "num_classes=9, starts .*: the weights have 4"),
    ],
)
def test_the_class_head_starts_anew_where_classes_differ(tmp_path, capsys, known, classes, number, expected, said):
    before = write_weights(tmp_path / "x.safetensors", known)
    model = load_to_train(tmp_path / "x.safetensors", class_names=classes, num_classes=number)
    assert model.config.num_classes == expected
    assert model.class_embed.out_features == expected + 1
    assert model.class_names == (classes or known or {})
    err = capsys.readouterr().err
    if said:
        assert changed(model, before) == HEAD
        shared = [n for n, name in (classes or {}).items() if (known or {}).get(n) == name]
        for row in [*shared, -1] if shared else []:  # also "no object"
            assert model.class_embed.weight[row].equal(before.class_embed.weight[row])
            assert model.class_embed.bias[row].equal(before.class_embed.bias[row])
        others = set(range(min(expected, 4))) - set(shared)
        assert not any(model.class_embed.weight[row].equal(before.class_embed.weight[row]) for row in others)
        assert ("kept are the rows of" in err) == bool(shared)
        assert err.count("\n") == 1
        assert re.search(said, err), err
    else:
        assert changed(model, before) == set()
        assert not err


@pytest.mark.parametrize("changes", [{"hidden_dim": 32}, {"dec_layers": 2}])
def test_other_sizes_are_refused_in_words_where_some_classes_are_shared(tmp_path, changes):
    write_weights(tmp_path / "x.safetensors", {1: "dog", 3: "cat"})
    with pytest.raises(WeightsError, match="config: "):
        load_to_train(tmp_path / "x.safetensors", class_names={1: "dog", 2: "disc"}, **changes)
    sparse = build("deformable_nano", dec_layers=1, num_classes=4, with_box_refine=True)
    sparse.class_names = {1: "dog", 3: "cat"}
    save(sparse, tmp_path / "y.safetensors")
    with pytest.raises(WeightsError, match="config: "):
        load_to_train(tmp_path / "y.safetensors", class_names={1: "dog", 2: "disc"}, **changes)


def test_another_number_of_queries(tmp_path, capsys):
    before = write_weights(tmp_path / "x.safetensors")
    model = load_to_train(tmp_path / "x.safetensors", num_queries=9)
    assert changed(model, before) == {"query_embed.weight"}
    assert model.query_embed.weight[:6].equal(before.query_embed.weight)
    said = "of the 9 queries 6 are those of the weights, which have 6, 3 start from random numbers"
    assert said in capsys.readouterr().err
    fewer = load_to_train(tmp_path / "x.safetensors", num_queries=4)
    assert fewer.query_embed.weight.equal(before.query_embed.weight[:4])
    assert "of the 4 queries 4 are those of the weights, which have 6\n" in capsys.readouterr().err
    with pytest.raises(WeightsError, match=r"x\.safetensors: the weights do not fit the config: missing"):
        load_to_train(tmp_path / "x.safetensors", dec_layers=2)


@pytest.mark.parametrize("form", ["published", "wrapped", "lightning", "hugging face"])
def test_a_published_file_with_91_classes(tmp_path, capsys, form):
    torch.manual_seed(0)
    before = build("detr_resnet50", **PUBLISHED)
    with torch.no_grad():
        before.backbone[0].get_buffer("body.bn1.running_var").fill_(2.0)
    state: dict[str, Tensor] = dict(before.state_dict())
    path = tmp_path / "detr.pth"
    if form == "published":
        torch.save({"model": state, "epoch": 3}, path)
    elif form == "wrapped":
        torch.save({"model": {f"module.{key}": value for key, value in state.items()}}, path)
    elif form == "lightning":
        own = {"criterion.empty_weight": torch.ones(92)}
        torch.save({"state_dict": {f"model.{key}": value for key, value in state.items()} | own}, path)
    else:
        path = tmp_path / "detr.safetensors"
        save_file({key: value.contiguous() for key, value in to_hugging_face(state).items()}, path)
    assert load(path).class_names[17] == "cat"
    assert len(load(path).class_names) == 80
    model = load_to_train(path, class_names={1: "disc", 2: "square", 3: "star"})
    assert model.config.num_classes == 4
    assert changed(model, before) == HEAD
    assert "do not know the data's disc, square, star" in capsys.readouterr().err


def test_all_of_a_published_resnet_can_be_trained_on(tmp_path):
    before = build("detr_resnet50", **PUBLISHED)
    torch.save({"model": before.state_dict()}, tmp_path / "x.pth")
    for model in (
        load(tmp_path / "x.pth", freeze_resnet=False),
        load_to_train(tmp_path / "x.pth", freeze_resnet=False),
    ):
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert all(name.endswith("num_batches_tracked") for name in changed(model, before))


def test_dilation_is_in_the_name_of_a_published_file(tmp_path):
    model = build("detr_resnet50_dc5", **PUBLISHED | {"backbone": "resnet50"})
    for name in ("detr-r50-dc5.pth", "detr-r50.pth"):
        torch.save({"model": model.state_dict()}, tmp_path / name)
    assert load(tmp_path / "detr-r50-dc5.pth").config.dilation
    assert not load(tmp_path / "detr-r50.pth").config.dilation
    assert not load(tmp_path / "detr-r50-dc5.pth", dilation=False).config.dilation


def write_resnet(path: Path, name: str = "resnet18") -> dict[str, Tensor]:
    """A ResNet as torchvision has it, with statistics that are not those of a new one."""
    torch.manual_seed(1)
    resnet = torchvision.models.get_model(name, weights=None)
    resnet.bn1.running_mean.fill_(0.5)
    state = resnet.state_dict()
    if path.suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    return state


@pytest.mark.parametrize("file", ["resnet.pth", "resnet.safetensors"])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_resnet_with_the_names_of_torchvision(tmp_path, file, frozen):
    state = write_resnet(tmp_path / file)
    model = build("detr_resnet50", **PUBLISHED, freeze_resnet=frozen)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    load_backbone(model, tmp_path / file)
    for key, value in model.state_dict().items():
        name = key.removeprefix("backbone.0.body.")
        assert value.equal(state[name] if name in state and name != key else before[key]), key


def test_files_that_are_no_such_resnet(tmp_path):
    model = build("detr_resnet50", **PUBLISHED)
    write_resnet(tmp_path / "resnet34.pth", "resnet34")
    with pytest.raises(WeightsError, match=r"resnet34\.pth is no resnet18.*it has also layer1\.2"):
        load_backbone(model, tmp_path / "resnet34.pth")
    torch.save({"model": model.state_dict()}, tmp_path / "detr.pth")
    with pytest.raises(WeightsError, match=r"detr\.pth: it has .* a whole DETR.*; see load_to_train"):
        load_backbone(model, tmp_path / "detr.pth")
    with pytest.raises(NotFoundError, match=r"no file .*nothing\.pth"):
        load_backbone(model, tmp_path / "nothing.pth")
    with pytest.raises(ConfigError, match="backbone='small' takes no weights"):
        load_backbone(build("nano"), "imagenet")


def test_imagenet_without_a_network(monkeypatch, tmp_path):
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(
        NotFoundError, match=r"no route to host\): download https://\S+resnet18\S+\.pth where there is a"
    ):
        load_backbone(build("detr_resnet50", **PUBLISHED), "imagenet")
    state = write_resnet(tmp_path / "x.pth")
    asked: dict[str, Any] = {}

    def online(url: str, **options: object) -> dict[str, Tensor]:
        asked.update(options, url=url)
        return state

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", online)
    model = build("detr_resnet50", **PUBLISHED)
    load_backbone(model, "imagenet")
    assert model.backbone[0].get_buffer("body.bn1.running_mean").eq(0.5).all()
    assert asked["weights_only"] is True


def test_a_frozen_resnet_of_random_numbers_is_not_trained(tmp_path):
    data, out = write_folder(tmp_path / "data", (64, 48)), tmp_path / "run"
    recipe = Recipe(epochs=1, batch_size=3, sizes=(64,))
    sizes = PUBLISHED | {"image_size": 64, "max_size": 96, "num_classes": 4}
    model = build("detr_resnet50", **sizes)
    for start in (model, model.config):
        with pytest.raises(ConfigError, match=r"random weights.*load_to_train.*load_backbone.*freeze_resnet=False"):
            train(start, recipe, data, out, progress=False)
    assert not out.exists()
    write_resnet(tmp_path / "resnet.pth")
    load_backbone(model, tmp_path / "resnet.pth")
    train(model, recipe, data, out, progress=False)
    train(build("detr_resnet50", **sizes, freeze_resnet=False), recipe, data, tmp_path / "scratch", progress=False)


SMALL = ["--epochs", "1", "--batch-size", "3", "--device", "cpu"]


def command(data: Path, out: Path, *options: str) -> int:
    return main(["train", "--data", str(data), "--out", str(out), *SMALL, *options])


def test_fine_tuning_by_command(tmp_path, capsys):
    data = write_folder(tmp_path / "data", (320, 240))
    assert command(data, tmp_path / "run", "--weights", "mini") == 0
    said = capsys.readouterr().err
    assert "mini: the class head, for num_classes=4, starts from random numbers: the weights do not know the" in said
    assert "shrunk to a long side of 136" in said
    tuned, mini = load(tmp_path / "run" / "model.safetensors"), load("mini")
    assert tuned.class_names == {3: "disc"}
    assert (tuned.query_embed.weight - mini.query_embed.weight).abs().max() < 0.01
    run = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (run["weights"], run["recipe"]["sizes"], run["config"]["num_classes"]) == ("mini", None, 4)
    again = str(tmp_path / "run" / "model.safetensors")
    assert command(data, tmp_path / "again", "--weights", again, "--set", "config.num_queries=7") == 0
    said = capsys.readouterr().err
    assert "of the 7 queries 7 are those of the weights, which have 25" in said
    assert "class head" not in said


def test_a_published_model_by_command(tmp_path, capsys):
    data = write_folder(tmp_path / "data", (64, 48))
    small = ["--set", "config.image_size=64", "--set", "config.max_size=96", "--set", "recipe.sizes=48,64"]
    sizes = [f"config.{key}={value}" for key, value in PUBLISHED.items()]
    fields = [part for field in sizes for part in ("--set", field)]
    resnet = ["--config", "detr_resnet50", *small, *fields]
    assert command(data, tmp_path / "no", *resnet) == 2
    assert "--weights NAME|FILE, --backbone-weights FILE|imagenet" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    write_resnet(tmp_path / "resnet.pth")
    assert command(data, tmp_path / "run", *resnet, "--backbone-weights", str(tmp_path / "resnet.pth")) == 0
    assert load(tmp_path / "run" / "model.safetensors").config.num_classes == 4
    with torch.no_grad():
        published = build("detr_resnet50", **PUBLISHED)
        published.backbone[0].get_buffer("body.bn1.running_var").fill_(2.0)
    torch.save({"model": published.state_dict()}, tmp_path / "detr.pth")
    assert command(data, tmp_path / "tuned", *small, "--weights", str(tmp_path / "detr.pth")) == 0
    assert load(tmp_path / "tuned" / "model.safetensors").config.num_classes == 4
    assert "for num_classes=4" in capsys.readouterr().err
    assert command(data, tmp_path / "both", "--weights", "nano", "--config", "nano") == 2
    assert "--set config.FIELD=VALUE" in capsys.readouterr().err
