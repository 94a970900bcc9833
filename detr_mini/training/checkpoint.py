"""What a training run leaves on the disk: checkpoints that are whole or absent, and a log."""

import contextlib
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from detr_mini.errors import ConfigError, StorageError, WeightsError
from detr_mini.files import checksum, write_atomically
from detr_mini.modeling.build import Detector
from detr_mini.modeling.config import kind_of
from detr_mini.training.recipe import Recipe
from detr_mini.weight_files import read_pickle
from detr_mini.weights import save

WEIGHTS = "model.safetensors"
KEPT = 2  # checkpoints: if the newest one is damaged on the disk, there is another


class CheckpointFolder:
    """The folder of a run: ``checkpoint-STEP-CHECKSUM.pth``, ``model.safetensors``, ``log.jsonl``, ``config.json``.

    Nothing is made on the disk before something is written. A :class:`.StorageError` says what a full disk means for
    the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log.jsonl"

    def checkpoints(self) -> list[Path]:
        """The checkpoints, the newest first."""
        named = [p for p in self.folder.glob("checkpoint-*.pth") if re.fullmatch(r"checkpoint-\d{8,}-\w+", p.stem)]
        return sorted(named, key=lambda path: (_step(path), path.stat().st_mtime_ns), reverse=True)

    def save(self, step: int, state: dict[str, Any], model: Detector | None) -> None:
        """Write a checkpoint and the weights alone, if any; then remove all checkpoints but the newest ``KEPT``."""
        self._make()
        buffer = io.BytesIO()
        torch.save(state, buffer)
        path = self.folder / f"checkpoint-{step:08}-{checksum(buffer.getvalue())}.pth"
        with self._explained(path):
            write_atomically(path, buffer.getvalue())
        others = [old for old in self.checkpoints() if old != path]
        for old in others[KEPT - 1 :]:
            old.unlink()
        if model is not None:
            self.save_weights(model)

    def save_weights(self, model: Detector) -> None:
        """Write the weights alone."""
        with self._explained(self.folder / WEIGHTS):
            save(model, self.folder / WEIGHTS)

    def newest(self) -> tuple[Path, Any] | None:
        """The newest sound checkpoint and its content; None where there is none at all.

        Where one is damaged, stderr says so, and it gets another name once an older one has proved sound.

        Raises:
            WeightsError: there are checkpoints, and all are damaged.
        """
        damaged: list[Path] = []
        for path in self.checkpoints():
            try:
                content = read_pickle(path)
            except WeightsError as error:
                print(error, file=sys.stderr)
                damaged.append(path)
                continue
            for other in damaged:  # else it would count as newer than what comes next
                other.rename(other.with_suffix(".damaged"))
            return path, content
        if damaged:
            names = ", ".join(path.name for path in damaged)
            raise WeightsError(f"no checkpoint in {self.folder} is sound: {names}. To start the run anew, remove them")
        return None

    def append(self, line: dict[str, float]) -> None:
        """Add a JSON object to the log."""
        self._make()
        with self._explained(self.log), self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def tidy(self, epoch: int, step: int) -> None:
        """Remove what a killed run left half done: files, and lines of the log that will be made again."""
        if not self.folder.is_dir():
            return
        for part in self.folder.glob(".*.part"):
            part.unlink()

        def held(line: str) -> bool:
            try:
                where = json.loads(line)
            except json.JSONDecodeError:  # the last line, torn
                return False
            return where["epoch"] <= epoch and where["step"] <= step

        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        with self._explained(self.log):
            write_atomically(self.log, "".join(line + "\n" for line in lines if held(line)).encode())

    def lines(self) -> list[dict[str, float]]:
        """The log."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def recipe(self) -> Recipe | None:
        """The recipe that ``config.json`` tells of; None where there is no run."""
        path = self.folder / "config.json"
        if not path.exists():
            return None
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["recipe"]
        sizes = None if stored["sizes"] is None else tuple(stored["sizes"])
        return Recipe(**stored | {"sizes": sizes})

    def describe(self, run: dict[str, Any]) -> None:
        """Write ``config.json``: what the run is made of, for people to read."""
        self._make()
        path = self.folder / "config.json"
        with self._explained(path):
            write_atomically(path, (json.dumps(run, indent=2) + "\n").encode())

    def safe(self) -> str:
        """A sentence on what an error leaves of the run."""
        found = self.checkpoints()
        return f"The run is safe up to step {_step(found[0])}" if found else "Nothing is saved yet"

    def _make(self) -> None:
        with self._explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def _explained(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise StorageError(f"cannot write {path}: {reason}. Mend that (free some space). {self.safe()}") from error


def require_same_run(path: Path, state: Any, mine: dict[str, Any]) -> None:
    """Refuse to go on with another run.

    Args:
        state: the content of the checkpoint ``path``.
        mine: what the run is made of now, under the names of ``state``.

    Raises:
        WeightsError: the file is no checkpoint of training.
        ConfigError: the run was made with something else; the message names it and says what to do.
    """
    if not isinstance(state, dict) or "optimizer" not in state:
        raise WeightsError(f"{path} holds no training run to go on with")
    # What a checkpoint does not name had its default when it was made.
    defaults: dict[str, Any] = {"config": asdict(kind_of(mine.get("config", {}))()), "recipe": asdict(Recipe())}
    for name, value in mine.items():
        stored = state.get(name, value)
        if isinstance(stored, dict):
            stored = defaults.get(name, {}) | stored
        if stored != value:
            raise ConfigError(
                f"{path} was made with {name} {_difference(stored, value)}. Go on with what it was made with; or "
                f"start a new run in another folder, which can begin with these weights ({path.parent}/{WEIGHTS})"
            )


def _difference(stored: Any, mine: Any) -> str:
    if not isinstance(stored, dict):
        return f"{stored}, not {mine}"
    changed = [k for k in mine if stored.get(k) != mine[k]]
    return ", ".join(f"{k}={stored.get(k)} (now {mine[k]})" for k in changed)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.stem.split("-")[1])
