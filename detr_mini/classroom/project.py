"""The final project, *the best detector in ten minutes on two cores*: check a run, measure it, sign a line about it.

Page: *The final project*, ``book/project``.
"""

import hashlib
import hmac
import json
import math
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from detr_mini.bootstrap import paired_bootstrap
from detr_mini.data import CocoDetection, eval_transforms, make_data
from detr_mini.errors import DataError, NotFoundError
from detr_mini.evaluation import coco_metrics, detect
from detr_mini.modeling.build import Detector
from detr_mini.training.checkpoint import CheckpointFolder
from detr_mini.weights import load_detector

MINUTES = 10.0  # by the clock of the log, which counts reading, training, saving and measuring
PARAMETERS = 1_500_000  # room for twice nano
SEED = 0  # of training: a line can be made again, and nobody takes the luckiest of twenty
SCENES = 500  # hidden ones
SLACK = 0.2  # seconds that a log's rounding may hide

Line = dict[str, Any]


def score(run: Path, secret: str, name: str) -> Line:
    """Check a run by the rules and measure it on scenes that nobody has seen.

    Args:
        run: the folder that ``detr-mini train --out`` wrote.
        secret: what the hidden scenes are drawn from, and the line is signed with.
        name: of the team.

    Returns:
        ``name``, ``AP`` with its standard error over scenes, ``AP50``, ``minutes``, ``parameters``, the first digits of
        the checkpoint's checksum, and ``signature``.

    Raises:
        NotFoundError: the folder lacks a file.
        DataError: the run breaks a rule, or its files contradict each other.
        WeightsError: its checkpoints are damaged.
    """
    checkpoint, minutes = check(run)
    model = load_detector(checkpoint)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if parameters > PARAMETERS:
        raise DataError(f"{run}: the model has {parameters:,} parameters; {PARAMETERS:,} are allowed")
    line = {"name": name, **measure(model, secret), "minutes": round(minutes, 2), "parameters": parameters}
    return signed(line | {"checkpoint": checkpoint.stem.split("-")[-1]}, secret)


def check(run: Path) -> tuple[Path, float]:
    """The last checkpoint of a run and its minutes, once it has proved to keep the rules on seed, start and time.

    Raises:
        NotFoundError, DataError, WeightsError: as :func:`score`.
    """
    config, log = _read(run / "config.json")[0], _read(run / "log.jsonl")
    newest = CheckpointFolder(run).newest()
    if newest is None:
        raise NotFoundError(f"{run} has no checkpoint: hand in the whole folder that detr-mini train wrote")
    path, state = newest
    _check_start(run, config)
    _check_same(run, config, state)
    _check_log(run, log, state)
    minutes = float(log[-1]["seconds"]) / 60
    if minutes > MINUTES:
        raise DataError(f"{run}: the run took {minutes:.1f} minutes; {MINUTES:g} are allowed. Fewer epochs take less")
    return path, minutes


def _read(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file: one, or one a line."""
    if not path.is_file():
        raise NotFoundError(f"{path} is not there: hand in the whole folder that detr-mini train wrote")
    text = path.read_text("utf-8")
    try:
        found = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is no JSON: {error}") from None
    if not found or not all(isinstance(one, dict) for one in found):
        raise DataError(f"{path} holds no JSON object, or something else beside")
    return found


def _check_start(run: Path, config: dict[str, Any]) -> None:
    if config.get("seed") != SEED:
        raise DataError(f"{run}: the run has the seed {config.get('seed')}; the rules want --seed {SEED}, the default")
    if config.get("weights"):
        raise DataError(f"{run}: the run began with the weights {config['weights']}; the rules want --config alone")


def _check_same(run: Path, config: dict[str, Any], state: dict[str, Any]) -> None:
    """Does ``config.json`` say of the run what its checkpoint says?"""
    stored = json.loads(json.dumps({name: state.get(name) for name in ("config", "recipe", "seed", "pictures")}))
    for name, value in stored.items():
        if config.get(name) != value:
            raise DataError(f"{run}: config.json was edited: its {name} is not that of the checkpoint")


def _check_log(run: Path, log: list[dict[str, Any]], state: dict[str, Any]) -> None:
    """Is the log whole, and does it go with the checkpoint?"""
    steps = math.ceil(state["pictures"] / state["recipe"]["batch_size"])  # of an epoch
    last, done, seconds = log[-1], steps * state["epoch"] + state["batch"], float(state["seconds"])
    if not last.get("step") == done == steps * state["recipe"]["epochs"] or "AP" not in last:
        raise DataError(f"{run}: the run is not finished; the same command and --resume finishes it")
    for number, (before, line) in enumerate(pairwise(log), start=2):
        if not all(before.get(clock, 0) <= line.get(clock, -1) for clock in ("step", "seconds")):
            raise DataError(f"{run}: log.jsonl was edited: line {number} is earlier than the line before it")
    trained = [line["seconds"] for line in log if "loss" in line]
    if not trained or trained[-1] > seconds + SLACK or last["seconds"] < seconds - SLACK:
        raise DataError(f"{run}: log.jsonl was edited: its times are not those of the checkpoint ({seconds:.1f} s)")


def measure(model: Detector, secret: str) -> dict[str, float]:
    """AP on hidden scenes, its standard error over scenes, and AP50."""
    with tempfile.TemporaryDirectory(prefix="detr-mini-score-") as folder:
        make_data(folder, train=0, val=SCENES, seed=scenes_seed(secret), workers=1, progress=False)
        hidden = CocoDetection(folder, "val", eval_transforms(model.config.image_size, model.config.max_size))
        found = detect(model, hidden)
        numbers = coco_metrics(hidden, found)
        error = paired_bootstrap(hidden, [], found, resamples=200)["AP"].error
    return {"AP": round(numbers["AP"], 4), "error": round(error, 4), "AP50": round(numbers["AP50"], 4)}


def scenes_seed(secret: str) -> int:
    """The seed of the hidden scenes; it tells nothing of the secret."""
    return int(_digest(b"scenes", secret)[:8], 16)


def signed(line: Line, secret: str) -> Line:
    """The line with its signature, which nobody can make without the secret."""
    unsigned = {name: value for name, value in line.items() if name != "signature"}
    return unsigned | {"signature": _digest(json.dumps(unsigned, sort_keys=True).encode(), secret)}


def read_lines(folder: Path, secret: str) -> list[Line]:
    """The lines of a class, the best first; of one name the last.

    Args:
        folder: with files ``*.jsonl``, each of one line or more.

    Raises:
        NotFoundError: there are no lines.
        DataError: a line was edited, or signed with another secret; the message names it.
    """
    lines: dict[str, Line] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(_read(path), start=1):
            if not hmac.compare_digest(signed(line, secret)["signature"], str(line.get("signature"))):
                raise DataError(f"{path}, line {number}: edited, or signed with another secret. Score the run again")
            lines[line["name"]] = line
    if not lines:
        raise NotFoundError(f"{folder} has no file *.jsonl with a line from detr-mini course score")
    return sorted(lines.values(), key=lambda line: (-line["AP"], line["name"]))


def _digest(message: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
