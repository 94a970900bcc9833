"""An exhibit of the museum of bugs as a figure to play with.

Chapter: *A museum of bugs*, ``book/23_museum``.
"""

from html import escape

from detr_mini.teaching import interactive
from detr_mini.teaching.museum import Exhibit, by_group, verdict
from detr_mini.teaching.museum_causes import CAUSES, Cause
from detr_mini.teaching.museum_figures import evidence

CHAPTERS = {  # that links lead to
    "04_data": "Data preparation",
    "05_nested_tensor": "NestedTensor",
    "06_backbone": "Backbone",
    "07_position_encoding": "Positional encoding",
    "09_decoder": "Decoder",
    "12_loss": "Loss",
    "14_train": "Training",
    "15_evaluate": "Evaluation",
}


def case(exhibit: Exhibit) -> interactive.Interactive:
    """Ask for the evidence of an exhibit, name a cause, and read what speaks for it or against it."""
    said = {name: verdict(exhibit, name) for name in CAUSES}
    (right,) = (name for name, one in said.items() if one.right)
    return interactive.exhibit(
        evidence(exhibit),
        by_group(),
        {name: (one.right, one.text) for name, one in said.items()},
        solved=solved(CAUSES[right]),
        name=f"exhibit-{exhibit.number}",
        alt=f"Exhibit {exhibit.number}: what is to be seen of a run with one fault. Ask for it, and name the cause.",
    )


def solved(cause: Cause) -> str:
    """What is shown in the end: the cheapest test, and where to read on."""
    title = CHAPTERS[cause.link.partition(".")[0]]
    return (
        f"<p><b>The cheapest test.</b> {escape(cause.test)}</p>"
        f'<div class="highlight"><pre>{escape(cause.code)}</pre></div>'
        f'<p>Read on: <a href="{cause.link}" class="cell">{title}</a>.</p>'
    )
