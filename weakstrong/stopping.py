"""SIGTERM and Ctrl-C: a training saves its state first, everything else stops at once; a second signal always does."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from weakstrong.errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAVE_SECONDS = 100
"""Time that a training has to save its state once what started it is gone."""


class StopFlag:
    """Whether this process was asked to stop. Calling it is how a training says that it listens.

    Attributes:
        signal: number of the signal that asked, or None.
        listened: whether the work in progress has asked the flag, so that it will again and save its state.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.listened = False

    def __call__(self) -> bool:
        self.listened = True
        return self.signal is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """A signal handler."""
        if self.signal is None and self.listened:
            self.signal = number
            print("\nstopping: saving the training's state; once more to stop at once", file=sys.stderr)
            return
        self.signal = number
        stopped = Stopped(f"stopped by {signal.Signals(number).name}")
        stopped.signal, stopped.saved = number, False
        raise stopped


@contextlib.contextmanager
def stoppable(flag: StopFlag | None = None) -> Iterator[StopFlag]:
    """Catch both signals while the block runs; outside the main thread Python allows no handlers, and none is set."""
    flag = flag or StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.signal(number, flag.handle) for number in SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with_input(read: Callable[[], object], patience: float = SAVE_SECONDS) -> None:
    """Tie this process to the one that holds the other end of its standard input, which no kill can keep open.

    When ``read`` comes back this process gets SIGTERM, as from a spot machine; one that still lives ``patience`` seconds
    later waits for processes that are gone, and is ended.
    """

    def watch() -> None:
        read()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(patience)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="end-with-input").start()
