"""Two processes train as one does on the whole batch."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_train import read_log
from torch.testing import assert_close

from detr_mini.training.checkpoint import CheckpointFolder

# What a process does: train as the command does, and write down the losses of every step.
TRAIN = """
import json, sys
from dataclasses import replace
import torch
from detr_mini import DETR, DeformableDETR, NestedTensor, distributed
from detr_mini.loss import name_layers
from detr_mini.modeling.config import get_config
from detr_mini.training.recipe import RECIPES
from detr_mini.training.trainer import Trainer
from detr_mini.training.train import train

def forward(self, samples):  # in double precision: else rounding grows from step to step
    return computed(self, NestedTensor(samples.tensors.double(), samples.padding_mask))

def step(self, samples, targets):
    return stepped(self, samples, [t | {"boxes": t["boxes"].double()} for t in targets])

def note(self, losses):
    named = name_layers(losses)
    values = distributed.mean_over_processes(*[float(v.detach()) for v in named.values()])
    losses_of_steps.append(dict(zip(named, values)))
    return noted(self, losses)

losses_of_steps = []
torch.set_default_dtype(torch.float64)
town, out, kind, epochs = sys.argv[1:]
model = DeformableDETR if kind == "deformable" else DETR
computed, model.forward = model.forward, forward
stepped, Trainer.step = Trainer.step, step
noted, Trainer._add_to_log = Trainer._add_to_log, note
if kind == "nano":
    config, recipe = get_config("nano"), replace(RECIPES["nano"], batch_size=5)
elif kind == "deformable":
    config = get_config("deformable_nano", two_stage=True)
    recipe = replace(RECIPES["deformable_nano"], batch_size=5)
else:
    config = get_config("detr_resnet50", backbone="resnet18", hidden_dim=32, nheads=4, enc_layers=1, dec_layers=2,
                        dim_feedforward=64, dropout=0.0, num_queries=25, num_classes=14, image_size=None, max_size=136,
                        freeze_resnet=False)
    recipe = replace(RECIPES["nano"], batch_size=5, lr=1e-4, lr_backbone=1e-5)
recipe = replace(recipe, epochs=int(epochs), eval_every=int(epochs), warmup_steps=10)
with distributed.processes("cpu") as device:
    model = train(config, recipe, town, out, device=device, progress=False)
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    sums = distributed.all_gather([weights.double().sum().item()])
    if distributed.rank() == 0:
        json.dump({"losses": losses_of_steps, "sums": sums}, open(out + "/steps.json", "w"))
"""


def train_in(processes: int, town: Path, out: Path, kind: str, epochs: int) -> dict:
    script = out.parent / "train.py"
    script.write_text(TRAIN)
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    command = [sys.executable, *run, str(script), str(town), str(out), kind, str(epochs)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "steps.json").read_text())


@pytest.fixture(scope="module")
def odd_town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 pictures: with batches of 5 there are shares of 3 and 2 and of 2 and 2."""
    from detr_mini.data import make_data

    folder = tmp_path_factory.mktemp("odd")
    make_data(folder, train=23, val=7, workers=1)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "epochs"), [("nano", 10), ("resnet18", 1), ("deformable", 4)])  # of five steps each
def test_two_processes_have_the_losses_of_one(odd_town, tmp_path, kind, epochs):
    """To nine digits, in double precision; what a batch norm learns from, padding and odd shares included."""
    one = train_in(1, odd_town, tmp_path / "one", kind, epochs)
    two = train_in(2, odd_town, tmp_path / "two", kind, epochs)
    assert len(one["losses"]) == len(two["losses"]) == 5 * epochs
    for ours, theirs in zip(one["losses"], two["losses"], strict=True):
        assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert one["losses"][0] != one["losses"][-1]
    assert two["sums"][0] == two["sums"][1], "both processes end with the same weights"
    logs = [read_log(tmp_path / name) for name in ("one", "two")]
    for ours, theirs in zip(*logs, strict=True):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_two_processes_measure_what_one_measures(town, tmp_path):
    numbers = []
    for processes in (1, 2):
        file = tmp_path / f"{processes}.json"
        run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if processes > 1 else []
        evaluate = ["-m", "detr_mini", "evaluate", "--data", str(town), "--batch-size", "5", "--json", str(file)]
        command = [sys.executable, *run, *evaluate, "--device", "cpu"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("AP50") == 1, "the first process alone prints"
        numbers.append(json.loads(file.read_text()))
    assert numbers[0] == numbers[1]
    assert numbers[0]["AP50"] > 0.5


@pytest.mark.slow
def test_an_interrupt_stops_all_processes_after_the_same_step(town, tmp_path):
    out = tmp_path / "run"
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "detr_mini", "train"]
    small = ["--config", "nano", "--epochs", "9", "--batch-size", "4", "--save-every", "0.1", "--device", "cpu"]
    command = [sys.executable, *run, "--data", str(town), "--out", str(out), *small]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while not CheckpointFolder(out).checkpoints():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=150)
    steps = re.findall(r"stopped, step (\d+) is finished and saved", said)
    assert len(steps) == 2, said
    assert steps[0] == steps[1]
    state = CheckpointFolder(out).newest()[1]
    assert 8 * state["epoch"] + state["batch"] == int(steps[0])
