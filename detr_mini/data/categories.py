"""Give every category one number: its own, or, where that cannot be a class slot, one that all splits agree on.

Chapter: *Data preparation*, ``book/04_data``.
"""

from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias

from detr_mini.data.findings import NOTHING, Notes
from detr_mini.data.repair_images import as_key
from detr_mini.data.rules import is_text

Record: TypeAlias = dict[str, Any]
HIGHEST = 9_999  # the model has a class slot for every id up to the highest; LVIS, with 1,203, is the longest list


def mend_categories(
    records: list[Any], others: Sequence[list[Any]], notes: Notes, *, follows: bool = False
) -> tuple[list[Record], dict[Hashable, int]]:
    """The categories with sound ids and names, and the number of each by its id as written (see :func:`.as_key`).

    Args:
        records: the list ``categories`` of the file.
        others: those of the other splits: where ids cannot be class slots, a class has one number in all of them.
        notes: takes what was mended and what is wrong.
        follows: the first of the others is the training split; classes of the same names get its ids.
    """
    kept = _named(records, notes)
    elsewhere = [_named(other, Notes(notes.file)) for other in others]
    numbers = _numbers(kept, elsewhere, notes, follows)
    by_number: dict[int, Record] = {}
    mended: dict[Hashable, int] = {}
    for key, record in kept.items():
        number = mended[key] = numbers[key]
        if number in by_number:
            notes.add("categories of one name are joined", f"category {key}", record["name"])
        by_number.setdefault(number, record if record["id"] is number else record | {"id": number})
    return list(by_number.values()), mended


def _named(records: list[Any], notes: Notes) -> dict[Hashable, Record]:
    """Categories by their ids as written; what is there twice word for word is there once."""
    kept: dict[Hashable, Record] = {}
    for index, record in enumerate(records):
        where = f"categories[{index}]"
        key = as_key(record.get("id")) if isinstance(record, dict) else None
        if not isinstance(record, dict):
            notes.fault(where, record, "must be an object")
        elif key is None:
            notes.fault(where, record.get("id", NOTHING), 'has no "id" that is a whole number')
        else:
            record = _with_name(record, key, notes)
            if kept.setdefault(key, record)["name"] != record["name"]:
                text = f"two categories of one id, the other is called {kept[key]['name']!r}; mend one"
                notes.fault(f"category {key}", record["name"], text)
            elif kept[key] is not record:
                notes.add("categories that are there twice are joined", f"category {key}", record["name"])
    return kept


def _with_name(record: Record, key: Hashable, notes: Notes) -> Record:
    """The category with a whole number for an id if it has one, and with a name."""
    name, changed = record.get("name"), Record()
    if type(record["id"]) is not int and type(key) is int:
        notes.add("category ids written as text or with a point are read as numbers", f"category {key}", record["id"])
        changed["id"] = key
    if isinstance(name, str) and not is_text(name):
        notes.fault(f"category {key}", name, '"name" must be the name of the category')
        changed["name"] = str(key)
    elif name is None or name == "" or not isinstance(name, (str, int, float)):
        notes.add('a category without "name" is called by its id', f"category {key}", record.get("name", NOTHING))
        changed["name"] = str(key)
    elif not isinstance(name, str):
        changed["name"] = str(name)
    return record | changed if changed else record


def _numbers(
    kept: dict[Hashable, Record], elsewhere: Sequence[dict[Hashable, Record]], notes: Notes, follows: bool
) -> dict[Hashable, int]:
    """New numbers by ids as written, where the ids cannot be class slots, or another split has them otherwise."""
    every = [kept, *elsewhere]
    strange = [key for split in every for key in split if type(key) is not int or not 0 <= key <= HIGHEST]
    if strange:
        names = sorted({record["name"] for split in every for record in split.values()})
        numbers = {name: number for number, name in enumerate(names, 1)}
        what = f"category ids that are no numbers from 0 to {HIGHEST:,} are numbered anew, by name"
        notes.add(
            what, f"category {strange[0]}", numbers[next(s[strange[0]] for s in every if strange[0] in s)["name"]]
        )
        return {key: numbers[record["name"]] for key, record in kept.items()}
    own: dict[Hashable, int] = {key: key for key in kept if isinstance(key, int)}
    _tell_shared_names(kept, notes)
    first = elsewhere[0] if follows else {}
    there = {record["name"]: key for key, record in first.items()}
    if len(there) < len(first) or len({record["name"] for record in kept.values()}) < len(kept):
        return own  # a name that two ids share tells nothing
    moved = [key for key, record in kept.items() if there.get(record["name"], key) != key]
    if not moved or not all(record["name"] in there for record in kept.values()):
        return own
    number = there[kept[moved[0]]["name"]]
    notes.add(
        "categories have other ids than in train: those of train are taken, by name",
        f"category {moved[0]}, {kept[moved[0]]['name']}, is {number}",
        warning=True,
    )
    return {key: there[record["name"]] for key, record in kept.items()}  # type: ignore[misc]


def _tell_shared_names(kept: dict[Hashable, Record], notes: Notes) -> None:
    first: dict[str, Hashable] = {}
    for key, record in kept.items():
        other = first.setdefault(record["name"], key)
        if other != key:
            what = (
                "categories of one name have two ids, so the model learns two classes: give them one id if one is meant"
            )
            notes.add(what, f"categories {other} and {key}", record["name"], warning=True)
