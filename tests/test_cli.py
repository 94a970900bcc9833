"""The command line, used as a person uses it."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

import detr_mini
from detr_mini import CONFIGS, DETRConfig
from detr_mini.commands.cli import main
from detr_mini.data import CocoDetection

SMALL = ["--epochs", "1", "--batch-size", "8", "--device", "cpu"]


def shell(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    package = str(Path(__file__).resolve().parent.parent)
    environment = os.environ | {"PYTHONPATH": package, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "detr_mini", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
def test_from_data_to_boxes(tmp_path):
    """The five commands in a row, with the defaults where they are quick enough."""
    made = shell("make-data", "town", "--train", "16", "--val", "6", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "16 training and 6 validation scenes" in made.stdout

    checked = shell("check-data", "town", folder=tmp_path)
    assert checked.returncode == 0
    lines = checked.stdout.splitlines()
    assert lines[0] == "layout: COCO, in short names"
    assert lines[1].startswith("train: 16 pictures, ")
    assert lines[2].startswith("val: 6 pictures, ")
    assert lines[-1] == "no faults in town"

    trained = shell("train", "--data", "town", "--out", "run", *SMALL, folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    names = {p.name.split("-")[0] for p in (tmp_path / "run").iterdir()}
    assert names == {"checkpoint", "config.json", "log.jsonl", "model.safetensors"}

    evaluate = ["evaluate", "--data", "town", "--weights", "run/model.safetensors", "--json", "numbers.json"]
    evaluated = shell(*evaluate, folder=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert evaluated.stdout.splitlines() == [f"{name:6} {value:.3f}" for name, value in numbers.items()]
    assert len(numbers) == 12

    picture = sorted((tmp_path / "town" / "val").iterdir())[0]
    predict = ["predict", str(picture), "--weights", "run/model.safetensors", "--threshold", "0", "--out", "found"]
    predicted = shell(*predict, folder=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    assert {p.suffix for p in (tmp_path / "found").iterdir()} == {".json", ".jpg"}


def test_faulty_data_ends_in_messages_and_code_2(tmp_path, town_copy):
    """Both the checker and the trainer, never a traceback; test_check_data.py has the faults one by one."""
    file = town_copy / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["annotations"][2]["bbox"] = [500, 500, 10, 10]
    content["annotations"][3]["category_id"] = 77
    file.write_text(json.dumps(content))
    sorted((town_copy / "val").iterdir())[0].unlink()

    checked = shell("check-data", str(town_copy), folder=tmp_path)
    assert checked.returncode == 2
    begins = [line.partition(": ")[0] for line in checked.stdout.splitlines()]
    assert begins[:3] == ["layout", "train", "val"]
    assert begins.count("look at") >= 2, "a box outside its picture, a picture that is not there"
    assert begins.count("fault") == 1
    assert "77" in checked.stdout
    assert "500" in checked.stdout
    assert "Traceback" not in checked.stderr

    trained = shell("train", "--data", str(town_copy), "--out", "run", *SMALL, folder=tmp_path)
    assert trained.returncode == 2
    assert "check-data" in trained.stderr
    assert "Traceback" not in trained.stderr
    assert not (tmp_path / "run").exists(), "a run that cannot start leaves nothing behind"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "nowhere", "--out", "run"], "nowhere"),
        (["train", "--data", "TOWN", "--out", "run", "--config", "nanno"], "'nanno'; there are nano, mini"),
        (["train", "--data", "TOWN", "--out", "run", "--num-classes", "3", "--device", "cpu"], "num_classes >= 14"),
        (["train", "--data", "TOWN", "--out", "run", "--device", "teapot"], "--device teapot"),
        (
            ["train", "--data", "TOWN", "--out", "run", "--set", "recipe.lr_dorp=3"],
            "no field 'lr_dorp'; there is lr_drop",
        ),
        (["train", "--data", "TOWN", "--out", "run", "--set", "config.nheads=5"], "must be a multiple of nheads=5"),
        (["evaluate", "--data", "TOWN", "--weights", "missing.safetensors"], "missing.safetensors"),
        (["evaluate", "--data", "TOWN", "--split", "test"], "no test annotations in"),
        (["make-data", "TOWN/tiny_town.json", "--train", "1"], "tiny_town.json: File exists"),
        (["train", "--data", "TOWN", "--out", "TOWN/tiny_town.json", "--device", "cpu"], "tiny_town.json: File exists"),
        (["predict", "missing.jpg", "--weights", "missing.pth"], "missing.pth"),
    ],
)
def test_what_cannot_be_done_is_said_and_gives_2(arguments, message, town, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([a.replace("TOWN", str(town)) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"detr-mini {arguments[0]}: ")
    assert message in error


@pytest.mark.parametrize(
    "arguments", [[], ["sing"], ["train"], ["make-data", "x", "--train", "-1"], ["predict"], ["train", "--data"]]
)
def test_a_wrong_command_gives_2_and_a_usage_line(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: detr-mini" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["make-data", "check-data", "train", "evaluate", "predict"])
def test_help_shows_examples_that_parse(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    examples = re.findall(rf"^  detr-mini ({command} .*)$", text, re.MULTILINE)
    assert examples
    from detr_mini.commands.cli import make_parser

    for example in examples:
        make_parser().parse_args(example.split())


def test_help_and_version_do_not_wait_for_torch(tmp_path):
    for arguments in (["--help"], ["train", "--help"], ["--version"]):
        code = (
            f"import sys; sys.argv[1:] = {arguments}; from detr_mini.commands.cli import main\n"
            "try: main()\nfinally: print('torch' in sys.modules, 'PIL' in sys.modules, 'matplotlib' in sys.modules)"
        )
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
        told = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert told.stdout.splitlines()[-1] == "False False False"


def test_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    stated = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]["version"]
    assert capsys.readouterr().out == f"detr-mini {stated}\n"
    assert detr_mini.__version__ == stated


def test_every_public_name_is_there():
    """Names are imported when asked for, so nothing else would notice one that is listed and not there."""
    for name in detr_mini.__all__:
        assert getattr(detr_mini, name) is not None
    assert set(detr_mini.__all__) <= set(dir(detr_mini))
    with pytest.raises(AttributeError, match="has no attribute 'preditc'"):
        detr_mini.preditc  # noqa: B018


def test_the_learning_rate_of_all_groups(town, tmp_path):
    options = ["--lr", "1e-5", "--set", "recipe.warmup_steps=3", "--set", "recipe.clip_max_norm=0.5"]
    assert main(["train", "--data", str(town), "--out", str(tmp_path / "run"), *SMALL, *options]) == 0
    recipe = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]
    assert (recipe["lr"], recipe["lr_backbone"]) == (1e-5, pytest.approx(1e-5))
    assert (recipe["warmup_steps"], recipe["clip_max_norm"], recipe["batch_size"]) == (3, 0.5, 8)


def test_what_a_run_is_made_of_can_be_read(town, tmp_path, capsys):
    command = ["train", "--data", str(town), "--out", str(tmp_path / "run"), *SMALL]
    assert main(command) == 0
    run = json.loads((tmp_path / "run" / "config.json").read_text())
    assert DETRConfig(**run["config"]) == CONFIGS["nano"]
    assert (run["recipe"]["epochs"], run["seed"], run["pictures"]) == (1, 0, 32)
    assert (run["folder"], run["weights"]) == (str(town), None)
    capsys.readouterr()
    assert main(command) == 2
    assert "holds a run already" in (said := capsys.readouterr().err)
    assert "--resume goes on with it" in said
    assert main([*command, "--resume", "--seed", "3"]) == 2
    assert "seed 0, not 3. Go on with what it was made with; or start a new run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lr", "-1"], "lr=-1.0 must not be negative"),
        (["--lr", "nan"], "lr=nan must be a finite number"),
        (["--set", "recipe.lr_drop=0"], "lr_drop=0 must be an epoch from 1, or None"),
        (["--set", "config.image_size=64", "--set", "recipe.sizes=480,512"], "short sides of 480 to 512"),
        (["--config", "detr_resnet50"], "resnet50 has random weights"),
    ],
)
def test_a_run_that_cannot_start_leaves_nothing_behind(options, message, town, tmp_path, capsys):
    assert main(["train", "--data", str(town), "--out", str(tmp_path / "run"), *SMALL, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_ctrl_c_says_how_to_go_on(town, tmp_path, monkeypatch, capsys):
    from detr_mini.training.trainer import Trainer

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "step", stop)
    assert main(["train", "--data", str(town), "--out", str(tmp_path / "run"), *SMALL]) == 130
    assert "--resume" in capsys.readouterr().err


def test_names_that_differ_between_model_and_data_are_said(town, tmp_path, capsys):
    model = detr_mini.build("nano", hidden_dim=16, nheads=2)
    data = CocoDetection(town, "val").class_names
    for names, said in [({}, False), (data, False), (data | {13: "hut"}, True), ({1: "person"}, True)]:
        model.class_names = names
        detr_mini.save(model, tmp_path / "w.safetensors")
        evaluate = ["evaluate", "--data", str(town), "--weights", str(tmp_path / "w.safetensors"), "--device", "cpu"]
        assert main(evaluate) == 0
        assert ("the model's classes are" in capsys.readouterr().err) == said


def test_numbers_that_cannot_be_stored_are_said(town, tmp_path, capsys):
    gone = str(tmp_path / "gone" / "numbers.json")
    assert main(["evaluate", "--data", str(town), "--weights", "nano", "--device", "cpu", "--json", gone]) == 2
    assert f"cannot write {gone}: No such file or directory" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch):
    """Those too that are told in a sentence where they are the user's to mend."""
    for bug in (AttributeError("sise"), ValueError("sise"), FileNotFoundError("sise"), RuntimeError("sise")):
        monkeypatch.setattr("detr_mini.data.look_through", Mock(side_effect=bug))
        with pytest.raises(type(bug), match="sise"):
            main(["check-data", "x"])


def test_a_gpu_that_is_too_small_is_said(monkeypatch, capsys):
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nGPU 0 has ...")
    monkeypatch.setattr("detr_mini.data.look_through", Mock(side_effect=full))
    assert main(["check-data", "x"]) == 2
    assert "CUDA out of memory. Tried to allocate 2 GiB. Try a smaller --batch-size" in capsys.readouterr().err


def test_a_reader_who_leaves_ends_the_command_quietly(tmp_path):
    """Several faults are more than fits the buffer of a pipe, of which the first line is read."""
    (tmp_path / "annotations").mkdir(parents=True)
    (tmp_path / "train").mkdir()
    categories = [{"id": i, "name": "x" * 200 + "\ud800"} for i in range(3000)]
    content = {"images": [], "annotations": [], "categories": categories}
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(content))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    command = [sys.executable, "-m", "detr_mini", "check-data", str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_which_of_several_gpus_is_left_open(monkeypatch):
    from detr_mini.commands.options import device

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert device("auto") == device("cuda") == "cuda"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert device("auto") == "mps"
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert device("auto") == "cpu"
