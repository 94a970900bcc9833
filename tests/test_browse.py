"""The page of a data set: what it counts, what it finds, what it says of a model, and that it is a sound file."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import detr_mini
from detr_mini.browse import looking, page
from detr_mini.browse.findings import KINDS, find_in_pictures
from detr_mini.browse.judging import FATES, Judged, judge
from detr_mini.browse.making import browse
from detr_mini.browse.page import as_json
from detr_mini.browse.reading import Picture, read_data_set
from detr_mini.browse.results import THRESHOLDS, summarize_results
from detr_mini.browse.sample import choose
from detr_mini.browse.summary import GRID, SHAPES, SIZES, distinct_views, summarize
from detr_mini.commands.cli import main
from detr_mini.data import CocoDetection, look_through, make_data
from detr_mini.data.image import read_small
from detr_mini.data.transforms import eval_transforms
from detr_mini.evaluation import coco_metrics, coco_results
from detr_mini.modeling.config import get_config

Data = dict[str, Any]
Change = Callable[[Data], None]


def annotations(root: Path, split: str = "val") -> Path:
    return root / "annotations" / f"instances_{split}.json"


def spoil(root: Path, change: Change, split: str = "val") -> None:
    """Change the annotation file of a split."""
    data = json.loads(annotations(root, split).read_text("utf-8"))
    change(data)
    annotations(root, split).write_text(json.dumps(data), "utf-8")


def stored(file: Path, name: str = "data") -> Any:
    """What a page holds for its script."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', file.read_text("utf-8"), re.S)
    assert found
    return json.loads(found[1])


# --- numbers


def test_numbers_are_those_of_slow_loops(town: Path) -> None:
    data = read_data_set(town, ["train", "val"])
    views = distinct_views(("detr_resnet50", get_config("detr_resnet50")))
    summary = summarize(data, views)
    files = {split: json.loads(annotations(town, split).read_text("utf-8")) for split in ("train", "val")}
    objects = [(split, a) for split, file in files.items() for a in file["annotations"] if not a["iscrowd"]]
    for one in summary["classes"]:
        mine = [(split, a) for split, a in objects if a["category_id"] == one["id"]]
        sizes = sorted(math.sqrt(a["bbox"][2] * a["bbox"][3]) for _, a in mine)
        assert one["objects"] == len(mine)
        assert one["by_split"] == [sum(split == name for split, _ in mine) for name in ("train", "val")]
        assert one["pictures"] == len({(split, a["image_id"]) for split, a in mine})
        assert one["smallest"] == pytest.approx(sizes[0], abs=0.051)
        assert one["median"] == pytest.approx(np.median(sizes), abs=0.051)
    for split, told in zip(("train", "val"), summary["splits"], strict=True):
        assert told["pictures"] == len(files[split]["images"])
        assert told["crowds"] == sum(a["iscrowd"] for a in files[split]["annotations"])
        assert told["objects"] == len([1 for name, _ in objects if name == split])
    counts = Counter((split, a["image_id"]) for split, a in objects)
    crowding = Counter(counts[split, image["id"]] for split, file in files.items() for image in file["images"])
    assert summary["crowding"] == [crowding[k] for k in range(max(crowding) + 1)]
    shapes = [math.log2(a["bbox"][2] / a["bbox"][3]) for _, a in objects]
    assert summary["shapes"] == [sum(low <= shape < low + 0.5 for shape in shapes) for low in SHAPES[:-1].tolist()]


def test_sizes_after_resizing_are_those_of_the_transforms(town: Path) -> None:
    """Of every object by the transform that the model's pictures go through."""
    data = read_data_set(town, ["val"])
    for name in ("nano", "detr_resnet50"):
        config = get_config(name)
        (view,) = summarize(data, {name: config})["views"]
        dataset = CocoDetection(town, "val", eval_transforms(config.image_size, config.max_size))
        sizes = []
        for image, target in (dataset[k] for k in range(len(dataset))):
            height, width = image.shape[-2:]
            sizes += (target["boxes"][:, 2] * width * target["boxes"][:, 3] * height).sqrt().tolist()
        assert view["small"] == sum(size < 8 for size in sizes)
        ends = [*SIZES[1:], math.inf]
        assert view["sizes"] == [sum(low <= s < high for s in sizes) for low, high in zip(SIZES, ends, strict=True)]
        assert view["queries"] == config.num_queries


