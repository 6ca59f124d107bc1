"""File lock of a spool folder: the kernel releases it with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, tries: int = 5) -> Iterator[bool]:
    """Hold the lock while the block runs; False when another process goes on holding it, or its folder is gone."""
    try:
        file = path.open("ab")
    except FileNotFoundError:
        yield False
        return
    with file:
        for left in reversed(range(tries)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    yield False
                    return
                time.sleep(0.05)  # whoever only looks at it lets go at once
        yield True
