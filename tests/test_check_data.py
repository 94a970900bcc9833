"""The checker: each fault in its own words, all of them in one pass, and never a traceback."""

import copy
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detr_mini.data import CocoDetection, DataError, Fault, check_data, require_sound

Data = dict[str, Any]


def sound_data() -> Data:
    """Two pictures, two categories, an object and a crowd."""
    run_lengths = {"size": [24, 32], "counts": [0, 100, 668]}
    return {
        "images": [
            {"id": 3, "file_name": "a.jpg", "width": 32, "height": 24},
            {"id": 5, "file_name": "b.jpg", "width": 32, "height": 24},
        ],
        "annotations": [
            {"id": 17, "image_id": 3, "category_id": 1, "bbox": [2, 3, 10.5, 8], "area": 80.0, "iscrowd": 0}
            | {"segmentation": [[2, 3, 12, 3, 12, 11]]},
            {"id": 18, "image_id": 3, "category_id": 9, "bbox": [0, 0, 32, 24], "area": 768, "iscrowd": 1}
            | {"segmentation": run_lengths},
        ],
        "categories": [{"id": 1, "name": "car"}, {"id": 9, "name": "dog"}],
    }


def write(root: Path, text: str | bytes | Data, split: str = "train") -> Path:
    """A folder with two good pictures and `text` as its annotation file."""
    (root / split).mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(noise).save(root / split / name)
    if isinstance(text, dict):
        text = json.dumps(text)
    data = text if isinstance(text, bytes) else text.encode()
    (root / "annotations" / f"instances_{split}.json").write_bytes(data)
    return root


def faults_of(root: Path, text: str | bytes | Data) -> list[Fault]:
    """What the checker says of one split."""
    return check_data(write(root, text), ["train"])


def only_fault(root: Path, text: str | bytes | Data) -> Fault:
    """The one fault the checker finds."""
    faults = faults_of(root, text)
    assert len(faults) == 1, [str(fault) for fault in faults]
    assert faults[0].file.endswith("instances_train.json")
    return faults[0]


def changed(part: str, index: int, key: str, value: Any) -> Data:
    """The sound data with one value replaced."""
    data = sound_data()
    data[part][index][key] = value
    return data


def test_sound_data_has_no_fault(tmp_path: Path) -> None:
    write(tmp_path, sound_data(), "train")
    write(tmp_path, sound_data(), "val")
    assert check_data(tmp_path) == []
    assert require_sound(tmp_path) == []
    assert len(CocoDetection(tmp_path, "train")) == 2


def test_missing_annotation_file(tmp_path: Path) -> None:
    write(tmp_path, sound_data())
    (fault,) = check_data(tmp_path)
    assert fault.where == "split val"
    assert "instances_val.json" in fault.problem
    assert "make-data" in fault.problem
    assert len(check_data(tmp_path / "nowhere")) == 2


@pytest.mark.parametrize("cut", [0, 1, 2, 5])
def test_broken_json_names_line_and_column(tmp_path: Path, cut: int) -> None:
    lines = json.dumps(sound_data(), indent=1).splitlines()
    lines[cut] = lines[cut] + " ?!"
    fault = only_fault(tmp_path, "\n".join(lines))
    assert fault.where == f"line {cut + 1}, column {lines[cut].index('?') + 1}"
    assert "?!" in fault.value
    assert "broken JSON" in fault.problem


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe\x00", b"[" * 100_000, b'{"images": ' + b"9" * 5000 + b"}", b"\xef\xbb\xbf{}"]
)
def test_what_is_no_json_at_all(tmp_path: Path, text: bytes) -> None:
    assert "JSON" in only_fault(tmp_path, text).problem


@pytest.mark.parametrize("value", [[], 3, None, "text", True])
def test_top_level_must_be_an_object(tmp_path: Path, value: Any) -> None:
    fault = only_fault(tmp_path, json.dumps(value))
    assert "must hold an object" in fault.problem
    assert fault.value == repr(value)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_lists_must_be_there_and_be_lists(tmp_path: Path, key: str) -> None:
    data = sound_data()
    del data[key]
    assert any(f'has no "{key}"' in str(fault) for fault in faults_of(tmp_path, data))
    for value in ({}, None, 4):
        data[key] = value
        faults = faults_of(tmp_path, data)
        assert any(fault.where == f'"{key}"' and fault.problem == "must be a list" for fault in faults)


