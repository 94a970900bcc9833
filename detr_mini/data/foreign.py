"""Say what a folder holds that is no COCO data set, and how it becomes one.

Chapter: *Data preparation*, ``book/04_data``.
"""

import re
from pathlib import Path

from detr_mini.data.annotation_file import LISTS
from detr_mini.data.names import PICTURE_SUFFIXES
from detr_mini.data.tree import Tree

LAYOUT = (
    "An annotation file has the lists images, annotations and categories; usual are annotations/instances_train.json "
    "and instances_val.json with the pictures in train and val"
)
OTHER_FORMATS = (
    ("_annotations.createml.json", "CreateML"),
    ("_annotations.csv", "a table (CSV)"),
    (".tfrecord", "TFRecord"),
    (".csv", "a table (CSV)"),
    (".manifest", "an augmented manifest (SageMaker)"),
)
YOLO_LINE = re.compile(r"\d+(\s+-?[0-9.eE+-]+){4,}\s*")


def what_else(tree: Tree, file: Path | None = None) -> str:
    """What there is in place of annotations in COCO's format, and what to do."""
    if not any(tree.files.values()):
        return f"the folder is empty. To make Tiny Town there: detr-mini make-data {tree.root}"
    if file is None and (panoptic := [p for p in tree.json_files if _has(p, b'"segments_info"')]):
        return f"there is {panoptic[0].name}, which is read with --panoptic"
    if yolo := _yolo(tree):
        return yolo
    if _has_all(tree.with_suffix(".xml"), b"<annotation", b"<bndbox"):
        return (
            f"these are annotations in Pascal VOC's form (XML, one file for each picture). {_convert(_voc_call(tree))}"
        )
    if _has_all(tree.json_files, b'"shapes"', b'"imagePath"'):
        return (
            "these are labelme's files, one for each picture. Its script labelme2coco.py (in "
            "examples/instance_segmentation of its repository) makes one annotations.json of them"
        )
    if _has_all(tree.json_files, b'"_via_img_metadata"') or _has_all(
        tree.json_files, b'"regions"', b'"shape_attributes"'
    ):
        return (
            "this is a project of VIA: in VIA, Annotation > Export Annotations (COCO format) writes what is read here"
        )
    for suffix, name in OTHER_FORMATS:
        if found := tree.with_suffix(suffix):
            return f"there is {found[0].name}, which is {name}. Export it in COCO's format. {LAYOUT}"
    if unfinished := _unfinished([file] if file else tree.json_files):
        return unfinished
    if tree.with_suffix(".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"):
        return "there are archives. Unpack them first"
    if tree.with_suffix(*PICTURE_SUFFIXES):
        return f"there are pictures, but no annotation file beside them. {LAYOUT}"
    return LAYOUT


def _yolo(tree: Tree) -> str | None:
    """What to say of labels in YOLO's form, which are text files, one for each picture; None if there are none."""
    texts = [p for p in tree.with_suffix(".txt") if p.stat().st_size][:2000]
    labels = [p for p in texts if p.stem.casefold() in tree.stems(tree.root)][:5]
    if not labels or not all(_is_yolo(p) for p in labels):
        return None
    return f"these are labels in YOLO's form (a text file for each picture). {_convert(_yolo_call(tree, labels[0]))}"


def _yolo_call(tree: Tree, label: Path) -> str:
    pictures = next((f for f, names in tree.files.items() if _is_beside(names, label)), tree.root)
    names = (tree.with_suffix(".yaml", ".yml") or [tree.root / "data.yaml"])[0]
    return f"from_yolo('{pictures}', '{label.parent}', '{names}')"


def _voc_call(tree: Tree) -> str:
    label = sorted(tree.with_suffix(".xml"))[0]
    pictures = next((f for f, names in tree.files.items() if _is_beside(names, label)), tree.root)
    return f"from_pascal_voc('{pictures}', '{label.parent}')"


def _is_beside(names: frozenset[str], label: Path) -> bool:
    """Whether a folder has the picture of a file of labels."""
    return any(Path(n).stem == label.stem and Path(n).suffix.lower() in PICTURE_SUFFIXES for n in names)


def _is_yolo(path: Path) -> bool:
    lines = path.read_text(errors="replace").splitlines()[:5]
    return bool(lines) and all(YOLO_LINE.fullmatch(line.strip()) for line in lines)


def _unfinished(files: list[Path]) -> str | None:
    """What to say of a file that has some of the lists of COCO's format, and not all."""
    for file in files:
        has = [key for key in LISTS if _has(file, f'"{key}"'.encode())]
        if 1 < len(has) < len(LISTS):
            missing = next(key for key in LISTS if key not in has)
            return f'{file.name} has no "{missing}", or is cut short. {LAYOUT}'
    return None


def _convert(call: str) -> str:
    """How supervision, a package of its own, writes a split in COCO's format; ``call`` reads it."""
    out = "as_coco('OUT/train', 'OUT/train/_annotations.coco.json')"
    code = f"import supervision as sv; sv.DetectionDataset.{call}.{out}"
    return f'For each split: pip install "detr-mini[convert]", then python -c "{code}", and the same for valid'


def _has_all(files: list[Path], *words: bytes) -> bool:
    """Whether one of the first files has all of the words in its first bytes."""
    return any(all(_has(file, word) for word in words) for file in files[:20])


def _has(file: Path, word: bytes) -> bool:
    try:
        with open(file, "rb") as stream:
            return word in stream.read(1_000_000)
    except OSError:
        return False
