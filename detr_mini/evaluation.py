"""Evaluation: COCO average precision, by pycocotools, and panoptic quality.

Chapter: *Evaluation*, ``book/15_evaluate``.
"""

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.ops import batched_nms
from tqdm import tqdm

from detr_mini import distributed
from detr_mini.data import CocoDetection, DetectionDataset, PanopticDataset, Target, collate, is_panoptic, read_batches
from detr_mini.data.coco import to_coco
from detr_mini.mask_results import detections_with_masks, has_mask, run_lengths, tallies_of_segments
from detr_mini.modeling.build import Detector
from detr_mini.modeling.detr import postprocess
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.modeling.segmentation import DETRSegmentation
from detr_mini.panoptic_quality import Tally, panoptic_quality

if TYPE_CHECKING:
    from pycocotools.coco import COCO

T = TypeVar("T")

COCO_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
COCO_AREA_BINS = (32**2, 96**2)  # pixels: small below the first, large above the second


def evaluate(
    model: Detector, dataset: DetectionDataset, *, batch_size: int = 16, workers: int = 0, progress: bool = False
) -> dict[str, float]:
    """The twelve numbers of COCO's detection challenge; for a model with masks those of its masks and segments too.

    Args:
        model: on any device, where it stays; it is put into evaluation mode for as long as this takes.
        dataset: with ``eval_transforms``.
        batch_size: images that go through the model at once; they are padded to the size of the largest.
        workers: processes that read images.
        progress: show a bar.

    Returns:
        Values in [0, 1], or -1 where the data has no such objects.

        ``COCO_NAMES``, as pycocotools computes them. The bins of small, medium and large objects are COCO's own
        unless the annotation file brings others (``info.area_bins``, two areas in pixels).

        For a model with masks, the same of its masks, as ``mask_AP`` and so on, if every object is annotated with one.

        For a model with masks and a :class:`.PanopticDataset`, the nine of :func:`.panoptic_quality`.
    """
    model_has_masks = isinstance(model, DETRSegmentation)
    panoptic = dataset if model_has_masks and is_panoptic(dataset) else None
    results, tallies = _measure(model, dataset, panoptic, batch_size, workers, progress)
    numbers: dict[str, float] = {}
    if distributed.rank() == 0:
        numbers = coco_metrics(dataset, results)
        if model_has_masks and all(map(has_mask, dataset.coco.anns.values())):
            of_masks = coco_metrics(dataset, results, masks=True)
            numbers |= {f"mask_{name}": value for name, value in of_masks.items()}
        if panoptic is not None:
            numbers |= panoptic_quality(tallies, panoptic.class_names, panoptic.stuff)
    return distributed.broadcast(numbers)  # type: ignore[no-any-return]


def detect(
    model: Detector, dataset: DetectionDataset, *, batch_size: int = 16, workers: int = 0, progress: bool = False
) -> list[dict[str, Any]]:
    """Run the model over a data set: COCO's list of results, one entry for each query and image.

    Several processes take a share each, and all get the whole list. The arguments are those of :func:`evaluate`.
    """
    return _measure(model, dataset, None, batch_size, workers, progress)[0]


def _measure(
    model: Detector,
    dataset: DetectionDataset,
    panoptic: PanopticDataset | None,
    batch_size: int,
    workers: int,
    progress: bool,
) -> tuple[list[dict[str, Any]], list[dict[int, Tally]]]:
    """What :func:`detect` gives and, with segments to compare with, the tallies of all images, in one pass."""
    mine = _my_batches(dataset, batch_size)
    batches: DataLoader[Any] = DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=mine,
        collate_fn=collate,
        num_workers=workers,
    )
    results: list[dict[str, Any]] = []
    tallies: list[dict[int, Tally]] = []
    with evaluation_mode(model):
        bar = tqdm(read_batches(batches), "evaluate", len(batches), disable=not progress, leave=False)
        for indices, (samples, targets, outputs) in zip(mine, _outputs(model, bar), strict=True):
            for target, found in zip(targets, _found(model, samples, targets, outputs), strict=True):
                results += coco_results(int(target["image_id"]), found)
            if panoptic is not None and isinstance(model, DETRSegmentation):
                tallies += tallies_of_segments(model, samples, outputs, panoptic, indices)
    return _of_all(results), _of_all(tallies)


def _of_all(mine: list[T]) -> list[T]:
    """What all processes have, in every process."""
    return [one for share in distributed.all_gather(mine) for one in share]


def _found(
    model: Detector, samples: NestedTensor, targets: list[Target], outputs: dict[str, Any]
) -> Iterable[dict[str, Tensor]]:
    """The detections of each image of a batch, with masks where the model has them."""
    sizes = torch.stack([target["orig_size"] for target in targets])
    if isinstance(model, DETRSegmentation):
        return detections_with_masks(model, samples, outputs, sizes)
    return model.postprocess(outputs, sizes)


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the length of a ``with`` block; each part of the model goes back to its own mode."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@torch.no_grad()
def _outputs(model: Detector, batches: Iterable[Any]) -> Iterator[tuple[NestedTensor, list[Target], dict[str, Any]]]:
    """Each batch, and what the model makes of it, on the model's device."""
    device = next(model.parameters()).device
    for samples, targets in batches:
        yield samples, targets, model(samples.to(device))


def _my_batches(dataset: DetectionDataset, batch_size: int) -> list[list[int]]:
    """This process's share: whole batches, the same ones as in one process, since padding may move a box a little."""
    batches = torch.arange(len(dataset)).split(batch_size)
    return [batch.tolist() for batch in batches[distributed.rank() :: distributed.world_size()]]


