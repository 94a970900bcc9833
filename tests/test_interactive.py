"""Figures to play with: everything is inside, and what is shown first needs no script."""

import base64
import io
import json
import re

import matplotlib as mpl
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from detr_mini.colours import CARD, COLOURS
from detr_mini.plots import SLOT_KINDS, slot_kinds
from detr_mini.teaching.interactive import cell_picker, exhibit, point_picker, slider, slot_picker, word_picker

ALT = "A line that rises from left to right; the slider changes its slope."


def figures(count=3):
    made = []
    for slope in range(count):
        fig = Figure(figsize=(2, 1))
        fig.subplots().plot([0, 1], [0, slope])
        made.append(fig)
    return made


@pytest.fixture(autouse=True)
def _headless():
    mpl.use("agg")


def make_slider(**changes):
    given = {"labels": ["0", "1", "2"], "name": "slopes", "what": "slope", "alt": ALT, "start": 1}
    return slider(figures(), **given | changes)


def random_maps(h=3, w=4, seed=0):
    return np.random.default_rng(seed).random((h, w, h, w))


def make_picker(maps=None, **changes):
    picture = Image.new("RGB", (40, 30), "white")
    given = {"name": "cells", "alt": ALT, "start": (2, 1)}
    return cell_picker(picture, {"a": random_maps()} if maps is None else maps, **given | changes)


def random_slots(moments=3, pictures=6, queries=5, seed=0):
    """Boxes of all kinds, in half precision as stored predictions are."""
    boxes = np.random.default_rng(seed).random((moments, pictures, queries, 4)).astype(np.float16)
    boxes[..., 2:] *= np.float16(0.5)
    return boxes


def make_slots(boxes=None, **changes):
    boxes = random_slots() if boxes is None else boxes
    given = {"scores": np.tile([0.2, 0.4, 0.6, 0.8, 1.0], (3, 1)), "labels": ["0", "50", "100"], "scene": 2}
    given |= {"image": Image.new("RGB", (40, 30), "white"), "name": "slots", "what": "step", "alt": ALT}
    return slot_picker(boxes, **given | {"start": (1, 2)} | changes)


QUERIES, KEYS = ["a", "<b>", "a"], ["one", "two", "猫", "four", "five"]


def random_weights(seed=0):
    """Weights of three words over five; each row sums to 1."""
    return np.random.default_rng(seed).dirichlet(np.ones(5), 3)


def make_words(maps=None, **changes):
    given = {"queries": QUERIES, "keys": KEYS, "name": "words", "alt": ALT, "start": 1}
    return word_picker(maps={"a": random_weights()} if maps is None else maps, **given | changes)


