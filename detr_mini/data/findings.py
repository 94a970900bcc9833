"""What is found in a data set and told to people: faults, which stop training, and notices, which do not.

Chapter: *Data preparation*, ``book/04_data``.
"""

from dataclasses import dataclass, field
from pathlib import Path
from reprlib import Repr
from typing import Any

_repr = Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60
_repr.maxlevel = 2
NOTHING = object()  # where a finding has no value to show


def shown(value: Any) -> str:
    """A value for people: short, in one line, and empty for ``NOTHING``."""
    return "" if value is NOTHING else _repr.repr(value)


@dataclass(frozen=True)
class Fault:
    """One fault: in which file, where in it, the value found there, and what is wrong with it.

    ``usable`` marks what training goes on with: in panoptic data boxes without area, images without annotation, a
    second segment of one kind of stuff, and areas that the pixels do not have. ``image_id`` is the image that it
    concerns, where it is one.
    """

    file: str
    where: str
    value: str
    problem: str
    usable: bool = False
    image_id: int | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self.where}: {self.problem}" + (f" (found {self.value})" if self.value else "")


@dataclass(frozen=True)
class Notice:
    """What was mended or left out, or is odd, told once for a kind: how often, and one example.

    ``image_ids`` are the images that it concerns, as far as they are known; a ``warning`` is for people to look at.
    """

    file: str
    what: str
    count: int = 1
    where: str = ""
    value: str = ""
    image_ids: tuple[int, ...] = ()
    warning: bool = False

    def __str__(self) -> str:
        example = ": ".join(part for part in (self.where, self.value) if part)
        if self.count > 1:
            example = f"{self.count:,} times, such as {example}" if example else f"{self.count:,} times"
        return f"{self.file}: {self.what}" + (f" ({example})" if example else "")


@dataclass
class _Kind:
    where: str
    value: str
    warning: bool
    count: int = 0
    image_ids: list[int] = field(default_factory=list)


class Notes:
    """Collects what is found in one file, kind by kind."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self._kinds: dict[str, _Kind] = {}

    def add(
        self, what: str, where: str = "", value: Any = NOTHING, image_id: Any = None, *, warning: bool = False
    ) -> None:
        """Count one case of a kind; the first one of a kind becomes its example."""
        kind = self._kinds.get(what)
        if kind is None:
            kind = self._kinds[what] = _Kind(where, shown(value), warning)
        kind.count += 1
        if type(image_id) is int:
            kind.image_ids.append(image_id)

    def fault(self, where: str, value: Any, problem: str, image_id: int | None = None) -> None:
        """Add a fault."""
        self.faults.append(Fault(str(self.file), where, shown(value), problem, image_id=image_id))

    @property
    def notices(self) -> list[Notice]:
        """One for each kind, in the order in which the kinds were met."""
        return [
            Notice(str(self.file), what, kind.count, kind.where, kind.value, tuple(kind.image_ids), kind.warning)
            for what, kind in self._kinds.items()
        ]
