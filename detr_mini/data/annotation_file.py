"""Read annotation files as JSON, and look into large ones without reading them whole.

Chapter: *Data preparation*, ``book/04_data``.
"""

import codecs
import contextlib
import json
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from detr_mini.data.findings import NOTHING, Notes, shown
from detr_mini.data.rules import is_number

Record: TypeAlias = dict[str, Any]
LISTS = ("images", "annotations", "categories")
FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')
LONGEST_CATEGORIES = 1_000_000  # bytes; a longer list is read with the whole file
MARKS = {  # at the beginning of a file, with the encoding that it stands for
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_json(file: Path, notes: Notes) -> Record | None:
    """The object in a file; None, with a fault in ``notes``, if there is none."""
    where, value = "the file", NOTHING
    try:
        data = file.read_bytes()
        encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
        text = data.decode(encoding)
        content = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        value = text[error.pos : error.pos + 20]
        problem = f"broken JSON, {error.msg}; mend it there, or write the file again"
    except UnicodeDecodeError as error:
        value = error.object[error.start : error.start + 20]
        problem = f"cannot be read as JSON, byte {error.start} is not UTF-8 text; write the file again in UTF-8"
    except (OSError, ValueError, RecursionError) as error:  # unreadable, numbers or depth beyond reason
        problem = f"cannot be read as JSON, {error}; write the file again"
    else:
        if isinstance(content, dict):
            if encoding != "utf-8":
                notes.add(
                    f"the file begins with a byte order mark, and is read as {encoding.removesuffix('-sig').upper()}"
                )
            return content
        value = content
        problem = 'must hold an object with "images", "annotations" and "categories"'
        if isinstance(content, list) and content and isinstance(content[0], dict) and "score" in content[0]:
            problem += "; this is a list of results, what a model has found"
    notes.fault(where, value, problem)
    return None


def lists_of(data: Record, notes: Notes) -> dict[str, list[Any]]:
    """The three lists of an annotation file; an empty one, with a fault in ``notes``, for what is none."""
    lists = {}
    for key in LISTS:
        value = data.get(key)
        if key not in data:
            notes.fault("the file", NOTHING, f'has no "{key}"; it must be a list')
        elif not isinstance(value, list):
            notes.fault(f'"{key}"', value, "must be a list")
        elif not value and key != "annotations":
            notes.fault(f'"{key}"', value, f"there are no {key}; add at least one")
        lists[key] = value if isinstance(value, list) else []
    return lists


def info_of(data: Record, notes: Notes) -> Record:
    """What evaluation reads of ``info``: ``area_bins``; the rest is for people."""
    info = data.get("info", {})
    if not isinstance(info, dict):
        notes.add('"info" is no object: left out', "", shown(info))
        return {}
    bins = info.get("area_bins", [1, 2])
    if not (isinstance(bins, list) and len(bins) == 2 and all(map(is_number, bins)) and 0 < bins[0] < bins[1]):
        text = '"area_bins" must be two areas in pixels, the smaller one first; or leave it out'
        notes.fault('"info"', bins, text)
    return info


@contextlib.contextmanager
def _mapped(file: Path) -> Iterator[Any]:
    """The bytes of a file, which are read only where they are looked at."""
    with open(file, "rb") as stream:
        if file.stat().st_size == 0:  # cannot be mapped
            yield b""
            return
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def looks_like_coco(file: Path) -> bool:
    """Whether a JSON file has COCO's three lists, and is not of the panoptic kind; it is not read as JSON for that."""
    with _mapped(file) as content:
        begin = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
        if not begin.startswith(b"{") and not begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return False
        wide = "utf-16-le" if b"\0" in content[:64] else "utf-8"
        has = [content.find(f'"{key}"'.encode(wide)) >= 0 for key in (*LISTS, "segments_info")]
    return has == [True, True, True, False]


def file_names(file: Path, most: int | None = None) -> list[str]:
    """The first ``most`` names of pictures in an annotation file, without reading all of it as JSON."""
    names = []
    with _mapped(file) as content:
        for match in FILE_NAME.finditer(content):
            try:
                names.append(json.loads(match[1]))
            except ValueError:
                continue
            if len(names) == most:
                break
    return names


def categories_of(file: Path) -> list[Any]:
    """The list ``categories`` of an annotation file, read alone where that is possible; empty if there is none."""
    try:
        with _mapped(file) as content:
            found = content.rfind(b'"categories"')
            text = content[found : found + LONGEST_CATEGORIES].decode(errors="replace") if found >= 0 else ""
        match = re.match(r'"categories"\s*:\s*', text)
        value = json.JSONDecoder().raw_decode(text, match.end())[0] if match else None
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, list) or not all(isinstance(one, dict) and "id" in one for one in value):
        value = (read_json(file, Notes(file)) or {}).get("categories")
    return value if isinstance(value, list) else []