@pytest.mark.parametrize("key", ["images", "categories"])
def test_pictures_and_categories_must_not_be_empty(tmp_path: Path, key: str) -> None:
    assert only_fault(tmp_path, sound_data() | {"annotations": [], key: []}).where == f'"{key}"'


def test_no_annotations_are_sound(tmp_path: Path) -> None:
    assert faults_of(tmp_path, sound_data() | {"annotations": []}) == []


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
@pytest.mark.parametrize("value", [None, 3, "x", []])
def test_entries_must_be_objects(tmp_path: Path, part: str, value: Any) -> None:
    data = sound_data()
    data[part].append(value)
    fault = only_fault(tmp_path, data)
    assert fault.where == f"{part}[2]"
    assert fault.problem == "must be an object"


@pytest.mark.parametrize(
    ("part", "index", "key"),
    [(part, index, key) for part, entries in sound_data().items() for index, e in enumerate(entries) for key in e],
)
def test_missing_keys(tmp_path: Path, part: str, index: int, key: str) -> None:
    data = sound_data()
    del data[part][index][key]
    faults = faults_of(tmp_path, data)
    if key == "segmentation":  # boxes do without
        assert faults == []
    else:
        name = part.removesuffix("s") if part != "categories" else "category"
        where = f"{part}[{index}]" if key == "id" else f"{name} {sound_data()[part][index]['id']}"
        assert any(fault.where == where and fault.problem.startswith(f'has no "{key}"') for fault in faults)


WRONG_NUMBERS = [True, "3", None, [3], math.nan, math.inf, -math.inf, 10**400]


@pytest.mark.parametrize(
    ("part", "key", "values"),
    [
        ("images", "id", [*WRONG_NUMBERS, 3.0]),
        ("images", "file_name", ["", 3, None, ["a.jpg"], True]),
        ("images", "width", [*WRONG_NUMBERS, 0, -32, 32.0]),
        ("images", "height", [*WRONG_NUMBERS, 0, -24, 24.0]),
        ("categories", "id", [*WRONG_NUMBERS, -1, 1.0, 10**6]),
        ("categories", "name", ["", 3, None]),
        ("annotations", "id", [*WRONG_NUMBERS, -1, 0, 17.0]),
        ("annotations", "image_id", [*WRONG_NUMBERS, 3.0]),
        ("annotations", "category_id", [*WRONG_NUMBERS, 1.0]),
        ("annotations", "area", [*WRONG_NUMBERS, -1]),
        ("annotations", "iscrowd", [*WRONG_NUMBERS, 2, -1, 1.0]),
        ("annotations", "bbox", [*WRONG_NUMBERS, [], [1, 2, 3], [1, 2, 3, 4, 5], {"x": 1}]),
    ],
)
def test_wrong_values(tmp_path: Path, part: str, key: str, values: list[Any]) -> None:
    for value in values:
        faults = faults_of(tmp_path, changed(part, 0, key, value))
        named = [fault for fault in faults if fault.problem.startswith(f'"{key}" must')]
        assert len(named) == 1, value
        assert not named[0].usable
        assert named[0].value.startswith(repr(value)[:20])


@pytest.mark.parametrize("number", [value for value in WRONG_NUMBERS if not isinstance(value, list)])
@pytest.mark.parametrize("place", range(4))
def test_box_numbers_must_be_finite_numbers(tmp_path: Path, number: Any, place: int) -> None:
    box: list[Any] = [2, 3, 10, 8]
    box[place] = number
    fault = only_fault(tmp_path, changed("annotations", 0, "bbox", box))
    assert fault.where == "annotation 17"
    assert '"bbox" must be four finite numbers' in fault.problem


