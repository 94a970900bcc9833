"""Checks annotations in COCO's panoptic format, and the PNG files that say which segment a pixel belongs to.

Chapter: *Panoptic segmentation*, ``book/21_panoptic``.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_mini.data.check_split import Record, Size, SplitCheck
from detr_mini.data.findings import Fault
from detr_mini.data.panoptic import read_segment_ids
from detr_mini.data.rules import PANOPTIC_ANNOTATION, PANOPTIC_CATEGORY, SEGMENT


class PanopticCheck(SplitCheck):
    """Checks panoptic annotations: one for each image, with its segments and its PNG file."""

    category_rules = PANOPTIC_CATEGORY

    def __init__(self, folder: Path, file: Path, segment_folder: Path, images: bool) -> None:
        super().__init__(folder, file, images)
        self.segment_folder = segment_folder

    def _annotations(self, records: list[Any]) -> None:
        unpacked = os.path.isdir(self.segment_folder)
        if not unpacked:  # one fault, and not one for each image
            text = "there is no such folder; unpack the PNG files of this split into it"
            self.faults.append(Fault(str(self.segment_folder), "the folder of PNG files", "", text))
        annotated = set()
        for where, annotation in self._records(
            records, "annotation of image", "annotations", PANOPTIC_ANNOTATION, key="image_id"
        ):
            size = self._known(where, annotation)
            annotated.add(annotation.get("image_id"))
            segments = self._segments(where, annotation.get("segments_info", []), size)
            if unpacked and "file_name" in annotation:
                ids = self._picture(where, annotation["file_name"], size, self.segment_folder, read_segment_ids)
                if ids is not None and "segments_info" in annotation:
                    self._pixels(where, ids, segments, complete=len(segments) == len(annotation["segments_info"]))
        for image_id in self.sizes:
            if image_id not in annotated:
                text = "has no annotation, and training takes it for an image without objects; annotate or remove it"
                self._add(f"image {image_id}", image_id, text, usable=True)

    def _segments(self, where: str, records: list[Any], size: Size | None) -> dict[int, Record]:
        """By id, the sound fields of each segment that has a sound id."""
        segments: dict[int, Record] = {}
        stuff: dict[int, int] = {}  # category id to the segment that was the first of its kind
        for place, segment in self._records(records, "segment", "segments_info", SEGMENT, within=f"{where}, "):
            self._known(place, segment)
            if "bbox" in segment:
                self._box(place, segment["bbox"], size)
            if "id" in segment:
                segments[segment["id"]] = segment
                self._one_of_its_stuff(place, segment, stuff)
        return segments

    def _one_of_its_stuff(self, where: str, segment: Record, stuff: dict[int, int]) -> None:
        """Report stuff in two pieces: the model's answer has one segment for each kind, which can match only one."""
        kind = segment.get("category_id")
        if kind is not None and self.categories.get(kind, {}).get("isthing") == 0:
            first = stuff.setdefault(kind, segment["id"])
            if first != segment["id"]:
                text = f"stuff of one kind is one segment, and segment {first} is of this kind; join them under one id"
                self._add(where, kind, text, usable=True)

    def _pixels(self, where: str, ids: NDArray[np.int64], segments: dict[int, Record], complete: bool) -> None:
        """Compare the PNG file with the segments; ``complete``: all of them are known by their ids."""
        found, counts = np.unique(ids, return_counts=True)
        pixels = dict(zip(found.tolist(), counts.tolist(), strict=True))
        unknown = sorted(pixels.keys() - segments.keys() - {0})  # 0: no segment
        if unknown and complete:
            text = 'its PNG file has ids that no segment has; add them to "segments_info", or make these pixels 0'
            self._add(where, unknown, text)
        for number, segment in segments.items():
            place = f"{where}, segment {number}"
            if number not in pixels:
                self._add(place, number, "no pixel of the PNG file has this id; write the file again, or remove it")
            elif segment.get("area", pixels[number]) != pixels[number]:
                text = f'"area" is not the number of pixels in the PNG file, {pixels[number]}; write that number'
                self._add(place, segment["area"], text, usable=True)
