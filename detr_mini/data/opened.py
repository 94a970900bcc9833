"""Open a split: find its files, read and mend its annotations, and keep the part of them that is its own.

Chapter: *Data preparation*, ``book/04_data``.
"""

import hashlib
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from detr_mini.data.annotation_file import categories_of
from detr_mini.data.findings import Notes
from detr_mini.data.layouts import SHARE, Layout, Split, find_layout, folder_of, layout_name, split_word
from detr_mini.data.repair import read_mended
from detr_mini.data.tree import Tree
from detr_mini.errors import DataError, NotFoundError

Record: TypeAlias = dict[str, Any]
LISTED_FAULTS = 20  # how many faults the text of a DataError spells out
SEED = 0  # of the drawing, so that training and evaluation, today and tomorrow, draw the same
COPY = re.compile(r"(\.rf\.[0-9a-f]{16,}|[ _-]copy|[ _]?\(\d+\))+$")  # what tools add to the name of a copy


@dataclass(frozen=True)
class Opened:
    """A split with its mended annotations; ``data`` is None where they cannot be used, and ``notes`` says why."""

    split: Split
    layout: Layout
    data: Record | None
    notes: Notes

    def usable(self) -> Record:
        """The annotations.

        Raises:
            DataError: they cannot be used; the text says why.
        """
        if self.data is None or self.notes.faults:
            listed = "\n".join(f"  {fault}" for fault in self.notes.faults[:LISTED_FAULTS])
            raise DataError(f"cannot read {self.split.name} of {self.layout.root}:\n{listed}")
        return self.data


def find_in_layout(root: str | os.PathLike[str], split: str) -> tuple[Layout, Split]:
    """The layout of a folder, and one of its splits, by any of the names that it may have.

    Raises:
        NotFoundError: there is no such split.
        DataError: several files could be meant.
    """
    layout = _in_coco_names(Path(root), split) or find_layout(root)
    name = split_word(split) or split
    if name not in layout.splits:
        there = ", ".join(f"{one.name} ({one.file.name})" for one in layout.splits.values())
        raise NotFoundError(f"no {split} annotations in {root}: there is {there}")
    return layout, layout.splits[name]


def _in_coco_names(root: Path, split: str) -> Layout | None:
    """The layout of COCO and of Tiny Town, if the split is there in it: nothing else needs to be looked through."""
    splits: dict[str, Split] = {}
    for name in (split, "train", "val", "test"):
        for written in (name, f"{name}2017"):
            file, folder = root / "annotations" / f"instances_{written}.json", root / written
            if file.is_file():
                folder = folder if folder.is_dir() else folder_of(file, name, Tree(root))
                splits.setdefault(split_word(name) or name, Split(name, file, folder))
    if (split_word(split) or split) not in splits or not {"train", "val"} <= splits.keys() | {split}:
        return None
    return Layout(root, layout_name(root, splits), splits)


def open_split(root: str | os.PathLike[str], split: str) -> Opened:
    """Read and mend the annotations of a split.

    Raises:
        NotFoundError: there is no such split.
        DataError: several files could be meant.
    """
    layout, found = find_in_layout(root, split)
    return open_found(layout, found)


def open_found(layout: Layout, split: Split) -> Opened:
    """Read and mend the annotations of a split of a layout."""
    files = [layout.splits[name].file for name in ("train", "val", "test") if name in layout.splits]
    others = [categories_of(file) for file in dict.fromkeys(files) if file != split.file]
    follows = bool(others) and files[0] != split.file and "train" in layout.splits
    data, notes = read_mended(split.file, split.folder, others, follows=follows, shared=split.shared)
    if data is not None and split.drawn:
        data = _part(data, split)
    return Opened(split, layout, data, notes)


def _part(data: Record, split: Split) -> Record:
    """The images that are drawn for a split, with their annotations."""
    drawn = draw_validation([(image["id"], image["file_name"]) for image in data["images"]], split.folder)
    images = [image for image in data["images"] if (image["id"] in drawn) == (split.name == "val")]
    ids = {image["id"] for image in images}
    return data | {"images": images, "annotations": [a for a in data["annotations"] if a["image_id"] in ids]}


def draw_validation(images: list[tuple[int, str]], folder: Path, share: float = SHARE) -> set[int]:
    """The ids of the images that are kept for validation, the same ones each time.

    Copies of an image, of the same content or in all but name the same, are drawn together. Of two images or more, at
    least one is drawn and at least one is not, if they are no copies.

    Args:
        images: ids with file names.
        folder: where the files are.
        share: of the images, about how many to draw.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    same = _same_content([name for _, name in images], folder)
    for number, name in images:
        groups[same.get(name) or source_of(name)].append(number)
    order = sorted(groups, key=lambda name: hashlib.sha256(f"{SEED} {name}".encode(errors="replace")).digest())
    drawn: set[int] = set()
    for name in order[:-1]:
        if drawn and len(drawn) + len(groups[name]) / 2 > share * len(images):
            break
        drawn.update(groups[name])
    return drawn


def source_of(name: str) -> str:
    """The name of a picture without folders, suffix, and what tools add to copies of it."""
    return COPY.sub("", PurePosixPath(name).stem.lower())


def _same_content(names: list[str], folder: Path) -> dict[str, str]:
    """For each file that has a twin of the same content, under which source both count."""
    by_size: dict[int, list[str]] = defaultdict(list)
    for name in names:
        try:
            by_size[os.path.getsize(folder / name)].append(name)
        except OSError:
            continue
    first: dict[bytes, str] = {}
    same = {}
    for alike in by_size.values():
        for name in alike if len(alike) > 1 else ():
            content = hashlib.sha256((folder / name).read_bytes()).digest()
            source = first.setdefault(content, source_of(name))
            same[name] = source
    return same


def split_names(root: str | os.PathLike[str]) -> tuple[str, ...]:
    """The splits of a data set, the training split first; train and val, if they cannot be told."""
    try:
        layout = find_in_layout(root, "train")[0]
    except (NotFoundError, DataError):
        return ("train", "val")
    return ("train", "val", *(name for name in layout.splits if name not in ("train", "val")))
