"""Weights on disk: there and back, files of others, and what is refused."""

import argparse
import dataclasses
import datetime
import functools
import json
import os
import pathlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

import detr_mini.weights
from detr_mini import CONFIGS, DETR, DETRConfig, build, load, save
from detr_mini.modeling.seq2seq import Seq2SeqTransformer
from detr_mini.weight_config import infer_config
from detr_mini.weight_files import Inert, read_pickle

TINY: dict[str, Any] = {"hidden_dim": 16, "dim_feedforward": 24, "num_queries": 5, "num_classes": 3, "nheads": 4}


@pytest.fixture
def model() -> DETR:
    torch.manual_seed(0)
    model = build("nano", **TINY).eval()
    model.class_names = {1: "dog", 2: "été"}
    return model


def published_like(**changes: Any) -> DETR:
    """A model with a ResNet and the published options, as small as it gets."""
    torch.manual_seed(0)
    return DETR(DETRConfig(**({"backbone": "resnet18", **TINY, "nheads": 8} | changes))).eval()


def same(a: DETR, b: DETR) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_there_and_back_with_every_bit(model: DETR, tmp_path: Path) -> None:
    save(model, tmp_path / "x.safetensors", dtype=None)
    again = load(tmp_path / "x.safetensors")
    assert same(again, model)
    assert again.config == model.config
    assert again.class_names == {1: "dog", 2: "été"}
    assert not again.training
    picture = [torch.randn(3, 20, 30)]
    assert torch.equal(again(picture)["pred_boxes"], model(picture)["pred_boxes"])


def test_half_precision_on_disk_full_in_memory(model: DETR, tmp_path: Path) -> None:
    save(model, tmp_path / "x.safetensors")
    again = load(str(tmp_path / "x.safetensors"))
    for key, value in model.state_dict().items():
        wanted = value.half().float() if value.is_floating_point() else value
        assert torch.equal(again.state_dict()[key], wanted), key
    with safetensors.safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.get_tensor("query_embed.weight").dtype == torch.float16
        assert file.get_tensor("backbone.0.body.bn1.num_batches_tracked").dtype == torch.int64
        assert json.loads(file.metadata()["config"])["hidden_dim"] == 16


def test_what_half_precision_cannot_hold_stays_whole(model: DETR, tmp_path: Path) -> None:
    with torch.no_grad():
        model.query_embed.weight[0, 0] = 1e6
    save(model, tmp_path / "x.safetensors")
    assert load(tmp_path / "x.safetensors").query_embed.weight[0, 0] == 1e6


def test_any_memory_layout_can_be_saved(model: DETR, tmp_path: Path) -> None:
    save(model.to(memory_format=torch.channels_last), tmp_path / "x.safetensors", dtype=None)  # type: ignore[call-overload]
    assert same(load(tmp_path / "x.safetensors"), model)


def test_a_loaded_model_trains(model: DETR, tmp_path: Path) -> None:
    save(model, tmp_path / "x.safetensors")
    again = load(tmp_path / "x.safetensors").train()
    assert all(p.requires_grad and p.is_leaf and not p.is_meta for p in again.parameters())
    again([torch.randn(3, 20, 30)])["pred_logits"].sum().backward()
    assert again.query_embed.weight.grad is not None


