"""Evidence of the museum of bugs as figures and words, and the exhibits to play with."""

import json
import re
from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup

from detr_mini.classroom.chapters import BOOK
from detr_mini.teaching import museum_figures
from detr_mini.teaching.museum import load, verdict
from detr_mini.teaching.museum_case import CHAPTERS, case, solved
from detr_mini.teaching.museum_causes import CAUSES
from detr_mini.teaching.notebook import setup


@pytest.fixture(autouse=True)
def _headless():
    mpl.use("agg")
    with mpl.rc_context():
        setup()
        yield
    plt.close("all")


@pytest.fixture
def one():
    return load(1)


def lines(ax):
    """The curves of a panel that have points, as (K, 2)."""
    return [np.stack(line.get_data(), axis=1) for line in ax.lines if len(line.get_xdata())]


def test_each_piece_has_a_figure_and_words(one):
    found = museum_figures.evidence(one)
    assert list(found) == ["Loss", "Terms", "Numbers", "Pictures", "Batch", "Attention", "Weights"]
    assert all(len(words) >= 40 for _, words in found.values())
    assert museum_figures.evidence_figures(one).keys() == found.keys()


def test_curves_are_those_of_the_log_beside_the_twin(one):
    figure, words = museum_figures.losses(one)
    own, twin = lines(figure.axes[0])
    np.testing.assert_allclose(own, np.stack([one.log["step"], one.log["loss"]], axis=1))
    np.testing.assert_allclose(twin[:, 1], one.healthy.log["loss"])
    assert f"to {one.log['loss'][-1]:.3g}, of the twin from {one.healthy.log['loss'][0]:.3g}" in words


def test_terms_have_a_curve_for_each_layer_the_last_one_thick(one):
    figure, _ = museum_figures.terms(one)
    layers = len(one.log["loss_giou"][0])
    panel = figure.axes[2]
    assert panel.get_title(loc="left") == "GIoU term"
    assert len(lines(panel)) == 2 * layers
    thick = [line for line in panel.lines if line.get_linewidth() > 1]
    np.testing.assert_allclose(thick[0].get_ydata(), np.array(one.log["loss_giou"])[:, -1])
    np.testing.assert_allclose(lines(figure.axes[3])[0][:, 1], one.log["lr"])


def test_the_table_and_its_words_have_every_number(one):
    figure, words = museum_figures.numbers(one)
    texts = [text.get_text() for text in figure.axes[0].texts]
    rows = museum_figures.number_rows(one)
    assert len(rows) == len(one.numbers) + 6
    assert texts[2:] == [part for row in rows for part in row]
    for what, own, twin in rows:
        assert f"{what} {own}, of the twin {twin}" in words
    assert ("AP50", f"{one.numbers['AP50']:.2f}", f"{one.healthy.numbers['AP50']:.2f}") in rows


def test_a_scene_shows_what_was_found_and_what_is_there(one):
    scene = {"scene": 88, "found": [[3, 0.9, 10, 20, 30, 40]], "objects": [[3, 12, 22, 30, 40], [1, 50, 20, 5, 12]]}
    figure, words = museum_figures.pictures(replace(one, pictures=[scene]))
    boxes = [
        (patch.get_xy(), patch.get_width(), patch.get_height(), patch.get_linestyle())
        for patch in figure.axes[0].patches
    ]
    solid = [box[:3] for box in boxes if box[3] == "solid"]
    dashed = [box[:3] for box in boxes if box[3] != "solid"]
    assert set(solid) == {((10, 20), 30, 40)}
    assert dashed == [((12, 22), 30, 40), ((50, 20), 5, 12)]
    assert "2 objects and 1 detections, bus 0.90" in words


def test_a_batch_shows_targets_as_shares_of_their_picture(one):
    given = one.batch[0] | {"size": (80, 100), "objects": [[4, 0.5, 0.25, 0.2, 0.5]]}  # no class has the number 4
    figure, words = museum_figures.batch(replace(one, batch=[given]))
    patch = figure.axes[0].patches[0]
    np.testing.assert_allclose([*patch.get_xy(), patch.get_width(), patch.get_height()], [40, 0, 20, 40], atol=1e-4)
    assert "1 targets, 4" in words


def test_the_share_in_a_box_counts_cells_by_their_centers():
    values = torch.zeros(3, 4)
    values[1, 2], values[0, 0] = 3.0, 1.0
    assert museum_figures._inside(values, torch.tensor([16.0, 8.0, 24.0, 16.0])) == 0.75
    assert museum_figures._inside(values, torch.tensor([0.0, 0.0, 32.0, 24.0])) == 1


def test_bars_are_as_long_as_the_changes_and_none_is_no_bar(one):
    changes = {"backbone": 0.2, "class head": 0.0}
    run = replace(one, weights=changes, healthy=replace(one.healthy, weights={"backbone": 0.1, "class head": 0.05}))
    figure, words = museum_figures.weights(run)
    ends = [bar.get_x() + bar.get_width() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(ends, [0.2, museum_figures.FLOOR, 0.1, 0.05])
    assert "class head 0.000, of the twin 0.050" in words


def test_a_case_answers_every_cause_as_the_verdict_does(one):
    case_of_one = case(one).html
    page = BeautifulSoup(case_of_one, "html.parser")
    stored = json.loads(page.find("script", type="application/json").string)
    for name in CAUSES:
        found = verdict(one, name)
        assert stored["verdicts"][name] == {"right": found.right, "text": found.text}
    groups = [group["label"] for group in page.find_all("optgroup")]
    assert groups == list(dict.fromkeys(cause.group for cause in CAUSES.values()))
    assert page.figure["data-name"] == "exhibit-1"
    assert len(case_of_one) < 220_000  # a page has sixteen of them


@pytest.mark.parametrize("name", CAUSES)
def test_the_link_of_a_cause_names_its_chapter(name):
    link = CAUSES[name].link
    stem, _, _ = link.partition(".")
    title = re.search(r"^# ([^:\n]+)", (BOOK / "src" / f"{stem}.md").read_text("utf-8"), flags=re.M)
    assert title[1] == CHAPTERS[stem]
    assert f'<a href="{link}" class="cell">{title[1]}</a>' in solved(CAUSES[name])
