"""The page of the final project: one file, which loads nothing."""

from collections.abc import Sequence
from html import escape

from detr_mini.classroom.project import MINUTES, PARAMETERS, SCENES, Line

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>The best detector in {minutes:g} minutes on two cores</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }}
div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #8888; white-space: nowrap; }}
th:nth-child(2), td:nth-child(2) {{ text-align: left; }}
</style>
<h1>The best detector in {minutes:g} minutes on two cores</h1>
<div><table>
<tr><th scope="col">place</th><th scope="col">name</th><th scope="col">AP</th><th scope="col">AP50</th>
<th scope="col">minutes</th><th scope="col">parameters</th></tr>
{rows}
</table></div>
<p>AP on {scenes} scenes that no one had seen, ± its standard error over scenes. Two detectors whose AP differ by
less than that are not told apart by these scenes, and another seed of training would move each of them, too.
At most {minutes:g} minutes and {parameters:,} parameters.</p>
</html>
"""
ROW = "<tr><td>{place}</td><td>{name}</td><td>{ap:.3f} ± {error:.3f}</td><td>{ap50:.3f}</td><td>{minutes:.1f}</td>"
ROW += "<td>{parameters:,}</td></tr>"


def page(lines: Sequence[Line]) -> str:
    """The lines of :func:`detr_mini.classroom.project.read_lines` as HTML."""
    rows = [
        ROW.format(
            place=place,
            name=escape(line["name"]),
            ap=line["AP"],
            error=line["error"],
            ap50=line["AP50"],
            minutes=line["minutes"],
            parameters=line["parameters"],
        )
        for place, line in enumerate(lines, start=1)
    ]
    return PAGE.format(rows="\n".join(rows), minutes=MINUTES, parameters=PARAMETERS, scenes=SCENES)
