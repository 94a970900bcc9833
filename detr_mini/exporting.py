"""A trained model as a file that predicts without this package: for PyTorch (``.pt2``) or for ONNX (``.onnx``).

Beside it lies a script of some lines that runs it on a picture. All that the script needs to know is in the file.
"""

import contextlib
import io
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from detr_mini.data import eval_transforms
from detr_mini.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from detr_mini.errors import ConfigError, StorageError, WeightsError
from detr_mini.export_script import MARK, script
from detr_mini.files import write_atomically
from detr_mini.modeling.build import Detector
from detr_mini.modeling.config import DeformableDETRConfig
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.prediction import ImageLike, to_image

KINDS = (".pt2", ".onnx")
OUTPUTS = ("pred_logits", "pred_boxes", "pred_masks")
NOTES = "detr_mini.json"  # the extra file in a .pt2
LIMIT = 1e-3  # by which probabilities and boxes, as shares of a picture, may differ; rounding makes some 1e-6
LONGEST = 640  # pixels, of the pictures that are compared
_NEEDED = ("torch", "numpy", "PIL", "onnxruntime")  # by a script, which must not have their names

Run = Callable[[Tensor, Tensor], dict[str, Tensor]]


class Progress(Protocol):
    """Told of each comparison: the size of the batch and the largest difference."""

    def __call__(self, size: Sequence[int], difference: float, /) -> None: ...


def write_program(
    model: Detector, path: Path, *, image: ImageLike | None = None, progress: Progress = lambda size, difference: None
) -> Path:
    """Write a model as a program, once it has given what the model gives.

    The program takes ``images`` ``(B, 3, H, W)``, normalized, and ``mask`` ``(B, H, W)``, True at padding, of any size
    and number that :meth:`.Deployable.export` allows, and returns ``pred_logits``, ``pred_boxes`` and, of a model with
    masks, ``pred_masks``. Class names, what pictures are resized to, mean and standard deviation are stored with it.

    Args:
        model: on the CPU.
        path: ends in ``.pt2`` or ``.onnx``. An older file there stays until the new one was compared.
        image: to compare on, besides random pictures.
        progress: called after each comparison.

    Returns:
        The script beside it, which runs it on a picture.

    Raises:
        ConfigError: another ending, a name that the script cannot have, or ONNX's packages are missing.
        ImageError: the image cannot be read.
        StorageError: a file cannot be written, or a file of somebody else has the name of the script.
        WeightsError: the program does not give what the model does; nothing is written.
    """
    if path.suffix not in KINDS:
        raise ConfigError(f"{path} must end in {' or '.join(KINDS)}, which says what to write")
    beside = path.with_suffix(".py")
    _require_name(beside)
    example = None if image is None else to_image(image)
    plain = _Plain(model.optimize_for_inference())
    write, run = (_pt2, _run_pt2) if path.suffix == ".pt2" else (_onnx, _run_onnx)
    content = write(plain, model, about(model))
    _compare(plain, run(content), model, example, progress)
    try:
        write_atomically(path, content)
        write_atomically(beside, script(path, model).encode())
    except OSError as error:
        raise StorageError(f"cannot write {path} and {beside.name}: {error.strerror or error}") from None
    return beside


def about(model: Detector) -> dict[str, Any]:
    """What a program does not say by itself."""
    many = isinstance(model.config, DeformableDETRConfig)
    return {
        "class_names": {str(number): name for number, name in model.class_names.items()},
        "image_size": model.config.image_size,
        "max_size": model.config.max_size,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "scores": "sigmoid of each logit" if many else "softmax over logits, of which the last is no object",
        "boxes": "center x, center y, width, height, as shares of the picture",
    }


class _Plain(torch.nn.Module):
    """A model that is called with tensors and returns the last layer's outputs alone."""

    def __init__(self, model: Detector) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def forward(self, images: Tensor, mask: Tensor) -> dict[str, Tensor]:
        outputs = self.model(NestedTensor(images, mask))
        return {name: outputs[name] for name in OUTPUTS if name in outputs}


def _exported(plain: _Plain, model: Detector) -> torch.export.ExportedProgram:
    images, mask = torch.zeros(2, 3, *model.example_size), torch.zeros(2, *model.example_size, dtype=torch.bool)
    free = torch.export.Dim.DYNAMIC
    return torch.export.export(
        plain, (images, mask), dynamic_shapes=({0: free, 2: free, 3: free}, {0: free, 1: free, 2: free})
    )


