"""What chapters and classes are made of: repeatable cells, figures to play with, the diagram, exercises.

Asks for more than the rest of the package: ``pip install "detr-mini[chapters]"``.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detr_mini.teaching.interactive.figure import Interactive

if missing := [name for name in ("matplotlib", "IPython") if find_spec(name) is None]:
    raise ImportError(
        f'there is no {" and no ".join(missing)} here, which chapters need: pip install "detr-mini[chapters]"'
    )


def playground(*models: str) -> Interactive:
    """A trained DETR to play with, as the last expression of a cell: it runs in the output, without a network.

    Args:
        models: ``mini``, ``nano`` or ``deformable_nano``; the first is there at the start. ``mini`` alone if none is
            named, since each makes the output, and the notebook that keeps it, larger: by 3.3, 1.9 and 2.2 MB.

    Raises:
        ValueError: a model that the playground does not have.
    """
    from detr_mini.teaching.live import show  # here, since it asks for more than the other parts do

    return show(*models)
