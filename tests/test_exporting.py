"""A model as a program: the same answers without this package, and nothing written where they are not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import detr_mini.exporting
from detr_mini import NestedTensor, build, predict, save
from detr_mini.commands.cli import main
from detr_mini.data import draw_scene
from detr_mini.errors import ConfigError, StorageError, WeightsError
from detr_mini.exporting import Run, write_program

onnxruntime = pytest.importorskip("onnxruntime")

TINY: dict[str, Any] = {"hidden_dim": 32, "nheads": 2, "enc_layers": 1, "dec_layers": 1, "dim_feedforward": 24}
SIZES = ((1, 90, 136), (2, 65, 80), (3, 128, 70))
BLOCKED = (
    "import sys; sys.modules.update(dict.fromkeys({names!r})); sys.argv = {argv!r}; __file__ = {file!r}; exec({text!r})"
)


def make(name: str = "nano", **changes: Any) -> Any:
    torch.manual_seed(0)
    model = build(name, **TINY | {"num_queries": 8, "num_classes": 5} | changes).eval()
    head = model.class_embed if hasattr(model, "class_embed") else model.detr.class_embed
    with torch.no_grad():  # sure of something, so that there is something to print
        for linear in [head] if isinstance(head, torch.nn.Linear) else head:
            linear.bias[2] += 9
    model.class_names = {2: "dög"}
    return model


def batch(count: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.zeros(count, height, width, dtype=torch.bool)
    mask[-1, height - 20 :] = count > 1
    return torch.randn(count, 3, height, width).masked_fill(mask[:, None], 0.0), mask


def loaded(path: Path) -> Run:
    if path.suffix == ".pt2":
        program: Run = torch.export.load(path).module()
        return program
    session = onnxruntime.InferenceSession(path)
    names = [one.name for one in session.get_outputs()]

    def run(images: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = session.run(None, {"images": images.numpy(), "mask": mask.numpy()})
        return dict(zip(names, map(torch.from_numpy, outputs), strict=True))

    return run


def check(path: Path, model: Any) -> None:
    names = {"pred_logits", "pred_boxes"} | ({"pred_masks"} if getattr(model.config, "masks", False) else set())
    run = loaded(path)
    for size in SIZES:
        images, mask = batch(*size)
        found = run(images, mask)
        assert found.keys() == names
        with torch.no_grad():
            wanted = model(NestedTensor(images, mask))
        for name, values in found.items():
            torch.testing.assert_close(values, wanted[name], rtol=1e-3, atol=1e-4)


def run_script(script: Path, picture: Path, blocked: list[str]) -> list[str]:
    """What a script prints where packages that it should do without cannot be imported."""
    argv = [str(script), str(picture)]
    code = BLOCKED.format(names=blocked, argv=argv, file=str(script), text=script.read_text("utf-8"))
    done = subprocess.run([sys.executable, "-X", "utf8", "-c", code], capture_output=True, encoding="utf-8", cwd="/")
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "blocked"),
    [
        (".onnx", ["torch", "torchvision", "detr_mini", "onnx"]),
        (".pt2", ["detr_mini"]),
    ],
)
def test_a_program_and_its_script_give_what_the_model_gives(tmp_path, capsys, ending, blocked):
    model, path = make(), tmp_path / f"my model{ending}"
    save(model, tmp_path / "x.safetensors", dtype=None)
    picture = tmp_path / "street.png"
    draw_scene(3).image.resize((320, 200)).save(picture)
    options = ["--weights", str(tmp_path / "x.safetensors"), "--out", str(path), "--image", str(picture)]
    assert main(["export", *options]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said[:4]] == [
        "1 x 3 x 102 x 136",
        "2 x 3 x 136 x 82",
        "3 x 3 x 95 x 95",
        "1 x 3 x 85 x 136",
    ]
    assert said[4].startswith("largest difference: ")
    assert said[5:] == [str(path), str(path.with_suffix(".py"))]
    check(path, model)
    script = path.with_suffix(".py")
    assert len(script.read_text("utf-8").splitlines()) <= 30
    (found,) = predict(model, picture)
    printed = run_script(script, picture, blocked)
    assert len(printed) == len(found["scores"]) > 0
    for line, score, label, box in zip(printed, *found.values(), strict=True):
        name, shown, numbers = line.split(" ", 2)
        assert name == model.class_names.get(int(label), str(int(label)))
        assert float(shown) == pytest.approx(float(score), abs=0.02)
        assert json.loads(numbers) == pytest.approx(box.tolist(), abs=1.0)


@pytest.mark.slow
def test_what_a_program_does_not_say_itself_is_in_the_file(tmp_path):
    model = make(image_size=64, max_size=96)
    write_program(model, tmp_path / "x.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx")
    notes = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert notes["class_names"] == {"2": "dög"}
    assert (notes["image_size"], notes["max_size"]) == (64, 96)
    assert notes["mean"] == [0.485, 0.456, 0.406]
    assert [one.shape for one in session.get_inputs()] == [
        ["batch", 3, "height", "width"],
        ["batch", "height", "width"],
    ]
    for size in ((40, 90), (90, 40), (50, 50), (20, 400)):  # as the model resizes them
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)).save(tmp_path / "a.png")
        printed = run_script(tmp_path / "x.py", tmp_path / "a.png", ["torch", "detr_mini"])
        assert len(printed) == len(predict(model, tmp_path / "a.png")[0]["scores"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes", "ending"),
    [
        ("nano", {"masks": True}, ".onnx"),
        ("nano", {"masks": True}, ".pt2"),
        ("deformable_nano", {"dec_layers": 2}, ".onnx"),  # what test_compile.py exports is most of a .pt2
        ("deformable_nano", {"two_stage": True}, ".onnx"),
        ("deformable_nano", {"two_stage": True}, ".pt2"),
        ("detr_resnet50", {"backbone": "resnet18", "nheads": 8, "image_size": 96, "max_size": 160}, ".onnx"),
        ("detr_resnet50", {"backbone": "resnet18", "nheads": 8, "image_size": 96, "max_size": 160}, ".pt2"),
    ],
)
def test_every_kind_of_model(tmp_path, name, changes, ending):
    model = make(name, **changes)
    write_program(model, tmp_path / f"x{ending}")
    check(tmp_path / f"x{ending}", model)


def test_a_program_that_differs_is_not_written(tmp_path, monkeypatch):
    path = tmp_path / "x.pt2"
    path.write_bytes(b"old")

    def wrong(content: bytes) -> Any:
        return lambda images, mask: {"pred_logits": torch.zeros(len(images), 8, 6), "pred_boxes": torch.rand(8, 4)}

    monkeypatch.setattr(detr_mini.exporting, "_pt2", lambda *_: b"new")
    monkeypatch.setattr(detr_mini.exporting, "_run_pt2", wrong)
    with pytest.raises(WeightsError, match=r"differs from the model by .* it is not written"):
        write_program(make(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("x.pt", ConfigError, r"must end in \.pt2 or \.onnx"),
        ("torch.pt2", ConfigError, r"torch\.py, which Python would take for torch"),
        ("json.onnx", ConfigError, r"json\.py, which Python would take for json"),
        ("none/x.pt2", StorageError, r"there is no folder \S+none to write x\.py and its program into"),
        ("mine.onnx", StorageError, r"mine\.py is no script of this command, and is not written over"),
    ],
)
def test_names_that_cannot_be(tmp_path, name, error, message):
    (tmp_path / "mine.py").write_text("print('mine')")
    with pytest.raises(error, match=message):
        write_program(make(), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r'onnxscript is missing: pip install "detr-mini\[onnx\]"'):
        write_program(make(), tmp_path / "x.onnx")
