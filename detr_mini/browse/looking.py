"""Reading pictures for the page, one at a time: small JPEGs, and a print by which near copies are known."""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_mini.browse.findings import Finding
from detr_mini.browse.reading import DataSet, Picture
from detr_mini.data.image import read_small
from detr_mini.errors import ImageError

PRINT = 16  # cells each way of the print
NEAR = 5  # of its 256 bits, those in which near copies may differ
FLAT = 4.0  # gray levels: a picture that varies less has no print
SIDES = ((60, 720), (150, 480), (500, 360), (10**9, 256))  # pixels of the long side, up to a number of pictures
BUDGET = 12_000_000  # bytes of all JPEGs together; as text in the page they are a third more
QUALITIES = (82, 72, 60, 45, 30)

Print: TypeAlias = NDArray[np.uint64]  # (4,)


def look_through(pictures: Iterable[Picture]) -> tuple[list[Print | None], list[list[Finding]]]:
    """Decode every picture once: its print, or None, and what is wrong with its file."""
    prints: list[Print | None] = []
    findings: list[list[Finding]] = []
    for picture in pictures:
        mark, fault = _look(picture)
        prints.append(mark)
        findings.append([Finding("check", (), fault)] if fault else [])
    return prints, findings


def _look(picture: Picture) -> tuple[Print | None, str]:
    if not picture.path.is_file() or not picture.path.stat().st_size:
        return None, ""  # check_data has said so
    try:
        image, (width, height) = read_small(picture.path, 4 * PRINT, (picture.width, picture.height))
    except ImageError as error:
        return None, f"{error}, or remove the entry"
    said = picture.width, picture.height
    fault = (
        f"the picture is {width} x {height}, this file says {said[0]} x {said[1]}" if said != (width, height) else ""
    )
    return print_of(image), fault


def print_of(image: Image.Image) -> Print | None:
    """The average hash of a picture: which of 16 × 16 cells are brighter than the whole; None if it is flat."""
    cells = np.asarray(image.convert("L").resize((PRINT, PRINT), Image.Resampling.BOX), dtype=np.float64)
    if cells.std() < FLAT:
        return None
    return np.packbits(cells > cells.mean()).view(np.uint64)


def find_twins(data: DataSet, prints: Sequence[Print | None]) -> list[list[Finding]]:
    """For each picture those of other splits that look nearly the same."""
    findings: list[list[Finding]] = [[] for _ in data.pictures]
    by_split = {split: [k for k, p in enumerate(data.pictures) if p.split == split] for split in data.splits}
    for number, first in enumerate(data.splits):
        for second in data.splits[number + 1 :]:
            for i, j in _near(by_split[first], by_split[second], prints):
                for one, other in ((i, data.pictures[j]), (j, data.pictures[i])):
                    text = f"looks like {other.name} of the split {other.split}"
                    findings[one].append(Finding("twin", (), text))
    return findings


def _near(first: Sequence[int], second: Sequence[int], prints: Sequence[Print | None]) -> list[tuple[int, int]]:
    """The pairs of pictures whose prints are nearly equal."""
    (ours, our_prints), (others, their_prints) = _with_prints(first, prints), _with_prints(second, prints)
    pairs = []
    for i, mine in zip(ours, our_prints, strict=True):
        differing = np.bitwise_count(their_prints ^ mine).sum(axis=1)
        pairs += [(i, others[int(j)]) for j in (differing <= NEAR).nonzero()[0]]
    return pairs


def _with_prints(places: Sequence[int], prints: Sequence[Print | None]) -> tuple[list[int], Print]:
    """The pictures that have prints, and those, ``(P, 4)``."""
    found = {k: mark for k in places if (mark := prints[k]) is not None}
    return list(found), np.array(list(found.values()), dtype=np.uint64).reshape(-1, PRINT * PRINT // 64)


def thumbnail(picture: Picture, count: int) -> str:
    """A picture as a JPEG in a data address, as large as ``count`` of them may be; empty where it cannot be read."""
    side = next(side for most, side in SIDES if count <= most)
    try:
        image, _ = read_small(picture.path, side, (picture.width, picture.height))
    except ImageError:
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(_jpeg(image, BUDGET // max(count, 1))).decode()


def _jpeg(image: Image.Image, most: int) -> bytes:
    """A picture in ``most`` bytes, at the price of quality and then of size."""
    for quality in QUALITIES:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality, optimize=True)
        if stream.tell() <= most:
            return stream.getvalue()
    if max(image.size) < 48:
        return stream.getvalue()
    return _jpeg(image.resize((max(1, image.width * 2 // 3), max(1, image.height * 2 // 3))), most)
