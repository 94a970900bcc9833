"""The command that check-data names for labels of YOLO and Pascal VOC gives the same boxes and classes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from detr_mini.commands.cli import main
from detr_mini.data import CocoDetection

SIZE = (200, 150)
NAMES = ["kite", "car", "dog"]  # not in the order of the alphabet
OBJECTS = {"a": [(0, 10, 20, 40, 30), (2, 100, 60, 50, 80)], "b": [(1, 0, 0, 200, 150)], "c": [(2, 150, 100, 50, 50)]}


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, (90, 120, 40)).save(path)


def yolo(folder: Path) -> None:
    """Class and center, width and height in shares, a line for each object."""
    (folder / "train" / "labels").mkdir(parents=True)
    for name, objects in OBJECTS.items():
        picture(folder / "train" / "images" / f"{name}.jpg")
        lines = [
            f"{k} {(x + w / 2) / SIZE[0]} {(y + h / 2) / SIZE[1]} {w / SIZE[0]} {h / SIZE[1]}"
            for k, x, y, w, h in objects
        ]
        (folder / "train" / "labels" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (folder / "data.yaml").write_text(f"names: {NAMES}\nnc: {len(NAMES)}\n")


def pascal_voc(folder: Path) -> None:
    """Corners in pixels that count from 1, both within the object."""
    (folder / "Annotations").mkdir(parents=True)
    for name, objects in OBJECTS.items():
        picture(folder / "JPEGImages" / f"{name}.jpg")
        listed = "".join(
            f"<object><name>{NAMES[k]}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
            f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
            for k, x, y, w, h in objects
        )
        size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}.jpg</filename>{size}{listed}</annotation>"
        (folder / "Annotations" / f"{name}.xml").write_text(text)


@pytest.mark.parametrize("write", [yolo, pascal_voc])
def test_the_command_that_is_named_makes_a_data_set(
    write: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "labels")  # type: ignore[operator]
    assert main(["check-data", str(tmp_path / "labels")]) == 2
    found = re.search(r'python -c "(.+?)"', capsys.readouterr().out)
    assert found is not None
    (tmp_path / "set" / "train").mkdir(parents=True)
    code = found[1].replace("OUT", str(tmp_path / "set"))
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
    boxes = set()
    for split in ("train", "val"):  # a part is kept for validation
        data = CocoDetection(tmp_path / "set", split)
        for one in data.coco.anns.values():
            name = Path(data.coco.imgs[one["image_id"]]["file_name"]).stem
            boxes.add((name, data.class_names[one["category_id"]], *(round(value) for value in one["bbox"])))
    wanted = {(name, NAMES[k], *box) for name, objects in OBJECTS.items() for k, *box in objects}
    assert {one[:2] for one in boxes} == {one[:2] for one in wanted}
    for ours, theirs in zip(sorted(wanted), sorted(boxes), strict=True):
        # Pascal VOC's corners are both within the object, and supervision subtracts them
        assert max(abs(a - b) for a, b in zip(ours[2:], theirs[2:], strict=True)) <= 1
