"""The final project: a run that keeps the rules is scored, all others are refused, and no line can be edited."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from detr_mini.classroom import project
from detr_mini.commands.cli import main
from detr_mini.errors import DataError, NotFoundError
from detr_mini.files import checksum
from detr_mini.modeling.config import get_config
from detr_mini.training.recipe import RECIPES
from detr_mini.training.train import train
from detr_mini.weights import load_detector

BOOK = Path(__file__).resolve().parent.parent / "book"
SECRET = "a word of the teacher"
CONFIG = get_config("nano", hidden_dim=16, nheads=2, enc_layers=1, dec_layers=1, num_queries=25)
RECIPE = replace(RECIPES["quick"], epochs=2, batch_size=16)


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "SCENES", 6)
    monkeypatch.delenv("DETR_MINI_SECRET", raising=False)


@pytest.fixture(scope="module")
def finished(town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "kim"
    train(CONFIG, RECIPE, town, out, progress=False)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "kim"))


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def edit_log(run: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    log = log_of(run)
    change(log)
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))


def edit_config(run: Path, **values: Any) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | values))


def edit_checkpoint(run: Path, **values: Any) -> None:
    """Write the newest checkpoint as a run would have written it with other values."""
    path = max(run.glob("checkpoint-*.pth"))
    state = torch.load(path, weights_only=True) | values
    for old in run.glob("checkpoint-*.pth"):
        old.unlink()
    torch.save(state, run / "new.pth")
    digits = checksum((run / "new.pth").read_bytes())
    (run / "new.pth").rename(run / f"{path.stem.rsplit('-', 1)[0]}-{digits}.pth")


# --- a run that keeps the rules


def test_a_run_is_scored_the_same_each_time_on_scenes_of_the_secret(run: Path) -> None:
    line = project.score(run, SECRET, "Kim & Lee")
    assert project.score(run, SECRET, "Kim & Lee") == line
    assert set(line) == {"name", "AP", "error", "AP50", "minutes", "parameters", "checkpoint", "signature"}
    assert 0 <= line["AP"] <= line["AP50"] <= 1
    assert line["minutes"] == round(log_of(run)[-1]["seconds"] / 60, 2)
    assert project.scenes_seed(SECRET) != project.scenes_seed("another word")
    assert SECRET not in json.dumps(line)
    assert str(project.scenes_seed(SECRET)) not in json.dumps(line)


def test_a_model_is_measured_as_the_command_evaluates_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = project.measure(load_detector("nano"), SECRET)
    seed = str(project.scenes_seed(SECRET))
    assert main(["make-data", str(tmp_path / "hidden"), "--train", "0", "--val", "6", "--seed", seed]) == 0
    assert main(["evaluate", "--data", str(tmp_path / "hidden"), "--weights", "nano"]) == 0
    told = capsys.readouterr().out
    assert f"AP     {found['AP']:.3f}" in told
    assert f"AP50   {found['AP50']:.3f}" in told
    assert 0.3 < found["AP"] < found["AP50"]
    assert 0 < found["error"] < 0.3


# --- what is refused


def test_a_run_of_eleven_minutes_is_refused(run: Path) -> None:
    edit_checkpoint(run, seconds=655.0)
    edit_log(run, lambda log: log[-1].update(seconds=660.0))
    with pytest.raises(DataError, match=r"took 11\.0 minutes; 10 are allowed"):
        project.score(run, SECRET, "kim")


def test_ten_minutes_are_allowed(run: Path) -> None:
    edit_checkpoint(run, seconds=599.0)
    edit_log(run, lambda log: log[-1].update(seconds=600.0))
    assert project.check(run)[1] == 10


def test_an_edited_log_is_refused(run: Path) -> None:
    edit_checkpoint(run, seconds=655.0)
    edit_log(run, lambda log: log[-1].update(seconds=590.0))
    with pytest.raises(
        DataError, match=r"log\.jsonl was edited: its times are not those of the checkpoint \(655\.0 s\)"
    ):
        project.score(run, SECRET, "kim")


def test_a_line_of_the_log_that_is_out_of_order_is_refused(run: Path) -> None:
    edit_log(run, lambda log: log[0].update(seconds=590.0))
    with pytest.raises(DataError, match=r"log\.jsonl was edited: line 2 is earlier"):
        project.score(run, SECRET, "kim")


def test_another_seed_is_refused(run: Path) -> None:
    edit_checkpoint(run, seed=1)
    edit_config(run, seed=1)
    with pytest.raises(DataError, match="has the seed 1; the rules want --seed 0"):
        project.score(run, SECRET, "kim")


def test_a_seed_that_was_changed_in_the_config_alone_is_found_out(run: Path) -> None:
    edit_checkpoint(run, seed=1)
    with pytest.raises(DataError, match=r"config\.json was edited: its seed is not that of the checkpoint"):
        project.score(run, SECRET, "kim")


def test_trained_weights_to_begin_with_are_refused(run: Path) -> None:
    edit_config(run, weights="mini")
    with pytest.raises(DataError, match="began with the weights mini"):
        project.score(run, SECRET, "kim")


def test_a_run_that_was_stopped_is_refused(run: Path) -> None:
    edit_log(run, lambda log: log.pop())
    with pytest.raises(DataError, match="is not finished; the same command and --resume"):
        project.score(run, SECRET, "kim")


def test_a_checkpoint_of_an_earlier_step_is_refused(run: Path) -> None:
    edit_checkpoint(run, batch=1)
    with pytest.raises(DataError, match="is not finished"):
        project.score(run, SECRET, "kim")


def test_too_large_a_model_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "PARAMETERS", 1000)
    with pytest.raises(DataError, match=r"parameters; 1,000 are allowed"):
        project.score(run, SECRET, "kim")


@pytest.mark.parametrize("name", ["config.json", "log.jsonl", "checkpoint-*.pth"])
def test_a_folder_that_is_not_whole_is_refused(name: str, run: Path) -> None:
    for path in run.glob(name):
        path.unlink()
    with pytest.raises(NotFoundError, match="hand in the whole folder"):
        project.score(run, SECRET, "kim")


@pytest.mark.parametrize(("text", "told"), [("{", "is no JSON"), ("[]", "holds no JSON object"), ("", "holds no JSON")])
def test_a_log_that_is_none_is_refused(text: str, told: str, run: Path) -> None:
    (run / "log.jsonl").write_text(text)
    with pytest.raises(DataError, match=told):
        project.score(run, SECRET, "kim")


# --- the leaderboard


def line(name: str, ap: float) -> dict[str, Any]:
    rest = {"error": 0.01, "AP50": ap + 0.2, "minutes": 8.3, "parameters": 692731, "checkpoint": "12ab"}
    return project.signed({"name": name, "AP": ap, **rest}, SECRET)


def write(folder: Path, *lines: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, one in enumerate(lines):
        (folder / f"{number}.jsonl").write_text(json.dumps(one) + "\n")
    return folder


@pytest.mark.parametrize("field", ["name", "AP", "minutes", "parameters"])
def test_an_edited_line_is_refused(field: str, tmp_path: Path) -> None:
    edited = line("kim", 0.4)
    edited[field] = "lee" if field == "name" else edited[field] + 0.1
    with pytest.raises(DataError, match=r"1\.jsonl, line 1: edited, or signed with another secret"):
        project.read_lines(write(tmp_path, line("lee", 0.3), edited), SECRET)


def test_a_line_that_was_signed_with_another_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="signed with another secret"):
        project.read_lines(write(tmp_path, line("kim", 0.4)), "another word")


def test_a_line_without_signature_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="edited"):
        project.read_lines(write(tmp_path, {"name": "kim", "AP": 0.9}), SECRET)


def test_the_page_has_the_best_first_and_of_a_name_the_last_line(tmp_path: Path) -> None:
    lines = write(tmp_path / "lines", line("kim", 0.6), line("<b>lee", 0.5), line("kim", 0.4), line("ada", 0.3))
    assert main(["course", "leaderboard", str(lines), "--secret", SECRET]) == 0
    page = (lines / "leaderboard.html").read_text("utf-8")
    rows = re.findall(r"<tr><td>(\d)</td><td>([^/]*)</td><td>([\d.]+) ± 0\.010</td>", page)
    assert rows == [("1", "&lt;b&gt;lee", "0.500"), ("2", "kim", "0.400"), ("3", "ada", "0.300")]
    assert "//" not in page, "it loads nothing"


def test_a_folder_without_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"has no file \*\.jsonl"):
        project.read_lines(tmp_path, SECRET)


# --- by command


def test_a_line_of_the_command_is_one_for_the_leaderboard(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DETR_MINI_SECRET", SECRET)
    assert main(["course", "score", str(run)]) == 0
    out = capsys.readouterr().out
    (tmp_path / "lines.jsonl").write_text(out)
    (found,) = project.read_lines(tmp_path, SECRET)
    assert found["name"] == "kim"


def test_without_a_secret_there_is_no_score(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["course", "score", str(run)]) == 2
    assert "a secret is wanted: --secret TEXT, or export DETR_MINI_SECRET=TEXT" in capsys.readouterr().err


# --- the script to start from


@pytest.fixture
def starter() -> Any:
    spec = importlib.util.spec_from_file_location("project_starter", BOOK / "project_starter.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_the_starter_trains_can_be_scored(
    starter: Any, town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "CONFIG", CONFIG)
    monkeypatch.setattr(starter, "RECIPE", replace(starter.RECIPE, epochs=1))
    monkeypatch.setattr(starter, "train", partial(train, progress=False))
    monkeypatch.setattr(sys, "argv", ["starter", "--data", str(town), "--out", str(tmp_path / "mine")])
    starter.main()
    assert project.check(tmp_path / "mine")[1] < 10


def test_the_starter_stops_a_run_that_would_take_too_long(
    starter: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seconds, steps in ((10.0, 6000), (10.0, 5000)):  # a hundred steps take so many seconds
        times = iter((0.0, seconds))
        monkeypatch.setattr(starter.time, "perf_counter", lambda times=times: next(times))
        clock = starter.Clock(steps)
        clock(20, None)
        if steps == 6000:
            with pytest.raises(SystemExit, match="too long"):
                clock(120, None)
        else:
            clock(120, None)
    assert capsys.readouterr().out.splitlines() == [
        "6000 steps will take about 10.0 minutes",
        "5000 steps will take about 8.3 minutes",
    ]


# --- the page


def test_the_page_says_what_the_program_checks() -> None:
    page = (BOOK / "project.md").read_text("utf-8")
    assert f"at most {project.PARAMETERS:,} parameters" in page
    assert "draws 500 scenes" in page
    assert f"the seed {project.SEED}." in page
    assert project.MINUTES == 10


def test_the_table_of_reference_solutions_is_what_was_measured() -> None:
    page = (BOOK / "project.md").read_text("utf-8")
    stored = BOOK / "data" / "project.json"
    found = json.loads(stored.read_text("utf-8")) if stored.exists() else {}
    for one in found.values():
        row = f"| `{one['options']}` | {one['AP']:.3f} ± {one['error']:.3f} | {one['AP50']:.3f} |"
        row += f" {one['minutes']:.1f} | {one['processor_minutes']:.1f} | {one['parameters']:,} |"
        assert row in page
    assert page.count(" ± ") == len(found)