@given(st.lists(st.tuples(*[st.floats(-0.2, 1.2)] * 4), min_size=1, max_size=6))
def test_the_map_of_places_is_that_of_a_slow_loop(corners: list[tuple[float, ...]]) -> None:
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    picture = Picture(
        "val", 1, "a.jpg", None, 1, 1, np.array(boxes), np.ones(len(boxes), int), np.zeros(len(boxes), bool)
    )
    data = read_like([picture])
    counts = np.zeros((GRID, GRID))
    for x1, y1, x2, y2 in boxes:
        for row in range(GRID):
            for column in range(GRID):
                first = [min(max(math.floor(v * GRID), 0), GRID - 1) for v in (x1, y1)]
                last = [
                    max(min(max(math.ceil(v * GRID), 1), GRID), f + 1) for v, f in zip((x2, y2), first, strict=True)
                ]
                counts[row, column] += first[0] <= column < last[0] and first[1] <= row < last[1]
    (one,) = summarize(data, {})["classes"]
    assert one["places"] == (99 * counts / counts.max()).astype(int).ravel().tolist()


def read_like(pictures: list[Picture]) -> Any:
    """A data set of pictures that are in no folder."""
    from detr_mini.browse.reading import DataSet

    return DataSet(
        Path("somewhere"),
        ["val"],
        {1: "car", 2: "dog"} if any((p.labels == 2).any() for p in pictures) else {1: "car"},
        pictures,
        [],
        [],
    )


# --- possible faults


def picture_with(*boxes: tuple[float, float, float, float], labels: list[int] | None = None) -> Picture:
    """One of 100 × 80 with these boxes, xyxy."""
    return Picture(
        "val", 1, "a.jpg", None, 100, 80, np.array(boxes, dtype=float).reshape(-1, 4),
        np.array(labels or [1] * len(boxes), dtype=int), np.zeros(len(boxes), dtype=bool),
    )  # fmt: skip


FAULTY = {
    "outside": picture_with((-100, 10, 200, 50)),
    "duplicate": picture_with((10, 10, 60, 60), (10, 10, 60, 61)),
    "two classes": picture_with((10, 10, 60, 60), (10, 10, 60, 61), labels=[1, 2]),
    "tiny": picture_with((10, 10, 11, 40)),
    "giant": picture_with((0, 0, 100, 78)),
    "inside": picture_with((10, 10, 60, 60), (20, 20, 30, 30)),
    "empty": picture_with(),
}


@pytest.mark.parametrize("kind", FAULTY)
def test_a_possible_fault_is_found_and_no_other(kind: str) -> None:
    (findings,) = find_in_pictures(read_like([FAULTY[kind]]))
    assert [finding.kind for finding in findings] == [kind]
    assert sorted(findings[0].objects) == list(range(len(FAULTY[kind].boxes)))


SOUND = [
    picture_with((0, 0, 100.9, 80.9), (10, 10, 60, 60)),
    picture_with((10, 10, 60, 60), (11, 11, 62, 62)),
    picture_with((10, 10, 60, 60), (20, 20, 30, 30), labels=[1, 2]),
    picture_with((10, 10, 12, 40)),
]


@pytest.mark.parametrize("picture", SOUND)
def test_what_is_near_a_fault_is_none(picture: Picture) -> None:
    (findings,) = find_in_pictures(read_like([picture]))
    assert not [one for one in findings if one.kind not in ("giant", "inside")]


def test_crowds_overlap_as_they_like() -> None:
    picture = picture_with((10, 10, 60, 60), (10, 10, 60, 61))
    picture.crowd[1] = True
    assert find_in_pictures(read_like([picture])) == [[]]


def test_a_size_that_is_unusual_for_its_class_is_found(streets: Path, tmp_path: Path) -> None:
    def enlarge(data: Data) -> None:
        birds = [a for a in data["annotations"] if a["category_id"] == bird_id(data) and not a["iscrowd"]]
        birds[0]["bbox"] = [1, 1, 100, 70]

    root = Path(shutil.copytree(streets, tmp_path / "spoiled"))
    spoil(root, enlarge)
    data = read_data_set(root, ["val"])
    found = [finding for some in find_in_pictures(data) for finding in some if finding.kind == "unusual"]
    assert any(finding.text.startswith("bird: ") and "larger" in finding.text for finding in found)


