"""Mend what an annotation file says of its images: ids, names, sizes, entries that are there twice.

Chapter: *Data preparation*, ``book/04_data``.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from detr_mini.data.findings import NOTHING, Notes
from detr_mini.data.image import ORIENTATIONS_TURNED, head_of
from detr_mini.data.names import PictureFinder, difference
from detr_mini.data.rules import LARGEST, as_whole, is_whole
from detr_mini.errors import ImageError

Record: TypeAlias = dict[str, Any]
MOST = 0.75  # of the pictures: where more are absent, the folder is the wrong one
MUCH = 0.2  # of the records of a list: where more are bad, the list is not what it is taken for


@dataclass
class Images:
    """The images of a file once they are mended, and what annotations call them by."""

    records: list[Record] = field(default_factory=list)
    number: dict[Hashable, int] = field(default_factory=dict)  # an id as written, by `as_key`, to the one it has now
    absent: set[int] = field(default_factory=set)  # ids whose pictures are not there
    joined: set[int] = field(default_factory=set)  # ids of pictures that the file lists more than once


def is_much(bad: int, of: int) -> bool:
    """Whether so many records of a file are bad that it may mean something else than it is taken for."""
    return bad > 0 and (bad == of or (bad > 1 and bad > MUCH * of))


def as_key(value: Any) -> Hashable:
    """What an id means, however it is written: a whole number, else a name; None for what can be no id."""
    number = as_whole(value)
    if number is not None and not (isinstance(value, str) and value.strip() != str(number)):
        return number
    if type(value) is int:
        return str(value)  # beyond 64 bits
    return (value.strip() or None) if isinstance(value, str) else None


def mend_images(records: list[Any], folder: Path, notes: Notes, *, shared: bool = False) -> Images:
    """The images that can be used, numbered, by the names of their files and with their sizes.

    Args:
        records: the list ``images`` of the file.
        folder: where the pictures are.
        notes: takes what was mended and what is wrong.
        shared: the file serves other folders as well, so pictures may be missing in this one.
    """
    sound = [record for record in enumerate(records) if _has_name(*record, notes)]
    if is_much(len(records) - len(sound), len(records)):
        text = f'{len(records) - len(sound)} of {len(records)} entries have no usable "id" or "file_name"; mend them'
        notes.fault('"images"', NOTHING, text)
    images = Images(number=_numbers(sound, notes))
    finder = PictureFinder(folder)
    found = _find_files([record["file_name"] for _, record in sound], finder)
    kept: dict[str, Record] = {}  # by file
    by_id: dict[int, str] = {}
    gone = []
    for _, record in sound:
        number, name = images.number[as_key(record["id"])], record["file_name"]
        if by_id.setdefault(number, name) != name:
            notes.fault(
                f"image {number}", name, f"two images of one id, the other is {by_id[number]}; mend one", number
            )
        elif (file := found.get(name)) is None:
            images.absent.add(number)
            gone.append((number, name))
        elif file in kept:
            _join(images, record, number, kept[file]["id"], notes)
        else:
            if file != name:
                what = f"pictures found though their names have {difference(name, file)}"
                notes.add(what, f"image {number}", name, number)
            changed = {"id": number, "file_name": file}
            kept[file] = record if record["id"] is number and file == name else record | changed
    _tell_absent(gone, len(kept), finder.folder, notes, shared)
    mended = (_with_size(record, folder, notes) for record in kept.values())
    images.records = [record for record in mended if record is not None]
    return images


def _has_name(index: int, record: Any, notes: Notes) -> bool:
    """Whether an entry has an id and the name of a file; others are left out."""
    if not isinstance(record, dict):
        reason, value = "is no object", record
    elif as_key(record.get("id")) is None:
        reason, value = 'has no "id"', record.get("id", NOTHING)
    elif not isinstance(record.get("file_name"), str) or not record["file_name"].strip():
        reason, value = 'has no "file_name"', record.get("file_name", NOTHING)
    else:
        return True
    notes.add(f"an image is left out: its entry {reason}", f"images[{index}]", value)
    return False


def _numbers(records: list[tuple[int, Record]], notes: Notes) -> dict[Hashable, int]:
    """A number for each id; names get those after the highest number."""
    keys = [as_key(record["id"]) for _, record in records]
    numbers: dict[Hashable, int] = {key: key for key in keys if type(key) is int}
    following = 1
    for (index, record), key in zip(records, keys, strict=True):
        if key not in numbers:
            while following in numbers:
                following += 1
            numbers[key] = following
            following += 1
            notes.add("image ids that are names are numbered", f"images[{index}]", record["id"], numbers[key])
        elif type(record["id"]) is not int and type(key) is int:
            notes.add("image ids written as text or with a point are read as numbers", f"image {key}", record["id"])
    for key in [key for key in numbers if isinstance(key, str)]:  # an annotation may write "0012" as 12
        number = as_whole(key)
        if number is not None:
            numbers.setdefault(number, numbers[key])
    return numbers


def _find_files(names: list[str], finder: PictureFinder) -> dict[str, str]:
    """The file that each name means; none where two names could mean the same."""
    found = {name: name for name in names if finder.has(name)}
    guesses = {name: finder.find(name) for name in dict.fromkeys(names) if name not in found}
    claims = Counter(guesses.values())
    for name, file in guesses.items():
        if file is not None and file not in found and claims[file] == 1:
            found[name] = file
    return found


def _join(images: Images, record: Record, number: int, first: int, notes: Notes) -> None:
    """Let the annotations of an image that is listed twice go to its first entry."""
    notes.add("a picture is listed twice: its entries are joined", f"image {number}", record["file_name"], first)
    images.number[as_key(record["id"])] = first
    images.joined.add(first)


def _tell_absent(gone: list[tuple[int, str]], there: int, folder: Path, notes: Notes, shared: bool) -> None:
    if shared and there:
        return
    if gone and len(gone) > MOST * (len(gone) + there):
        which = "none" if not there else f"only {there}"
        text = (
            f"{which} of the {len(gone) + there} pictures of this file {'are' if there != 1 else 'is'} in {folder}; "
            f"put them there, under the names that the file has"
        )
        number, name = gone[0]
        notes.fault(f"image {number}", name, text, number)
        return
    for number, name in gone:
        notes.add(f"pictures that are not in {folder.name} are left out", f"image {number}", name, number, warning=True)


def _with_size(record: Record, folder: Path, notes: Notes) -> Record | None:
    """The entry with whole numbers for width and height, from the picture where the file does not say them."""
    width: Any = record.get("width")
    height: Any = record.get("height")
    if type(width) is int and type(height) is int and 0 < width < LARGEST and 0 < height < LARGEST:
        return record
    where = f"image {record['id']}"
    sides = as_whole(width), as_whole(height)
    if all(side is not None and 0 < side < LARGEST for side in sides):
        said = width if type(width) is not int else height
        notes.add("width and height written as text or with a point are read as numbers", where, said, record["id"])
        return record | {"width": sides[0], "height": sides[1]}
    try:
        head = head_of(folder / record["file_name"])
    except ImageError as error:
        notes.fault(where, record["file_name"], f"{error}, or remove the entry", record["id"])
        return None
    said = record.get("width", NOTHING) if not is_whole(width) or width <= 0 else record.get("height", NOTHING)
    notes.add("width and height are taken from the picture", where, said, record["id"])
    width, height = head.upright
    return record | {"width": width, "height": height}


def turn_sizes(images: list[Record], reach: dict[int, tuple[float, float]], folder: Path, notes: Notes) -> list[Record]:
    """Exchange width and height where they are those of a picture before EXIF turns it, and the boxes those after.

    Args:
        images: mended.
        reach: how far the boxes of an image go, right and down, in pixels.
        folder: where the pictures are.
        notes: takes what was mended.
    """

    def fits(size: tuple[int, int], number: int) -> bool:
        return all(far <= side + 1 for far, side in zip(reach.get(number, (0, 0)), size, strict=True))

    if all(fits((image["width"], image["height"]), image["id"]) for image in images):
        return images
    turned = {image["id"] for image in images if _has_stored_size(image, folder)}
    outside = [
        image for image in images if image["id"] in turned and not fits((image["width"], image["height"]), image["id"])
    ]
    seen = [image for image in outside if fits((image["height"], image["width"]), image["id"])]
    only_stored = any(
        image["id"] in turned and not fits((image["height"], image["width"]), image["id"])
        for image in images
        if image not in outside
    )
    if not seen or len(seen) < len(outside) or only_stored:
        return images
    what = "EXIF turns these pictures, their boxes fit the turned ones, so width and height are exchanged"
    for image in images:
        if image["id"] in turned:
            notes.add(what, f"image {image['id']}", f"{image['width']} x {image['height']}", image["id"])
    return [
        image | {"width": image["height"], "height": image["width"]} if image["id"] in turned else image
        for image in images
    ]


def _has_stored_size(image: Record, folder: Path) -> bool:
    """Whether EXIF turns a picture on its side, and the file has the size that it has before."""
    try:
        head = head_of(folder / image["file_name"])
    except ImageError:
        return False
    size = image["width"], image["height"]
    return head.orientation in ORIENTATIONS_TURNED and size == head.stored and size != head.upright
