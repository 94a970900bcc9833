"""Pages of feedback that load nothing from the network: formulas are pictures inside of the page."""

import base64
import copy
import io
import re
from html import escape
from typing import Any

from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import math_to_image
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode

CODE = re.compile(r"(```.*?```|`[^`\n]+`)", flags=re.S)
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", flags=re.S)
MATHJAX = re.compile(r'<script src="https?://[^"]*mathjax[^"]*">\s*</script>', flags=re.I)


class OfflinePage(HTMLExporter):
    """nbgrader's page of feedback without MathJax, which it would fetch at each opening."""

    def from_notebook_node(self, nb: NotebookNode, resources: Any = None, **kw: Any) -> tuple[Any, dict[str, Any]]:
        nb = copy.deepcopy(nb)
        for cell in nb.cells:
            if cell.cell_type == "markdown":
                cell.source = drawn(cell.source)
        page, resources = super().from_notebook_node(nb, resources, **kw)
        return MATHJAX.sub("", page), resources


def drawn(text: str) -> str:
    """Markdown whose formulas are pictures. One that Matplotlib cannot draw stays as it is written."""
    parts = CODE.split(text)
    parts[::2] = [FORMULA.sub(lambda found: picture(found[1] or found[2]) or found[0], part) for part in parts[::2]]
    return "".join(parts)


def picture(formula: str) -> str | None:
    """A formula as an ``img`` that stands on the line of the text, or None."""
    shown, file = formula.strip().replace(r"\bmod", r"\ \mathrm{mod}\ ").replace("\n", " "), io.BytesIO()
    font = FontProperties(size=10.5, math_fontfamily="stix")  # points, as large as the page's 14 pixels
    try:
        depth = math_to_image(f"${shown}$", file, prop=font, format="svg")
    except ValueError:
        return None
    data = base64.b64encode(file.getvalue()).decode()
    style = f"display:inline;vertical-align:-{depth:.2f}pt"
    return f'<img alt="{escape(formula.strip())}" style="{style}" src="data:image/svg+xml;base64,{data}">'
