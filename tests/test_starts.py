"""Weights from anywhere: wrapped by other programs, in a folder of Hugging Face's, and what is refused."""

import argparse
import json
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from detr_mini import build, load
from detr_mini.errors import NotFoundError, WeightsError
from detr_mini.hugging_face import to_hugging_face
from detr_mini.weights import load_backbone, load_to_train
from detr_mini.wrapped_weights import DETECTORS, find_weights

TINY: dict[str, Any] = {"hidden_dim": 32, "dim_feedforward": 24, "enc_layers": 1, "dec_layers": 1, "num_classes": 3}
SAYS_NOTHING = "nothing in it or beside it says nheads"


def make(name: str = "detr_resnet50", **changes: Any) -> Any:
    torch.manual_seed(3)
    return build(name, **TINY | {"backbone": "resnet18", "num_queries": 5} | changes).eval()


def weights(name: str = "detr_resnet50", **changes: Any) -> dict[str, Tensor]:
    return dict(make(name, **changes).state_dict())


def store(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def is_of(model: Any, state: dict[str, Tensor]) -> bool:
    found = model.state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[key], value) for key, value in state.items())


SMALL = {"query_embed.weight": torch.ones(2, 2), "class_embed.bias": torch.zeros(3), "class_embed.weight": torch.eye(3)}
SEGMENTATION = {f"detr.{key}": value for key, value in SMALL.items()} | {"mask_head.lay1.weight": torch.ones(4)}
BEGINNINGS = ["module.", "_orig_mod.", "model.", "net.", "student.", "ema_model.", "detector.", "module.model."]
NAMES = ["model", "state_dict", "ema", "module", "model_ema", "params", "weights", "teacher", "callbacks"]
BESIDE = {"epoch": 3, "best": 0.5, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, "args": None}


@settings(max_examples=200)
@given(
    state=st.sampled_from([SMALL, SEGMENTATION]),
    beginnings=st.lists(st.sampled_from(BEGINNINGS), max_size=4),
    names=st.lists(st.sampled_from(NAMES), max_size=4),
    beside=st.sets(st.sampled_from(sorted(BESIDE))),
)
def test_any_nesting_of_wrappers_gives_the_same_weights(state, beginnings, names, beside):
    wrapped: Any = OrderedDict((f"{''.join(beginnings)}{key}", value) for key, value in state.items())
    if beginnings:
        wrapped["criterion.empty_weight"] = torch.ones(4)
    for name in names:
        wrapped = {name: wrapped, **{key: BESIDE[key] for key in beside}}
    found = find_weights(wrapped, DETECTORS)
    assert found is not None
    assert not found.remark
    assert found.state.keys() == state.keys()
    assert all(found.state[key] is value for key, value in state.items())


def test_a_dict_that_holds_itself_is_read():
    content: dict[str, Any] = {"model": SMALL}
    content["self"] = content
    found = find_weights(content, DETECTORS)
    assert found is not None
    assert found.state == SMALL


@pytest.mark.parametrize("form", ["ema.module", "model_ema", "ema_state_dict", "lightning", "same"])
def test_of_a_model_and_its_average_the_average_is_taken_and_said(tmp_path, capsys, form):
    model = weights()
    average = {key: value + 1 if value.is_floating_point() else value for key, value in model.items()}
    if form == "ema.module":
        content: Any = {"model": model, "ema": {"module": average, "updates": 3}}
    elif form == "lightning":
        content = {
            "state_dict": {f"model.{k}": v for k, v in model.items()} | {f"ema.{k}": average[k] for k in average}
        }
    elif form == "same":
        content, average = {"model": model, "best": {key: value.clone() for key, value in model.items()}}, model
    else:
        content = {"model": model, form: average}
    assert is_of(load(store(tmp_path / "x.pth", content)), average)
    said = capsys.readouterr().err
    assert ("x.pth: there are several sets of weights in it, under" in said) == (form != "same")
    assert ("taken is the average" in said) == (form != "same")
    assert is_of(load_to_train(tmp_path / "x.pth"), average)


def test_two_models_of_which_none_is_the_average_are_refused(tmp_path):
    student, teacher = weights(), weights(num_queries=7)
    content = {"student": student, "teacher": teacher}
    message = r"x\.pth: there are several models in it, under student, teacher.*\['student'\], 'one\.pth'"
    with pytest.raises(WeightsError, match=message):
        load(store(tmp_path / "x.pth", content))
    assert is_of(load(store(tmp_path / "x.pth", {"teacher": teacher})), teacher)


