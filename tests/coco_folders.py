"""Small data sets as the usual tools lay them out and write them: for the tests of the readers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Data = dict[str, Any]


def pictures(folder: Path, names: Sequence[str], seed: int = 0, size: tuple[int, int] = (64, 48)) -> None:
    """Pictures of noise, each with a content of its own."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng([seed, number]).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)


def content(names: Sequence[str], first_id: int = 1, categories: Sequence[str] = ("cat", "dog"), **more: Any) -> Data:
    """A sound annotation file: two objects in each picture of 64 x 48."""
    annotations = []
    for index in range(2 * len(names)):
        x, y, width, height = 30 + index % 5, 20 - index % 3, 12 + index % 7, 10 + index % 4
        outline = [[x, y, x + width, y, x + width, y + height, x, y + height]]
        annotation = {"id": first_id + index, "image_id": first_id + index // 2, "category_id": 1 + index % 2}
        annotation |= {"bbox": [x, y, width, height], "area": width * height, "iscrowd": 0, "segmentation": outline}
        annotations.append(annotation)
    images = [{"id": first_id + i, "file_name": name, "width": 64, "height": 48} for i, name in enumerate(names)]
    kinds = [{"id": number, "name": name, "supercategory": ""} for number, name in enumerate(categories, 1)]
    return {"images": images, "annotations": annotations, "categories": kinds, **more}


def write(file: Path, data: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data))


def without(records: list[Data], *keys: str) -> list[Data]:
    return [{key: value for key, value in record.items() if key not in keys} for record in records]


TRAIN = [f"{number:06}.jpg" for number in range(6)]
VAL = [f"{number:06}.jpg" for number in range(6, 9)]
EVERY = {"train": (TRAIN, 0), "val": (VAL, 1)}


def coco(root: Path, year: str, images: str = "") -> None:
    for split, (names, seed) in EVERY.items():
        pictures(root / images / f"{split}{year}", names, seed)
        write(root / "annotations" / f"instances_{split}{year}.json", content(names, 1 + 100 * seed))


def coco_2017(root: Path) -> None:
    coco(root, "2017")
    for split in EVERY:  # what lies beside it in the archive
        write(root / "annotations" / f"captions_{split}2017.json", {"images": [], "annotations": [], "info": {}})
        keypoints = content(EVERY[split][0], categories=("person",))
        keypoints["annotations"] = [a | {"category_id": 1, "keypoints": [0] * 51} for a in keypoints["annotations"]]
        write(root / "annotations" / f"person_keypoints_{split}2017.json", keypoints)
        write(root / "annotations" / f"stuff_{split}2017.json", content(EVERY[split][0], categories=("sky", "sea")))
        panoptic = {"images": [], "annotations": [{"segments_info": []}], "categories": []}
        write(root / "annotations" / f"panoptic_{split}2017.json", panoptic)
    write(root / "results" / "bbox_val2017_results.json", [{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}])


def roboflow(root: Path, splits: Sequence[str] = ("train", "valid", "test"), first: int = 0) -> None:
    for seed, split in enumerate(splits):
        names = [f"IMG_{seed}{n}_jpg.rf.{n:032x}.jpg" for n in range(4)]
        pictures(root / split, names, seed)
        data = content(names, categories=("animals", "cat", "dog"))
        data["categories"] = [c | {"id": c["id"] - 1, "supercategory": "animals"} for c in data["categories"]]
        data["images"] = [i | {"license": 1, "date_captured": "2022-01-01T00:00:00+00:00"} for i in data["images"]]
        for image in data["images"]:
            image["id"] += first - 1
        data["annotations"] = [
            a | {"id": a["id"] + first - 1, "image_id": a["image_id"] + first - 1, "segmentation": []}
            for a in data["annotations"]
        ]
        write(root / split / "_annotations.coco.json", {"info": {"year": "2022"}, "licenses": [], **data})
    (root / "README.roboflow.txt").write_text("exported")


def half_absent(root: Path) -> None:
    roboflow(root, ("train",))
    for path in sorted((root / "train").glob("*.jpg"))[:2]:
        path.unlink()


def raccoon(root: Path) -> None:
    data = content(TRAIN)
    pictures(root / "images", TRAIN)
    data["annotations"] = [a | {"id": a["id"] - 1} for a in data["annotations"]]
    write(root / "_annotations.coco.json", data)


def custom(root: Path) -> None:
    for split, (names, seed) in EVERY.items():
        pictures(root / f"{split}2017", names, seed)
        write(root / "annotations" / f"custom_{split}.json", content(names))


def label_studio(root: Path) -> None:
    names = [f"{n:08x}-photo_{n}.jpg" for n in range(6)]
    pictures(root / "images", names)
    data = content(names, 0)
    data["images"] = [i | {"file_name": f"images/{i['file_name']}"} for i in data["images"]]
    for annotation in data["annotations"]:
        annotation |= {"category_id": annotation["category_id"] - 1, "ignore": 0, "segmentation": []}
    data["categories"] = [{"id": c["id"] - 1, "name": c["name"]} for c in data["categories"]]
    write(root / "result.json", {**data, "info": {"version": "1.0", "contributor": "Label Studio"}})


def label_studio_on_windows(root: Path) -> None:
    label_studio(root)
    data = json.loads((root / "result.json").read_text())
    data["images"] = [i | {"file_name": i["file_name"].replace("/", "\\")} for i in data["images"]]
    write(root / "result.json", data)


