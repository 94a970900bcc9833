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

from detr_mini.data import CocoDetection, DataError, Fault, check_data, look_through, require_sound

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
    """A folder with two good pictures and `text` as its annotation file, and a sound split for validation."""
    (root / split).mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    random = np.random.default_rng(split == "train")
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(random.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(root / split / name)
    if split != "val" and not (root / "val").exists():
        write(root, sound_data(), "val")
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
    assert [notice.what for notice in require_sound(tmp_path).notices] == ["no objects here of 1 of 2 categories: dog"]
    assert len(CocoDetection(tmp_path, "train")) == 2


def test_missing_annotation_file(tmp_path: Path) -> None:
    write(tmp_path, sound_data())
    (tmp_path / "annotations" / "instances_train.json").unlink()
    (fault,) = check_data(tmp_path)
    assert fault.where == "split train"
    assert "instances_val.json" in fault.problem
    assert "make-data" not in fault.problem
    assert len(check_data(tmp_path / "nowhere")) == 1


@pytest.mark.parametrize("cut", [0, 1, 2, 5])
def test_broken_json_names_line_and_column(tmp_path: Path, cut: int) -> None:
    lines = json.dumps(sound_data(), indent=1).splitlines()
    lines[cut] = lines[cut] + " ?!"
    fault = only_fault(tmp_path, "\n".join(lines))
    assert fault.where == f"line {cut + 1}, column {lines[cut].index('?') + 1}"
    assert "?!" in fault.value
    assert "broken JSON" in fault.problem


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe\x00", b"[" * 100_000, b'{"images": ' + b"9" * 5000 + b"}", b"\xef\xbb\xbf{"]
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
    faults = faults_of(tmp_path, sound_data() | {"annotations": [], key: []})
    assert [fault.where for fault in faults] == [f'"{key}"']


@pytest.mark.parametrize("box", [[-2, 3, 8, 8], [2, -2, 8, 8], [25, 3, 10, 8], [2, 20, 8, 6], [90, 90, 5, 5]])
def test_box_outside_its_picture(tmp_path: Path, box: list[float]) -> None:
    data = sound_data()
    data["annotations"] = [a | {"bbox": box} for a in data["annotations"]]
    fault = only_fault(tmp_path, data)
    assert fault.where == "annotation 17"
    assert fault.value == repr(box)
    assert "outside its picture of 32 x 24, as are 2 of 2" in fault.problem
    assert not fault.usable
    assert faults_of(tmp_path, changed("annotations", 0, "bbox", box)) == []
    (notice,) = [notice for notice in look_through(tmp_path, ["train"]).notices if "its picture" in notice.what]
    assert notice.warning
    assert notice.image_ids == (3,)


def test_a_box_that_looks_like_two_corners_is_said_to(tmp_path: Path) -> None:
    data = sound_data()
    data["annotations"] = [a | {"bbox": [10, 10, 30, 20]} for a in data["annotations"]]
    assert "these look like x, y, x, y" in only_fault(tmp_path, data).problem


@pytest.mark.parametrize("box", [[-0.7, 0, 10, 8], [0, 0, 32.9, 24.9], [29, 21, 3, 3]])
def test_box_may_overshoot_by_rounding(tmp_path: Path, box: list[float]) -> None:
    assert faults_of(tmp_path, changed("annotations", 0, "bbox", box)) == []


def test_an_unknown_category_is_a_fault_since_others_may_be_shifted(tmp_path: Path) -> None:
    fault = only_fault(tmp_path, changed("annotations", 0, "category_id", 44))
    assert (fault.where, fault.value) == ("annotation 17", "44")
    assert "unknown category" in fault.problem


def test_splits_must_agree_on_categories(tmp_path: Path) -> None:
    write(tmp_path, sound_data(), "train")
    write(tmp_path, changed("categories", 1, "name", "cat"), "val")
    (fault,) = check_data(tmp_path)
    assert fault.file.endswith("instances_val.json")
    assert (fault.where, fault.value) == ("category 9", "'cat'")
    assert "'dog'" in fault.problem
    data = sound_data()
    data["categories"].append({"id": 11, "name": "hen"})
    data["annotations"][0]["category_id"] = 11
    write(tmp_path, data, "val")
    (fault,) = check_data(tmp_path)
    assert (fault.where, fault.value) == ("category 11", "'hen'")
    assert "train has no such category" in fault.problem


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
    assert require_sound(tmp_path, ["train"]).faults == []
    with pytest.raises(DataError, match="2 faults"):
        require_sound(tmp_path, ["train"], images=True)


def test_picture_of_another_size(tmp_path: Path) -> None:
    fault = only_fault(tmp_path, changed("images", 1, "width", 33))
    assert fault.where == "image 5"
    assert "is 32 x 24, this file says 33 x 24" in fault.problem


@pytest.mark.parametrize(
    "info",
    [
        *({"area_bins": None}, {"area_bins": [1]}, {"area_bins": [2, 1]}, {"area_bins": [0, 1]}),
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


@pytest.mark.parametrize("name", ["a\0.jpg", "a" * 5000, "\ud800.jpg", ".", "a.jpg/b", "folder", "pipe.jpg"])
def test_names_no_picture_can_have(tmp_path: Path, name: str) -> None:
    write(tmp_path, changed("images", 0, "file_name", name))
    (tmp_path / "train" / "folder").mkdir()
    os.mkfifo(tmp_path / "train" / "pipe.jpg")  # opening it would wait without end
    report = look_through(tmp_path, ["train"])
    (notice,) = [notice for notice in report.notices if "pictures that are not in train" in notice.what]
    assert notice.where == "image 3"
    str(notice).encode()
    assert len(str(notice)) < 600
    assert len(CocoDetection(tmp_path, "train")) == 1


@pytest.mark.parametrize("images", [True, False])
def test_empty_pictures(tmp_path: Path, images: bool) -> None:
    write(tmp_path, sound_data())
    (tmp_path / "train" / "b.jpg").write_bytes(b"")
    (empty,) = check_data(tmp_path, ["train"], images=images)
    assert (empty.where, empty.value, empty.image_id) == ("image 5", "'b.jpg'", 5)
    assert "0 bytes" in empty.problem


@pytest.mark.parametrize(
    "value",
    [
        *(3, "x", [3], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]], [[1, 2, 3, 4, 5, math.nan]]),
        *({}, {"size": [32, 24], "counts": "x"}, {"size": [24, 32]}, {"size": [24, 32], "counts": 3}),
    ],
)
def test_segmentations_are_reported_but_do_not_stop_training(tmp_path: Path, value: Any) -> None:
    assert faults_of(tmp_path, changed("annotations", 0, "segmentation", value)) == []
    notice = look_through(tmp_path, ["train"]).notices[0]
    assert notice.where == "annotation 17"
    assert "segmentation" in notice.what


def test_one_pass_reports_every_fault(tmp_path: Path) -> None:
    data = sound_data()
    data["images"][0]["width"] = 33
    data["annotations"][0] |= {"category_id": 4}
    data["annotations"][1] |= {"bbox": [0, 0, math.nan, 1]}
    data["categories"].append({"id": 9, "name": "cat"})
    (write(tmp_path, data) / "train" / "b.jpg").write_bytes(b"")
    wheres = sorted(fault.where for fault in check_data(tmp_path, ["train"]))
    assert wheres == ["annotation 17", "annotation 18", "category 9", "image 3", "image 5"]


def test_fault_reads_as_one_line(tmp_path: Path) -> None:
    fault = only_fault(tmp_path, changed("annotations", 0, "category_id", 44))
    file = tmp_path / "annotations" / "instances_train.json"
    more = "1 of 2 annotations are so. Mend or remove them"
    assert str(fault) == f'{file}: annotation 17: unknown category: no such id in "categories"; {more} (found 44)'


def test_require_sound_says_how_to_go_on(tmp_path: Path) -> None:
    data = sound_data()
    data["categories"] = [{"id": n, "name": f"\ud800{n}"} for n in range(1, 31)]
    write(tmp_path, data)
    with pytest.raises(DataError) as raised:
        require_sound(tmp_path, ["train"])
    lines = str(raised.value).splitlines()
    assert "30 faults" in lines[0]
    assert sum('"name" must be' in line for line in lines) == 20
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
