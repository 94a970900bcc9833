"""Evaluation: COCO average precision, by pycocotools."""

import contextlib
import io
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from detr_mini import distributed
from detr_mini.data import CocoDetection, collate
from detr_mini.detr import DETR, postprocess

COCO_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
COCO_AREA_BINS = (32**2, 96**2)  # pixels: small below the first, large above the second


def evaluate(
    model: DETR,
    dataset: CocoDetection,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 16,
    workers: int = 0,
    progress: bool = False,
) -> dict[str, float]:
    """The twelve numbers of COCO's detection challenge, in [0, 1]; -1 where the data has no such objects.

    Args:
        dataset: with ``eval_transforms``.

    Returns:
        ``COCO_NAMES`` to values, as pycocotools computes them. The bins of small, medium and large objects are COCO's
        own unless the annotation file brings others (``info.area_bins``, two areas in pixels).
    """
    results = detect(model, dataset, device, batch_size, workers, progress)
    return distributed.from_first_process(coco_metrics(dataset, results) if distributed.rank() == 0 else {})


@torch.no_grad()
def detect(
    model: DETR,
    dataset: CocoDetection,
    device: torch.device | str = "cpu",
    batch_size: int = 16,
    workers: int = 0,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Run the model over a data set: COCO's list of results, one entry for each query and image.

    Several processes take a share each, and all get the whole list.
    """
    was_training = model.training
    model = model.to(device).eval()
    results: list[dict[str, Any]] = []
    batches = DataLoader(
        dataset, batch_sampler=_my_batches(dataset, batch_size), collate_fn=collate, num_workers=workers
    )
    for samples, targets in tqdm(batches, desc="evaluate", disable=not progress, leave=False):
        outputs = model(samples.to(device))
        sizes = torch.stack([target["orig_size"] for target in targets])
        for target, found in zip(targets, postprocess(outputs, sizes), strict=True):
            results += _coco_results(int(target["image_id"]), found)
    model.train(was_training)
    return [result for share in distributed.gather(results) for result in share]


def _my_batches(dataset: CocoDetection, batch_size: int) -> list[list[int]]:
    """This process's share: whole batches, the same ones as in one process, since padding may move a box a little."""
    batches = torch.arange(len(dataset)).split(batch_size)
    return [batch.tolist() for batch in batches[distributed.rank() :: distributed.world_size()]]


def coco_metrics(dataset: CocoDetection, results: list[dict[str, Any]]) -> dict[str, float]:
    """Compare COCO results with the annotations of ``dataset``; see :func:`evaluate`."""
    from pycocotools.cocoeval import COCOeval

    if not results:
        return dict.fromkeys(COCO_NAMES, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress and its table
        coco_eval = COCOeval(dataset.coco, dataset.coco.loadRes(results), "bbox")
        small, medium = dataset.coco.dataset.get("info", {}).get("area_bins", COCO_AREA_BINS)
        coco_eval.params.areaRng = [[0, 1e10], [0, small], [small, medium], [medium, 1e10]]
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
    return {name: float(value) for name, value in zip(COCO_NAMES, coco_eval.stats, strict=True)}


def _coco_results(image_id: int, found: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
    xywh = found["boxes"].cpu().clone()
    xywh[:, 2:] -= xywh[:, :2]
    return [
        {"image_id": image_id, "category_id": label, "bbox": box, "score": score}
        for label, box, score in zip(found["labels"].tolist(), xywh.tolist(), found["scores"].tolist(), strict=True)
    ]
