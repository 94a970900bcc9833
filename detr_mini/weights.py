"""Weights on disk: our files, the published ones and those of Hugging Face, to use and to train on from.

Chapters: *DETR in one page*, ``book/13_one_page``, and *Training*, ``book/14_train``.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, overload

import torch
import torchvision
from torch import Tensor

from detr_mini import distributed
from detr_mini.errors import ConfigError, NotFoundError, UserError, WeightsError
from detr_mini.hugging_face import from_hugging_face, to_hugging_face
from detr_mini.modeling.build import Detector, build
from detr_mini.modeling.config import RESNETS, DetectorConfig, get_config
from detr_mini.modeling.segmentation import DETRSegmentation
from detr_mini.modeling.seq2seq import Seq2SeqTransformer
from detr_mini.seq2seq_weights import load_translator
from detr_mini.weight_classes import NewHead, classes_of, new_class_head
from detr_mini.weight_config import config_of, read_hugging_face_notes
from detr_mini.weight_files import first_names, read_weights, write_weights
from detr_mini.weight_fit import COUNTERS, check_fit, completed, under_all_names
from detr_mini.wrapped_weights import DETECTORS, find_weights, tensors_of

__all__ = ["from_hugging_face", "load", "load_backbone", "load_to_train", "save", "to_hugging_face"]

CHECKPOINTS = Path(__file__).parent / "checkpoints"


@overload
def load(path_or_name: Literal["translator"], *, device: torch.device | str = "cpu") -> Seq2SeqTransformer: ...  # type: ignore[overload-overlap]
@overload
def load(
    path_or_name: str | os.PathLike[str], *, device: torch.device | str = "cpu", **overrides: object
) -> Detector: ...
def load(
    path_or_name: str | os.PathLike[str], *, device: torch.device | str = "cpu", **overrides: object
) -> Detector | Seq2SeqTransformer:
    """A model with its weights, in evaluation mode and float32.

    Args:
        path_or_name: a model shipped with the package (``"nano"``, ``"mini"``, or ``"translator"``, which is no DETR);
            a ``.safetensors`` file of ours or of Hugging Face's DETR or Deformable DETR, or the folder that
            ``save_pretrained`` wrote; a ``.pth`` file, published or written by a training program, whatever it wraps
            its model in. Of a model and its moving average the average is taken. ``.pth`` files are pickles, of which
            only tensors and plain values are read: nothing in a file is ever run.
        device: where the model goes.
        overrides: fields of the config that the file does not tell. A file without a config shows all sizes in the
            shapes of its tensors, but neither ``nheads`` nor ``dilation``, nor the ``num_queries`` of a two-stage
            model. Stored training options, Hugging Face's ``config.json`` beside the file and the names of published
            files do; where nothing does, 8, False and 300 are assumed, and a line on stderr says so.

    Raises:
        NotFoundError: there is no such file and no such model.
        WeightsError: the file is damaged (or its name ends in the first digits of its SHA-256, as published files do,
            and that is another one), is not a DETR checkpoint, wants to run code, or does not fit the config; the
            message names the file and says what to do.
    """
    if path_or_name != "translator":
        return load_detector(path_or_name, device=device, **overrides)
    if overrides:
        raise ConfigError(f"the translator is no DETR and has no {', '.join(overrides)} to set")
    return load_translator(device=device)


def load_detector(
    path_or_name: str | os.PathLike[str], *, device: torch.device | str = "cpu", **overrides: object
) -> Detector:
    """As :func:`load`, of detectors alone: a translator is refused."""
    path = _find(path_or_name)
    state, notes = _read(path)
    try:
        stored, remarks = config_of(path, state, notes, overrides)
        config = get_config(stored, **overrides)
        with torch.device("meta"):  # no random weights that are thrown away, and no random numbers used up
            model = build(config)
        state = under_all_names(model, state)
        check_fit(model, state)
        model.class_names, model.stuff = classes_of(notes, config)
    except UserError as error:
        raise WeightsError(f"{path}: {error}") from None
    model.load_state_dict(completed(model, state), assign=True)
    _say(path_or_name, [*notes["remarks"], *remarks])
    return model.to(device).eval()


def load_to_train(
    path_or_name: str | os.PathLike[str],
    *,
    class_names: Mapping[int, str] | None = None,
    num_classes: int | None = None,
    **overrides: object,
) -> Detector:
    """A model to train on from the weights of a file, whatever its classes and its number of queries.

    What does not fit starts from random rows, and a line on stderr says so: the class head where classes are others
    (those of the same number and name keep their rows), the further queries where they are more (``num_queries``),
    the mask head where there was none (``masks=True``).

    Args:
        path_or_name: as for :func:`load`.
        class_names: category id to name, of the data. Without them, classes are told apart by their number alone.
        num_classes: highest category id + 1; without it that of the weights where they know the classes of the data,
            else that of the data.
        overrides: other fields of the config; all but ``num_queries`` have to fit the weights.

    Raises:
        NotFoundError, WeightsError: as for :func:`load`.
    """
    path = _find(path_or_name)
    state, notes = _read(path)
    try:
        stored, remarks = config_of(path, state, notes, overrides)
        known, stuff = classes_of(notes, stored)
        head = new_class_head(stored, known, class_names or {}, num_classes)
        if head is not None:
            overrides["num_classes"] = head.num_classes
        config = get_config(stored, **overrides)
        model = build(config)
        state, lines = _fitted(model, under_all_names(model, state), stored, head)
        check_fit(model, state)
    except UserError as error:
        raise WeightsError(f"{path}: {error}") from None
    model.load_state_dict(completed(model, state))
    model.class_names, model.stuff = dict(class_names or known), stuff if head is None else frozenset()
    _say(path_or_name, [*notes["remarks"], *remarks, *lines])
    return model


def _say(path_or_name: str | os.PathLike[str], lines: Iterable[str]) -> None:
    if distributed.rank() == 0:
        for line in lines:
            print(f"{path_or_name}: {line}", file=sys.stderr)


def _fitted(
    model: Detector, state: dict[str, Tensor], stored: DetectorConfig, new_head: NewHead | None
) -> tuple[dict[str, Tensor], list[str]]:
    """The weights with the model's own random numbers where it has parts that they lack; and a line for each part."""
    fresh = model.state_dict()
    lines = [] if new_head is None else [new_head.why]
    if isinstance(model, DETRSegmentation) and "query_embed.weight" in state:
        state = {f"detr.{key}": value for key, value in state.items()}
        state |= {key: value for key, value in fresh.items() if not key.startswith("detr.")}
        lines.append("the mask head starts from random numbers: the weights have none")
    if new_head is not None:
        for key in fresh:
            if "class_embed" in key:
                if key in state and state[key].shape[1:] == fresh[key].shape[1:]:  # else other parts do not fit either
                    fresh[key][new_head.kept] = state[key][new_head.kept].float()
                state[key] = fresh[key]
    queries, number = [key for key in fresh if key.endswith("query_embed.weight")], model.config.num_queries
    if queries and number != stored.num_queries:
        kept = min(number, stored.num_queries)
        fresh[queries[0]][:kept] = state[queries[0]][:kept].float()
        state[queries[0]] = fresh[queries[0]]
        new = "" if number == kept else f", {number - kept} start from random numbers"
        lines.append(f"of the {number} queries {kept} are those of the weights, which have {stored.num_queries}{new}")
    return state, lines


