"""A detector for the final project, to change: python project_starter.py --data data/tiny_town --out runs/mine

It tells after a hundred steps how long all of them will take, and stops there where that is too long.
"""

import argparse
import math
import time
from dataclasses import replace

from detr_mini.data import CocoDetection, eval_transforms
from detr_mini.modeling.build import Detector
from detr_mini.modeling.config import get_config
from detr_mini.training.recipe import RECIPES
from detr_mini.training.train import train

MINUTES = 9.5  # of ten: what is measured at the end takes its part
CONFIG = get_config("nano")  # get_config("nano", enc_layers=1) has another field; the page Commands lists all
RECIPE = replace(RECIPES["nano"], epochs=2)  # how it is trained; fields of recipes are on that page, too


class Clock:
    """Stops a run that would take too long, once it has seen a hundred steps."""

    def __init__(self, steps: int) -> None:
        self.steps, self.start = steps, 0.0

    def __call__(self, step: int, model: Detector) -> None:
        if step == 20:  # the first steps are slow
            self.start = time.perf_counter()
        if step == 120:
            minutes = (time.perf_counter() - self.start) / 100 * self.steps / 60
            print(f"{self.steps} steps will take about {minutes:.1f} minutes", flush=True)
            if minutes > MINUTES:
                raise SystemExit("That is too long. Fewer epochs, a smaller model or smaller pictures take less time.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/tiny_town", help="default %(default)s")
    parser.add_argument("--out", required=True, help="a new folder for the run")
    options = parser.parse_args()
    pictures = len(CocoDetection(options.data, "train", eval_transforms(CONFIG.image_size, CONFIG.max_size)))
    steps = RECIPE.epochs * math.ceil(pictures / RECIPE.batch_size)
    train(CONFIG, RECIPE, options.data, options.out, workers=1, callback=Clock(steps))


if __name__ == "__main__":
    main()
