"""Where in a checkpoint the model is: under any names of dicts, behind any beginning of its own names.

Programs wrap a model before they store it, and each puts a word of its own in front: ``module.`` (several GPUs),
``_orig_mod.`` (torch.compile), ``model.`` (Lightning), ``ema.module.``. What tells a model is one of its own names.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from detr_mini.errors import WeightsError

# Published names of a DETR and of a Deformable DETR, then those of Hugging Face.
DETECTORS = ("query_embed.weight", "transformer.level_embed", "class_labels_classifier.weight", "model.level_embed")
MASK_HEAD = ("mask_head.", "bbox_attention.")  # a model with masks has them beside its detector, "detr."
_AVERAGE = re.compile(r"(^|[._])(ema|averaged?|swa)([._]|$)", re.IGNORECASE)


class Found(NamedTuple):
    """Weights of a model in a file."""

    state: dict[str, Tensor]
    remark: str  # what else the file has and is not read, or nothing


class _Place(NamedTuple):
    name: str  # such as "ema.module", for people
    state: dict[str, Tensor]


def find_weights(content: Any, landmarks: Sequence[str]) -> Found | None:
    """The weights that have one of the names ``landmarks``, without what stands before it; None: there are none.

    Of one model and its moving average the average is taken, as their own programs do at prediction.

    Args:
        content: of a file, dicts in dicts.
        landmarks: names that the model has, whatever is put before them.

    Raises:
        WeightsError: there are several models, and nothing says which is meant.
    """
    places: list[_Place] = []
    for place in _places(content, landmarks):
        if not any(_same(place.state, other.state) for other in places):
            places.append(place)
    if len(places) < 2:
        return Found(places[0].state, "") if places else None
    averages = [place for place in places if _AVERAGE.search(place.name)]
    names = ", ".join(place.name or "no name" for place in places)
    if len(averages) != 1:
        raise WeightsError(
            f"there are several models in it, under {names}. Store the one that is meant alone, such as "
            f"torch.save(torch.load('FILE.pth')['{places[0].name.split('.')[0]}'], 'one.pth')"
        )
    (taken,) = averages
    return Found(
        taken.state, f"there are several sets of weights in it, under {names}; taken is the average, {taken.name}"
    )


def tensors_of(content: Any) -> dict[str, Tensor]:
    """The first tensors with names, at any depth; none where there are none."""
    for _, one in _dicts(content):
        if tensors := _named_tensors(one):
            return tensors
    return {}


def _places(content: Any, landmarks: Sequence[str]) -> Iterator[_Place]:
    ending = re.compile(rf"(.*\.)?({'|'.join(map(re.escape, landmarks))})", re.DOTALL)
    for path, one in _dicts(content):
        tensors = _named_tensors(one)
        beginnings = {match[1] or "": None for key in tensors if (match := ending.fullmatch(key))}
        for beginning in dict.fromkeys(_whole_model(tensors, one) for one in beginnings):
            state = {k.removeprefix(beginning): value for k, value in tensors.items() if k.startswith(beginning)}
            yield _Place(".".join([*path, *beginning.split(".")[:-1]]), state)


def _whole_model(tensors: Mapping[str, Tensor], beginning: str) -> str:
    """What stands before the names of the model with masks whose detector has ``beginning`` before its own."""
    outer = beginning.removesuffix("detr.")
    masks = tuple(outer + name for name in MASK_HEAD)
    return outer if any(key.startswith(masks) for key in tensors) else beginning


def _dicts(content: Any) -> Iterator[tuple[tuple[str, ...], dict[Any, Any]]]:
    """Every dict in ``content``, the outer ones first, with the names that lead to it."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    seen: set[int] = set()  # a pickle may hold a dict that holds itself
    for path, one in waiting:
        if isinstance(one, dict) and id(one) not in seen:
            seen.add(id(one))
            yield path, one
            waiting += [((*path, str(key)), value) for key, value in one.items()]


def _named_tensors(one: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {key: value for key, value in one.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())
