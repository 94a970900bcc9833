"""Training killed at random moments ends with the weights of a run left alone."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from detr_mini.training.checkpoint import CheckpointFolder

SMALL = ["--config", "nano", "--epochs", "2", "--batch-size", "4", "--save-every", "0.2", "--device", "cpu"]

# Imports once, and forks each run from there: a run is a process of its own that SIGKILL ends, without the seconds that
# importing takes. Nothing has computed before the fork.
KILL_AND_RESUME = """
import os, random, signal, sys, time
import pycocotools.cocoeval, scipy.optimize, detr_mini.training.train
from detr_mini.commands.cli import main

def start(out):
    if process := os.fork():
        return process
    os._exit(main(["train", "--resume", "--data", town, "--out", out, *small]))

town, folder, *small = sys.argv[1:]
began = time.monotonic()
assert os.waitpid(start(folder + "/whole"), 0)[1] == 0
took = time.monotonic() - began
rng, kills, runs = random.Random(0), 0, 0
while kills < 10:
    process = start(f"{folder}/killed{runs}")
    time.sleep(rng.uniform(0, 0.5 * took))
    if os.waitpid(process, os.WNOHANG)[0]:  # it has finished: the other kills go to another run
        runs += 1
        continue
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    kills += 1
assert os.waitpid(start(f"{folder}/killed{runs}"), 0)[1] == 0
print(kills)
"""


def state(out: Path) -> dict[str, torch.Tensor]:
    """Weights and statistics, to the last bit."""
    return CheckpointFolder(out).newest()[1]["model"]


@pytest.mark.slow
def test_killed_at_ten_random_moments(town, tmp_path):
    command = [sys.executable, "-W", "error", "-c", KILL_AND_RESUME, str(town), str(tmp_path), *SMALL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "10"
    assert "Traceback" not in done.stderr
    whole = state(tmp_path / "whole")
    killed = sorted(tmp_path.glob("killed*"))
    assert killed
    for out in killed:
        resumed = state(out)
        assert whole.keys() == resumed.keys()
        for name, value in whole.items():
            assert torch.equal(value, resumed[name]), name
        assert {p.name.split("-")[0] for p in out.iterdir()} == {
            "checkpoint",
            "config.json",
            "log.jsonl",
            "model.safetensors",
        }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_in_a_message_and_a_checkpoint(town, tmp_path, number):
    command = [sys.executable, "-m", "detr_mini", "train", "--data", str(town), "--out", str(tmp_path / "run"), *SMALL]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while not CheckpointFolder(tmp_path / "run").checkpoints():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=150)
    assert process.returncode == 130, said
    step = re.search(
        r"train: stopped, step (\d+) is finished and saved\ngo on with the same command and --resume", said
    )
    assert step, said
    assert "Traceback" not in said
    assert CheckpointFolder(tmp_path / "run").newest()[1]["batch"] == int(step[1]) % 8 or int(step[1]) % 8 == 0


# A step that computes for a minute and lets Python run no handler: what a large model does on a large image. Signals go
# to another thread, as they do not end a long call of PyTorch either.
LONG_STEP = """
import ctypes, signal, sys
from detr_mini.training.trainer import Trainer
from detr_mini.commands.cli import main

step = Trainer.step

def long_step(self, *batch):
    if self.steps == 2 and self.folder.checkpoints():  # not one of those that are timed before the run
        print("in the step", flush=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        ctypes.CDLL(None).sleep(600)
    return step(self, *batch)

Trainer.step = long_step
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_in_a_long_step_are_answered_at_once(town, tmp_path, number):
    out = tmp_path / "run"
    arguments = ["train", "--data", str(town), "--out", str(out), *SMALL, "--save-every", "0"]
    command = [sys.executable, "-c", LONG_STEP, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "in the step\n"
        process.send_signal(number)
        while "a second signal stops at once" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        # By the thread, or by the signal itself where Python got its turn between the two; long before the step ends.
        assert process.wait(timeout=120) in (128 + number, -number)
    assert CheckpointFolder(out).newest()[1]["batch"] == 2, "the last checkpoint is what is kept"


# As a shell starts what is to run in its background.
IGNORED = """
import os, signal
from detr_mini.training.interrupt import StopRequest

signal.signal(signal.SIGINT, signal.SIG_IGN)
with StopRequest() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.requested
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
with StopRequest():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_second_signal_stops_where_signals_were_ignored_before():
    assert subprocess.run([sys.executable, "-c", IGNORED], check=False).returncode == -signal.SIGINT