def coco_metrics(dataset: DetectionDataset, results: list[dict[str, Any]], *, masks: bool = False) -> dict[str, float]:
    """Compare COCO results with the annotations of ``dataset``, by boxes or by masks; see :func:`evaluate`."""
    from pycocotools.cocoeval import COCOeval

    if not results:
        return dict.fromkeys(COCO_NAMES, 0.0)
    if masks:  # beside a box, pycocotools would take the box's area for the mask's
        results = [{name: value for name, value in result.items() if name != "bbox"} for result in results]
    coco = with_usable_ids(dataset.coco)
    results = _with_ids_of(coco, results)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress and its table
        coco_eval = COCOeval(coco, coco.loadRes(results), "segm" if masks else "bbox")
        small, medium = (coco.dataset.get("info") or {}).get("area_bins", COCO_AREA_BINS)
        coco_eval.params.areaRng = [[0, 1e10], [0, small], [small, medium], [medium, 1e10]]
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
    return {name: float(value) for name, value in zip(COCO_NAMES, coco_eval.stats, strict=True)}


def with_usable_ids(coco: "COCO") -> "COCO":
    """Annotations whose ids pycocotools can tell from no match, for which it takes 0: their own, or 1, 2, 3, ..."""
    annotations = coco.dataset.get("annotations", [])
    ids = {annotation.get("id") for annotation in annotations}
    if len(ids) == len(annotations) and all(type(number) is int and number > 0 for number in ids):
        return coco
    numbered = [annotation | {"id": number} for number, annotation in enumerate(annotations, 1)]
    return to_coco(coco.dataset | {"annotations": numbered})


def _with_ids_of(coco: "COCO", results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results with the ids of images as the annotations have them, where one has numbers and the other has text."""
    if all(result["image_id"] in coco.imgs for result in results):
        return results
    there = {str(number): number for number in coco.imgs}
    return [result | {"image_id": there.get(str(result["image_id"]), result["image_id"])} for result in results]


def layer_outputs(
    model: Detector, dataset: CocoDetection | Sequence[Any], *, batch_size: int = 16
) -> dict[str, Tensor]:
    """What every decoder layer predicts on every image of a data set.

    Args:
        model: as :func:`evaluate` takes it; without auxiliary outputs (``aux_loss``) there is the last layer only.
        dataset: with ``eval_transforms``; a list of ``(image, target)`` pairs will do.
        batch_size: images that go through the model at once.

    Returns:
        On the CPU ``pred_logits`` ``(layers, images, N, K + 1)`` and ``pred_boxes`` ``(layers, images, N, 4)`` as
        cxcywh in [0, 1], and of the images ``image_id`` ``(images,)`` and ``orig_size`` ``(images, 2)``.
    """
    batches: DataLoader[Any] = DataLoader(dataset, batch_size=batch_size, collate_fn=collate)  # type: ignore[arg-type]
    parts: dict[str, list[Tensor]] = {"pred_logits": [], "pred_boxes": []}
    images: dict[str, list[Tensor]] = {"image_id": [], "orig_size": []}
    with evaluation_mode(model):
        for _, targets, outputs in _outputs(model, batches):
            layers = [*outputs.get("aux_outputs", []), outputs]
            for name, part in parts.items():
                part.append(torch.stack([layer[name] for layer in layers]).cpu())
            for name, values in images.items():
                values += [target[name] for target in targets]
    return {name: torch.cat(part, dim=1) for name, part in parts.items()} | {
        name: torch.stack(values) for name, values in images.items()
    }


def layer_metrics(
    dataset: CocoDetection,
    outputs: dict[str, Tensor],
    *,
    nms: float | None = None,
    postprocess: Callable[..., list[dict[str, Tensor]]] = postprocess,
) -> list[dict[str, float]]:
    """COCO's twelve numbers of every decoder layer, the last one's last.

    Args:
        dataset: the one ``outputs`` were made on.
        outputs: from :func:`layer_outputs`.
        nms: within each class, drop a box that overlaps a higher scored one by more than this IoU; None: keep all.
        postprocess: the model's own, where it is no DETR.
    """
    metrics = []
    for logits, boxes in zip(outputs["pred_logits"], outputs["pred_boxes"], strict=True):
        found = postprocess({"pred_logits": logits, "pred_boxes": boxes}, outputs["orig_size"])
        if nms is not None:
            found = [non_maximum_suppression(one, nms) for one in found]
        results = [r for i, one in zip(outputs["image_id"].tolist(), found, strict=True) for r in coco_results(i, one)]
        metrics.append(coco_metrics(dataset, results))
    return metrics


def non_maximum_suppression(found: dict[str, Tensor], iou: float) -> dict[str, Tensor]:
    """One image's detections without those that overlap a higher scored one of their class by more than ``iou``."""
    keep = batched_nms(found["boxes"], found["scores"], found["labels"], iou)
    return {name: values[keep] for name, values in found.items()}


def coco_results(image_id: int, found: dict[str, Tensor]) -> list[dict[str, Any]]:
    """One image's detections as COCO writes them: class by id, boxes xywh in pixels, masks as run lengths.

    ``found`` comes from the model's ``postprocess``, with or without ``masks``.
    """
    xywh = found["boxes"].cpu().clone()
    xywh[:, 2:] -= xywh[:, :2]
    results: list[dict[str, Any]] = [
        {"image_id": image_id, "category_id": label, "bbox": box, "score": score}
        for label, box, score in zip(found["labels"].tolist(), xywh.tolist(), found["scores"].tolist(), strict=True)
    ]
    if "masks" in found:
        for result, mask in zip(results, run_lengths(found["masks"]), strict=True):
            result["segmentation"] = mask
    return results