@pytest.mark.parametrize("box", [[-2, 3, 8, 8], [2, -2, 8, 8], [25, 3, 10, 8], [2, 20, 8, 6], [90, 90, 5, 5]])
def test_box_outside_its_picture(tmp_path: Path, box: list[float]) -> None:
    fault = only_fault(tmp_path, changed("annotations", 0, "bbox", box))
    assert fault.where == "annotation 17"
    assert fault.value == repr(box)
    assert "outside its picture of 32 x 24" in fault.problem
    assert not fault.usable


def test_a_box_that_looks_like_two_corners_is_said_to(tmp_path: Path) -> None:
    fault = only_fault(tmp_path, changed("annotations", 0, "bbox", [10, 10, 30, 20]))
    assert fault.problem.endswith("COCO boxes are x, y, width, height, and this one looks like x, y, x, y")


@pytest.mark.parametrize("box", [[-0.7, 0, 10, 8], [0, 0, 32.9, 24.9], [31, 23, 1, 1]])
def test_box_may_overshoot_by_rounding(tmp_path: Path, box: list[float]) -> None:
    assert faults_of(tmp_path, changed("annotations", 0, "bbox", box)) == []


@pytest.mark.parametrize(
    ("box", "usable"),
    [([2, 3, 0, 8], True), ([2, 3, 8, 0.0], True), ([2, 3, 1e-9, 8], True), ([8, 8, -3, 4], False)],
)
@pytest.mark.parametrize("index", [0, 1])
def test_box_without_area(tmp_path: Path, box: list[float], usable: bool, index: int) -> None:
    fault = only_fault(tmp_path, changed("annotations", index, "bbox", box))
    assert fault.usable is usable
    assert ("without area" if usable else "negative width or height") in fault.problem
    if usable:
        assert require_sound(tmp_path, ["train"]) == [fault]
        assert len(CocoDetection(tmp_path, "train")[0][1]["boxes"]) == index


def test_unknown_category_and_image(tmp_path: Path) -> None:
    fault = only_fault(tmp_path, changed("annotations", 0, "category_id", 44))
    assert (fault.where, fault.value) == ("annotation 17", "44")
    assert "unknown category" in fault.problem
    fault = only_fault(tmp_path, changed("annotations", 0, "image_id", 55))
    assert (fault.where, fault.value) == ("annotation 17", "55")
    assert "unknown image" in fault.problem


@pytest.mark.parametrize(
    ("part", "where"), [("images", "image 3"), ("annotations", "annotation 17"), ("categories", "category 1")]
)
def test_duplicate_ids(tmp_path: Path, part: str, where: str) -> None:
    data = sound_data()
    data[part].append(copy.deepcopy(data[part][0]))
    fault = only_fault(tmp_path, data)
    assert fault.where == where
    assert f"{part}[0] and {part}[2]" in fault.problem


def test_splits_must_agree_on_categories(tmp_path: Path) -> None:
    write(tmp_path, sound_data(), "train")
    write(tmp_path, changed("categories", 1, "name", "cat"), "val")
    (fault,) = check_data(tmp_path)
    assert fault.file.endswith("instances_val.json")
    assert (fault.where, fault.value) == ("category 9", "'cat'")
    assert "'dog'" in fault.problem
    data = sound_data()
    data["categories"].append({"id": 11, "name": "hen"})
    write(tmp_path, data, "val")
    (fault,) = check_data(tmp_path)
    assert (fault.where, fault.value) == ("category 11", "'hen'")
    assert "the first split has no such id" in fault.problem


@pytest.mark.parametrize("images", [True, False])
def test_missing_and_empty_pictures(tmp_path: Path, images: bool) -> None:
    write(tmp_path, sound_data())
    (tmp_path / "train" / "a.jpg").unlink()
    (tmp_path / "train" / "b.jpg").write_bytes(b"")
    missing, empty = check_data(tmp_path, ["train"], images=images)
    assert (missing.where, missing.value) == ("image 3", "'a.jpg'")
    assert "no such picture" in missing.problem
    assert (empty.where, empty.value) == ("image 5", "'b.jpg'")
    assert "0 bytes" in empty.problem