def test_a_resnet_is_found_behind_any_beginning(tmp_path):
    model = make()
    state = {key: value + 1 for key, value in model.backbone[0].body.state_dict().items()}
    wrapped = {f"module.encoder.{key}": value for key, value in state.items()} | {"module.head.weight": torch.ones(1)}
    load_backbone(model, store(tmp_path / "x.pth", {"epoch": 1, "state_dict": wrapped}))
    assert all(torch.equal(value, state[key]) for key, value in model.backbone[0].body.state_dict().items())
    two = {f"module.{name}.{key}": value + (name == "k") for name in "qk" for key, value in state.items()}
    with pytest.raises(WeightsError, match=r"x\.pth: there are several models in it, under module\.q, module\.k"):
        load_backbone(model, store(tmp_path / "x.pth", two))


@pytest.mark.parametrize(
    ("name", "beside", "overrides", "expected", "said"),
    [
        ("x.pth", {}, {}, (8, False), "says nheads or dilation; assumed: nheads=8, dilation=False"),
        ("x.pth", {}, {"dilation": True}, (8, True), "says nheads; assumed: nheads=8."),
        ("x.pth", {}, {"dilation": True, "nheads": 4}, (4, True), ""),
        ("my-dc5.pth", {}, {"nheads": 4}, (4, True), ""),
        ("x.pth", {"args": argparse.Namespace(dilation=True, nheads=4)}, {}, (4, True), ""),
        ("x.pth", {"hyper_parameters": {"dilation": False, "nheads": 4}}, {}, (4, False), ""),
        ("my-dc5.pth", {"args": argparse.Namespace(dilation=False, nheads=4)}, {}, (4, False), ""),
        ("x.pth", {"args": argparse.Namespace(dilation="yes", nheads=None)}, {}, (8, False), "says nheads or dilation"),
        ("x.pth", {"config": {"lr": 1e-4}}, {"nheads": 8}, (8, False), "says dilation"),
    ],
)
def test_what_shapes_do_not_show_is_told_or_said(tmp_path, capsys, name, beside, overrides, expected, said):
    path = store(tmp_path / name, {"model": weights(backbone="resnet50"), **beside})
    config = load(path, **overrides).config
    assert (config.nheads, config.dilation) == expected
    error = capsys.readouterr().err
    assert (said in error) if said else not error
    assert load_to_train(path, **overrides).config == config
    assert ("assumed" in capsys.readouterr().err) == bool(said)


@pytest.mark.parametrize(("ending", "dilation"), [("", False), ("-dc5", True)])
def test_the_name_of_a_published_file_tells(tmp_path, capsys, monkeypatch, ending, dilation):
    monkeypatch.setattr("detr_mini.weight_files.require_named_checksum", lambda path: None)
    path = store(tmp_path / f"detr-r50{ending}-e632da11.pth", {"model": weights(backbone="resnet50", num_classes=91)})
    model = load(path)
    assert model.config.dilation == dilation
    assert model.class_names[17] == "cat"
    assert not capsys.readouterr().err


def test_a_two_stage_model_of_which_nothing_tells_the_queries(tmp_path, capsys):
    sizes = {"two_stage": True, "with_box_refine": True}
    state = weights("deformable_detr_resnet50", **sizes, num_queries=70)
    path = store(tmp_path / "x.pth", {"model": state})
    assert load(path).config.num_queries == 300
    assert "nheads=8, num_queries=300" in capsys.readouterr().err
    store(path, {"model": state, "args": argparse.Namespace(nheads=8, num_queries=70)})
    assert load(path).config.num_queries == 70
    assert not capsys.readouterr().err


def write_folder(folder: Path, state: dict[str, Tensor], config: Any, name: str = "model.safetensors") -> Path:
    """As ``save_pretrained`` writes it."""
    folder.mkdir(exist_ok=True)
    theirs = {key: value.contiguous().clone() for key, value in to_hugging_face(state).items()}
    if name.endswith(".bin"):
        torch.save(theirs, folder / name)
    else:
        save_file(theirs, folder / name)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