def bird_id(data: Data) -> int:
    return next(one["id"] for one in data["categories"] if one["name"] == "bird")


def test_a_near_copy_in_another_split_is_found(town_copy: Path, tmp_path: Path) -> None:
    names = {split: sorted(p.name for p in (town_copy / split).iterdir()) for split in ("train", "val")}
    target = town_copy / "val" / names["val"][5]
    with Image.open(town_copy / "train" / names["train"][3]) as original, Image.open(target) as other:
        changed = original.resize(other.size)
    changed.save(target, quality=50)
    content = browse(town_copy, tmp_path / "page.html")
    twins = {(p["name"], f[2]) for p in content["pictures"] for f in p["findings"] if f[0] == "twin"}
    assert twins == {
        (names["train"][3], f"looks like {names['val'][5]} of the split val"),
        (names["val"][5], f"looks like {names['train'][3]} of the split train"),
    }


def test_words_of_check_data_stand_at_their_picture(town_copy: Path, tmp_path: Path) -> None:
    def break_some(data: Data) -> None:
        data["annotations"][0]["bbox"][2] = -5
        data["annotations"][1]["category_id"] = 999
        data["images"][4]["file_name"] = "gone.jpg"
        data["annotations"].append({"id": 10**9, "image_id": 12345, "category_id": 1, "bbox": [1, 1, 5, 5]})
        data["annotations"].append("nothing")
        data["images"].append({"id": 77})

    spoil(town_copy, break_some)
    original = json.loads(annotations(town_copy).read_text("utf-8"))
    broken = town_copy / "val" / original["images"][5]["file_name"]
    broken.write_bytes(broken.read_bytes()[:300])
    content = browse(town_copy, tmp_path / "page.html", ["val"])
    said = {p["id"]: [f[2] for f in p["findings"] if f[0] == "check"] for p in content["pictures"]}
    assert any("negative width" in text for text in said[original["annotations"][0]["image_id"]])
    assert any("unknown category" in text for text in said[original["annotations"][1]["image_id"]])
    assert original["images"][4]["id"] not in said
    assert any("pictures that are not in val are left out" in word for word in content["words"])
    assert any("ends before" in text for text in said[original["images"][5]["id"]])
    assert len(content["pictures"]) == 11
    words = [word for some in said.values() for word in some if "ends before" not in word]
    words += content["words"] + content["mended"]
    report = look_through(town_copy, ["val"], images=False)
    assert len(report.faults) > 0
    assert len(report.notices) > 2
    for told in (*[fault.problem for fault in report.faults], *[notice.what for notice in report.notices]):
        assert any(told in word for word in words), told


@pytest.mark.parametrize(
    "text", ["", "[]", '{"images": 3}', "\xff", '{"images": [{}], "annotations": [3], "categories": 1}']
)
def test_a_split_that_cannot_be_read_leaves_the_other(town_copy: Path, tmp_path: Path, text: str) -> None:
    annotations(town_copy, "train").write_bytes(text.encode("latin-1"))
    content = browse(town_copy, tmp_path / "page.html")
    assert len(content["pictures"]) == 12
    assert any("instances_train.json" in word for word in content["words"])
    with pytest.raises(detr_mini.data.DataError, match=r"nothing to show.*\n.*instances_train"):
        browse(town_copy, tmp_path / "page.html", ["train"])