def test_truncated_and_false_pictures(tmp_path: Path) -> None:
    write(tmp_path, sound_data())
    picture = tmp_path / "train" / "a.jpg"
    picture.write_bytes(picture.read_bytes()[:700])
    (tmp_path / "train" / "b.jpg").write_text("a letter")
    truncated, text = check_data(tmp_path, ["train"])
    assert (truncated.where, truncated.value) == ("image 3", "'a.jpg'")
    assert "a.jpg: it ends before the picture is complete" in truncated.problem
    assert "b.jpg: it is no picture" in text.problem
    assert truncated.problem.endswith("Write it again, or remove the entry")
    assert check_data(tmp_path, ["train"], images=False) == []
    assert require_sound(tmp_path, ["train"]) == []
    with pytest.raises(DataError, match="2 faults"):
        require_sound(tmp_path, ["train"], images=True)


def test_picture_of_another_size(tmp_path: Path) -> None:
    fault = only_fault(tmp_path, changed("images", 1, "width", 33))
    assert fault.where == "image 5"
    assert "is 32 x 24, this file says 33 x 24" in fault.problem


@pytest.mark.parametrize("name", ["../train/a.jpg", "/etc/hostname", "x/../../annotations/instances_train.json"])
def test_pictures_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    fault = only_fault(tmp_path, changed("images", 0, "file_name", name))
    assert "must stay within" in fault.problem


@pytest.mark.parametrize("images", [True, False])
def test_a_picture_must_be_a_file(tmp_path: Path, images: bool) -> None:
    write(tmp_path, changed("images", 0, "file_name", "folder"))
    (tmp_path / "train" / "folder").mkdir()
    os.mkfifo(tmp_path / "train" / "b.jpg.pipe")
    (tmp_path / "train" / "b.jpg").unlink()
    (tmp_path / "train" / "b.jpg.pipe").rename(tmp_path / "train" / "b.jpg")
    folder, pipe = check_data(tmp_path, ["train"], images=images)  # opening the pipe would wait without end
    assert (folder.where, pipe.where) == ("image 3", "image 5")
    assert "is no file" in folder.problem
    assert "is no file" in pipe.problem


@pytest.mark.parametrize(
    "info",
    [
        *(None, [], 3, {"area_bins": None}, {"area_bins": [1]}, {"area_bins": [2, 1]}, {"area_bins": [0, 1]}),
        *({"area_bins": [1, math.inf]}, {"area_bins": ["1", 2]}, {"area_bins": [1, 2, 3]}, {"area_bins": [1, True]}),
    ],
)
def test_areas_that_evaluation_cannot_use(tmp_path: Path, info: Any) -> None:
    fault = only_fault(tmp_path, sound_data() | {"info": info})
    assert fault.where == '"info"'
    assert not fault.usable


def test_info_may_say_anything_else(tmp_path: Path) -> None:
    assert faults_of(tmp_path, sound_data() | {"info": {"year": None, "area_bins": [10, 99.5]}}) == []


def test_half_a_surrogate_pair_is_no_name(tmp_path: Path) -> None:
    fault = only_fault(tmp_path, changed("categories", 0, "name", "car\ud83d"))
    assert fault.where == "category 1"
    str(fault).encode()
    assert faults_of(tmp_path, changed("categories", 0, "name", "car \U0001f697")) == []


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_named_as_the_fault(tmp_path: Path, encoding: str) -> None:
    text = json.dumps(changed("categories", 0, "name", "Höhle"), ensure_ascii=False).encode(encoding)
    assert "not UTF-8 text; write the file again in UTF-8" in only_fault(tmp_path, text).problem


@pytest.mark.parametrize("name", ["a\0.jpg", "a" * 5000, "\ud800.jpg", ".", "a.jpg/b"])
def test_names_no_picture_can_have(tmp_path: Path, name: str) -> None:
    fault = only_fault(tmp_path, changed("images", 0, "file_name", name))
    assert fault.where == "image 3"
    str(fault).encode()
    assert len(str(fault)) < 600


@pytest.mark.parametrize(
    "value",
    [
        *(None, 3, "x", [3], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]], [[1, 2, 3, 4, 5, math.nan]]),
        *({}, {"size": [32, 24], "counts": "x"}, {"size": [24, 32]}, {"size": [24, 32], "counts": 3}),
    ],
)
def test_segmentations_are_reported_but_do_not_stop_training(tmp_path: Path, value: Any) -> None:
    fault = only_fault(tmp_path, changed("annotations", 0, "segmentation", value))
    assert fault.where == "annotation 17"
    assert "segmentation" in fault.problem
    assert fault.usable


