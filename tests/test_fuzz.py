"""Thousands of damaged annotation files and pictures: no traceback, no hang, nothing accepted that training trips over.

`pytest tests/test_fuzz.py --hypothesis-profile=fuzz --hypothesis-seed=0` tries 10,000 annotation files and 2,000
pictures; the ordinary run a hundredth of that. What ever broke the readers is kept in `tests/broken/`.
"""

import copy
import functools
import io
import json
import math
import resource
import shutil
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from detr_mini.data import (
    CocoDetection,
    DataError,
    Fault,
    check_data,
    eval_transforms,
    make_data,
    read_image,
    require_sound,
    train_transforms,
)
from detr_mini.data.image import FORMATS
from detr_mini.evaluation import coco_metrics

BROKEN = Path(__file__).parent / "broken"
PICTURES = 3  # of the folder whose annotation file is damaged
LIMIT = 2**20  # pixels, so that a picture allowed to be decoded is decoded in milliseconds
MEMORY = 400 * 2**20  # bytes, for all pictures of a test together: a picture at the limit takes ten

TRANSFORMS: list[Callable[..., Any]] = [
    train_transforms(None),
    train_transforms((48, 64), max_size=80),
    eval_transforms(None),
    eval_transforms(48, max_size=80),
]


def share(part: float) -> settings:
    """Settings with a part of the examples of the profile: all annotation files together are one whole."""
    examples = max(1, round(settings().max_examples * part))
    return settings(
        max_examples=examples,
        deadline=20_000,  # milliseconds an example: a hang is a failure, a busy machine is not
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Tiny Town whose annotation file each example writes anew."""
    folder = tmp_path_factory.mktemp("fuzz") / "town"
    make_data(folder, train=PICTURES, val=1, workers=1, progress=False)
    shutil.copy(annotation_file(folder), folder / "sound.json")
    return folder


@pytest.fixture(scope="module")
def sound(root: Path) -> dict[str, Any]:
    """The annotations as Tiny Town has them."""
    return json.loads((root / "sound.json").read_text())


def require_well_said(faults: list[Fault]) -> None:
    """Each fault says where and what, in one line of bounded length."""
    for fault in faults:
        assert fault.file
        assert fault.where
        assert fault.problem
        assert "\n" not in str(fault)
        assert len(str(fault).encode()) < 1500


def annotation_file(root: Path) -> Path:
    return root / "annotations" / "instances_train.json"


def verdict_is_right(root: Path, text: bytes) -> bool:
    """Write the annotation file, and hold the checker's word against what training and evaluation make of it."""
    annotation_file(root).write_bytes(text)
    accepted = False
    for images in (True, False):
        faults = check_data(root, ["train"], images=images)
        require_well_said(faults)
        if any(not fault.usable for fault in faults):
            with pytest.raises(DataError, match="cannot use"):
                require_sound(root, ["train"], images=images)
        else:
            assert require_sound(root, ["train"], images=images).faults == faults
            accepted = True
    if accepted:
        can_be_trained_on(root)
    return accepted


def can_be_trained_on(root: Path) -> None:
    """Every item is what the model and the loss expect, and pycocotools can evaluate."""
    torch.manual_seed(0)
    for transforms in TRANSFORMS:
        dataset = CocoDetection(root, "train", transforms)
        for index in range(len(dataset)):
            image, target = dataset[index]
            assert image.isfinite().all()
            boxes = target["boxes"]
            assert boxes.shape == (len(target["labels"]), 4)
            assert boxes.isfinite().all()
            assert (boxes[:, 2:] > 0).all()
            assert (boxes[:, :2] - boxes[:, 2:] / 2 >= -1e-5).all()
            assert (boxes[:, :2] + boxes[:, 2:] / 2 <= 1 + 1e-5).all()
            assert target["area"].isfinite().all()
            assert all(0 <= label < dataset.num_classes for label in target["labels"].tolist())
    results = [
        {"image_id": image_id, "category_id": category, "bbox": [1.0, 2.0, 20.0, 30.0], "score": 0.5}
        for image_id in dataset.ids
        for category in dataset.class_names
    ]
    assert all(-1 <= value <= 1 for value in coco_metrics(dataset, results).values())


# Annotation files, made in three ways.

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=12)  # halves of surrogate pairs, too
ODD = [
    *(0, -0.0, 1, -1, 1.5, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**30, 10**400, 99_999, 100_000),
    *(1e308, -1e308, 5e-324, 1e-30, 1e9, 999_999_999.9, math.nan, math.inf, -math.inf, None, True, False),
    *("", "0", "\ud800", "\udcff.jpg", "a" * 5000, "..", ".", "/", "\0", "NaN"),
]
SCALAR = st.sampled_from(ODD) | st.integers() | st.floats() | ANY_TEXT
KEYS = st.sampled_from(["id", "images", "bbox", "area_bins", "counts", "size", "info", ""]) | ANY_TEXT
JSON = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=4))


