"""Find in a folder which annotation file and which pictures belong to which split, however tools name them.

No tool has a rule of its own: a file counts if it has COCO's three lists, its split is what its name or its folder
says, and its pictures are where its file names are. Chapter: *Data preparation*, ``book/04_data``.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detr_mini.data.annotation_file import file_names, looks_like_coco
from detr_mini.data.foreign import what_else
from detr_mini.data.tree import Tree
from detr_mini.errors import DataError, NotFoundError

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
FILLED = re.compile("(train|valid|val|dev|test)(?:set|data|images|imgs|annotations|annos|anno|ann|labels|gt|coco)")
FILLING = {"set", "data", "images", "imgs", "image", "annotations", "labels", "coco", "split"}
KINDS = ("instances", "", "keypoints", "stuff")  # of annotation files beside each other, the better ones first
SAMPLE = 200  # names of pictures that tell which folder they are in
SHARE = 0.2  # of the pictures are kept for validation where there is no split for it


@dataclass(frozen=True)
class Split:
    """Where the pictures and annotations of a split are."""

    name: str
    file: Path
    folder: Path
    drawn: bool = False  # the file serves train and val, and which picture is whose is drawn
    shared: bool = False  # the file serves several folders, each a split


@dataclass(frozen=True)
class Layout:
    """The splits of a folder, and whose way it is to lay them out so."""

    root: Path
    name: str
    splits: dict[str, Split]
    notices: tuple[str, ...] = ()


def split_word(path: str) -> str | None:
    """The split that a name speaks of: its last word that is one, such as train in ``images/train2017``."""
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", path).lower())
    for word in reversed(words):
        filled = FILLED.fullmatch(word)
        if found := SPLIT_WORDS.get(filled[1] if filled else word):
            return found
    return None


def split_of_folder(name: str) -> str | None:
    """The split that a folder is for: its name says nothing else, such as valid, val2017 or train_images."""
    words = re.findall("[a-z]+", name.lower())
    others = [word for word in words if not split_word(word)]
    return split_word(name) if all(word in FILLING for word in others) else None


def find_layout(root: str | os.PathLike[str]) -> Layout:
    """The splits of a folder, or of the folder of an annotation file.

    Raises:
        NotFoundError: there is no annotation file; the text says what there is.
        DataError: several could be meant; the text lists them.
    """
    root = Path(root)
    if not root.exists():
        raise NotFoundError(f"there is no {root}: no such file or folder")
    if root.is_file():
        base, tree, files = _around(root)
    else:
        base, tree = root, Tree(root)
        files = [file for file in tree.json_files if looks_like_coco(file)]
    if not files:
        raise NotFoundError(f"no annotations in COCO's format in {root}: {what_else(tree)}")
    by_split = _by_split(files, base, tree)
    splits, notices = _of_one_file(by_split[None], tree) if None in by_split else _of_files(by_split, tree)
    return Layout(base, layout_name(base, splits), splits, (*notices, *_not_read(files, splits, base)))


def _around(file: Path) -> tuple[Path, Tree, list[Path]]:
    """For a file that was named: the folder that it and its pictures are in, and its family.

    To the family belong files whose paths differ in the word for the split alone.
    """
    base = file.parent
    tree = Tree(base)
    if not looks_like_coco(file):
        raise NotFoundError(f"{file} is no annotation file in COCO's format: {what_else(tree, file)}")
    if split_of_folder(base.name) or not any(_hits(file, folder, tree) for folder in tree.folders):
        base = base.parent
        tree = Tree(base)
    family = _pattern(file, base)
    return base, tree, [f for f in tree.json_files if f == file or (_pattern(f, base) == family and looks_like_coco(f))]


def _pattern(file: Path, base: Path) -> str:
    """The path of a file with a star for every word that speaks of a split."""
    inner = file.relative_to(base).as_posix().lower()
    return re.sub("[a-z]+", lambda word: "*" if split_word(word[0]) else word[0], inner)


def _by_split(files: Sequence[Path], base: Path, tree: Tree) -> dict[str | None, Path]:
    """The file of each split; under None one that says nothing of a split, if no file does.

    Raises:
        DataError: of two files none is better.
    """
    groups: dict[str | None, list[Path]] = {}
    for file in files:
        inner = file.relative_to(base) if file.is_relative_to(base) else Path(file.name)
        above = (split_of_folder(folder) for folder in reversed(inner.parent.parts))
        groups.setdefault(split_word(file.stem) or next(filter(None, above), None), []).append(file)
    if len(groups) > 1:
        groups.pop(None, None)
    in_order = sorted(groups.items(), key=lambda group: ("train", "val", "test", None).index(group[0]))
    return {split: _best(split, group, base, tree) for split, group in in_order}


def _best(split: str | None, files: list[Path], base: Path, tree: Tree) -> Path:
    def kind(file: Path) -> int:
        return next((place for place, word in enumerate(KINDS) if word and word in file.stem.lower()), 1)

    def has_pictures(file: Path) -> bool:
        return any(_hits(file, folder, tree) for folder in tree.folders)

    if len(files) > 1:
        files = [file for file in files if has_pictures(file)] or files
        files = [file for file in files if kind(file) == min(map(kind, files))]
    if len(files) > 1:
        listed = ", ".join(str(file.relative_to(base)) for file in files[:6]) + (", ..." if len(files) > 6 else "")
        what = f"could be the annotations of {split}" if split else "could be its annotations, and none names a split"
        raise DataError(f"{base}: {len(files)} files {what}: {listed}. Name one of them in place of the folder")
    return files[0]


def _of_files(by_split: dict[str | None, Path], tree: Tree) -> tuple[dict[str, Split], list[str]]:
    """One file for each split; where there is none for validation, that of test, or a part of train."""
    splits = {name: Split(name, file, folder_of(file, name, tree)) for name, file in by_split.items() if name}
    if "val" in splits or "train" not in splits:
        return splits, []
    if "test" in splits:
        test = splits["test"]
        return splits | {"val": Split("val", test.file, test.folder)}, [
            f"there is no validation split: test ({test.file.name}) takes its place"
        ]
    train = splits["train"]
    drawn = {name: Split(name, train.file, train.folder, drawn=True) for name in ("train", "val")}
    return splits | drawn, [_on_drawing(train.file)]


def _of_one_file(file: Path, tree: Tree) -> tuple[dict[str, Split], list[str]]:
    """One file for all: its splits are the folders of the pictures, if they are named so, or are drawn."""
    folder = folder_of(file, None, tree)
    names = file_names(file)
    by_folder: dict[str, Path] = {}
    for other in sorted(tree.folders):
        word = split_word(other.name)
        count = sum(tree.has(other, name) for name in names) if word else 0
        if word and count and count < len(set(names)):
            by_folder.setdefault(word, other)
    if {"train", "val"} <= by_folder.keys() or {"train", "test"} <= by_folder.keys():
        by_folder.setdefault("val", by_folder.get("test", folder))
        said = ", ".join(f"{word} {place.name}" for word, place in by_folder.items())
        splits = {word: Split(word, file, place, shared=True) for word, place in by_folder.items()}
        return splits, [f"{file.name} serves several splits, which are the folders of the pictures: {said}"]
    return {name: Split(name, file, folder, drawn=True) for name in ("train", "val")}, [_on_drawing(file)]


def _on_drawing(file: Path) -> str:
    return (
        f"there is no validation split: of the pictures of {file.name}, {SHARE:.0%} are drawn for val, the same ones "
        "each time; copies of a picture stay together"
    )


def _hits(file: Path, folder: Path, tree: Tree) -> int:
    """How many of the first pictures of an annotation file a folder has, under the names that the file gives."""
    return sum(tree.has(folder, name) for name in _sample(file))


def _sample(file: Path) -> list[str]:
    return [name for name in file_names(file, SAMPLE) if isinstance(name, str)]


def folder_of(file: Path, split: str | None, tree: Tree) -> Path:
    """The folder of the pictures: where most of them are, that of the split before others, near before far.

    Where no folder has half of them, names are compared without what tools write differently.
    """
    names = _sample(file)
    stems = Counter(Tree.stem_of(name) for name in names)

    def rank(folder: Path, hits: int) -> tuple[int, int, int, int]:
        inner = folder.relative_to(tree.root).as_posix()
        word = split_word(inner)
        fitting = 1 if word is None or split is None else 2 if word == split else 0
        enough = hits * 2 >= len(names)
        near = len(Path(os.path.commonpath([folder, file])).parts)
        return (fitting if enough else 0, hits, near, -len(folder.parts))

    exact = {folder: sum(tree.has(folder, name) for name in names) for folder in tree.folders}
    best = max(tree.folders, key=lambda folder: rank(folder, exact[folder]))
    if exact[best] * 2 >= len(names) and exact[best]:
        return best
    loose = {folder: sum(n for stem, n in stems.items() if stem in tree.stems(folder)) for folder in tree.folders}
    # The innermost folder that has as many: names are looked for in it and in those below it.
    other = max(tree.folders, key=lambda folder: (*rank(folder, loose[folder])[:2], len(folder.parts)))
    if loose[other] > exact[best]:
        return other
    if exact[best]:
        return best
    return next((f for f in sorted(tree.folders) if split and split_word(f.name) == split and tree.stems(f)), tree.root)


def layout_name(base: Path, splits: dict[str, Split]) -> str:
    """Whose way a layout is, for people."""
    split = splits.get("train") or next(iter(splits.values()))
    file, folder = split.file, split.folder
    year = re.search(r"20\d\d$", file.stem)
    if file.name == "_annotations.coco.json":
        return "Roboflow"
    if file.name.startswith("via_"):
        return "VIA"
    if file.name == "result.json":
        return "Label Studio"
    if file.name == "labels.json":
        return "FiftyOne"
    if (file.parent / "JPEGImages").is_dir():
        return "labelme"
    if file.stem.startswith("instances_") and folder.parent == base and folder.name == file.stem[10:]:
        return f"COCO {year[0]}" if year else "COCO, in short names"
    if file.stem.startswith("instances_") and folder.parent.name == "images":
        return "CVAT, datumaro (COCO, with the pictures in images/)"
    return "COCO, in other names"


def _not_read(files: Sequence[Path], splits: dict[str, Split], base: Path) -> list[str]:
    read = {split.file for split in splits.values()}
    rest = [str(file.relative_to(base)) for file in files if file not in read and file.is_relative_to(base)]
    return [f"not read: {', '.join(rest[:5])}{', ...' if len(rest) > 5 else ''}"] if rest else []
