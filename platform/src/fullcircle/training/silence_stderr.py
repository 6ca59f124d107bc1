"""Silences start-up lines that no logging setting reaches: TensorFlow's C++ part writes to file descriptor 2."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def silence_native_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere within the block. Exceptions are not touched; Python's own lines are lost too.

    Only for imports and device discovery: "could not find cuda drivers" on a CPU machine frightens and helps nobody.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
