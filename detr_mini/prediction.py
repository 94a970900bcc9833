"""Prediction: a picture in, boxes out.

Chapter: *A tour*, ``book/01_tour``.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from detr_mini.data import eval_transforms, read_image
from detr_mini.data.image import image_to_tensor
from detr_mini.files import write_atomically
from detr_mini.modeling.detr import DETR, postprocess

Picture = str | os.PathLike[str] | Image.Image


@torch.no_grad()
def predict(model: DETR, pictures: Sequence[Picture], *, threshold: float = 0.7) -> list[dict[str, Tensor]]:
    """Detect objects in pictures of any size.

    Args:
        model: in evaluation mode, on any device.
        pictures: file names or PIL images.
        threshold: detections that score less are left out. This is no non-maximum suppression: nothing is compared.

    Returns:
        For each picture ``scores`` ``(M,)`` from high to low, ``labels`` ``(M,)`` and ``boxes`` ``(M, 4)``, xyxy in its
        own pixels, on the CPU.

    Raises:
        ValueError: a picture that cannot be read or used; the message names its file.
    """
    images = [to_image(picture) for picture in pictures]
    if not images:
        return []
    device = next(model.parameters()).device
    prepare = eval_transforms(model.config.image_size, model.config.max_size)
    outputs = model([prepare(image).to(device) for image in images])
    sizes = torch.tensor([image.shape[-2:] for image in images])
    detections = []
    for found in postprocess(outputs, sizes):
        order = found["scores"].argsort(descending=True, stable=True)
        order = order[found["scores"][order] >= threshold]
        detections.append({name: value[order].cpu() for name, value in found.items()})
    return detections


def to_image(picture: Picture) -> Tensor:
    """A file, turned upright, or a PIL image, as it is, as ``(3, H, W)`` uint8; see ``detr_mini.data.image``."""
    return image_to_tensor(picture) if isinstance(picture, Image.Image) else read_image(picture)


def write_predictions(model: DETR, files: Sequence[Path], out: Path, *, threshold: float = 0.7) -> list[Path]:
    """For each picture write ``NAME.json`` and ``NAME.png``, the picture with its boxes, into ``out``.

    A JSON file holds ``file``, ``width``, ``height`` and ``detections``: ``label`` (category id), ``name``, ``score``,
    and ``box``, xyxy in pixels. Returns the names of what was written.

    Raises:
        ValueError: two pictures of the same name, or a file that is not a picture; nothing has been written then.
    """
    from detr_mini.plots import save_detections

    names = [file.stem for file in files]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"several pictures are called {', '.join(sorted(twice))}; predict them one folder at a time")
    images = [read_image(file) for file in files]
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for file, image in zip(files, images, strict=True):
        (found,) = predict(model, [F.to_pil_image(image)], threshold=threshold)
        as_json, as_png = out / f"{file.stem}.json", out / f"{file.stem}.png"
        text = json.dumps(as_dict(file.name, image, found, model.class_names), indent=2)
        write_atomically(as_json, (text + "\n").encode())
        save_detections(as_png, image, found, model.class_names)
        written += [as_json, as_png]
    return written


def as_dict(name: str, image: Tensor, found: dict[str, Tensor], class_names: dict[int, str]) -> dict[str, Any]:
    """Detections in one picture as plain numbers for JSON."""
    return {
        "file": name,
        "width": image.shape[2],
        "height": image.shape[1],
        "detections": [
            {
                "label": label,
                "name": class_names.get(label, str(label)),
                "score": round(score, 4),
                "box": [round(x, 2) for x in box],
            }
            for label, score, box in zip(
                found["labels"].tolist(), found["scores"].tolist(), found["boxes"].tolist(), strict=True
            )
        ],
    }