def labelme(root: Path) -> None:
    names = [f"JPEGImages/2011_{n:06}.jpg" for n in range(3)]
    pictures(root, names)
    pictures(root / "Visualization", [name.replace("JPEGImages/", "") for name in names], 7)
    data = content(names, 0)
    for annotation in data["annotations"]:
        annotation |= {"bbox": [float(side) for side in annotation["bbox"]]}
    data["images"] = [i | {"license": 0, "url": None, "date_captured": "2020"} for i in data["images"]]
    data["annotations"] = [a | {"category_id": a["category_id"] - 1} for a in data["annotations"]]
    data["categories"] = [c | {"id": c["id"] - 1, "supercategory": None} for c in data["categories"]]
    write(root / "annotations.json", {"info": {}, "licenses": [], **data, "type": "instances"})


def via(root: Path) -> None:
    pictures(root, TRAIN)
    data = content(TRAIN, 0)
    data["images"] = [i | {"id": i["id"], "license": 0, "coco_url": ""} for i in data["images"]]
    for annotation in data["annotations"]:
        annotation |= {"image_id": str(annotation["image_id"]), "segmentation": annotation["segmentation"][0]}
    data["categories"] = [c for c in data["categories"] for _ in range(6)]
    write(root / "via_export_coco.json", {"info": {"year": 2020}, "licenses": [{}], **data})


def one_file_two_folders(root: Path) -> None:
    pictures(root / "train_images", TRAIN)
    pictures(root / "val_images", VAL, 1)
    write(root / "annotations.json", content([*TRAIN, *VAL]))


def fiftyone(root: Path) -> None:
    pictures(root / "data", TRAIN)
    write(root / "labels.json", content(TRAIN) | {"info": {"description": "exported"}})


def fiftyone_splits(root: Path) -> None:
    for split, (names, seed) in {"train": (TRAIN, 0), "validation": (VAL, 1)}.items():
        pictures(root / split / "data", names, seed)
        write(root / split / "labels.json", content(names))


def beside(root: Path, file: str, images: str) -> None:
    """Annotations under a name, pictures in a folder; SPLIT stands for the split in both."""
    for split, (names, seed) in EVERY.items():
        pictures(root / images.replace("SPLIT", split), names, seed)
        write(root / file.replace("SPLIT", split), content(names))


def kind_alone(root: Path, kind: str) -> None:
    coco(root, "", "images")
    for split in EVERY:
        (root / f"annotations/instances_{split}.json").rename(root / f"annotations/{kind}_{split}.json")


def numbered_in_each_split(root: Path) -> None:
    for split, seed in (("train", 0), ("val", 1)):
        pictures(root / split, TRAIN, seed)  # the same names in both
        write(root / split / "annotations.json", content(TRAIN))


Maker = Callable[[Path], None]
LAYOUTS: dict[str, tuple[Maker, str, int, int]] = {  # how it is made, whose way it is, pictures of train and of val
    "coco 2017": (coco_2017, "COCO 2017", 6, 3),
    "coco 2014": (lambda root: coco(root, "2014"), "COCO 2014", 6, 3),
    "tiny town": (lambda root: coco(root, ""), "COCO, in short names", 6, 3),
    "images/train2017": (lambda root: coco(root, "2017", "images"), "CVAT", 6, 3),
    "cvat, datumaro": (lambda root: coco(root, "", "images"), "CVAT", 6, 3),
    "datumaro, one folder": (
        lambda root: beside(root, "annotations/instances_SPLIT.json", "images"), "COCO, in other names", 6, 3
    ),
    "datumaro, keypoints": (lambda root: kind_alone(root, "person_keypoints"), "COCO, in other names", 6, 3),
    "datumaro, stuff": (lambda root: kind_alone(root, "stuff"), "COCO, in other names", 6, 3),
    "datumaro, roboflow": (lambda root: roboflow(root, ("train", "val")), "Roboflow", 4, 4),
    "roboflow": (roboflow, "Roboflow", 4, 4),
    "roboflow, ids from 1": (lambda root: roboflow(root, first=1), "Roboflow", 4, 4),
    "roboflow, train and test": (lambda root: roboflow(root, ("train", "test")), "Roboflow", 4, 4),
    "roboflow, train alone": (lambda root: roboflow(root, ("train",)), "Roboflow", 3, 1),
    "roboflow, half absent": (half_absent, "Roboflow", 1, 1),
    "roboflow, one file": (raccoon, "Roboflow", 5, 1),
    "custom_train": (custom, "COCO, in other names", 6, 3),
    "label studio": (label_studio, "Label Studio", 5, 1),
    "label studio, backslashes": (label_studio_on_windows, "Label Studio", 5, 1),
    "labelme": (labelme, "labelme", 2, 1),
    "via": (via, "VIA", 5, 1),
    "one file, two folders": (one_file_two_folders, "COCO, in other names", 6, 3),
    "fiftyone": (fiftyone, "FiftyOne", 5, 1),
    "fiftyone, splits": (fiftyone_splits, "FiftyOne", 6, 3),
    "annotations/SPLIT.json": (
        lambda root: beside(root, "annotations/SPLIT.json", "images/SPLIT"), "COCO, in other names", 6, 3
    ),
    "SPLIT.json": (lambda root: beside(root, "SPLIT.json", "SPLIT"), "COCO, in other names", 6, 3),
    "coco_SPLIT.json": (lambda root: beside(root, "coco_SPLIT.json", "images"), "COCO, in other names", 6, 3),
    "SPLIT_coco.json": (lambda root: beside(root, "labels/SPLIT_coco.json", "SPLIT/images"), "COCO, in", 6, 3),
    "a folder above": (lambda root: coco(root / "my_data", "2017", "images"), "CVAT", 6, 3),
    "same names": (numbered_in_each_split, "COCO, in other names", 6, 6),
}  # fmt: skip
