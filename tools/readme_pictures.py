"""Draw ``book/_static/slots.png``, the picture at the top of the README, from the shipped model.

python tools/readme_picture.py
"""

import tempfile
from pathlib import Path

import detr_mini
from detr_mini import interpret, plots
from detr_mini.data import CocoDetection, eval_transforms, make_data
from detr_mini.teaching.notebook import setup

TARGET = Path(__file__).resolve().parent.parent / "book" / "_static" / "slots.png"


def main() -> None:
    """Every query's box centers over the 500 validation pictures, as in the chapter *A tour*."""
    setup()
    with tempfile.TemporaryDirectory() as folder:
        make_data(folder, train=0, val=500, workers=1)
        slots = interpret.slot_boxes(detr_mini.load("nano"), CocoDetection(folder, "val", eval_transforms(None)))
    plots.slot_panels(slots).savefig(TARGET, dpi=192, metadata={"Software": None})


if __name__ == "__main__":
    main()
