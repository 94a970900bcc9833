"""How much a difference in AP would vary from one set of pictures to another: the paired bootstrap.

Chapter: *Evaluation*, ``book/15_evaluate``.

A validation set is a sample. Draw as many pictures from it as it has, some twice, some not at all, and measure again:
the spread of what comes out is the standard error (Efron 1979, Annals of Statistics 7, 1-26). Both detectors see the
same draws, so that what makes a picture hard for both cancels. Boxes are matched to objects once, picture by picture;
a draw then only counts how often each picture is in it. The luck of training is not in this error: another seed gives
another detector.
"""

import contextlib
import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detr_mini.data import DetectionDataset

LEVELS = tuple(range(50, 100, 5))  # of IoU, in percent
RECALLS = np.linspace(0, 1, 101)
Array = NDArray[Any]


class Difference(NamedTuple):
    """AP of two detectors on all pictures, in [0, 1]; the second less the first; its standard error over pictures."""

    first: float
    second: float
    value: float
    error: float


class ClassMatches(NamedTuple):
    """One class: boxes by falling score, and what they hit on their own picture."""

    picture: Array  # (D,) place of each box's picture among the sorted ids
    hit: Array  # (levels, D) bool
    wrong: Array  # (levels, D) bool; a box on an ignored object is neither
    objects: Array  # (images,) how many there are to be found


def paired_bootstrap(
    dataset: DetectionDataset,
    first: list[dict[str, Any]],
    second: list[dict[str, Any]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Difference]:
    """The difference in AP of two detectors on the same pictures, with its standard error.

    Args:
        dataset: its annotations and its images are what counts, as in :func:`.coco_metrics`.
        first, second: COCO results on all of its images, as :func:`.detect` gives them.
        resamples: how many times as many images as there are, are drawn with replacement. By the luck of the draws
            alone the standard error is off by about one part in the root of twice this number.
        seed: of the draws; the same seed draws the same images for any pair of detectors.

    Returns:
        ``"AP"``, the mean over ten levels of IoU, and each of them, ``"AP50"`` to ``"AP95"``.

    Raises:
        ValueError: fewer than two resamples.
    """
    if resamples < 2:
        raise ValueError(f"resamples={resamples}: a spread needs two at least")
    images = len(dataset.coco.getImgIds())
    counts = np.concatenate([np.ones((1, images), int), image_counts(images, resamples, seed)])
    a, b = (_average_precision(matches(dataset, results), counts) for results in (first, second))  # (1 + R, levels)
    names = ("AP", *(f"AP{level}" for level in LEVELS))
    a, b = (np.column_stack([ap.mean(1), ap]) for ap in (a, b))
    errors = (b - a)[1:].std(0, ddof=1)
    return {
        name: Difference(float(a[0, i]), float(b[0, i]), float(b[0, i] - a[0, i]), float(errors[i]))
        for i, name in enumerate(names)
    }


def image_counts(images: int, resamples: int, seed: int = 0) -> Array:
    """How often each image is drawn: ``(resamples, images)``, each row a draw of as many images as there are."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=resamples)


def matches(dataset: DetectionDataset, results: list[dict[str, Any]]) -> list[ClassMatches]:
    """What each box hits, class by class, as pycocotools decides it: every image by itself."""
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco_eval = COCOeval(dataset.coco, _as_coco(dataset, results), "bbox")
        coco_eval.params.areaRng, coco_eval.params.areaRngLbl = [[0, 1e10]], ["all"]
        coco_eval.evaluate()
    images = len(coco_eval.params.imgIds)
    rows = coco_eval.evalImgs  # one for each class and image, None where nothing is
    return [_of_class(rows[start : start + images]) for start in range(0, len(rows), images)]


def _as_coco(dataset: DetectionDataset, results: list[dict[str, Any]]) -> Any:
    """The results as pycocotools holds them; ``loadRes`` does not take an empty list."""
    from pycocotools.coco import COCO

    if results:
        return dataset.coco.loadRes(results)
    nothing = COCO()
    nothing.dataset = {"images": [], "annotations": [], "categories": []}
    nothing.createIndex()
    return nothing


def _of_class(rows: list[dict[str, Any] | None]) -> ClassMatches:
    nothing = {"dtScores": [], "dtMatches": np.zeros((len(LEVELS), 0)), "dtIgnore": np.zeros((len(LEVELS), 0))}
    full = [row or {**nothing, "gtIgnore": np.zeros(0)} for row in rows]
    scores = np.concatenate([row["dtScores"] for row in full])
    hit = np.concatenate([row["dtMatches"] for row in full], axis=1) > 0
    ignored = np.concatenate([row["dtIgnore"] for row in full], axis=1).astype(bool)
    order = np.argsort(-scores, kind="stable")
    picture = np.repeat(np.arange(len(full)), [len(row["dtScores"]) for row in full])
    objects = np.array([np.sum(np.asarray(row["gtIgnore"]) == 0) for row in full])
    return ClassMatches(picture[order], (hit & ~ignored)[:, order], (~hit & ~ignored)[:, order], objects)


def _average_precision(classes: list[ClassMatches], counts: Array) -> Array:
    """AP of each draw at each level, ``(draws, levels)``: the mean over the classes that it has objects of."""
    ap = np.full((len(counts), len(classes), len(LEVELS)), np.nan)
    for place, one in enumerate(classes):
        for draw, count in enumerate(counts):
            if objects := int(one.objects @ count):
                weight = count[one.picture]  # (D,): a box is there as often as its picture
                ap[draw, place] = _read_curves((one.hit * weight).cumsum(1), (one.wrong * weight).cumsum(1), objects)
    return np.nanmean(ap, axis=1)


def _read_curves(right: Array, wrong: Array, objects: int) -> Array:
    """COCO's AP ``(levels,)`` from running counts of hits and false alarms, ``(levels, D)``."""
    precision = right / np.maximum(right + wrong, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    envelope = np.pad(envelope, ((0, 0), (0, 1)))  # a recall that is never reached has a precision of 0
    recall = right / objects
    first = np.stack([np.searchsorted(row, RECALLS) for row in recall])
    return np.take_along_axis(envelope, first, axis=1).mean(1)
