"""The script beside an exported model: a picture in, classes, scores and boxes out, without this package."""

from pathlib import Path

from detr_mini.modeling.build import Detector
from detr_mini.modeling.config import DeformableDETRConfig

MARK = "made by detr-mini export"

_LOAD = {
    ".onnx": '''"""Detect objects: python {name}.py picture.jpg ({mark}; needs onnxruntime and pillow)."""
import json, sys
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

model = onnxruntime.InferenceSession(__file__[:-3] + ".onnx")
about = {{k: json.loads(v) for k, v in model.get_modelmeta().custom_metadata_map.items()}}
''',
    ".pt2": '''"""Detect objects: python {name}.py picture.jpg ({mark}; needs torch, numpy and pillow)."""
import json, sys
import numpy as np
import torch
from PIL import Image, ImageOps

extra = {{"detr_mini.json": ""}}
model = torch.export.load(__file__[:-3] + ".pt2", extra_files=extra).module()
about = json.loads(extra["detr_mini.json"])
''',
}
_OPEN = """
picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")
width, height = picture.size
"""
_SHRINK = """scale = min(1, about["max_size"] / max(width, height))
size = [max(1, round(side * scale)) for side in (width, height)]
"""
_RESIZE = """short, long = about["image_size"], int(about["image_size"] * max(width, height) / min(width, height))
if long > about["max_size"]:
    short, long = max(1, int(about["max_size"] * short / long)), about["max_size"]
size = [short, long] if height > width else [long, short]
"""
_PIXELS = """pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR), np.float32) / 255
pixels = (pixels - np.float32(about["mean"])) / np.float32(about["std"])
images, mask = pixels.transpose(2, 0, 1)[None].copy(), np.zeros((1, size[1], size[0]), bool)
"""
_RUN = {
    ".onnx": """logits, boxes = model.run(["pred_logits", "pred_boxes"], {"images": images, "mask": mask})
""",
    ".pt2": """with torch.no_grad():
    found = model(torch.from_numpy(images), torch.from_numpy(mask))
logits, boxes = found["pred_logits"].numpy(), found["pred_boxes"].numpy()
""",
}
_SOFTMAX = """e = np.exp(logits[0] - logits[0].max(-1, keepdims=True))
scores = (e / e.sum(-1, keepdims=True))[:, :-1]  # the last class is "no object"
pairs = [(query, scores[query].argmax()) for query in range(len(scores))]
"""
_SIGMOID = """scores = 1 / (1 + np.exp(-logits[0]))  # of every class on its own
pairs = np.argwhere(scores > 0.1)
"""
_PRINT = """for query, label in sorted(pairs, key=lambda pair: -scores[tuple(pair)]):
    if scores[query, label] >= {threshold}:
        x, y, w, h = boxes[0, query] * np.array([width, height] * 2)  # center and sides, in pixels
        box = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, [width, height] * 2).round(1).tolist()
        print(about["class_names"].get(str(label), label), f"{{scores[query, label]:.2f}}", box)
"""


def script(path: Path, model: Detector, threshold: float = 0.7) -> str:
    """The text of the script for the program ``path``, which lies beside it."""
    many = isinstance(model.config, DeformableDETRConfig)
    parts = [
        _LOAD[path.suffix].format(name=path.stem, mark=MARK),
        _OPEN,
        _SHRINK if model.config.image_size is None else _RESIZE,
        _PIXELS,
        _RUN[path.suffix],
        _SIGMOID if many else _SOFTMAX,
        _PRINT.format(threshold=threshold),
    ]
    return "".join(parts)
