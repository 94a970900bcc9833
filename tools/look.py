"""Look at every page of the built book as readers do, in a real browser.

    .venv/bin/python tools/look.py _build/shots    # after `make book`

Opens each page at the width of a phone, a tablet and a desktop, in the light and the dark theme, and saves a
picture of it. Says how much each page loads, when its first text or picture stands there, and what is wrong with it:
requests that leave this machine (they are stopped), console errors, pages that scroll sideways, formulas that were not
typeset, pictures that are missing or have no text. Chromium is what CHROMIUM names, or else an installed one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from browser import (
    HEIGHT,
    THEMES,
    WIDTHS,
    find_chromium,
    first_paint,
    inspect,
    launch,
    served,
    settle,
    transferred,
    watch,
)
from playwright.sync_api import Browser, sync_playwright

SITE = Path(__file__).resolve().parent.parent / "_build" / "html"


def look(browser: Browser, address: str, name: str, size: str, theme: str, shots: Path) -> tuple[list[str], str]:
    """Open one page one way and save its picture: what is wrong with it, and what its first view costs."""
    viewport = {"width": WIDTHS[size], "height": HEIGHT}
    with browser.new_context(viewport=viewport, color_scheme=theme) as context:
        page = context.new_page()
        faults = watch(page, address)
        page.goto(address + name)
        page.wait_for_timeout(1000)
        cost = f"{transferred(page) / 1000:.0f} kB, first paint after {first_paint(page):.0f} ms"
        settle(page)
        faults += inspect(page)
        page.screenshot(path=shots / f"{Path(name).stem}-{size}-{theme}.png", full_page=True)
    return faults, cost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shots", type=Path, help="folder for the pictures")
    parser.add_argument("pages", nargs="*", help="such as book/01_tour.html; all by default")
    args = parser.parse_args()
    program = find_chromium()
    if program is None:
        parser.error("there is no Chromium: install it, or name it in CHROMIUM")
    if not SITE.is_dir():
        parser.error("there is no built book: run make book")
    args.shots.mkdir(parents=True, exist_ok=True)
    pages = args.pages or sorted(str(p.relative_to(SITE)) for p in SITE.glob("book/**/*.html"))
    total = 0
    with sync_playwright() as playwright, launch(playwright, program) as browser, served(SITE) as address:
        for name in pages:
            for size in WIDTHS:
                for theme in THEMES:
                    faults, cost = look(browser, address, name, size, theme, args.shots)
                    total += len(faults)
                    print(f"{name} ({size}, {theme}): {cost}")
                    for fault in faults:
                        print(f"  {fault}")
    print(f"{len(pages)} pages seen {len(WIDTHS) * len(THEMES)} ways, {total} faults; pictures in {args.shots}")
    return 1 if total else 0


if __name__ == "__main__":
    raise SystemExit(main())
