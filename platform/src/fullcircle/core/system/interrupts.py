"""Defers Ctrl-C (SIGINT) while something must not be cut in two."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def defer_sigint() -> Iterator[None]:
    """Ctrl-C during the block is heard at its end, once, however often it was pressed.

    People press it twice. For short blocks that write down what the first one stopped; never around a wait for
    somebody else. Outside the main thread nothing is changed: Python interrupts that one alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False

    def later(signum: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True

    before = signal.signal(signal.SIGINT, later)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        if came:
            signal.raise_signal(signal.SIGINT)
