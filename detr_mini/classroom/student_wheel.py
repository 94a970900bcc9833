"""The package without the solutions of the exercises, as a wheel that students install."""

import base64
import hashlib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
# What holds solutions, draws cases or serves nbgrader. Students' commands that need it say that it is not there.
WITHHELD = (
    "teaching/exercises",
    "classroom/chapters.py",
    "classroom/course.py",
    "classroom/exhibits.py",
    "classroom/feedback.py",
    "classroom/kernels.py",
    "classroom/more_variants.py",
    "classroom/notebooks.py",
    "classroom/student_wheel.py",
    "classroom/trials.py",
    "classroom/variants.py",
    "teaching/museum.py",
    "teaching/museum_answers.py",
    "teaching/museum_case.py",
)
KINDS = {".py", ".typed", ".js", ".safetensors", ".json"}
DATE = (2020, 1, 1, 0, 0, 0)  # the same files make the same wheel


def write(folder: Path) -> Path:
    """Write the wheel into a folder; returns its path. Its version ends in ``+students``."""
    folder.mkdir(parents=True)
    found = distribution("detr-mini")
    version = f"{found.version}+students"
    about = f"detr_mini-{version}.dist-info"
    told = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
    metadata = told.replace(f"\nVersion: {found.version}\n", f"\nVersion: {version}\n", 1)
    files = {f"detr_mini/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes() for path in packed()}
    files[f"{about}/METADATA"] = metadata.encode()
    files[f"{about}/entry_points.txt"] = str(found.read_text("entry_points.txt")).encode()
    files[f"{about}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: detr-mini\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in files.items()]
    files[f"{about}/RECORD"] = "\n".join([*record, f"{about}/RECORD,,", ""]).encode()
    path = folder / f"detr_mini-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, DATE), content, zipfile.ZIP_DEFLATED)
    return path


def packed() -> list[Path]:
    """The files of the package that students get."""
    files = (path for path in sorted(PACKAGE.rglob("*")) if path.suffix in KINDS and "__pycache__" not in path.parts)
    withheld = tuple(PACKAGE / name for name in WITHHELD)
    return [path for path in files if not any(path == one or one in path.parents for one in withheld)]


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
