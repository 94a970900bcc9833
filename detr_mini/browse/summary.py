"""What a data set has, in numbers: classes, sizes, shapes, crowding and places. Pure functions of the annotations."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_mini.browse.overlap import areas
from detr_mini.browse.reading import DataSet, Picture
from detr_mini.data.transforms import ResizeShort, Shrink
from detr_mini.modeling.config import CONFIGS, DetectorConfig

SIZES = (0, 4, 8, 16, 32, 64, 128, 256, 512)  # pixels: where the bins of object sizes begin
SMALL = 8  # pixels: below it an object has little that a model could see
SHAPES = np.arange(-3.5, 4.0, 0.5)  # log2(width / height): where the bins of shapes begin and end
GRID = 24  # cells each way of the map of places
BUBBLES = 150  # different sizes of pictures that are shown; beyond, sides are rounded


def summarize(data: DataSet, views: dict[str, DetectorConfig]) -> dict[str, Any]:
    """All that the page says of the annotations; ``views`` are the models whose input sizes it can show, by name."""
    pictures = data.pictures
    return {
        "splits": [_split(split, pictures) for split in data.splits],
        "classes": _classes(data),
        "pictures": _picture_sizes(pictures),
        "shapes": _shapes(pictures),
        "crowding": _crowding(pictures),
        "views": [_view(name, config, pictures) for name, config in views.items()],
    }


def distinct_views(first: tuple[str, DetectorConfig] | None = None) -> dict[str, DetectorConfig]:
    """The configs that differ in the size of their input or in the number of their queries; ``first`` comes first."""
    views: dict[str, DetectorConfig] = {}
    seen = set()
    for name, config in [*([first] if first else []), *CONFIGS.items()]:
        view = config.image_size, config.max_size, config.num_queries
        if view not in seen:
            seen.add(view)
            views[name] = config
    return views


def input_scale(picture: Picture, config: DetectorConfig) -> NDArray[np.float64]:
    """By how much width and height change before the model sees the picture, ``(2,)``."""
    size, longest = config.image_size, config.max_size
    resize = Shrink(longest) if size is None else ResizeShort(size, longest)
    if size is None and max(picture.width, picture.height) <= longest:
        return np.ones(2)
    height, width = resize.new_size(picture.height, picture.width)
    return np.array([max(1, width) / picture.width, max(1, height) / picture.height])


def object_sizes(picture: Picture) -> NDArray[np.float64]:
    """The square root of the area of each object that is no crowd, in pixels."""
    return np.asarray(np.sqrt(areas(picture.boxes[~picture.crowd])))


def _split(split: str, pictures: Sequence[Picture]) -> dict[str, Any]:
    mine = [picture for picture in pictures if picture.split == split]
    return {
        "name": split,
        "pictures": len(mine),
        "objects": sum(int((~picture.crowd).sum()) for picture in mine),
        "crowds": sum(int(picture.crowd.sum()) for picture in mine),
        "empty": sum(not len(picture.boxes) for picture in mine),
    }


def _classes(data: DataSet) -> list[dict[str, Any]]:
    """For each class in the order of ids: how many objects, in how many pictures, how large, and where."""
    labels, sizes, places, pictures, splits = _flat(data)
    table = []
    for id, name in sorted(data.class_names.items()):
        mine = labels == id
        own = sizes[mine]
        table.append(
            {
                "id": id,
                "name": name,
                "objects": int(mine.sum()),
                "by_split": [int((splits[mine] == k).sum()) for k in range(len(data.splits))],
                "pictures": len(np.unique(pictures[mine])),
                "median": round(float(np.median(own)), 1) if len(own) else None,
                "smallest": round(float(own.min()), 1) if len(own) else None,
                "places": _places(places[mine]),
            }
        )
    return table


def _flat(data: DataSet) -> tuple[NDArray[Any], ...]:
    """Of all objects that are no crowds: category, size, box in shares of the picture, numbers of picture and split."""
    kept = [~picture.crowd for picture in data.pictures]
    counts = [int(keep.sum()) for keep in kept]
    labels = [picture.labels[keep] for picture, keep in zip(data.pictures, kept, strict=True)]
    places = [
        p.boxes[keep] / np.array([p.width, p.height, p.width, p.height])
        for p, keep in zip(data.pictures, kept, strict=True)
    ]
    splits = [data.splits.index(picture.split) for picture in data.pictures]
    return (
        np.concatenate(labels),
        np.concatenate([object_sizes(picture) for picture in data.pictures]),
        np.concatenate(places),
        np.repeat(np.arange(len(counts)), counts),
        np.repeat(splits, counts),
    )


def _places(boxes: NDArray[np.float64]) -> list[int]:
    """How often each cell of the map ``GRID * GRID``, row by row, is touched by a box, from 0 to 99.

    ``boxes`` are xyxy in shares of the picture, ``(T, 4)``.
    """
    first = np.floor(boxes[:, :2] * GRID).clip(0, GRID - 1).astype(int)
    last = np.ceil(boxes[:, 2:] * GRID).clip(1, GRID).astype(int)
    last = np.maximum(last, first + 1)
    steps = np.zeros((GRID + 1, GRID + 1))
    for x, y, sign in ((first, first, 1), (last, first, -1), (first, last, -1), (last, last, 1)):
        np.add.at(steps, (y[:, 1], x[:, 0]), sign)
    counts = steps.cumsum(0).cumsum(1)[:GRID, :GRID]
    most = counts.max()
    return [int(99 * count / most) if most else 0 for count in counts.ravel()]


def _picture_sizes(pictures: Sequence[Picture]) -> list[list[int]]:
    """Width, height and count of the sizes there are, the commonest first; rounded where there are too many."""
    for step in (1, 8, 32, 64, 128, 256):
        counts = Counter(
            (round(p.width / step) * step or step, round(p.height / step) * step or step) for p in pictures
        )
        if len(counts) <= BUBBLES:
            break
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:BUBBLES]
    return [[width, height, count] for (width, height), count in common]


def _shapes(pictures: Sequence[Picture]) -> list[int]:
    """How many objects there are of each shape, by the bins ``SHAPES``; the outer ones hold what lies beyond."""
    sides = np.concatenate([(p.boxes[:, 2:] - p.boxes[:, :2])[~p.crowd] for p in pictures])
    sides = sides[(sides > 0).all(axis=1)]
    shapes = (np.log2(sides[:, 0]) - np.log2(sides[:, 1])).clip(SHAPES[0], SHAPES[-1] - 1e-9)
    return np.histogram(shapes, SHAPES)[0].tolist()


def _crowding(pictures: Sequence[Picture]) -> list[int]:
    """How many pictures have 0, 1, 2, ... objects."""
    return np.bincount([int((~picture.crowd).sum()) for picture in pictures]).tolist()


def _view(name: str, config: DetectorConfig, pictures: Sequence[Picture]) -> dict[str, Any]:
    """What a model of this config would see of the objects, and whether it has queries enough."""
    seen = np.concatenate([object_sizes(p) * np.sqrt(input_scale(p, config).prod()) for p in pictures])
    counts = [int((~picture.crowd).sum()) for picture in pictures]
    return {
        "name": name,
        "size": config.image_size,
        "longest": config.max_size,
        "queries": config.num_queries,
        "sizes": np.histogram(seen, [*SIZES, np.inf])[0].tolist(),
        "small": int((seen < SMALL).sum()),
        "full": sum(count > config.num_queries for count in counts),
    }
