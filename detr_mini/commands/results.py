"""What ``predict`` writes for an image, never over what is not its own.

``NAME.boxes.json`` and ``NAME.boxes.jpg``, and of a model with masks ``NAME.panoptic.png`` and ``NAME.panoptic.jpg``.
"""

import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

import detr_mini
from detr_mini.data.panoptic import Segments, segment_ids_to_image
from detr_mini.drawing import draw_detections, draw_panoptic
from detr_mini.errors import StorageError
from detr_mini.files import write_atomically

BOXES = (".boxes.json", ".boxes.jpg")
PANOPTIC = (".panoptic.png", ".panoptic.jpg")
PICTURES = (BOXES[1], *PANOPTIC)
MARK = "detr-mini predict"  # in every file, so that a later call knows them
QUALITY = 90  # of the JPEG: a photograph keeps about the size of its file


class Results:
    """The files of one call, in the folder ``out``.

    A name is the image's own without its ending, where another image of this call has it with the ending, and else
    with a number. All files of an image have the same. One is written over only if ``predict`` wrote it before, of the
    same image.

    Raises:
        StorageError: there cannot be a folder ``out``.
    """

    def __init__(self, out: Path, images: Sequence[Path]) -> None:
        self.out = out
        self._inputs = {_same(image) for image in images}
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the folder {out}: {error.strerror}. Name another (--out)") from None

    def write(
        self,
        path: Path,
        image: Tensor,
        found: dict[str, Tensor],
        class_names: dict[int, str],
        about: dict[str, Any],
        segments: Segments | None = None,
    ) -> list[Path]:
        """Write what was found in ``image`` ``(3, H, W)``, read from ``path``; returns the names of the files.

        Args:
            path: of the image, as the user gave it.
            image: its pixels.
            found: from :func:`detr_mini.predict`.
            class_names: by category id.
            about: what else the JSON file says, such as which weights.
            segments: from :func:`detr_mini.predict_panoptic`, of a model with masks.

        Raises:
            StorageError: a file cannot be written.
        """
        files = self._names(path, BOXES if segments is None else BOXES + PANOPTIC)
        content = {
            "made_by": f"{MARK} {detr_mini.__version__}",
            **about,
            **as_dict(str(path), image, found, class_names),
        }
        pictures = [_jpeg(draw_detections(image, found, class_names))]
        if segments is not None:
            content["panoptic"] = {"file_name": files[2].name, "segments_info": segments["segments"]}
            pictures += [_png(segments["ids"]), _jpeg(draw_panoptic(image, segments, class_names))]
        numbers = (json.dumps(content, indent=2) + "\n").encode()
        try:
            for file, data in zip(files, [numbers, *pictures], strict=True):
                write_atomically(file, data)
        except OSError as error:
            names = " or ".join([str(files[0]), *(file.name for file in files[1:])])
            raise StorageError(f"cannot write {names}: {error.strerror or error}") from None
        return files

    def _names(self, path: Path, endings: Sequence[str]) -> list[Path]:
        for name in _candidates(path):
            files = [self.out / f"{name}{ending}" for ending in endings]
            if not {_same(file) for file in files} & self._inputs and _are_free_or_ours(files, str(path)):
                return files
        raise AssertionError("there is always another number")


def as_dict(name: str, image: Tensor, found: dict[str, Tensor], class_names: dict[int, str]) -> dict[str, Any]:
    """Detections in one image as plain numbers for JSON; boxes xyxy in pixels, clipped to the image."""
    _, height, width = image.shape
    return {
        "file": name,
        "width": width,
        "height": height,
        "detections": [
            {
                "label": label,
                "name": class_names.get(label, str(label)),
                "score": round(score, 4),
                "box": [round(min(max(x, 0.0), side), 2) for x, side in zip(box, (width, height) * 2, strict=True)],
            }
            for label, score, box in zip(
                found["labels"].tolist(), found["scores"].tolist(), found["boxes"].tolist(), strict=True
            )
        ],
    }


def _candidates(path: Path) -> Iterator[str]:
    yield path.stem
    yield path.name
    number = 2
    while True:
        yield f"{path.name}-{number}"
        number += 1


def _same(path: Path) -> str:
    """Equal for two names of one file, also where capitals make no difference."""
    return os.path.realpath(path).casefold()


def _are_free_or_ours(files: Sequence[Path], source: str) -> bool:
    """Whether nothing is lost by writing there: no file, or the results of an earlier call for the same image.

    The first of ``files`` says of which image the results are; the others are pictures.
    """
    there = [file for file in files if os.path.lexists(file)]
    if not there:
        return True
    try:
        content = json.loads(files[0].read_text("utf-8"))
        ours = content["made_by"].startswith(MARK) and content["file"] == source
        return bool(ours) and all(_is_marked(file) for file in there if file != files[0])
    except Exception:  # no JSON, no picture, a folder, no rights: whatever it is, it is somebody else's
        return False


def _is_marked(picture: Path) -> bool:
    with Image.open(picture, formats=["JPEG", "PNG"]) as file:
        return file.info.get("comment") in (MARK, MARK.encode())


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, comment=MARK.encode())
    return file.getvalue()


def _png(ids: Tensor) -> bytes:
    """Segment ids ``(H, W)`` as COCO encodes them."""
    file, mark = io.BytesIO(), PngInfo()
    mark.add_text("comment", MARK)
    segment_ids_to_image(ids.numpy()).save(file, "PNG", pnginfo=mark)
    return file.getvalue()
