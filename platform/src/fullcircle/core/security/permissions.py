"""File permissions and umask: a home is its user's alone, whichever program writes.

Every way to a home goes through `open_privately`: from then on this process and the programs that it starts write
files of mode 0600 and folders of mode 0700, SQLite's, MLflow's, Prefect's and DVC's among them. What is made for the
user outside of the home gets the modes that the user's own umask gives: `as_the_user_makes_it`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
from functools import lru_cache
from pathlib import Path

OTHERS = 0o077
"""The bits of a mode that say what everybody but the owner may do."""
MARK = ".private"
"""A file of the home that says that all of it was looked at: no later command walks through it again."""
_KNOWN = ("mlflow.db", "fullcircle.db", "spool", "mlartifacts")
_DEFAULT_ACL = "system.posix_acl_default"
_guard = threading.Lock()
log = logging.getLogger("fullcircle")


def open_privately(home: Path) -> None:
    """Make the home, or close an existing one to others; what this process writes from now on is private.

    An existing home is walked once. Nothing outside of it is touched: links are not followed, other file systems not
    entered, and files with a second name (a hard link into the user's own folders) keep their mode. Where modes cannot
    be set, a line says so, and the home is used as it is.

    Raises:
        OSError: the folder cannot be made.
    """
    write_privately()
    if not home.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _mark(home)
        return
    if not home.stat().st_mode & OTHERS and (home / MARK).exists():
        return
    _close(home)


def write_privately() -> None:
    """What this process and its children make from now on is for their user alone."""
    users_umask()
    os.umask(OTHERS)


def users_umask() -> int:
    """The umask that this process was started with."""
    with _guard:
        return _umask_before()


def as_the_user_makes_it(path: Path) -> None:
    """Give a file, or a folder with all that is in it, the modes that the user's own umask gives what is made anew."""
    umask = users_umask()
    for each in (path, *(path.rglob("*") if path.is_dir() else ())):
        if not each.is_symlink():
            executable = each.is_dir() or each.stat().st_mode & stat.S_IXUSR
            each.chmod((0o777 if executable else 0o666) & ~umask)


def close_below(folder: Path) -> int:
    """Close all that is in a folder to others, as `open_privately` does; returns how many files and folders that was.

    None where the folder is not there.
    """
    count, folders = 0, [str(folder)]
    with contextlib.suppress(FileNotFoundError):
        top = folder.stat()
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # it went meanwhile
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISLNK(found.st_mode) or (found.st_dev, found.st_uid) != (top.st_dev, top.st_uid):
                        continue
                    inner = stat.S_ISDIR(found.st_mode)
                    if inner:
                        folders.append(entry.path)
                    if inner or found.st_nlink == 1:
                        count += _closed(Path(entry.path), found)
    return count


@lru_cache(maxsize=1)
def _umask_before() -> int:
    return os.umask(OTHERS)


def _close(home: Path) -> None:
    top = home.stat()
    if top.st_mode & stat.S_ISVTX or home.resolve() == Path("/"):
        _say(f"FULLCIRCLE_HOME={home} is everybody's folder and cannot be made private: name a folder of its own")
        return
    count = int(_closed(home, top))  # first: from here on nobody else gets in while the rest is walked
    if home.stat().st_mode & OTHERS:
        why = "it belongs to another user" if top.st_uid != os.geteuid() else "its file system keeps no such modes"
        _say(f"FULLCIRCLE_HOME={home} can be read by others and cannot be made private: {why}")
        return
    if any((home / name).exists() for name in _KNOWN):  # else the files in it are the user's, and no home's
        count += close_below(home)
    _mark(home)
    if count:
        files = "1 file or folder" if count == 1 else f"{count:,} files and folders"
        _say(f"tightened {files} of {home} that others could read; a home is its user's alone")


def _closed(path: Path, found: os.stat_result) -> bool:
    """Take from everybody but the owner what they may do; returns whether there was anything."""
    if stat.S_ISDIR(found.st_mode):
        # A default list of a shared folder would be put on whatever is made in here, in the umask's place.
        with contextlib.suppress(OSError, AttributeError):
            os.removexattr(path, _DEFAULT_ACL)
    if not found.st_mode & OTHERS:
        return False
    with contextlib.suppress(OSError):
        path.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS)
        return True
    return False


def _mark(home: Path) -> None:
    with contextlib.suppress(OSError, AttributeError):
        os.removexattr(home, _DEFAULT_ACL)
    with contextlib.suppress(OSError):  # a home that cannot be written is told of by whoever has to write
        (home / MARK).write_text("Made by fullcircle: all of this home was closed to other users.\n")


def _say(sentence: str) -> None:
    log.warning("fullcircle: %s", sentence)
