"""Recognises a full or read-only disk behind whatever a library made of it."""

from __future__ import annotations

import errno
import os

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""The disk, a quota or a limit of the process is full, or the disk became read-only: no fault of who writes."""


def disk_trouble(error: BaseException | None) -> OSError | None:
    """The full or read-only disk, or the folder that is not ours, behind an exception; None: it is something else."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in (*FULL, errno.EACCES):
            return error
        text = str(error)
        if "disk is full" in text or "No space left on device" in text:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if "readonly database" in text or "unable to open database file" in text:
            return OSError(errno.EROFS, "Read-only")
        error = error.__cause__ or error.__context__
    return None


def disk_is_full(error: BaseException) -> bool:
    """Whether a disk that is full or became read-only is behind it, and not a folder that nobody may write."""
    found = disk_trouble(error)
    return found is not None and found.errno in FULL