def test_one_pass_reports_every_fault(tmp_path: Path) -> None:
    data = sound_data()
    data["images"][0]["width"] = "wide"
    data["images"][1]["file_name"] = "gone.jpg"
    data["annotations"][0] |= {"category_id": 4, "bbox": [0, 0, math.nan, 1], "area": None}
    data["annotations"][1] |= {"image_id": 99}
    data["categories"][1]["name"] = 5
    wheres = sorted(fault.where for fault in faults_of(tmp_path, data))
    assert wheres == ["annotation 17"] * 3 + ["annotation 18"] + ["category 9", "image 3", "image 5"]


def test_fault_reads_as_one_line(tmp_path: Path) -> None:
    fault = only_fault(tmp_path, changed("annotations", 0, "category_id", 44))
    file = tmp_path / "annotations" / "instances_train.json"
    assert str(fault) == f'{file}: annotation 17: unknown category: no such id in "categories" (found 44)'


def test_require_sound_says_how_to_go_on(tmp_path: Path) -> None:
    data = sound_data()
    data["annotations"] = [data["annotations"][0] | {"id": n, "category_id": 44} for n in range(1, 31)]
    data["annotations"][4]["bbox"] = [1, 1, 0, 0]  # this one alone would do no harm
    write(tmp_path, data)
    with pytest.raises(DataError) as raised:
        require_sound(tmp_path, ["train"])
    lines = str(raised.value).splitlines()
    assert "30 faults" in lines[0]
    assert sum("unknown category" in line for line in lines) == 20
    assert lines[21] == "  and 10 more"
    assert f"detr-mini check-data {tmp_path}" in lines[22]


def test_require_sound_with_one_fault(tmp_path: Path) -> None:
    write(tmp_path, changed("annotations", 0, "category_id", 44))
    with pytest.raises(DataError, match=r"1 fault\n  .*category.*\nMend"):
        require_sound(tmp_path, ["train"])


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**400, -(10**30)])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "images", "bbox", "counts", "size", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
PATHS = [
    (),
    *[(part,) for part in sound_data()],
    *[(part, index) for part in sound_data() for index in range(2)],
    *[(part, i, key) for part, entries in sound_data().items() for i, entry in enumerate(entries) for key in entry],
    *[("annotations", 0, "bbox", index) for index in range(4)],
    *[("annotations", 1, "segmentation", key) for key in ("size", "counts")],
]


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The data with `value` at `path`."""
    if not path:
        return value
    result = copy.copy(data)
    result[path[0]] = replaced(data[path[0]], path[1:], value)
    return result


@settings(deadline=None, max_examples=150)
@given(path=st.sampled_from(PATHS), value=JSON)
def test_no_value_anywhere_brings_a_traceback(path: tuple[Any, ...], value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = write(Path(folder), json.dumps(replaced(sound_data(), path, value)))
        faults = check_data(root, ["train"])
        for fault in faults:
            assert "\n" not in str(fault)
            assert len(str(fault)) < 1000
        if all(fault.usable for fault in faults):  # then the reader reads it
            for _, target in CocoDetection(root, "train"):  # type: ignore[attr-defined]
                assert target["boxes"].isfinite().all()


@settings(deadline=None, max_examples=60)
@given(position=st.integers(0, 700), junk=st.binary(max_size=4), cut=st.booleans())
def test_damaged_bytes_bring_no_traceback(position: int, junk: bytes, cut: bool) -> None:
    text = json.dumps(sound_data()).encode()
    with tempfile.TemporaryDirectory() as folder:
        root = write(Path(folder), text[:position] + junk + (b"" if cut else text[position + len(junk) :]))
        assert all(str(fault) for fault in check_data(root, ["train"]))
        picture = root / "train" / "a.jpg"
        data = picture.read_bytes()
        picture.write_bytes(data[:position] + junk + (b"" if cut else data[position + len(junk) :]))
        assert all(str(fault) for fault in check_data(root, ["train"]))