def random_points(seed=0, shape=(3, 4, 2, 3, 2)):
    """Places inside and outside of the picture, and weights of which those of a head sum to 1."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(shape[3] * shape[4]), shape[:3]).reshape(shape)
    return rng.random((*shape, 2)) * 1.6 - 0.3, weights


def make_points(points=None, **changes):
    picture = Image.new("RGB", (40, 30), "white")
    given = {"name": "spots", "alt": ALT, "start": (2, 1)}
    points = {"fresh": random_points(), "trained": random_points(1)} if points is None else points
    return point_picker(picture, points, **given | changes)


def make_exhibit(**changes):
    causes = {"data": ["boxes in corners", "a & b <i>"], "model": ["no positions"]}
    verdicts = {
        "boxes in corners": (False, "AP is 0.3."),
        "a & b <i>": (True, "So it is."),
        "no positions": (False, "?"),
    }
    evidence = {
        title: (made, f"A line of slope {title}, as drawn.") for title, made in zip("abc", figures(), strict=True)
    }
    solved = '<p>See <a href="04_data.ipynb#cell-one-seventh" class="cell">there</a>.</p>'
    given = {"evidence": evidence, "causes": causes, "verdicts": verdicts, "solved": solved, "name": "case", "alt": ALT}
    return exhibit(**given | changes)


MAKERS = [make_slider, make_picker, make_slots, make_words, make_points, make_exhibit]


def soup(figure):
    return BeautifulSoup(figure._repr_html_(), "html.parser")


def stored(figure):
    return json.loads(soup(figure).find("script", type="application/json").string)


def test_a_slider_holds_all_frames_and_shows_the_first_one_chosen():
    page, data = soup(make_slider()), stored(make_slider())
    assert len(set(data["frames"])) == 3
    assert data["labels"] == ["0", "1", "2"]
    assert page.img["src"] == data["frames"][1]
    assert page.img["alt"] == ALT
    assert page.output.string == "1"
    assert page.input["value"] == "1"
    assert page.input["max"] == "2"


def test_a_picker_has_the_map_of_each_cell_as_a_tile():
    maps = random_maps()
    sheet = stored(make_picker({"a": maps}))["sheets"]["a"]
    tiles = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet.partition(",")[2]))))  # (h * h, w * w, 3)
    ramp = (colormaps["cividis"](np.arange(256))[:, :3] * 255).round()
    assert tiles.shape == (3 * 3, 4 * 4, 3)
    for row, column in [(0, 0), (2, 1), (1, 3)]:
        tile = tiles[row * 3 : row * 3 + 3, column * 4 : column * 4 + 4]
        levels = np.round(maps[row, column].astype(np.float32) * 255).astype(int)
        np.testing.assert_array_equal(tile, ramp[levels])


def test_of_several_maps_the_reader_chooses_one():
    both = {"first": random_maps(), "second": random_maps(seed=1)}
    assert [option.string for option in soup(make_picker(both)).find_all("option")] == ["first", "second"]
    assert not soup(make_picker()).find_all("select")


def unpacked(text, *shape):
    return np.frombuffer(base64.b64decode(text), dtype=np.uint8).reshape(shape)


def test_a_slot_picker_has_every_center_under_its_kind():
    boxes, data = random_slots(), stored(make_slots())
    points, counts = unpacked(data["points"], 3, 5, 6, 2), np.array(data["counts"])
    assert list(data["kinds"].values()) == list(SLOT_KINDS.values())
    for moment, query in np.ndindex(3, 5):
        kinds = slot_kinds(torch.from_numpy(boxes[moment, :, query].astype(np.float32)))
        assert [colour for _, colour, _ in kinds] == list(SLOT_KINDS.values())
        assert [len(some) for some, _, _ in kinds] == counts[moment, query].tolist()
        centers = torch.cat([some[:, :2] for some, _, _ in kinds]).numpy()
        np.testing.assert_array_equal(points[moment, query], np.round(centers * 255))
    assert (counts.sum((0, 1)) > 0).all()


def test_a_slot_picker_shows_the_box_of_its_picture():
    boxes = random_slots()
    data, page = stored(make_slots()), soup(make_slots())
    own = unpacked(data["own"], 3, 5, 5)
    np.testing.assert_array_equal(own[..., :4], np.round(boxes[:, 2].astype(np.float32) * 255))
    assert own[0, :, 4].tolist() == [51, 102, 153, 204, 255]
    cx, _, w, _ = own[1, 2, :4] / 255
    style = page.select_one(".box")["style"]
    assert f"left:{100 * (cx - w / 2):.2f}%" in style
    assert "border-style:solid" in style
    assert "border-style:dashed" in soup(make_slots(start=(1, 0))).select_one(".box")["style"]


def test_a_slot_picker_shows_its_start_without_a_script():
    page, data = soup(make_slots()), stored(make_slots())
    assert [bool(image["alt"].startswith(ALT)) for image in page.find_all("img")] == [True] * 3
    assert (data["moment"], data["query"], data["columns"], data["pictures"]) == (1, 2, 3, 6)
    assert (page.input["value"], page.input["max"], page.label.b.string) == ("1", "2", "50")
    grid = Image.open(io.BytesIO(base64.b64decode(page.img["src"].partition(",")[2]))).convert("RGB")
    assert grid.size == (3 * 160, 2 * 120)
    colours = {colour for _, colour in grid.getcolors()}
    assert {tuple(bytes.fromhex(colour[1:])) for colour in SLOT_KINDS.values()} <= colours


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"boxes": random_slots()[0]}, r"\(S, P, N, 4\), \(S, N\) and S are wanted"),
        ({"labels": ["0", "50"]}, "and 2 labels"),
        ({"scores": np.zeros((3, 4))}, r"scores of shape \(3, 4\)"),
        ({"boxes": random_slots() * 9}, "cxcywh in"),
    ],
)
def test_slots_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        make_slots(**changes)


def test_a_word_picker_has_every_weight_of_every_map():
    both = {"first": random_weights(), "second": random_weights(1)}
    bitmap = stored(make_words(both))["weights"]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(bitmap.partition(",")[2]))))
    np.testing.assert_array_equal(picture.reshape(2, 3, 5), np.round(np.stack(list(both.values())) * 100) * 2)
    assert [option.string for option in soup(make_words(both)).find_all("option")] == ["first", "second"]
    assert not soup(make_words()).find_all("select")


def test_a_word_picker_shows_its_start_without_a_script():
    weights = np.array([[0.2] * 5, [0, 0.25, 0, 0.75, 0], [1, 0, 0, 0, 0]])
    page = soup(make_words({"a": weights}))
    assert [word.get_text() for word in page.select(".asks > .word")] == QUERIES
    assert [word.span.string for word in page.select(".read > .word")] == KEYS
    assert [word.string for word in page.select(".read .weight")] == ["0.00", "0.25", "0.00", "0.75", "0.00"]
    assert [COLOURS["vermilion"] in word["style"] for word in page.select(".asks > .word")] == [False, True, False]
    assert [word.string for word in page.select('[lang="zh"]')] == ["猫"]
    whole = soup(make_words({"a": weights}, start=2)).select_one(".read > .word")["style"]
    colours = [",".join(map(str, bytes.fromhex(colour[1:]))) for colour in (COLOURS["orange"], CARD)]
    assert f"background-color:rgb({colours[0]})" in whole
    assert f"background-color:rgb({colours[1]})" in page.select_one(".read > .word")["style"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"maps": {"a": random_weights().T}}, r"map 'a' has the shape \(5, 3\): \(3, 5\) is wanted"),
        ({"maps": {"a": random_weights() * 2}}, "weights lie in"),
        ({"maps": {"a": random_weights() * np.nan}}, "weights lie in"),
        ({"maps": {}}, "0 maps"),
        ({"keys": []}, "0 that are read"),
        ({"start": 3}, "start=3: there are 3 words"),
    ],
)
def test_words_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        make_words(**changes)


def test_a_point_picker_has_every_point_of_every_cell():
    both = {"fresh": random_points(), "trained": random_points(1)}
    data, page = stored(make_points(both)), soup(make_points(both))
    spots = np.frombuffer(base64.b64decode(data["spots"]), dtype="<u2").reshape(2, 3, 4, 3, 2, 2, 2)
    sizes = unpacked(data["sizes"], 2, 3, 4, 3, 2, 2)
    for number, (places, weights) in enumerate(both.values()):
        np.testing.assert_allclose(spots[number] / 65535 * 2 - 0.5, places.swapaxes(2, 3), atol=2e-5)
        np.testing.assert_allclose((sizes[number] / 255) ** 2, weights.swapaxes(2, 3), atol=5e-3)
    assert data["names"] == ["fresh", "trained"]
    assert len(data["colours"]) == 3
    which, level = page.find_all("select")
    assert [option.string for option in which.find_all("option")] == ["fresh", "trained"]
    assert [option.string for option in level.find_all("option")] == ["all levels", "level 1", "level 2", "level 3"]
    assert not soup(make_points({"fresh": random_points(shape=(3, 4, 2, 1, 2))})).find_all("select")


def test_a_point_picker_shows_its_start_without_a_script():
    places, weights = np.full((3, 4, 1, 2, 1, 2), 0.9), np.zeros((3, 4, 1, 2, 1))
    places[2, 1, 0, 1], weights[2, 1, 0, 1] = 0.25, 1.0  # all on level 2, a quarter across and down
    page = soup(make_points({"fresh": (places, weights)}))
    plain, first = page.find_all("img")
    assert first["alt"] == f"{ALT} At first: fresh."
    frame, dots = (Image.open(io.BytesIO(base64.b64decode(one["src"].partition(",")[2]))) for one in (plain, first))
    assert frame.size == dots.size
    pixels = np.asarray(dots.convert("RGBA"))
    dot = (pixels[..., :3] == tuple(bytes.fromhex(COLOURS["orange"][1:]))).all(-1) & (pixels[..., 3] == 255)
    rows, columns = dot.nonzero()
    middle = np.array([columns.mean() / dots.width, rows.mean() / dots.height])
    np.testing.assert_allclose(middle, (0.25 + 0.15) / 1.3, atol=2e-3)
    assert not (pixels[..., :3] == tuple(bytes.fromhex(COLOURS["blue"][1:]))).all(-1).any()


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ({}, "all should be"),
        ({"a": random_points(), "b": random_points(shape=(3, 4, 2, 2, 2))}, "all should be"),
        ({"a": (random_points()[0][..., 0], random_points()[1])}, "all should be"),
        ({"a": (random_points()[0], random_points()[1] * 9)}, "they lie in"),
        ({"a": random_points(shape=(2, 2, 1, 5, 1))}, "5 levels"),
    ],
)
def test_points_that_do_not_fit_are_refused(points, words):
    with pytest.raises(ValueError, match=words):
        make_points(points)


@pytest.mark.parametrize("make", MAKERS)
def test_the_same_call_gives_the_same_bytes_and_asks_for_nothing(make):
    html = make()._repr_html_()
    assert html == make()._repr_html_()
    assert "http" not in html
    assert repr(make()) == f"A figure to play with: {ALT}"


@pytest.mark.parametrize("make", MAKERS)
def test_the_script_finds_its_own_figure(make):
    html = make(name="my-own")._repr_html_()
    assert re.search(r"<figure class=\"interactive\" data-name=\"my-own\"", html)
    assert 'figure.interactive[data-name="my-own"]:not([data-ready])' in html


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("changes", "words"), [({"name": "a b"}, "letters"), ({"alt": "A line."}, "too short")])
def test_a_name_or_text_that_will_not_do_is_refused(make, changes, words):
    with pytest.raises(ValueError, match=words):
        make(**changes)


def test_an_exhibit_shows_its_first_evidence_and_holds_the_rest():
    page, data = soup(make_exhibit()), stored(make_exhibit())
    assert data["evidence"] == ["a", "b", "c"]
    assert [piece.has_attr("hidden") for piece in page.select(".piece")] == [False, True, True]
    pictures = page.find_all("img")
    assert [picture["alt"] for picture in pictures] == [f"A line of slope {title}, as drawn." for title in "abc"]
    assert len({picture["src"] for picture in pictures}) == 3
    assert [button.string for button in page.select("button.ask")] == ["a", "b", "c"]
    assert page.select_one(".solved").has_attr("hidden")


def test_an_exhibit_has_an_answer_to_each_cause():
    page, data = soup(make_exhibit()), stored(make_exhibit())
    groups = {group["label"]: [one.string for one in group.find_all("option")] for group in page.find_all("optgroup")}
    assert groups == {"data": ["boxes in corners", "a & b <i>"], "model": ["no positions"]}
    assert data["verdicts"]["a & b <i>"] == {"right": True, "text": "So it is."}
    assert [cause for cause, said in data["verdicts"].items() if said["right"]] == ["a & b <i>"]
    assert page.option["value"] == ""  # nothing is chosen at first


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evidence": {}}, "no evidence"),
        ({"causes": {"data": ["boxes in corners"]}}, "differ in .'a & b <i>', 'no positions'"),
        (
            {"verdicts": dict.fromkeys(["boxes in corners", "a & b <i>", "no positions"], (False, "?"))},
            "0 causes are right",
        ),
        (
            {"verdicts": dict.fromkeys(["boxes in corners", "a & b <i>", "no positions"], (True, "?"))},
            "3 causes are right",
        ),
    ],
)
def test_an_exhibit_that_cannot_be_solved_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        make_exhibit(**changes)


def test_labels_and_figures_have_to_be_as_many():
    with pytest.raises(ValueError, match="3 figures and 2 labels"):
        make_slider(labels=["0", "1"])


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"all should be \(h, w, h, w\)"):
        make_picker({"a": random_maps(), "b": random_maps(2, 2)})
    with pytest.raises(ValueError, match="bring it to"):
        make_picker({"a": random_maps() * 2})


def test_arrow_keys_are_left_to_the_figure():
    """JupyterLab takes them for its cells, but for elements that say otherwise."""
    page = soup(make_slider())
    assert page.input["data-lm-suppress-shortcuts"] == "true"
    page = soup(make_picker({"first": random_maps(), "second": random_maps(seed=1)}))
    slots, words = soup(make_slots()), soup(make_words())
    elements = [page.select_one("[tabindex]"), page.find("select"), slots.select_one("[tabindex]"), slots.input]
    elements += soup(make_points()).select("[tabindex], select")
    elements += soup(make_exhibit()).select("button, select")
    for element in (*elements, words.select_one("[tabindex]")):
        assert element["data-lm-suppress-shortcuts"] == "true"
