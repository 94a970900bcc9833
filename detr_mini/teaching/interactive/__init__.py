"""Figures to play with, in Jupyter and in the rendered page, without a kernel or a network.

Everything a figure can show is in it: its pictures as WebP files, and a few lines of script, which lie beside the
function that makes it. Where scripts do not run, as in a notebook that is not trusted, the picture it starts with is
there all the same.
"""

from detr_mini.teaching.interactive.cells import cell_picker
from detr_mini.teaching.interactive.exhibit import exhibit
from detr_mini.teaching.interactive.figure import Interactive
from detr_mini.teaching.interactive.points import point_picker
from detr_mini.teaching.interactive.slides import slider
from detr_mini.teaching.interactive.slots import slot_picker
from detr_mini.teaching.interactive.words import word_picker

__all__ = ["Interactive", "cell_picker", "exhibit", "point_picker", "slider", "slot_picker", "word_picker"]
