"""``tools/one_change.py``: each form differs from the one before in what it names, and its run is stored."""

import json
from dataclasses import asdict
from typing import Any

import one_change
import pytest

from detr_mini import CocoDetection, DeformableDETR, Recipe, evaluate, load
from detr_mini.data import eval_transforms
from detr_mini.modeling.build import Detector, build

STEPS = [
    ("one-level", "one-level-refined", {"with_box_refine"}),
    ("one-level", "two-levels", {"num_feature_levels"}),
    ("one-level-refined", "two-levels-refined", {"num_feature_levels"}),
    ("two-levels-refined", "two-levels-two-stage", {"two_stage"}),
]


def config(form: str) -> dict[str, Any]:
    name, changes = one_change.FORMS[form]
    return asdict(build(name, **changes).config)


@pytest.mark.parametrize(("before", "after", "fields"), STEPS)
def test_a_step_changes_what_it_names(before: str, after: str, fields: set[str]) -> None:
    first, second = config(before), config(after)
    assert {key for key in first if first[key] != second[key]} == fields


def test_a_run_is_stored_and_measured_as_its_model_is(town: Any, tmp_path: Any, monkeypatch: Any) -> None:
    def trained(model: DeformableDETR, recipe: Recipe, *_: Any, **__: Any) -> Detector:
        assert (recipe.epochs, recipe.lr_drop) == (1, 1)
        assert model.config.num_feature_levels == 2
        return load("deformable_nano")

    monkeypatch.setattr(one_change, "train", trained)
    line = one_change.run("two-levels-refined", 3, town, tmp_path / "runs", tmp_path / "stored")
    assert line.startswith("two-levels-refined seed 3: AP 0.")
    kept = json.loads((tmp_path / "stored" / "two-levels-refined-3.json").read_text())
    assert len(kept["layers"]) == 3
    found = evaluate(load("deformable_nano"), CocoDetection(town, "val", eval_transforms(None, 136)))
    assert kept["layers"][-1] == {key: round(found[key], 5) for key in one_change.KEPT}
    assert found["AP"] > 0.5


def test_every_form_is_stored() -> None:
    stored = {path.stem: json.loads(path.read_text()) for path in one_change.STORED.glob("*.json")}
    assert stored.keys() == {f"{form}-0" for form in one_change.FORMS}
    for kept in stored.values():
        assert kept["config"] == one_change.FORMS[kept["form"]][1]