def test_loading_uses_no_random_numbers(model: DETR, tmp_path: Path) -> None:
    save(model, tmp_path / "x.safetensors")
    before = torch.get_rng_state()
    load(tmp_path / "x.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_old_file_survives_a_failure(model: DETR, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    save(model, path)
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        save(build("nano", **TINY), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_file_is_complete_before_it_takes_the_place(
    model: DETR, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, replace, seen = tmp_path / "x.safetensors", os.replace, []

    def watch(source: Path, target: Path) -> None:
        seen.append((Path(source).parent, Path(target), Path(source).stat().st_size))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    save(model, path)
    assert seen == [(tmp_path, path, path.stat().st_size)]


def test_shipped_models_by_name(model: DETR, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detr_mini.weights, "CHECKPOINTS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no file nano and no shipped model.*\(shipped: none\)"):
        load("nano")
    save(model, tmp_path / "nano.safetensors", dtype=None)
    assert same(load("nano"), model)
    with pytest.raises(FileNotFoundError, match=r"nanoo.*\(shipped: nano\)"):
        load("nanoo")


def test_every_shipped_model_loads() -> None:
    names = {file.stem for file in detr_mini.weights.CHECKPOINTS.glob("*.safetensors")}
    assert names == {"nano", "mini", "mini_panoptic", "deformable_nano", "translator"}
    for name in names - {"translator"}:
        assert load(name).config == dataclasses.replace(CONFIGS[name])
    assert isinstance(load("translator"), Seq2SeqTransformer)


def test_the_published_form(tmp_path: Path) -> None:
    model = published_like()
    options = argparse.Namespace(lr=1e-4, backbone="resnet18", lr_drop=[200], nested=argparse.Namespace(a=None))
    torch.save({"model": model.state_dict(), "args": options, "epoch": 299}, tmp_path / "detr.pth")
    again = load(tmp_path / "detr.pth")
    assert same(again, model)
    assert not again.training
    assert again.config == model.config


def test_a_bare_state_dict_and_the_old_pickle_form(tmp_path: Path) -> None:
    model = published_like()
    torch.save(model.state_dict(), tmp_path / "bare.pth", _use_new_zipfile_serialization=False)
    assert same(load(tmp_path / "bare.pth"), model)


def test_a_checkpoint_of_training(model: DETR, tmp_path: Path) -> None:
    state = {
        "model": model.state_dict(),
        "config": dataclasses.asdict(model.config),
        "class_names": model.class_names,
        "optimizer": {"state": {}},
        "epoch": 3,
    }
    torch.save(state, tmp_path / "checkpoint.pth")
    again = load(tmp_path / "checkpoint.pth")
    assert same(again, model)
    assert again.config == model.config
    assert again.class_names == model.class_names


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"backbone": "resnet34", "pre_norm": True},
        {"backbone": "resnet50", "position_embedding": "learned"},
        {"backbone": "resnet101", "enc_layers": 0},
        {
            "enc_layers": 1,
            "dec_layers": 4,
            "dim_feedforward": 40,
            "num_queries": 11,
            "num_classes": 7,
            "hidden_dim": 32,
        },
        {"backbone": "resnet50", "hidden_dim": 256, "dim_feedforward": 2048, "num_queries": 100, "num_classes": 91},
    ],
)
def test_the_config_is_read_off_the_weights(changes: dict[str, Any], tmp_path: Path) -> None:
    with torch.device("meta"):
        model = published_like(**changes)
    assert infer_config(model.state_dict()) == model.config


def test_the_small_body_is_read_off_too(model: DETR) -> None:
    inferred = infer_config(model.state_dict())
    assert inferred == model.config


def test_overrides_tell_what_shapes_cannot(tmp_path: Path) -> None:
    model = published_like(backbone="resnet50", dilation=True, nheads=2)
    torch.save({"model": model.state_dict()}, tmp_path / "dilated.pth")
    again = load(tmp_path / "dilated.pth", dilation=True, nheads=2)
    assert again.config == model.config
    picture = [torch.randn(3, 32, 48)]
    with torch.no_grad():
        assert torch.equal(again(picture)["pred_boxes"], model(picture)["pred_boxes"])
        assert not torch.equal(
            load(tmp_path / "dilated.pth", nheads=2)(picture)["pred_boxes"], model(picture)["pred_boxes"]
        )


def test_overrides_win_over_the_stored_config(model: DETR, tmp_path: Path) -> None:
    save(model, tmp_path / "x.safetensors")
    assert load(tmp_path / "x.safetensors", aux_loss=False, max_size=64).config == dataclasses.replace(
        model.config, aux_loss=False, max_size=64
    )
    with pytest.raises(ValueError, match=r"x\.safetensors: DETRConfig has no classes"):
        load(tmp_path / "x.safetensors", classes=3)


