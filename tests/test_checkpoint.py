"""What a run leaves on the disk, when the disk fails and when it does not."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_train import CONFIG, RECIPE, read_log

import detr_mini
from detr_mini.files import require_named_checksum
from detr_mini.training.checkpoint import CheckpointFolder
from detr_mini.training.train import train

MODEL = detr_mini.build("nano", hidden_dim=16, nheads=2, enc_layers=1, dec_layers=1)


def save(folder: CheckpointFolder, step: int, **content: object) -> Path:
    folder.save(step, {"step": step} | content, MODEL)
    return folder.checkpoints()[0]


def test_the_newest_two_are_kept(tmp_path):
    folder = CheckpointFolder(tmp_path / "runs" / "new")
    assert folder.newest() is None
    paths = [save(folder, step) for step in (9, 10, 99_999_999, 100_000_000)]
    assert folder.checkpoints() == [paths[3], paths[2]]
    path, content = folder.newest()
    assert (path, content) == (paths[3], {"step": 100_000_000})
    assert detr_mini.load(tmp_path / "runs" / "new" / "model.safetensors").config == MODEL.config


def test_of_two_checkpoints_of_one_step_the_later_counts(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 3, seconds=1)
    save(folder, 4, seconds=1)
    save(folder, 4, seconds=2)
    assert len(folder.checkpoints()) == 2
    assert folder.newest()[1] == {"step": 4, "seconds": 2}


def test_other_files_are_no_checkpoints(tmp_path):
    folder = CheckpointFolder(tmp_path)
    path = save(folder, 3)
    for name in ("checkpoint-best.pth", "checkpoint-00000009-x.damaged", "checkpoint.pth", ".checkpoint-9-x.pth.part"):
        (tmp_path / name).write_bytes(b"")
    assert folder.checkpoints() == [path]


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "empty"])
def test_damage_anywhere_is_noticed_and_set_aside(tmp_path, capsys, damage):
    folder = CheckpointFolder(tmp_path)
    older = save(folder, 3, weights=torch.rand(500))
    newest = save(folder, 5, weights=torch.rand(500))
    content = newest.read_bytes()
    middle = len(content) // 2
    newest.write_bytes(
        {
            "flipped": content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :],
            "cut": content[:-1],
            "longer": content + b"\0",
            "empty": b"",
        }[damage]
    )
    assert folder.newest()[0] == older
    assert f"{newest} is damaged" in capsys.readouterr().err
    assert newest.with_suffix(".damaged").exists()
    later = save(folder, 4)
    assert folder.checkpoints() == [later, older], "the sound ones are kept, whatever the damaged one was called"


def test_published_names_carry_checksums_too(tmp_path):
    content = b"weights"
    for name in ("detr-r50-e632da11.pth", "detr-0f0f0f0f0f0f0f0f.safetensors", "run-1234567812345678.pth"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} is damaged: .*not with {name.split('-')[-1].split('.')[0]}"):
            require_named_checksum(tmp_path / name)
    for name in ("run-20261121.pth", "detr-r50.pth", "e632da11.pth", "detr-9a129038.pth", "detr-r50-e632da1.pth"):
        (tmp_path / name).write_bytes(content)
        require_named_checksum(tmp_path / name)
    with pytest.raises(ValueError, match="is damaged"):
        detr_mini.load(tmp_path / "detr-r50-e632da11.pth")


def test_the_log_loses_what_the_checkpoint_does_not_hold(tmp_path):
    folder = CheckpointFolder(tmp_path)
    lines = [{"epoch": 0, "step": 4}, {"epoch": 1, "step": 4}, {"epoch": 1, "step": 6}, {"epoch": 1, "step": 8}]
    for line in lines:
        folder.append(line)
    with folder.log.open("a") as file:
        file.write('{"epoch": 1, "st')
    (tmp_path / ".checkpoint-00000006-x.pth.part").write_bytes(b"half")
    folder.tidy(epoch=1, step=6)
    assert [json.loads(line) for line in folder.log.read_text().splitlines()] == lines[:3]
    folder.tidy(epoch=0, step=4)  # the evaluation after step 4 is not part of a checkpoint made before it
    assert [json.loads(line) for line in folder.log.read_text().splitlines()] == lines[:1]
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, "tests")
import torch
from test_train import CONFIG, RECIPE
from detr_mini.training.trainer import Trainer
from detr_mini.training.train import train

def step(self, *args):
    if self.steps == 5:  # from here on no file may be longer than this
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
    return original(self, *args)

original, Trainer.step = Trainer.step, step
try:
    train(CONFIG, RECIPE, sys.argv[1], sys.argv[2], save_every=0, progress=False)
except OSError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_full_disk_costs_no_more_than_the_last_step(town, tmp_path):
    whole = train(CONFIG, RECIPE, town, tmp_path / "whole", progress=False)
    for room in (1000, 300_000):  # bytes of a file
        out = tmp_path / str(room)
        command = [sys.executable, "-c", FULL_DISK, str(town), str(out), str(room)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
        said = (
            rf"cannot write .*checkpoint-00000006-\w+\.pth: {os.strerror(errno.EFBIG)}\. "
            r"Mend that \(free some space\)\. The run is safe up to step 5\n"
        )
        assert re.fullmatch(said, done.stdout), done.stdout + done.stderr
        assert not list(out.glob(".*.part"))
        resumed = train(CONFIG, RECIPE, town, out, resume=True, progress=False)
        for name, value in whole.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[name]), name
        assert read_log(out) == read_log(tmp_path / "whole")


def test_a_full_disk_while_the_log_is_written(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path)
    save(folder, 7)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match=r"cannot write .*log\.jsonl: No space left.*safe up to step 7"):
        folder.append({"step": 8})