# --- a model


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 scenes for a model that is good at them, to read and never to change."""
    folder = tmp_path_factory.mktemp("streets") / "streets"
    make_data(folder, train=0, val=120, workers=1)
    return folder


@pytest.fixture(scope="module")
def mini() -> Any:
    return detr_mini.load("mini")


def plant(root: Path) -> dict[str, str]:
    """Three mistakes in the annotations: which picture each is in, by its kind of doubt."""
    data = json.loads(annotations(root).read_text("utf-8"))
    clear = [
        [a for a in data["annotations"] if a["image_id"] == image["id"]]
        for image in data["images"]
    ]  # fmt: skip
    clear = [some for some in clear if 2 <= len(some) <= 4 and not any(a["iscrowd"] for a in some)]
    clear = [some for some in clear if max(a["area"] for a in some) > 500]
    large = [max(some, key=lambda a: a["area"]) for some in clear]
    swapped, widened, lost = large[1], large[len(large) // 2], large[-2]
    swapped["category_id"] = next(c["id"] for c in data["categories"] if c["id"] != swapped["category_id"])
    x, y, w, h = widened["bbox"]
    widened["bbox"] = [max(0, x - w), max(0, y - h), min(2 * w + x, 3 * w), min(2 * h + y, 3 * h)]
    data["annotations"].remove(lost)
    annotations(root).write_text(json.dumps(data), "utf-8")
    names = {image["id"]: image["file_name"] for image in data["images"]}
    kinds = {"label": swapped, "place": widened, "missing": lost}
    return {kind: names[a["image_id"]] for kind, a in kinds.items()}


def test_planted_mistakes_are_among_the_first_dozen(streets: Path, mini: Any, tmp_path: Path) -> None:
    root = Path(shutil.copytree(streets, tmp_path / "spoiled"))
    planted = plant(root)
    content = browse(root, tmp_path / "page.html", ["val"], model=mini, name="mini")
    by_doubt = sorted(content["pictures"], key=lambda p: -max([d[1] for d in p["doubts"]], default=0))
    first = {picture["name"]: [doubt[0] for doubt in picture["doubts"]] for picture in by_doubt[:12]}
    assert {kind for kind, name in planted.items() if kind in first.get(name, [])} == set(planted)


def as_found(judged: Judged) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(getattr(judged, key).copy()) for key in ("labels", "boxes", "scores")}


def judged_town(root: Path, model: Any) -> tuple[Any, list[Judged]]:
    data = read_data_set(root, ["val"])
    found = detr_mini.predict(model, [p.path for p in data.pictures], threshold=0.0)
    return data, [
        judge(
            p, *(one[key].numpy().astype(kind) for key, kind in (("labels", int), ("boxes", float), ("scores", float)))
        )
        for p, one in zip(data.pictures, found, strict=True)
    ]


def test_ap50_is_that_of_pycocotools(streets: Path) -> None:
    """Of nano, which makes more mistakes, class by class."""
    data, judged = judged_town(streets, detr_mini.load("nano"))
    ids = sorted(data.class_names)
    told = summarize_results(data.pictures, judged, [[]] * len(judged), ids)["ap50"]
    dataset = CocoDetection(streets, "val")
    results = [r for p, one in zip(data.pictures, judged, strict=True) for r in coco_results(p.id, as_found(one))]
    for id, value in zip(ids, told, strict=True):
        mine = [result for result in results if result["category_id"] == id]
        only = CocoDetection(streets, "val")
        kept = {k: a for k, a in only.coco.anns.items() if a["category_id"] == id}
        only.coco.dataset["annotations"] = list(kept.values())
        only.coco.dataset["categories"] = [c for c in only.coco.dataset["categories"] if c["id"] == id]
        only.coco.createIndex()
        assert value == pytest.approx(coco_metrics(only, mine)["AP50"], abs=1e-4), dataset.class_names[id]
    assert 0.2 < min(told) < 0.999


def test_counts_at_each_threshold_are_those_of_matching_anew(streets: Path) -> None:
    """Matching what is above the threshold alone gives what the page counts of the one matching of all."""
    data, judged = judged_town(streets, detr_mini.load("nano"))
    ids = sorted(data.class_names)
    steps = summarize_results(data.pictures, judged, [[]] * len(judged), ids)["steps"]
    for threshold in (0.05, 0.5, 0.9):
        step, kinds, right, unmatched, cells = (
            steps[THRESHOLDS.index(threshold)],
            Counter(),
            Counter(),
            Counter(),
            Counter(),
        )
        for picture, whole in zip(data.pictures, judged, strict=True):
            keep = whole.scores.round(3) >= threshold
            one = judge(picture, whole.labels[keep], whole.boxes[keep], whole.scores[keep])
            names = [list(FATES)[fate] for fate in one.fates]
            kinds.update(name for name in names if name != "crowd")
            right.update(int(label) for label, name in zip(one.labels, names, strict=True) if name == "right")
            taken = {int(k) for k, name in zip(one.objects, names, strict=True) if name in ("right", "class")}
            for k, label in enumerate(picture.labels.tolist()):
                if not picture.crowd[k] and one.found[k] == 0:
                    unmatched[label] += 1
                    cells[label, -1] += k not in taken
            for label, name, k in zip(one.labels.tolist(), names, one.objects, strict=True):
                if name != "crowd":
                    cells[int(picture.labels[k]) if name in ("right", "class") else -1, label] += 1
        assert step["kinds"] == [kinds[name] for name in FATES]
        assert step["right"] == [right[id] for id in ids]
        assert step["missed"] == [unmatched[id] for id in ids]
        assert sum(step["false"]) == kinds.total() - kinds["right"]
        place = {id: k for k, id in enumerate(ids)} | {-1: -1}
        wanted = {(place[row], place.get(column, -1)): n for (row, column), n in cells.items() if n}
        assert {(row, column): n for row, column, n in step["confusion"]} == wanted


@pytest.mark.parametrize(
    ("box", "label", "fate"),
    [
        ((10, 10, 50, 50), 1, "right"),
        ((12, 10, 50, 50), 1, "duplicate"),
        ((10, 10, 50, 50), 2, "class"),
        ((30, 10, 70, 50), 1, "box"),
        ((30, 10, 70, 50), 2, "both"),
        ((70, 60, 90, 75), 1, "background"),
    ],
)
def test_each_kind_of_error(box: tuple[float, ...], label: int, fate: str) -> None:
    picture, first = picture_with((10, 10, 50, 50)), [(10, 10, 50, 50)] if fate == "duplicate" else []
    labels = np.array([1] * len(first) + [label])
    judged = judge(picture, labels, np.array([*first, box], dtype=float), np.linspace(0.9, 0.8, len(labels)))
    assert list(FATES)[judged.fates[-1]] == fate


# --- which pictures are shown


@settings(max_examples=50)
@given(st.integers(1, 60), st.integers(0, 10**6))
def test_a_sample_has_every_class_the_suspect_and_the_hard(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = [picture_with((1, 1, 9, 9), labels=[1 if k else 2]) for k in range(100)]
    suspect, hard = (np.where(rng.random(100) < 0.1, rng.random(100) + 1, 0.0).tolist() for _ in range(2))
    shown = choose(pictures, suspect, hard, count)
    assert shown == sorted(set(shown))
    assert len(shown) == count
    assert choose(pictures, suspect, hard, count) == shown
    if count >= 4:
        assert 0 in shown, "the only picture of its class"
    if count >= 5:
        best = max(range(1, 100), key=lambda k: suspect[k])
        assert best in shown or not suspect[best]


def test_a_part_is_shown_of_many(town: Path, tmp_path: Path) -> None:
    content = browse(town, tmp_path / "page.html", pictures=10)
    assert len(content["pictures"]) == len(stored(tmp_path / "page.html", "thumbnails")) == 10
    assert content["total"] == 44
    assert sum(split["pictures"] for split in content["summary"]["splits"]) == 44


# --- the file


NASTY = "</script><script>alert('x')</script> & \"quotes\" 'n {{data}} 北京 🚌 \u2028.jpg"


class Scripts(HTMLParser):
    """The scripts of a page, and its other tags."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[dict[str, str | None]] = []
        self.title = ""
        self.within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.within = tag
        if tag == "script":
            self.scripts.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.title += data if self.within == "title" else ""


