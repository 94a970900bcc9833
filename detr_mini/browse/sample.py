"""Which pictures a page shows where it cannot show all, by a rule that the page tells."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from detr_mini.browse.findings import KINDS, Finding
from detr_mini.browse.overlap import ious
from detr_mini.browse.reading import Picture
from detr_mini.browse.summary import input_scale, object_sizes
from detr_mini.modeling.config import DetectorConfig

OF_EACH_CLASS = 5
SUSPECT, HARD = 0.4, 0.3  # the shares of the page that are for pictures with possible faults, and for the hardest
LARGE = 32  # pixels: an object of that size is no longer hard for being small


def hardness(picture: Picture, config: DetectorConfig) -> float:
    """How hard a picture is to the eye of a model: its objects count by how small they are and how far they overlap.

    An object counts from 0, for ``LARGE`` pixels or more after resizing, to 1, for a point, and by its highest IoU.
    """
    sizes = object_sizes(picture) * np.sqrt(input_scale(picture, config).prod())
    boxes = picture.boxes[~picture.crowd]
    overlap = ious(boxes, boxes)
    np.fill_diagonal(overlap, 0)
    return float((1 - sizes / LARGE).clip(0).sum() + overlap.max(axis=1, initial=0).sum())


def suspicion(findings: Sequence[Finding]) -> float:
    """The weight of what is found: the heaviest, and a tenth of the others, of one kind at most three."""
    weights = defaultdict(list)
    for finding in findings:
        weights[finding.kind].append(KINDS[finding.kind].weight)
    kept = sorted((weight for some in weights.values() for weight in some[:3]), reverse=True)
    return kept[0] + sum(kept[1:]) / 10 if kept else 0.0


def choose(pictures: Sequence[Picture], suspect: Sequence[float], hard: Sequence[float], count: int) -> list[int]:
    """The places of ``count`` pictures, in order: of each class some, the most suspect, the hardest, the rest by lot.

    The lot falls the same each time.
    """
    if len(pictures) <= count:
        return list(range(len(pictures)))
    lot = np.random.default_rng(0).permutation(len(pictures)).tolist()
    chosen: dict[int, None] = {}
    for k in _of_each_class(pictures, lot)[: count // 4]:
        chosen[k] = None
    for values, share in ((suspect, SUSPECT), (hard, HARD)):
        best = sorted((k for k in lot if k not in chosen and values[k] >= 1), key=lambda k: (-values[k], k))
        chosen |= dict.fromkeys(best[: int(share * count)])
    rest = (k for k in lot if k not in chosen)
    chosen |= dict.fromkeys(list(rest)[: count - len(chosen)])
    return sorted(chosen)


def _of_each_class(pictures: Sequence[Picture], lot: Sequence[int]) -> list[int]:
    """A few pictures with each class, the rarest class first."""
    having: dict[int, list[int]] = defaultdict(list)
    for k in lot:
        for label in set(pictures[k].labels.tolist()):
            having[label].append(k)
    rarest_first = sorted(having.items(), key=lambda item: (len(item[1]), item[0]))
    return list(dict.fromkeys(k for _, some in rarest_first for k in some[:OF_EACH_CLASS]))