def load_backbone(model: Detector, source: str | os.PathLike[str]) -> None:
    """Put trained weights into the ResNet of a model, from a file with torchvision's names or from ImageNet.

    Args:
        model: with a ResNet, on any device.
        source: a ``.pth`` or ``.safetensors`` file; or ``"imagenet"``, which stands for the weights that published
            DETRs began with, fetched by torchvision and kept in its cache.

    Raises:
        ConfigError: the model has another backbone.
        NotFoundError: there is no such file, or no network; the message says where the weights are.
        WeightsError: the file is damaged, wants to run code, or has no ResNet of this kind.
    """
    name = model.config.backbone
    if name not in RESNETS:
        raise ConfigError(f"a backbone={name!r} takes no weights of its own; {', '.join(RESNETS)} do")
    body = model.backbone[0].get_submodule("body")
    if str(source) == "imagenet":
        state = _imagenet(name)
    else:
        state = _read_resnet(_find(source))
    wanted = body.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith(COUNTERS)]
    unfit = [key for key in wanted.keys() & state.keys() if wanted[key].shape != state[key].shape]
    surplus = [key for key in state if key not in wanted and not key.startswith("fc.") and not key.endswith(COUNTERS)]
    for what, keys in (("no", missing), ("another shape of", unfit), ("also", surplus)):
        if keys:
            raise WeightsError(f"{source} is no {name} with torchvision's names: it has {what} {first_names(keys)}")
    body.load_state_dict({key: state[key].float() if key in state else wanted[key] for key in wanted})


