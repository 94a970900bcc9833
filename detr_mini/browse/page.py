"""The page as one file: the data as JSON, the pictures as JPEGs in it, the script and the style of ``assets``.

Same data, same bytes: the page holds no time and no path but those that lead from it to the picture files.
"""

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import detr_mini
from detr_mini.browse.findings import KINDS, Finding
from detr_mini.browse.judging import Doubt, Judged
from detr_mini.browse.reading import DataSet, Picture
from detr_mini.browse.results import DIGITS
from detr_mini.browse.summary import SHAPES, SIZES, SMALL

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("dom", "state", "charts", "classes", "faults", "results", "boxes", "grid", "large", "main")
MADE_BY = "detr-mini browse"  # in every page, so that a later call knows it
LEAST = 0.05  # the score of the lowest detections that are in the page
MOST = 60  # detections of a picture that are in the page
LISTED = 200  # words about the data set as a whole that are in the page


def write_page(file: Path, content: dict[str, Any], thumbnails: Iterable[str]) -> None:
    """Write the page piece by piece: one picture at a time is in memory.

    Args:
        file: what to write; it is replaced once the new page is complete.
        content: from :func:`page_content`.
        thumbnails: of ``content["pictures"]``, in their order, as addresses.
    """
    temporary = file.with_name(f".{file.name}.part")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            for piece in _pieces(content, thumbnails):
                stream.write(piece)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _pieces(content: dict[str, Any], thumbnails: Iterable[str]) -> Iterator[str]:
    """The page: the text of ``page.html`` with values in place of names in double braces."""
    script = "\n".join((ASSETS / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    script = f'"use strict";\n{script}\nmain();\n'
    values = {
        "title": _writable(html.escape(content["title"])),
        "made_by": html.escape(f"{MADE_BY} {detr_mini.__version__}"),
        "digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "style": (ASSETS / "page.css").read_text("utf-8"),
        "data": as_json(content),
        "script": script,
    }
    for number, part in enumerate(re.split(r"\{\{(\w+)\}\}", (ASSETS / "page.html").read_text("utf-8"))):
        if number % 2 == 0:
            yield part
        elif part == "thumbnails":
            yield from (f"{',' if k else ''}\n{as_json(address)}" for k, address in enumerate(thumbnails))
        else:
            yield values[part]


def as_json(value: Any) -> str:
    """JSON that may stand in a script of a page, whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return _writable(text)


def _writable(text: str) -> str:
    """Half of a surrogate pair, as names of files can hold it, cannot be written: a question mark takes its place."""
    return text.encode("utf-8", "replace").decode("utf-8")


def page_content(
    data: DataSet,
    summary: dict[str, Any],
    findings: Sequence[Sequence[Finding]],
    hard: Sequence[float],
    shown: Sequence[int],
    file: Path,
    results: dict[str, Any] | None = None,
    judged: Sequence[Judged] = (),
    doubted: Sequence[Sequence[Doubt]] = (),
) -> dict[str, Any]:
    """All that the script of the page reads; the pictures are those of ``shown``, places in ``data.pictures``."""
    places = {id: k for k, id in enumerate(sorted(data.class_names))}
    entries = []
    for k in shown:
        entry = _picture(data, data.pictures[k], findings[k], places, file) | {"hard": round(hard[k], 2)}
        if judged:
            entry |= _results(judged[k], doubted[k], places)
        entries.append(entry)
    return {
        "title": data.root.resolve().name,
        "summary": summary,
        "bins": {"sizes": SIZES, "small": SMALL, "shapes": SHAPES.tolist()},
        "kinds": {key: asdict(kind) | _counts(key, findings) for key, kind in KINDS.items()},
        "words": data.words[:LISTED],
        "mended": data.mended[:LISTED],
        "unlisted": max(0, len(data.words) - LISTED),
        "total": len(data.pictures),
        "results": results,
        "pictures": entries,
    }


def _counts(kind: str, findings: Sequence[Sequence[Finding]]) -> dict[str, int]:
    counts = [sum(finding.kind == kind for finding in some) for some in findings]
    return {"count": sum(counts), "pictures": sum(map(bool, counts))}


def _picture(
    data: DataSet, picture: Picture, findings: Sequence[Finding], places: dict[int, int], file: Path
) -> dict[str, Any]:
    rows = zip(picture.labels.tolist(), _xywh(picture.boxes), picture.crowd.tolist(), strict=True)
    return {
        "split": data.splits.index(picture.split),
        "id": picture.id,
        "name": picture.name,
        "w": picture.width,
        "h": picture.height,
        "href": _address(picture.path, file),
        "objects": [[places[label], *box, int(crowd)] for label, box, crowd in rows],
        "findings": [[finding.kind, list(finding.objects), finding.text] for finding in findings],
    }


def _results(judged: Judged, doubted: Sequence[Doubt], places: dict[int, int]) -> dict[str, Any]:
    """The detections that are shown, what became of them, and which annotations are in doubt."""
    scores = judged.scores.round(DIGITS)
    kept = [d for d in range(len(scores)) if scores[d] >= LEAST][:MOST]
    boxes = _xywh(judged.boxes)
    return {
        "detections": [
            [
                places.get(int(judged.labels[d]), -1),
                *boxes[d],
                float(scores[d]),
                *(int(judged.fates[d]), int(judged.objects[d]), round(float(judged.overlaps[d]), 2)),
            ]
            for d in kept
        ],
        "found": judged.found.round(DIGITS).tolist(),
        "doubts": [[doubt.kind, round(doubt.sure, 3), doubt.detection, doubt.object] for doubt in doubted],
    }


def _xywh(boxes: Any) -> list[list[float]]:
    """To a tenth of a pixel, whole numbers as such: they are shorter."""
    rows = [[x, y, right - x, bottom - y] for x, y, right, bottom in boxes.tolist()]
    return [[int(v) if v == int(v) else v for v in (round(side, 1) for side in row)] for row in rows]


def _address(path: Path, file: Path) -> str:
    """The way from the page to a picture file; empty where there is none, as between two drives."""
    try:
        way = os.path.relpath(path.resolve(), file.resolve().parent)
    except (OSError, ValueError):
        return ""
    return quote(Path(way).as_posix(), safe="/", errors="replace")