def _pt2(plain: _Plain, model: Detector, notes: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.export.save(_exported(plain, model), file, extra_files={NOTES: json.dumps(notes)})
    return file.getvalue()


def _run_pt2(content: bytes) -> Run:
    run: Run = torch.export.load(io.BytesIO(content)).module()
    return run


def _onnx(plain: _Plain, model: Detector, notes: dict[str, Any]) -> bytes:
    try:
        import onnx
        import onnxruntime  # noqa: F401 (it compares)
        import onnxscript  # noqa: F401 (torch.onnx writes with it)
    except ImportError as error:
        raise ConfigError(f'{error.name} is missing: pip install "detr-mini[onnx]" brings what ONNX needs') from None
    with _quiet(), torch.no_grad():
        names = [name for name in OUTPUTS if name in plain(torch.zeros(1, 3, 64, 64), torch.zeros(1, 64, 64).bool())]
        table = torch.export.default_decompositions()
        table[torch.ops.aten.embedding_bag.padding_idx] = _weighted_sums
        program = _exported(plain, model).run_decompositions(table)
        written = torch.onnx.export(program, input_names=["images", "mask"], output_names=names, verbose=False)
    assert written is not None
    proto = written.model_proto
    _name_sizes(proto)
    onnx.helper.set_model_props(proto, {name: json.dumps(value) for name, value in notes.items()})
    content: bytes = proto.SerializeToString()
    return content


def _weighted_sums(  # the arguments are those of the operation
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool,
    mode: int,
    sparse: bool,
    per_sample_weights: Tensor,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``F.embedding_bag`` as deformable attention calls it, in bags of one size: ONNX has no such operation."""
    rows = weight.index_select(0, indices.long()).view(offsets.shape[0], -1, weight.shape[1])
    sums = (rows * per_sample_weights.view(offsets.shape[0], -1, 1)).sum(1)
    return sums, offsets, offsets, offsets


def _name_sizes(proto: Any) -> None:
    """Call the free sizes of the inputs what they are."""
    names = {"images": {0: "batch", 2: "height", 3: "width"}, "mask": {0: "batch", 1: "height", 2: "width"}}
    for value in proto.graph.input:
        for axis, name in names[value.name].items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    for value in proto.graph.output:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the writers of ONNX have to say to their own developers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _run_onnx(content: bytes) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: Tensor, mask: Tensor) -> dict[str, Tensor]:
        outputs = session.run(names, {"images": images.numpy(), "mask": mask.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(names, outputs, strict=True)}

    return run


@torch.no_grad()
def _compare(plain: _Plain, run: Run, model: Detector, example: Tensor | None, progress: Progress) -> None:
    """Let model and program see the same pictures, at three sizes and, if there is one, an image of the user's.

    Raises:
        WeightsError: they differ.
    """
    activation = torch.sigmoid if isinstance(model.config, DeformableDETRConfig) else lambda x: x.softmax(-1)
    for images, mask in _batches(model, example):
        wanted, found = plain(images, mask), run(images, mask)
        difference = 0.0
        for name, values in wanted.items():
            a, b = values, found[name]
            if name == "pred_logits":
                a, b = activation(a), activation(b)
            if name == "pred_masks":
                a, b = a.sigmoid(), b.sigmoid()
            difference = max(difference, float((a - b).abs().max()))
        progress(tuple(images.shape), difference)
        if not difference <= LIMIT:
            raise WeightsError(
                f"the program differs from the model by {difference:.1e} on a batch of {tuple(images.shape)}, more "
                f"than rounding does, so it is not written"
            )


def _batches(model: Detector, example: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Normalized images and masks: one, two, and three of which the last is padded; then the example."""
    longest = min(model.config.max_size, LONGEST)
    random = torch.Generator().manual_seed(0)
    for count, (tall, wide) in enumerate(((0.75, 1.0), (1.0, 0.6), (0.7, 0.7)), start=1):
        height, width = round(longest * tall), round(longest * wide)
        mask = torch.zeros(count, height, width, dtype=torch.bool)
        if count == 3:
            mask[-1, height * 3 // 4 :] = True
        yield torch.randn(count, 3, height, width, generator=random).masked_fill(mask[:, None], 0.0), mask
    if example is not None:
        image = eval_transforms(model.config.image_size, model.config.max_size)(example)[None]
        yield image, torch.zeros(image.shape[0], *image.shape[2:], dtype=torch.bool)


def _require_name(beside: Path) -> None:
    if not beside.parent.is_dir():
        raise StorageError(f"there is no folder {beside.parent} to write {beside.name} and its program into: make it")
    if beside.stem in sys.stdlib_module_names or beside.stem in _NEEDED:
        raise ConfigError(f"the script beside it would be {beside.name}, which Python would take for {beside.stem}")
    if beside.exists() and MARK not in beside.read_text("utf-8", errors="replace"):
        raise StorageError(f"{beside} is no script of this command, and is not written over; choose another name")
