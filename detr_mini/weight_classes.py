"""Which classes the weights of a file know, and what becomes of their class head where the data has others."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from detr_mini.data.coco_names import COCO_CLASSES, COCO_STUFF
from detr_mini.errors import WeightsError
from detr_mini.modeling.config import DetectorConfig, DETRConfig
from detr_mini.weight_files import Notes


def classes_of(notes: Notes, config: DetectorConfig) -> tuple[dict[int, str], frozenset[int]]:
    """Category ids with their names, and those that are stuff, where the file has them.

    Published files say neither. Those of 91 classes have COCO's things, those of 250 its things and stuff.
    """
    names = notes.get("class_names", COCO_CLASSES if config.num_classes == 91 else {})
    if not isinstance(names, dict) or not all(str(number).isdecimal() for number in names):
        raise WeightsError(f"the stored class names are {names!r}, not category ids with names")
    stuff = notes.get("stuff", COCO_STUFF if config.num_classes == 250 and "class_names" not in notes else [])
    if not isinstance(stuff, (list, range)) or not all(isinstance(number, int) for number in stuff):
        raise WeightsError(f"the stored ids of stuff are {stuff!r}, not a list of category ids")
    return {int(number): str(name) for number, name in names.items()}, frozenset(stuff)


class NewHead(NamedTuple):
    """A class head that has to start anew: for how many classes, a line that says why, and the rows that it keeps."""

    num_classes: int
    why: str
    kept: list[int]


def new_class_head(
    stored: DetectorConfig, known: Mapping[int, str], wanted: Mapping[int, str], num_classes: int | None
) -> NewHead | None:
    """What the class head becomes for the classes that are wanted; None: the stored one will do."""
    others = [name for number, name in wanted.items() if known.get(number) != name] if known else []
    fits = not others and (bool(known) or not wanted or max(wanted) + 1 == stored.num_classes)
    number = num_classes or (stored.num_classes if fits else max(wanted) + 1)
    if number == stored.num_classes and not others:
        return None
    if others:
        why = f"the weights do not know the data's {_some(others)}"
    else:
        why = f"the weights have {stored.num_classes}"
    shared = [n for n, name in wanted.items() if known.get(n) == name and n < min(number, stored.num_classes)]
    kept = [*shared, -1] if shared and isinstance(stored, DETRConfig) else shared  # the last is "no object"
    line = f"the class head, for num_classes={number}, starts from random numbers: {why}"
    if shared:
        line += f"; kept are the rows of {_some(wanted[n] for n in shared)}"
    return NewHead(number, line, kept)


def _some(names: Iterable[str]) -> str:
    """The first three of some names."""
    some = list(names)
    return ", ".join(some[:3]) + (", ..." if len(some) > 3 else "")
