"""From a folder to its page."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from detr_mini.browse.findings import Finding, find_in_pictures
from detr_mini.browse.judging import Doubt, Judged, doubts, judge
from detr_mini.browse.looking import find_twins, look_through, thumbnail
from detr_mini.browse.page import page_content, write_page
from detr_mini.browse.reading import DataSet, Picture, read_data_set
from detr_mini.browse.results import summarize_results
from detr_mini.browse.sample import choose, hardness, suspicion
from detr_mini.browse.summary import distinct_views, summarize
from detr_mini.data import read_image
from detr_mini.errors import ImageError
from detr_mini.modeling.build import Detector
from detr_mini.prediction import predict

T = TypeVar("T")

PICTURES = 1000  # of a page
BATCH = 8  # pictures that a model is asked about between two steps of the progress bar


def browse(
    root: str | os.PathLike[str],
    file: str | os.PathLike[str],
    splits: Sequence[str] = ("train", "val"),
    *,
    model: Detector | None = None,
    name: str = "",
    pictures: int = PICTURES,
    progress: bool = False,
) -> dict[str, Any]:
    """Write a page that shows a detection data set, and what a model makes of it.

    Args:
        root: the folder of the data set.
        file: the page, in a folder that is there; it is replaced.
        splits: which to show; those that are not there are left out, as long as one is.
        model: whose predictions are shown beside the annotations, on any device.
        name: of the model, for the page.
        pictures: how many to show at most. The numbers are always those of the whole data set.
        progress: show bars.

    Returns:
        What the page holds, as its script reads it, without the pictures' pixels.

    Raises:
        NotFoundError: there is none of the splits.
        DataError: there is nothing to show.
    """
    file = Path(file)
    data = read_data_set(root, splits)

    def bar(items: Sequence[T], title: str) -> "tqdm[T]":
        return tqdm(items, title, unit="image", disable=not progress, leave=False)

    findings = _findings(data, bar)
    views = distinct_views((name, model.config) if model else None)
    first = next(iter(views.values()))
    hard = [hardness(picture, first) for picture in data.pictures]
    suspect = [suspicion(some) for some in findings]
    judged: list[Judged] = []
    doubted: list[list[Doubt]] = []
    results = None
    if model:
        judged = list(_judged(model, data.pictures, bar))
        doubted = [doubts(picture, one) for picture, one in zip(data.pictures, judged, strict=True)]
        results = summarize_results(data.pictures, judged, doubted, sorted(data.class_names)) | {"model": name}
        suspect = [sum(doubt.sure * 5 for doubt in some[:1]) + old for some, old in zip(doubted, suspect, strict=True)]
    shown = choose(data.pictures, suspect, hard, pictures)
    content = page_content(data, summarize(data, views), findings, hard, shown, file, results, judged, doubted)
    chosen = [data.pictures[k] for k in shown]
    write_page(file, content, (thumbnail(picture, len(chosen)) for picture in bar(chosen, "write")))
    return content


def _findings(data: DataSet, bar: Callable[..., Any]) -> list[list[Finding]]:
    """What is found in the annotations, in the files and between the splits, for each picture."""
    prints, faults = look_through(bar(data.pictures, "read"))
    parts = zip(faults, find_in_pictures(data), find_twins(data, prints), strict=True)
    return [[finding for part in some for finding in part] for some in parts]


def _judged(model: Detector, pictures: Sequence[Picture], bar: Callable[..., Any]) -> Iterator[Judged]:
    """What the model finds in each picture, against its annotation; in one that cannot be read, nothing."""
    for start in bar(range(0, len(pictures), BATCH), "predict"):
        batch = pictures[start : start + BATCH]
        for picture, found in zip(batch, _predicted(model, batch), strict=True):
            labels, boxes, scores = (found[key].numpy() for key in ("labels", "boxes", "scores"))
            yield judge(picture, labels.astype(np.int64), boxes.astype(np.float64), scores)


def _predicted(model: Detector, pictures: Sequence[Picture]) -> list[dict[str, Tensor]]:
    """What is found in some pictures, however low it scores; in one that cannot be read, nothing."""
    try:
        images = [read_image(picture.path, (picture.width, picture.height)) for picture in pictures]
    except ImageError:
        if len(pictures) == 1:
            return [{"labels": torch.zeros(0), "boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}]
        return [found for picture in pictures for found in _predicted(model, [picture])]
    return predict(model, images, threshold=0.0)