def _read_resnet(path: Path) -> dict[str, Tensor]:
    """The weights of a file with torchvision's names, whatever stands before them."""
    content, _ = read_weights(path)
    try:
        if find_weights(content, DETECTORS):
            raise WeightsError(
                "it has the weights of a whole DETR and no ResNet alone; see load_to_train, or --weights"
            )
        found = find_weights(content, ("layer4.0.conv1.weight",))
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    return tensors_of(content) if found is None else found.state


def _imagenet(name: str) -> dict[str, Tensor]:
    """torchvision's first weights of a ResNet, which DETR was trained from."""
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # no network or no room; not what the checksum says
        raise NotFoundError(
            f"cannot fetch the weights of {name} ({getattr(error, 'reason', error)}): download {weights.url} where "
            f"there is a network, and give that file instead of 'imagenet'"
        ) from error
    return state


def save(model: Detector, path: str | os.PathLike[str], dtype: torch.dtype | None = torch.float16) -> None:
    """Write a model as safetensors, with its config and class names; the old file stays until the new one is complete.

    Args:
        model: on any device.
        path: the file to write.
        dtype: of the stored weights; float16 halves the file, None keeps every bit. A tensor with values too large for
            ``dtype`` stays as it is.

    Raises:
        WeightsError: the model comes from ``optimize_for_inference``, which no longer has the weights of a checkpoint.
    """
    if model.optimized:
        raise WeightsError("a model optimized for inference cannot be saved; save the one it was made from")
    notes = {"config": asdict(model.config), "class_names": model.class_names}
    if model.stuff:
        notes["stuff"] = sorted(model.stuff)
    write_weights(path, model.state_dict(), notes, dtype)


def _find(path_or_name: str | os.PathLike[str]) -> Path:
    shipped = {file.stem: file for file in sorted(CHECKPOINTS.glob("*.safetensors"))}
    if path_or_name in shipped:
        return shipped[str(path_or_name)]
    path = Path(path_or_name)
    if path.is_dir():
        names = ("model.safetensors", "pytorch_model.bin")  # of a run of ours and of Hugging Face
        if inside := [path / name for name in names if (path / name).is_file()]:
            return inside[0]
        raise NotFoundError(f"{path} is a folder without {' or '.join(names)}; name the weights in it")
    if not path.exists():
        raise NotFoundError(
            f"there is no file {path} and no shipped model of that name (shipped: {', '.join(shipped) or 'none'})"
        )
    return path


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of a file under the published names, and what else it says, with ``remarks`` on how it was read."""
    content, notes = read_weights(path)
    if "seq2seq" in notes:
        raise WeightsError(f"{path}: not a checkpoint of DETR but a translator, for `detr-mini translate`")
    try:
        found = find_weights(content, DETECTORS)
        state = tensors_of(content) if found is None else found.state
        if any(re.match(r"(detr\.)?(model\.encoder\.|class_labels_classifier\.)", key) for key in state):
            state, notes = from_hugging_face(state), {**notes, **read_hugging_face_notes(path)}
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    if not state:
        raise WeightsError(f"{path} is not a checkpoint: there are no tensors with names in it, at any depth")
    return state, {**notes, "remarks": [found.remark] if found and found.remark else []}
