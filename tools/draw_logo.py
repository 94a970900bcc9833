"""Draw the book's mark: the corners of a box, and in it the centers that one object query gave.

python tools/draw_logo.py    # writes book/_static/logo.svg and favicon.svg
"""

from pathlib import Path

STATIC = Path(__file__).resolve().parent.parent / "book" / "_static"
BLUE, ORANGE, GREEN = "#1c86c8", "#d9650b", "#0a9a70"  # of 3:1 at least on the light page and on the dark one

# What query 19 of a trained nano answered on the first validation scenes, in hundredths of the picture.
CENTERS = (
    (60, 53), (59, 50), (71, 50), (52, 33), (67, 38), (63, 50), (66, 48), (63, 55),
    (67, 53), (54, 44), (64, 60), (51, 35), (70, 43), (65, 35), (58, 47), (60, 34),
)  # fmt: skip


def corners(left: float, top: float, right: float, bottom: float, arm: float) -> str:
    """The path of a box of which only the corners are drawn."""
    return " ".join(
        f"M{x + dx:g} {y:g}H{x:g}V{y + dy:g}"
        for x, dx in ((left, arm), (right, -arm))
        for y, dy in ((top, arm), (bottom, -arm))
    )


def logo() -> str:
    dots = [
        f'<circle cx="{32 + (x - 61.5) * 1.15:.1f}" cy="{32 + (y - 45.5) * 1.0:.1f}" r="2.6" '
        f'fill="{ORANGE if n % 4 == 1 else GREEN}" fill-opacity="0.9"/>'
        for n, (x, y) in enumerate(CENTERS)
    ]
    frame = (
        f'<path d="{corners(6, 6, 58, 58, 15)}" fill="none" stroke="{BLUE}" stroke-width="6" stroke-linecap="round" '
    )
    return svg(64, [frame + 'stroke-linejoin="round"/>', *dots])


def favicon() -> str:
    """The same, for sixteen pixels: fewer dots on a ground of its own."""
    dots = [f'<circle cx="{x}" cy="{y}" r="2.3" fill="#ffc46b"/>' for x, y in ((16, 13), (13, 18), (19, 19))]
    frame = f'<path d="{corners(6.5, 6.5, 25.5, 25.5, 5)}" fill="none" stroke="#fff" stroke-width="3"/>'
    return svg(32, ['<rect width="32" height="32" rx="7" fill="#0b5c94"/>', frame, *dots])


def svg(side: int, parts: list[str]) -> str:
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}">', *parts, "</svg>\n"])


def main() -> None:
    for name, drawn in (("logo", logo()), ("favicon", favicon())):
        (STATIC / f"{name}.svg").write_text(drawn, "utf-8")


if __name__ == "__main__":
    main()