def nested(depth: int) -> Any:
    """Lists within lists."""
    return functools.reduce(lambda inner, _: [inner], range(depth), 0)


DEEP = st.integers(5, 900).map(nested)


def places(data: Any) -> list[tuple[Any, Any]]:
    """Every value within `data`: the object or list that holds it, and its key or index there."""
    found, rest = [], [data]
    while rest:
        holder = rest.pop()
        inner = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, value in inner:
            found.append((holder, key))
            if isinstance(value, dict | list):
                rest.append(value)
    return found


def change(draw: st.DrawFn, data: dict[str, Any]) -> None:
    """Delete, double, rename, shift a little or replace one value, anywhere within `data`."""
    where = places(data)
    if not where:
        return
    holder, key = draw(st.sampled_from(where))
    value = holder[key]
    what = draw(st.sampled_from(["odd", "odd", "shift", "delete", "double", "rename", "borrow", "replace", "deepen"]))
    if what == "delete":
        del holder[key]
    elif what == "double" and isinstance(holder, list):
        holder.insert(draw(st.integers(0, len(holder))), json.loads(json.dumps(value)))
    elif what == "rename" and isinstance(holder, dict):
        holder[draw(KEYS)] = holder.pop(key)
    elif what == "shift" and type(value) in (int, float) and abs(value) < 1e300:
        holder[key] = draw(st.sampled_from([-value, value + 1, value - 1, value * 1000, value / 1000, float(value)]))
    elif what == "borrow":
        other, there = draw(st.sampled_from(where))
        holder[key] = json.loads(json.dumps(other[there]))
    else:
        holder[key] = draw({"deepen": DEEP, "replace": JSON}.get(what, st.sampled_from(ODD)))


@st.composite
def changed(draw: st.DrawFn, sound: dict[str, Any]) -> bytes:
    """The annotation file of Tiny Town with one to three changes of its structure."""
    data = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        change(draw, data)
    return json.dumps(data).encode()


@st.composite
def damaged(draw: st.DrawFn, data: bytes, edits: int = 4) -> bytes:
    """The bytes with some replaced, flipped, cut out, put in, doubled, overwritten by a number, or the end cut off."""
    for _ in range(draw(st.integers(1, edits))):
        at = draw(st.integers(0, len(data)))
        until = at + draw(st.integers(1, 8) | st.integers(1, max(1, len(data))))
        what = draw(st.sampled_from(["digit", "flip", "cut", "insert", "double", "number", "end"]))
        if what == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
        elif what == "digit":  # what JSON is made of: so it may stay JSON
            data = data[:at] + draw(st.sampled_from([b"0", b"7", b"-", b".", b"e", b" ", b","])) + data[at + 1 :]
        elif what == "cut":
            data = data[:at] + data[until:]
        elif what == "insert":
            data = data[:at] + draw(st.binary(min_size=1, max_size=8)) + data[at:]
        elif what == "double":
            data = data[:until] + data[at:until] + data[until:]
        elif what == "number":
            number = draw(st.sampled_from([0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]))
            data = data[:at] + struct.pack(draw(st.sampled_from(["<I", ">I"])), number) + data[at + 4 :]
        else:
            data = data[:at]
    return data


@st.composite
def damaged_text(draw: st.DrawFn, text: str) -> bytes:
    """The annotation file with some of its bytes changed, or in another encoding."""
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7"]))
    data = text.encode(encoding)
    return data if encoding != "utf-8" and draw(st.booleans()) else draw(damaged(data))


@st.composite
def invented(draw: st.DrawFn, pictures: list[dict[str, Any]]) -> bytes:
    """A sound annotation file for some of the pictures, from scratch, half of the time with one change."""
    count = draw(st.integers(1, PICTURES))
    image_ids = draw(st.lists(st.integers(-(2**62), 2**62), min_size=count, max_size=count, unique=True))
    classes = draw(st.lists(st.integers(0, 99_999), min_size=1, max_size=3, unique=True))
    images = [p | {"id": number} for p, number in zip(pictures, image_ids, strict=False)]
    annotations = []
    for number in draw(st.lists(st.integers(1, 2**62), max_size=5, unique=True)):
        image = draw(st.sampled_from(images))
        x, y = draw(st.floats(-1, image["width"])), draw(st.floats(-1, image["height"]))
        width, height = draw(st.floats(0, image["width"] - x)), draw(st.floats(0, image["height"] - y))
        annotation = {"id": number, "image_id": image["id"], "category_id": draw(st.sampled_from(classes))}
        annotation |= {
            "bbox": [x, y, width, height],
            "area": draw(st.floats(0, 1e8)),
            "iscrowd": draw(st.integers(0, 1)),
        }
        annotations.append(annotation)
    data = {"images": images, "annotations": annotations, "categories": [{"id": c, "name": f"c{c}"} for c in classes]}
    if draw(st.booleans()):
        data |= {"info": {"area_bins": [draw(st.floats(1e-3, 1e4)), draw(st.floats(1e5, 1e8))]}, "more": draw(JSON)}
    if draw(st.booleans()):
        change(draw, data)
    return json.dumps(data).encode()