def nasty_town(town: Path, folder: Path) -> Path:
    """A copy whose folder, class and a file bear names that mean something to a browser."""
    root = Path(shutil.copytree(town, folder / "<b>&amp; {{script}} 'a' \"b\""))

    def rename(data: Data) -> None:
        name = data["images"][0]["file_name"]
        data["images"][0]["file_name"] = NASTY.replace("/", "")
        (root / "val" / name).rename(root / "val" / NASTY.replace("/", ""))
        data["categories"][0]["name"] = NASTY

    spoil(root, rename)
    spoil(root, lambda data: data["categories"][0].update(name=NASTY), "train")
    return root


def test_names_are_text_and_never_markup(town: Path, tmp_path: Path) -> None:
    root, file = nasty_town(town, tmp_path), tmp_path / "page.html"
    content = browse(root, file, ["val"])
    parser = Scripts()
    parser.feed(file.read_text("utf-8"))
    assert [script.get("id") for script in parser.scripts] == ["data", "thumbnails", None]
    assert parser.title.strip() == root.name
    assert stored(file) == json.loads(as_json(content))
    assert NASTY in {one["name"] for one in content["summary"]["classes"]}
    assert "alert('x')</script>" not in file.read_text("utf-8")


@given(st.text())
def test_json_in_a_page_is_read_as_it_was(text: str) -> None:
    assert json.loads(as_json({"a": [text]})) == {"a": [text]}
    assert not re.search(r"[<>&\u2028\u2029]", as_json(text))


