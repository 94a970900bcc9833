"""What ``predict`` writes for an image: ``NAME.boxes.json`` and ``NAME.boxes.jpg``, never over what is not its own."""

import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

import detr_mini
from detr_mini.drawing import draw_detections
from detr_mini.errors import StorageError
from detr_mini.files import write_atomically

NUMBERS, PICTURE = ".boxes.json", ".boxes.jpg"
MARK = "detr-mini predict"  # in both files, so that a later call knows them
QUALITY = 90  # of the JPEG: a photograph keeps about the size of its file


class Results:
    """The files of one call, in the folder ``out``.

    A name is the image's own without its ending, where another image of this call has it with the ending, and else
    with a number. A file is written over only if ``predict`` wrote it before, of the same image.

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
        self, path: Path, image: Tensor, found: dict[str, Tensor], class_names: dict[int, str], about: dict[str, Any]
    ) -> tuple[Path, Path]:
        """Write what was found in ``image`` ``(3, H, W)``, read from ``path``; returns the names of the two files.

        Args:
            path: of the image, as the user gave it.
            image: its pixels.
            found: from :func:`detr_mini.predict`.
            class_names: by category id.
            about: what else the JSON file says, such as which weights.

        Raises:
            StorageError: a file cannot be written.
        """
        numbers, picture = self._names(path)
        content = {
            "made_by": f"{MARK} {detr_mini.__version__}",
            **about,
            **as_dict(str(path), image, found, class_names),
        }
        drawn = io.BytesIO()
        draw_detections(image, found, class_names).save(drawn, "JPEG", quality=QUALITY, comment=MARK.encode())
        try:
            write_atomically(numbers, (json.dumps(content, indent=2) + "\n").encode())
            write_atomically(picture, drawn.getvalue())
        except OSError as error:
            raise StorageError(f"cannot write {numbers} or {picture.name}: {error.strerror or error}") from None
        return numbers, picture

    def _names(self, path: Path) -> tuple[Path, Path]:
        for name in _candidates(path):
            numbers, picture = self.out / f"{name}{NUMBERS}", self.out / f"{name}{PICTURE}"
            if not {_same(numbers), _same(picture)} & self._inputs and _is_free_or_ours(numbers, picture, str(path)):
                return numbers, picture
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


def _is_free_or_ours(numbers: Path, picture: Path, source: str) -> bool:
    """Whether nothing is lost by writing there: no file, or the results of an earlier call for the same image."""
    if not os.path.lexists(numbers) and not os.path.lexists(picture):
        return True
    try:
        content = json.loads(numbers.read_text("utf-8"))
        ours = content["made_by"].startswith(MARK) and content["file"] == source
        if os.path.lexists(picture):
            with Image.open(picture, formats=["JPEG"]) as drawn:
                ours = ours and drawn.info.get("comment") == MARK.encode()
    except Exception:  # no JSON, no picture, a folder, no rights: whatever it is, it is somebody else's
        return False
    return bool(ours)