@pytest.mark.timeout(3000)
@share(0.5)
@given(data=st.data())
def test_changed_annotations_are_judged_right(root: Path, sound: dict[str, Any], data: st.DataObject) -> None:
    event("accepted" if verdict_is_right(root, data.draw(changed(sound))) else "refused")


@pytest.mark.timeout(3000)
@share(0.3)
@given(data=st.data())
def test_damaged_annotation_files_are_judged_right(root: Path, data: st.DataObject) -> None:
    event(
        "accepted" if verdict_is_right(root, data.draw(damaged_text((root / "sound.json").read_text()))) else "refused"
    )


@pytest.mark.timeout(3000)
@share(0.2)
@given(data=st.data())
def test_invented_annotations_are_judged_right(root: Path, sound: dict[str, Any], data: st.DataObject) -> None:
    text = data.draw(invented(sound["images"]) | JSON.map(lambda value: json.dumps(value).encode()))
    event("accepted" if verdict_is_right(root, text) else "refused")


def without(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in keys}


HARMLESS: list[Callable[[dict[str, Any]], dict[str, Any]]] = [
    lambda data: data,
    lambda data: without(data, "licenses", "info"),
    lambda data: data | {"annotations": data["annotations"][:1]},
    lambda data: data | {"annotations": data["annotations"][::-1], "images": data["images"][::-1]},
    lambda data: data | {"annotations": [without(a, "segmentation") for a in data["annotations"]]},
    lambda data: data | {"annotations": [a | {"bbox": [*map(float, a["bbox"])]} for a in data["annotations"]]},
    lambda data: data | {"annotations": [a | {"id": 2**62 + a["id"]} for a in data["annotations"]]},
    lambda data: data | {"images": [i | {"coco_url": "\ud83d\ude97", "license": None} for i in data["images"]]},
    lambda data: (
        data
        | {
            "images": data["images"][:1],
            "annotations": [a for a in data["annotations"] if a["image_id"] == data["images"][0]["id"]],
        }
    ),
    lambda data: data | {"info": {"year": None, "nested": nested(400)}},
    lambda data: data | {"categories": [c | {"supercategory": nested(400)} for c in data["categories"]]},
]


@pytest.mark.parametrize("number", range(len(HARMLESS)))
@pytest.mark.parametrize("indent", [None, 3])
def test_sound_annotations_are_not_refused(root: Path, sound: dict[str, Any], number: int, indent: int | None) -> None:
    data = HARMLESS[number](copy.deepcopy(sound))
    assert verdict_is_right(root, json.dumps(data, indent=indent).encode())
    assert check_data(root, ["train"]) == []


BROKEN_ANNOTATIONS = {
    "area_bins_are_text.json": "accepted, and the evaluation after the first epoch failed",
    "box_too_thin_to_flip.json": "accepted, and flipped it had no area in single precision",
    "category_nests_deeply.json": "accepted, and pycocotools, which copies categories, ran out of stack",
    "info_is_null.json": "accepted, and the evaluation after the first epoch failed",
    "info_nests_deeply.json": "accepted, and pycocotools, which copies the info, ran out of stack",
    "picture_is_a_folder.json": "accepted unless pictures were decoded, and training could not read it",
}


@pytest.mark.parametrize("name", BROKEN_ANNOTATIONS)
def test_what_broke_the_annotation_reader_is_judged_right(root: Path, name: str) -> None:
    verdict_is_right(root, (BROKEN / name).read_bytes())


# Pictures.

NOISE = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
MODES = ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B", "I")


def in_mode(mode: str) -> Image.Image:
    if mode.startswith("I;16"):
        return Image.frombytes(mode, (13, 9), NOISE[..., :2].tobytes())
    return Image.fromarray(NOISE).convert(mode)


