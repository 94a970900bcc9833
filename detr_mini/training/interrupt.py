"""Ctrl-C and SIGTERM, taken note of so that a training step can be finished and saved."""

import signal
import threading
from types import FrameType
from typing import Any


class StopRequest:
    """Within a ``with`` block, ``requested`` becomes True on Ctrl-C or SIGTERM. The second one stops at once."""

    def __init__(self) -> None:
        self.requested = False
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._former = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        while self._former:
            signal.signal(*self._former.popitem())

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self.__exit__()


def leave_to_the_trainer(worker: int) -> None:
    """For workers that read pictures: Ctrl-C reaches them too, but they are needed until the step is saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
