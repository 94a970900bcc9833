"""Images that are read and shrunk once, and then kept in memory: photographs take longer to decode than to train on.

Chapter: *Training*, ``book/14_train``.
"""

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.data import Dataset

from detr_mini.data.coco import Target, Transform
from detr_mini.data.dataset import DetectionDataset

if TYPE_CHECKING:
    from pycocotools.coco import COCO

ROOM = 1_000_000_000  # bytes: some 3,000 images of 384 x 288; what does not fit is read anew each time


class RememberedImages(Dataset[tuple[Tensor, Target]]):
    """A data set that keeps in memory what it has read, with transforms that come after.

    Args:
        dataset: gives images uint8 with their targets, the same every time.
        transforms: from such an item, which it must not change, to what the model is trained on.
        room: in bytes, for images. Each worker process has a memory of its own.
    """

    def __init__(self, dataset: DetectionDataset, transforms: Transform, room: int = ROOM) -> None:
        self.dataset = dataset
        self.transforms = transforms
        self.room = room
        self.class_names: dict[int, str] = dataset.class_names
        self.num_classes = dataset.num_classes
        self.coco: COCO | Any = dataset.coco
        self.sizes = dataset.sizes
        self._kept: dict[int, tuple[Tensor, Target]] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        item = self._kept.get(index)
        if item is None:
            item = self.dataset[index]
            if self.room >= item[0].numel():
                self.room -= item[0].numel()
                self._kept[index] = item
        return self.transforms(*item)