class RunsCode:
    """A pickle that leaves a file behind when it is read carelessly."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return pathlib.Path.touch, (self.trace,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused(zipped: bool, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pth"
    content = {"model": published_like().state_dict(), "args": RunsCode(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"evil\.pth wants to run \S+ while it is read, and nothing .*\.safetensors"):
        load(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # it would have


def test_values_beside_the_weights_are_let_through_and_made_nothing_of(tmp_path: Path) -> None:
    """What training programs store: options, scores of NumPy, paths."""
    model = published_like()
    values = {"args": argparse.Namespace(path=pathlib.PurePosixPath("a")), "best": np.float64(0.4), "at": Path("runs")}
    history = [np.arange(3), np.int64(7), np.bool_(True), np.zeros((2, 2), np.float32)]
    for zipped in (True, False):
        torch.save(
            {"model": model.state_dict(), "history": history, **values},
            tmp_path / "x.pth",
            _use_new_zipfile_serialization=zipped,
        )
        assert same(load(tmp_path / "x.pth"), model)
    assert all(isinstance(one, Inert) for one in read_pickle(tmp_path / "x.pth")["history"])
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
    assert not [one for one in torch.serialization.get_safe_globals() if isinstance(one, tuple)]


@pytest.mark.parametrize("value", [uuid.UUID(int=3), datetime.date(2020, 1, 1), functools.partial(print, "a")])
def test_no_other_values_are_let_through(value: Any, tmp_path: Path) -> None:
    torch.save({"model": published_like().state_dict(), "args": value}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth wants to run (uuid\.UUID|datetime\.date|functools\.partial)"):
        load(tmp_path / "x.pth")


def write_pth(model: DETR, path: Path) -> None:
    torch.save({"model": model.state_dict()}, path)


@pytest.mark.parametrize(("name", "write"), [("x.safetensors", save), ("x.pth", write_pth)])
@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.999])
def test_a_truncated_file(name: str, write: Callable[[DETR, Path], None], share: float, tmp_path: Path) -> None:
    path = tmp_path / name
    write(build("nano", **TINY), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"{path.stem}\{path.suffix} is damaged.*copy or download it again"):
        load(path)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
@pytest.mark.parametrize(
    "content", [b"<!doctype html><title>404</title>", b"hello " * 50, b"\x80\x02garbage", b"\xff" * 99]
)
def test_what_is_no_checkpoint_at_all(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}.*copy or download it again"):
        load(tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {}}, {"epoch": 3}, {"model": {"a": 1}}])
def test_a_file_without_weights(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth is not a checkpoint"):
        load(tmp_path / "x.pth")


def test_weights_of_another_model(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.ones(1), "a.bias": torch.ones(1)}, tmp_path / "x.pth")
    with pytest.raises(
        ValueError, match=r"x\.pth: not a checkpoint of DETR.*'query_embed.weight'.*a\.bias, fc\.weight"
    ):
        load(tmp_path / "x.pth")
    save_file({"model.encoder.layers.0.what": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x\.safetensors: .*not a checkpoint of DETR"):
        load(tmp_path / "x.safetensors")


def drop(state: dict[str, Tensor]) -> None:
    for n in range(4):
        del state[f"backbone.0.body.layer{n // 2 + 1}.{n % 2}.bn1.bias"]


def add(state: dict[str, Tensor]) -> None:
    state["depth_head.lay1.weight"] = torch.ones(1)


def reshape(state: dict[str, Tensor]) -> None:
    state["input_proj.weight"] = torch.ones(16, 512, 3, 3)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop, r"missing backbone.0.body.layer1.0.bn1.bias, .*layer1.1.bn1.bias, .*layer2.0.bn1.bias and 1 more"),
        (add, r"unknown depth_head\.lay1\.weight"),
        (reshape, r"input_proj\.weight is \(16, 512, 3, 3\), the model has \(16, 512, 1, 1\)"),
    ],
)
def test_names_and_shapes_that_do_not_fit(
    spoil: Callable[[dict[str, Tensor]], None], message: str, tmp_path: Path
) -> None:
    state = dict(published_like().state_dict())
    spoil(state)
    torch.save({"model": state}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=rf"x\.pth: the weights do not fit.*{message}"):
        load(tmp_path / "x.pth")


def test_counters_of_unfrozen_norms_are_ignored(tmp_path: Path) -> None:
    model = published_like()
    state = {**model.state_dict(), "backbone.0.body.bn1.num_batches_tracked": torch.tensor(7)}
    torch.save(state, tmp_path / "x.pth")
    assert same(load(tmp_path / "x.pth"), model)


def test_metadata_that_makes_no_sense(model: DETR, tmp_path: Path) -> None:
    state, path = model.state_dict(), tmp_path / "x.safetensors"
    for config, message in (("{", "no JSON"), ('{"layers": 3}', "layers"), ("[1]", ""), ('{"nheads": 0}', "nheads")):
        save_file(state, path, {"config": config})
        with pytest.raises(ValueError, match=rf"x\.safetensors.*{message}"):
            load(path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*missing\.pth"):
        load(tmp_path / "missing.pth")
    with pytest.raises(FileNotFoundError, match=r"is a folder without model\.safetensors.*; name the weights in it"):
        load(tmp_path)


@pytest.mark.gpu
def test_onto_a_gpu_and_back(model: DETR, tmp_path: Path) -> None:
    save(model, tmp_path / "x.safetensors", dtype=None)
    there = load(tmp_path / "x.safetensors", device="cuda")
    assert all(p.is_cuda for p in there.parameters())
    save(there, tmp_path / "y.safetensors", dtype=None)
    assert same(load(tmp_path / "y.safetensors"), model)


def test_a_model_optimized_for_inference_is_not_saved(tmp_path):
    model = build("nano", hidden_dim=16, nheads=2).optimize_for_inference()
    with pytest.raises(ValueError, match="save the one it was made from"):
        save(model, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_model_has_one_file(tmp_path):
    model = build("nano", hidden_dim=16, nheads=2)
    model.class_names = {3: "größe", 7: 'a "b"\n'}
    files = set()
    for _ in range(20):
        save(model, tmp_path / "model.safetensors")
        files.add((tmp_path / "model.safetensors").read_bytes())
    assert len(files) == 1
    assert load(tmp_path / "model.safetensors").class_names == model.class_names