@functools.cache
def seeds() -> dict[str, bytes]:
    """A small picture of every kind that `read_image` reads."""
    kinds: list[tuple[str, str, dict[str, Any]]] = [(form, mode, {}) for form in FORMATS for mode in MODES]
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a street"
    kinds += [(form, "RGB", {"exif": exif}) for form in ("JPEG", "PNG", "TIFF", "WEBP")]
    kinds += [(form, "RGB", {"save_all": True, "append_images": [in_mode("RGB")]}) for form in ("GIF", "PNG", "MPO")]
    kinds += [("JPEG", "RGB", {"progressive": True}), ("JPEG", "RGB", {"restart_marker_blocks": 1})]
    kinds += [("TIFF", "RGB", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    kinds += [("PNG", "P", {"transparency": bytes(range(256))}), ("PNG", "L", {"transparency": 7})]
    kinds += [("WEBP", "RGB", {"lossless": True})]
    found = {}
    for form, mode, options in kinds:
        buffer = io.BytesIO()
        try:
            in_mode(mode).save(buffer, form, **options)
        except (OSError, ValueError, KeyError):  # this format has no such mode
            continue
        found[" ".join([form, mode, *options])] = buffer.getvalue()
    return found


def with_right_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums they should have, so that what they hold reaches the decoder."""
    result, at = data[:8], 8
    while at + 8 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        body = data[at + 4 : at + 8 + length]
        result += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return result + data[at:]


@st.composite
def damaged_pictures(draw: st.DrawFn) -> tuple[str, bytes]:
    """The kind of a picture and its bytes, some of them changed."""
    kind = draw(st.sampled_from(sorted(seeds())))
    data = seeds()[kind]
    if draw(st.booleans()):  # the header, where size and format are
        data = draw(damaged(data[:60], edits=2)) + data[60:]
    else:
        data = draw(damaged(data))
    if kind.startswith("PNG") and draw(st.booleans()):
        data = with_right_checksums(data)
    return kind, data


@pytest.fixture(scope="module")
def small_limit() -> Any:
    """Pillow's limit for the size of a picture, lowered; and a bound for what reading may take of the memory."""
    seeds()
    before, limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = LIMIT
    yield
    Image.MAX_IMAGE_PIXELS = limit
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


def read_or_refused(path: Path) -> torch.Tensor | None:
    """The picture, or None where it is refused in words; anything else is a failure, and so is a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            image = read_image(path)
        except ValueError as error:
            refusal = str(error)
            image = None
    if image is None:
        assert refusal.startswith(f"cannot read the picture {path}: ")
        assert len(refusal.encode()) < 1500
        assert "\n" not in refusal
        return None
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    assert 0 < image.shape[1] * image.shape[2] <= LIMIT
    return image


@pytest.mark.timeout(3000)
@share(0.15)
@given(picture=damaged_pictures())
def test_damaged_pictures_are_read_or_refused(root: Path, small_limit: None, picture: tuple[str, bytes]) -> None:
    kind, data = picture
    path = root / "damaged.bin"
    path.write_bytes(data)
    image = read_or_refused(path)
    event(f"{kind.split()[0]} {'refused' if image is None else 'read'}")


@pytest.mark.timeout(3000)
@share(0.05)
@given(kind=st.sampled_from(sorted(set(seeds()) - {"TIFF I"})), data=st.data())
def test_of_pictures_cut_short_all_is_read_or_nothing(
    root: Path, small_limit: None, kind: str, data: st.DataObject
) -> None:
    whole = seeds()[kind]
    path = root / "damaged.bin"
    path.write_bytes(whole)
    expected = read_image(path)
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    image = read_or_refused(path)
    assert image is None or torch.equal(image, expected)


def test_every_kind_of_picture_is_read(root: Path, small_limit: None) -> None:
    assert len(seeds()) > 60
    for kind, data in seeds().items():
        path = root / "sound.bin"
        path.write_bytes(data)
        image = read_or_refused(path)
        if kind == "TIFF I":
            assert image is None  # 32 bits
        else:
            assert image is not None, kind
            assert image.shape == ((3, 13, 9) if "exif" in kind else (3, 9, 13))


BROKEN_PICTURES = {
    "ghostscript.eps": "Ghostscript was looked for, to run the file",
    "gray_16_bit.png": "every value above 255 became white",
    "strip.png": "its short side was resized to 0 pixels",
    "too_large.ppm": "Pillow warned, and began to decode 108 million pixels",
}


@pytest.mark.parametrize("name", BROKEN_PICTURES)
def test_what_broke_the_image_door_is_read_or_refused(root: Path, name: str) -> None:
    image = read_or_refused(BROKEN / name)
    assert (image is None) == (name in ("ghostscript.eps", "too_large.ppm"))
    if image is not None:
        assert image.min() < 200
        assert all(transforms(image).isfinite().all() for transforms in (eval_transforms(800), eval_transforms(None)))


def test_whatever_broke_is_tried_again() -> None:
    assert {path.name for path in BROKEN.iterdir()} == {*BROKEN_ANNOTATIONS, *BROKEN_PICTURES}
