"""Ctrl-C and SIGTERM, taken note of so that a training step can be finished and saved."""

import contextlib
import os
import signal
import socket
import threading
from types import FrameType
from typing import Any

GRACE = 2.0  # seconds that Python has to stop by itself after the second signal
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Within a ``with`` block, ``requested`` becomes True on Ctrl-C or SIGTERM. The second one stops at once.

    Python runs handlers between two of its instructions, so not before a long call of torch has come back. A thread
    therefore hears of signals too: at the first it tells the user, on stderr, that the step is being finished; if the
    program is still there ``GRACE`` seconds after the second, it ends it. What counts then is the last checkpoint.

    Args:
        message: what to say at the first signal; empty: nothing.
    """

    def __init__(self, message: str = "") -> None:
        self.requested = False
        self._message = message
        self._former: dict[int, Any] = {}
        self._left = threading.Event()
        self._wakeup: tuple[int, socket.socket, socket.socket] | None = None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._former = {number: signal.signal(number, self._note) for number in SIGNALS}
            listener, sender = socket.socketpair()
            sender.setblocking(False)
            self._wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False), sender, listener
            threading.Thread(target=self._listen, args=(listener,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        for number, former in self._former.items():
            signal.signal(number, former)
        if self._wakeup:
            former, sender, _listener = self._wakeup
            signal.set_wakeup_fd(former)
            sender.close()  # the thread reads the end, and closes the other side
            self._wakeup = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        for each, former in self._former.items():  # a job in a shell's background ignores Ctrl-C: no second would count
            signal.signal(each, signal.SIG_DFL if former is signal.SIG_IGN else former)

    def _listen(self, listener: socket.socket) -> None:
        """What the thread does: count the signals whose numbers come in."""
        count = 0
        with listener:
            while received := listener.recv(64):
                for number in received:
                    if number not in SIGNALS:
                        continue
                    count += 1
                    if count == 1:
                        self._tell()
                    elif not self._left.wait(GRACE):
                        os._exit(128 + number)

    def _tell(self) -> None:
        with contextlib.suppress(OSError):  # a closed terminal is no reason not to stop
            os.write(2, f"\n{self._message}\n".encode() if self._message else b"")


def leave_to_the_trainer(worker: int) -> None:
    """For workers that read pictures: Ctrl-C reaches them too, but they are needed until the step is saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)  # a forked worker would write its signals into the trainer's socket
