"""Look at every page of the built book as readers do, in a real browser.

    pip install playwright               # once, in an environment of its own
    python tools/look.py _build/shots    # after `make book`; --browser names an installed Chromium

Opens each page at desktop and phone width, in the light and the dark theme, and saves a picture of
it. Reports every request that leaves this machine (it is stopped), console errors, pages that
scroll sideways, formulas that were not typeset and images without alternative text.
"""

from __future__ import annotations

import argparse
import http.server
import threading
from functools import partial
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Route, sync_playwright

SITE = Path(__file__).resolve().parent.parent / "_build" / "html"
WIDTHS = {"desktop": 1280, "phone": 390}
THEMES = ("light", "dark")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def serve(site: Path) -> str:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def watch(page: Page, address: str, faults: list[str]) -> None:
    """Collect what goes wrong while a page loads; nothing is fetched from elsewhere."""

    def local_only(route: Route) -> None:
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            faults.append(f"asks for {route.request.url}")
            route.abort()

    page.route("**/*", local_only)
    page.on("console", lambda m: faults.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("response", lambda r: faults.append(f"{r.status} for {r.url}") if r.status >= 400 else None)


def inspect(page: Page) -> list[str]:
    """What is wrong with the page as it stands, in words."""
    faults = []
    if page.evaluate("window.MathJax !== undefined"):
        page.evaluate("MathJax.startup.promise.then(() => 1)")
        if failed := page.locator("mjx-merror").count():
            faults.append(f"{failed} formulas with an error")
    widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    if widths[0] > widths[1]:
        faults.append(f"scrolls sideways: {widths[0]} pixels wide in a window of {widths[1]}")
    for source in page.eval_on_selector_all("img", "all => all.filter(i => !i.alt).map(i => i.src)"):
        faults.append(f"no alternative text: {source[-60:]}")
    for source in page.eval_on_selector_all("img", "all => all.filter(i => !i.naturalWidth).map(i => i.src)"):
        faults.append(f"not loaded: {source[-60:]}")
    return faults


def look(browser: Browser, address: str, name: str, size: str, theme: str, shots: Path) -> list[str]:
    """Open one page one way, save its picture, and say what is wrong with it."""
    faults: list[str] = []
    context = browser.new_context(
        viewport={"width": WIDTHS[size], "height": 900}, color_scheme=theme, device_scale_factor=1
    )
    page = context.new_page()
    watch(page, address, faults)
    page.goto(f"{address}/{name}", wait_until="load")
    faults += inspect(page)
    page.screenshot(path=shots / f"{Path(name).stem}-{size}-{theme}.png", full_page=True)
    context.close()
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shots", type=Path, help="folder for the pictures")
    parser.add_argument("pages", nargs="*", help="such as book/01_tour.html; all by default")
    parser.add_argument("--browser", default="/usr/bin/chromium")
    args = parser.parse_args()
    if not SITE.is_dir():
        parser.error("there is no built book: run make book")
    args.shots.mkdir(parents=True, exist_ok=True)
    pages = args.pages or sorted(str(p.relative_to(SITE)) for p in SITE.glob("book/**/*.html"))
    address = serve(SITE)
    total = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.browser, args=["--no-sandbox"])
        for name in pages:
            for size in WIDTHS:
                for theme in THEMES:
                    faults = look(browser, address, name, size, theme, args.shots)
                    total += len(faults)
                    for fault in faults:
                        print(f"{name} ({size}, {theme}): {fault}")
        browser.close()
    print(f"{len(pages)} pages seen four ways, {total} faults; pictures in {args.shots}")
    return 1 if total else 0


if __name__ == "__main__":
    raise SystemExit(main())
