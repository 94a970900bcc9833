"""A real browser for the rendered book: find one, serve the site to it, watch pages and say what is wrong with them.

``tools/look.py`` and ``tests/test_browser.py`` share it. Chromium is what ``CHROMIUM`` names, or else one that is
installed; nothing is downloaded.
"""

from __future__ import annotations

import http.server
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request, Response, Route

WIDTHS = {"phone": 390, "tablet": 820, "desktop": 1440}
HEIGHT = 900
THEMES = ("light", "dark")
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """The browser to use, or None where there is none.

    Raises:
        FileNotFoundError: ``CHROMIUM`` is set and names no program.
    """
    if named := os.environ.get("CHROMIUM"):
        if found := shutil.which(named):
            return found
        raise FileNotFoundError(f"CHROMIUM={named} is no program that can be run")
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def launch(playwright: Playwright, program: str) -> Browser:
    """Start Chromium so that it knows no address but this machine's."""
    # In a container, and for root, Chromium has no sandbox; it opens nothing here but the book's own pages.
    local_only = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    return playwright.chromium.launch(executable_path=program, args=["--no-sandbox", local_only])


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # one connection for many files

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(site: Path) -> Iterator[str]:
    """The address, with its last slash, at which a folder can be read as long as the block runs."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def watch(page: Page, address: str) -> list[str]:
    """A list that grows with what goes wrong on the page from now on; what is asked for elsewhere is not fetched."""
    faults: list[str] = []

    def refuse(route: Route) -> None:
        faults.append(f"asks for {route.request.url}")
        route.abort("blockedbyclient")

    def note_message(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            faults.append(f"console: {message.text}")

    def note_answer(answer: Response) -> None:
        if answer.status >= 400:
            faults.append(f"{answer.status} for {answer.url}")

    def note_failure(request: Request) -> None:
        # A page that is left while it loads has requests aborted: that is no fault of the page.
        if not str(request.failure).startswith(("net::ERR_ABORTED", "net::ERR_BLOCKED_BY_CLIENT")):
            faults.append(f"{request.failure} for {request.url}")

    page.route(re.compile(f"^(?!{re.escape(address)}|data:|blob:)"), refuse)
    page.on("console", note_message)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("response", note_answer)
    page.on("requestfailed", note_failure)
    return faults


def settle(page: Page) -> None:
    """Open the folds, go down the page, and wait until formulas are typeset and pictures loaded."""
    page.evaluate(
        """async () => {
            const soon = (waited, ms) => Promise.race([waited, new Promise(done => setTimeout(done, ms))]);
            document.querySelectorAll('details').forEach(fold => { fold.open = true; });
            await soon(window.MathJax?.startup?.promise, 20000);
            for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight) {
                scrollTo({top: y, behavior: 'instant'});
                // A headless page that is not shown may get no frames at all.
                await soon(new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))), 1000);
            }
            const loading = [...document.images].filter(i => !i.complete && i.checkVisibility());
            await soon(Promise.all(loading.map(i => new Promise(done => { i.onload = i.onerror = done; }))), 10000);
            scrollTo({top: 0, behavior: 'instant'});
        }"""
    )
    wait_for_colours(page)


def wait_for_colours(page: Page) -> None:
    """After a change of theme, say: until nothing fades any more."""
    page.evaluate(
        """async () => {
            const soon = waited => Promise.race([waited, new Promise(done => setTimeout(done, 1000))]);
            await soon(new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))));
            const fading = document.getAnimations().filter(a => a.effect.getComputedTiming().endTime < Infinity);
            await soon(Promise.allSettled(fading.map(a => a.finished)));
        }"""
    )


def inspect(page: Page) -> list[str]:
    """What is wrong with a settled page, in words."""
    return page.evaluate(
        r"""() => {
            const faults = [], all = selector => [...document.querySelectorAll(selector)];
            const words = element => (element.textContent || '').trim().slice(0, 60);
            for (const m of all('.math').filter(m => !m.querySelector('mjx-container')))
                faults.push('a formula is not typeset: ' + words(m));
            // An unknown command is no error to MathJax: it shows the name in red.
            for (const m of all('mjx-merror, mjx-mtext[style*="color: red"]'))
                faults.push('a formula with an error: ' + (m.dataset.mjxError || m.outerHTML.slice(0, 80)));
            const root = document.documentElement, wide = root.clientWidth;
            if (root.scrollWidth > wide) {
                const over = all('.bd-main *').filter(e => e.getBoundingClientRect().right > wide + 1).slice(-1);
                faults.push(`scrolls sideways: ${root.scrollWidth} pixels wide in a window of ${wide}` +
                            over.map(e => ', such as ' + e.outerHTML.slice(0, 100)).join(''));
            }
            for (const i of all('img')) {
                // The mark beside the book's name says nothing that the name does not.
                if (!i.alt.trim() && !i.closest('a.logo')) faults.push('no alternative text: ' + i.src.slice(-60));
                if (i.checkVisibility() && !i.naturalWidth) faults.push('not loaded: ' + i.src.slice(-60));
            }
            return faults;
        }"""
    )


def transferred(page: Page) -> int:
    """The bytes of all that the page has loaded so far, itself included."""
    return page.evaluate(
        """() => ['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind))
                 .reduce((sum, entry) => sum + entry.encodedBodySize, 0)"""
    )


def first_paint(page: Page) -> float:
    """Milliseconds until the first text or picture stood on the page."""
    return page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN")
