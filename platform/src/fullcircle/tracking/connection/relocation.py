"""Moved or copied homes: rewrites the absolute artifact paths in MLflow's tables."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from fullcircle.core.settings import sqlite_address
from fullcircle.core.system.files import write_whole
from fullcircle.store.home_relocation import BUSY_TIMEOUT_S, places, relocate, settle

if TYPE_CHECKING:
    from fullcircle.core.settings import Settings

STORE = "mlflow"
ELSEWHERE = "mlflow elsewhere"
ARTIFACTS = "mlartifacts"
PATHS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
    "datasets": ("dataset_source",),
}
"""Table -> columns of MLflow's that may hold an absolute path of the home's."""

_ARTIFACTS_OF = """SELECT artifact_uri FROM runs UNION SELECT artifact_location FROM logged_models"""
_OURS = """SELECT experiments.name, experiments.experiment_id, experiments.artifact_location FROM experiments
    LEFT JOIN experiment_tags AS tags
    ON tags.experiment_id = experiments.experiment_id AND tags.key = 'fullcircle.project'
    WHERE experiments.experiment_id = 0 OR tags.value IS NOT NULL"""


def settle_tracking(settings: Settings, file: Path) -> None:
    """Mend MLflow's SQLite file when it lies in the home and the home lies elsewhere than before. See `settle`.

    A file elsewhere is left as it is: other homes may use it, too.

    Raises:
        sqlite3.Error: it cannot be read or written; nothing was changed.
        HomeUnwritable: as `settle`.
    """
    if file.exists() and file.resolve().is_relative_to(settings.home):
        settle(settings, STORE, lambda former: _mend(settings.home, file, former))


def moved_from(settings: Settings) -> Path | None:
    """Where a home lay whose tracking store is elsewhere, when that is not where it lies; None when it is.

    Nothing is mended there: other homes may use that store, and a copy's rows are those of its original. So the first
    place stays the one that is remembered.
    """
    first = places(settings.home, ELSEWHERE)[:1]
    if not first:
        settle(settings, ELSEWHERE, lambda former: None)
    return first[0] if first and first[0] != settings.home else None


def _mend(home: Path, file: Path, former: Sequence[Path]) -> None:
    # A home of before has no record, but its tables say where it was made; and where copies of it were used.
    known = list(former) or [each for each in _told(file) if each != home]
    if not former:
        _bring_strays(home, file, known)
    if known:
        relocate(file, PATHS, known, home)
        _mend_spool(home, file, known)


def _told(file: Path) -> list[Path]:
    """The homes that the experiments' locations tell of: the platform's own lie at `<home>/mlartifacts/<name>`."""
    with contextlib.closing(sqlite3.connect(file, timeout=BUSY_TIMEOUT_S)) as connection:
        found: dict[Path, None] = {}
        for name, id_, location in connection.execute(_OURS):
            place = _path(location or "")
            if place is not None and place.parent.name == ARTIFACTS and place.name in (str(name), str(id_)):
                found[place.parent.parent] = None
        return list(found)


def _bring_strays(home: Path, file: Path, former: Sequence[Path]) -> None:
    """Before places were recorded, a copy of a home wrote its runs' artifacts into the home that it was copied from.

    What is there and not here is copied here, before the tables are told that it is here.
    """
    with contextlib.closing(sqlite3.connect(file, timeout=BUSY_TIMEOUT_S)) as connection:
        every = [_path(uri or "") for (uri,) in connection.execute(_ARTIFACTS_OF)]
    for place in every:
        for old in former:
            if place is None or ".." in place.parts or not place.is_relative_to(old / ARTIFACTS):
                continue
            here = home / place.relative_to(old)
            if place.is_dir() and not here.exists() and not here.is_relative_to(place):
                aside = here.with_name(f".{here.name}.coming")
                shutil.rmtree(aside, ignore_errors=True)
                shutil.copytree(place, aside)
                aside.rename(here)


def _mend_spool(home: Path, file: Path, former: Sequence[Path]) -> None:
    """What waits in the spool names its tracker by address: of this file, the former address."""
    within = file.resolve().relative_to(home)
    for path in (home / "spool").glob("*/run.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # whoever sends it says what is wrong
            about = json.loads(path.read_bytes())
            if _sqlite_path(about["tracker"]) in [old / within for old in former]:
                write_whole(path, json.dumps({**about, "tracker": sqlite_address(file)}), durable=True)


def _sqlite_path(address: str) -> Path | None:
    scheme, found, rest = address.partition(":///")
    return Path(unquote(rest)) if found and scheme == "sqlite" else None


def _path(uri: str) -> Path | None:
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return Path(uri) if not parts.scheme and uri.startswith("/") else None