def test_the_same_data_gives_the_same_bytes(town: Path, tmp_path: Path, mini: Any) -> None:
    pages = []
    for number in range(2):
        browse(town, tmp_path / "page.html", ["val"], model=mini, name="mini")
        pages.append((tmp_path / "page.html").read_bytes())
        (tmp_path / "page.html").unlink(missing_ok=number == 0)
    assert pages[0] == pages[1]
    assert str(tmp_path).encode() not in pages[0]


def test_nothing_is_asked_of_a_network(town: Path, tmp_path: Path) -> None:
    browse(town, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text


@pytest.mark.parametrize("name", page.SCRIPTS)
def test_a_script_is_short_and_can_be_read(name: str) -> None:
    """No function of more than 40 lines, no file of more than 300; all of them are in the page."""
    lines = (page.ASSETS / f"{name}.js").read_text("utf-8").splitlines()
    starts = [k for k, line in enumerate(lines) if line.startswith("function ")]
    ends = [next(k for k in range(start, len(lines)) if lines[k] == "}") for start in starts]
    assert len(lines) <= 300
    assert max(end - start + 1 for start, end in zip(starts, ends, strict=True)) <= 40
    assert all("*/" in lines[start - 1] or end - start < 25 for start, end in zip(starts, ends, strict=True))
    assert all(len(line) <= 120 for line in lines)


def test_all_scripts_are_in_the_page() -> None:
    assert {path.stem for path in page.ASSETS.glob("*.js")} == set(page.SCRIPTS)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("name", page.SCRIPTS)
def test_a_script_has_no_syntax_error(name: str) -> None:
    import subprocess

    subprocess.run(["node", "--check", page.ASSETS / f"{name}.js"], check=True)


def test_a_small_picture_is_upright_and_of_the_size_of_its_file(tmp_path: Path) -> None:
    picture = Image.new("RGB", (400, 200))
    picture.paste((255, 0, 0), (0, 0, 100, 200))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    small, size = read_small(tmp_path / "a.jpg", 50)
    assert size == (200, 400)
    assert small.size == (25, 50)
    assert small.getpixel((12, 3))[0] > 200
    assert small.getpixel((12, 40))[0] < 50


def test_pictures_fit_the_budget(tmp_path: Path) -> None:
    """Noise, which no JPEG makes small."""
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    picture = Picture(
        "val", 1, "a.png", tmp_path / "a.png", 1200, 900, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool)
    )
    for count in (1, 100, 1000, 5000):
        assert 500 < len(looking.thumbnail(picture, count)) * 3 / 4 <= max(looking.BUDGET / count, 1) + 30


# --- the command


def test_the_command(town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.html"
    assert main(["browse", str(town), "--out", str(file)]) == 0
    said = capsys.readouterr().out
    assert "out.html shows 44 pictures" in said
    assert KINDS["empty"].title in said
    assert main(["browse", str(town), "--out", str(file), "--split", "val", "--weights", "nano"]) == 0
    assert "12 pictures" in capsys.readouterr().out
    assert stored(file)["results"]["model"] == "nano"


def test_what_is_no_page_is_not_replaced(town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.html"
    file.write_text("mine")
    for out in (file, tmp_path):
        assert main(["browse", str(town), "--out", str(out)]) == 2
        assert "name another with --out" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert main(["browse", str(town), "--out", str(tmp_path / "no" / "a.html")]) == 2
    assert "cannot write" in capsys.readouterr().err
    assert main(["browse", str(tmp_path), "--out", str(tmp_path / "a.html")]) == 2
    assert "no annotations in COCO's format" in capsys.readouterr().err
    assert main(["browse", str(town), "--set", "config.max_size=300", "--out", str(tmp_path / "a.html")]) == 2
    assert "--weights" in capsys.readouterr().err
