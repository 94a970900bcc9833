"""Check the book's JavaScript: ESLint (eslint.config.mjs), and the types in its comments (tsconfig.json).

    .venv/bin/python tools/lint_js.py

Both come from npm, pinned in package-lock.json, into node_modules/. Where there is no Node, or nothing can be fetched,
nothing is checked, and that is said.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = (("eslint", "."), ("tsc", "--project", "."))


def missing() -> str:
    """Why nothing can be checked here; an empty text where all is there. Fetches what is pinned, if need be."""
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        return "there is no Node here (20 or later, with npm)"
    kept, pinned = ROOT / "node_modules" / ".package-lock.json", ROOT / "package-lock.json"
    if kept.is_file() and kept.stat().st_mtime >= pinned.stat().st_mtime:
        return ""
    fetched = subprocess.run([npm, "ci"], cwd=ROOT, capture_output=True, text=True)
    said = (fetched.stderr.strip() or "npm ci failed").splitlines()
    return f"what checks it could not be fetched: {said[0]}" if fetched.returncode else ""


def main() -> int:
    if why := missing():
        print(f"JavaScript is not checked: {why}.")
        return 0
    failed = False
    for program, *arguments in CHECKS:
        done = subprocess.run([ROOT / "node_modules" / ".bin" / program, *arguments], cwd=ROOT)
        failed |= done.returncode != 0
    if not failed:
        print("JavaScript: ESLint and tsc have nothing to say.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
