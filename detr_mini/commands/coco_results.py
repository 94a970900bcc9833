"""What ``predict --coco`` writes: detections as COCO's tools read them, and the images that they are of."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from detr_mini.errors import ConfigError, DataError, StorageError
from detr_mini.files import write_atomically


class CocoResults:
    """Detections of one call, for ``pycocotools.coco.COCO(...).loadRes(FILE)``.

    The ids of the images are those of an annotation file. Without one they count from 1, and a file beside the results,
    ``NAME.images.json``, is what stands for it: it lists images and categories, and has no annotations.

    Args:
        file: of the results.
        images: all that are looked at.
        annotations: the file with their ids; None: there is none.

    Raises:
        DataError: the annotation file cannot be read, or does not list an image, or lists several that it may be.
        ConfigError: ``file`` is the annotation file.
    """

    def __init__(self, file: Path, images: Sequence[Path], annotations: Path | None = None) -> None:
        self.file = file
        self.listed = annotations is not None
        if annotations and file.resolve() == annotations.resolve():
            raise ConfigError(f"--coco {file} is the annotation file, which would be written over; name another")
        self.ids = _ids(images, annotations) if annotations else {path: n for n, path in enumerate(images, start=1)}
        self.images: list[dict[str, Any]] = []
        self.results: list[dict[str, Any]] = []

    def add(self, path: Path, image: Tensor, found: Mapping[str, Tensor]) -> None:
        """Note what was found in ``image`` ``(3, H, W)``: boxes xyxy in its pixels, which are clipped to it."""
        _, height, width = image.shape
        number = self.ids[path]
        self.images.append({"id": number, "file_name": path.as_posix(), "width": width, "height": height})
        left, top, right, bottom = found["boxes"].double().unbind(-1)
        left, right = left.clamp(0, width), right.clamp(0, width)
        top, bottom = top.clamp(0, height), bottom.clamp(0, height)
        for label, score, x, y, w, h in zip(
            found["labels"].tolist(),
            found["scores"].tolist(),
            *(side.tolist() for side in (left, top, right - left, bottom - top)),
            strict=True,
        ):
            box = [round(side, 3) for side in (x, y, w, h)]
            self.results.append({"image_id": number, "category_id": label, "bbox": box, "score": score})

    def write(self, class_names: Mapping[int, str]) -> list[Path]:
        """Write the results; returns the names of the files.

        Raises:
            StorageError: a file cannot be written.
        """
        contents: dict[Path, Any] = {self.file: self.results}
        if not self.listed:
            labels = sorted({*class_names, *(one["category_id"] for one in self.results)})
            categories = [{"id": label, "name": class_names.get(label, str(label))} for label in labels]
            beside = self.file.with_suffix(".images.json")
            contents[beside] = {"images": self.images, "categories": categories, "annotations": []}
        for file, content in contents.items():
            try:
                write_atomically(file, (json.dumps(content) + "\n").encode())
            except OSError as error:
                raise StorageError(f"cannot write {file}: {error.strerror or error}. Name another (--coco)") from None
        return list(contents)


def _ids(images: Sequence[Path], annotations: Path) -> dict[Path, int]:
    """The id of each image: of the listed name that its path ends in."""
    try:
        listed = {PurePosixPath(one["file_name"]): one["id"] for one in json.loads(annotations.read_bytes())["images"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{annotations} has no list of images with id and file_name ({error})") from None
    found = {}
    for path in images:
        parts = PurePosixPath(path.resolve().as_posix()).parts
        ids = [listed[name] for n in range(len(parts)) if (name := PurePosixPath(*parts[n:])) in listed]
        if not ids:
            raise DataError(f"{annotations} does not list {path}, so that its id is not known; leave one of them out")
        found[path] = ids[0]  # of the longest name
    return found