CONFIG = {
    "model_type": "detr",
    "id2label": {"0": "N/A", "1": "bolt", "2": "nut"},
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_queries": 5,
}


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("asked", ["folder", "file"])
def test_a_folder_of_hugging_face(tmp_path, capsys, name, asked):
    state = weights(nheads=4)
    folder = write_folder(tmp_path / "theirs", state, CONFIG, name)
    sizes = {"size": {"shortest_edge": 320, "longest_edge": 480}}
    (folder / "preprocessor_config.json").write_text(json.dumps(sizes))
    model = load(folder if asked == "folder" else folder / name)
    assert is_of(model, state)
    assert (model.config.nheads, model.config.image_size, model.config.max_size) == (4, 320, 480)
    assert model.class_names == {1: "bolt", 2: "nut"}
    assert not capsys.readouterr().err
    again = load_to_train(folder, class_names={1: "bolt", 2: "nut"})
    assert again.config == model.config
    assert is_of(again, state)


@pytest.mark.parametrize("where", [{"dilation": True}, {"backbone_config": {"output_stride": 16}}])
def test_a_dilated_model_of_hugging_face(tmp_path, where):
    state = weights(backbone="resnet50", nheads=4)
    assert load(write_folder(tmp_path / "theirs", state, CONFIG | where)).config.dilation
    assert not load(write_folder(tmp_path / "theirs", state, CONFIG)).config.dilation


def test_a_deformable_model_of_hugging_face(tmp_path, capsys):
    state = weights("deformable_detr_resnet50", nheads=4, two_stage=True, with_box_refine=True, num_queries=70)
    config = CONFIG | {"model_type": "deformable_detr", "num_queries": 70}
    model = load(write_folder(tmp_path / "theirs", state, config))
    assert is_of(model, state)
    assert (model.config.nheads, model.config.num_queries, model.config.dec_points) == (4, 70, 4)
    assert not capsys.readouterr().err


def test_classes_without_names_of_their_own_have_none(tmp_path):
    unnamed = CONFIG | {"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}}
    assert load(write_folder(tmp_path / "theirs", weights(), unnamed)).class_names == {}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", r"theirs.config\.json is damaged"),
        (CONFIG | {"model_type": "yolos"}, r"config\.json is that of a model of the kind 'yolos'"),
        (CONFIG | {"decoder_attention_heads": 2}, "different numbers of heads"),
        (CONFIG | {"encoder_attention_heads": 5, "decoder_attention_heads": 5}, "nheads=5"),
    ],
)
def test_a_config_that_cannot_be_is_refused(tmp_path, config, message):
    with pytest.raises(WeightsError, match=message):
        load(write_folder(tmp_path / "theirs", weights(), config))


def test_a_folder_of_a_run_and_one_without_weights(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(NotFoundError, match=r"run is a folder without model\.safetensors"):
        load(tmp_path / "run")
    save_file({key: value.clone() for key, value in weights().items()}, tmp_path / "run" / "model.safetensors")
    assert is_of(load(tmp_path / "run"), weights())


class Whole(nn.Module):
    """A model of somebody."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)


def write_torchscript(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


@pytest.mark.parametrize(
    ("write", "name", "message"),
    [
        (write_torchscript, "x.pt", r"x\.pt is a TorchScript archive.*torch\.jit\.load\('x\.pt'\)\.state_dict\(\)"),
        (lambda path: torch.save(Whole(), path), "x.pth", r"is a whole model.*\(\S*Whole\).*weights_only=False"),
        (lambda path: torch.save({"model": Whole()}, path), "x.pth", "is a whole model"),
        (lambda path: path.write_bytes(b"\x08\x08"), "x.onnx", "a graph in ONNX.*the weights that it was made from"),
        (
            lambda path: torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), path),
            "x.pt2",
            r"an exported program \(torch\.export\).*the weights that it was made from",
        ),
        (lambda path: torch.save({"epoch": 1, "model": {"a": [torch.ones(1)]}}, path), "x.pth", "is not a checkpoint"),
    ],
)
def test_what_is_no_state_dict_is_called_by_its_name(tmp_path, write, name, message):
    write(tmp_path / name)
    for read in (load, load_to_train):
        with pytest.raises(WeightsError, match=message):
            read(tmp_path / name)
