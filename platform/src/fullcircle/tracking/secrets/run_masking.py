"""Takes secrets out of what a run is told, and says that it did: to the user and with the run, never what."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fullcircle.tracking.runs.run_schema import MASKED_TAG
from fullcircle.tracking.secrets.detection import masked_file, masked_value
from fullcircle.tracking.spool.spool import Spool
from fullcircle.tracking.spool.spool_file import Tags

log = logging.getLogger("fullcircle")
_NO_KEY = re.compile(r"[^\w./ -]")


def masked_tags(where: str, kinds: Sequence[str], run_id: str) -> list[Tags]:
    """Warn that something was masked there; what says so with the run. Nothing where there is no kind of secret."""
    if not kinds:
        return []
    found = ", ".join(sorted(set(kinds)))
    log.warning("fullcircle: masked in %s of run %s: %s; where it is needed again, set it again", where, run_id, found)
    key = f"{MASKED_TAG}.{_NO_KEY.sub('_', where)}"
    return [Tags({key[:250]: found})]


def masked_values(values: Mapping[str, str], what: str, run_id: str) -> tuple[dict[str, str], list[Tags]]:
    """The values without their secrets, and what says so with the run. `what`: "parameter", "tag"."""
    kept, tags = {}, []
    for key, value in values.items():
        kept[key], kind = masked_value(key, value)
        tags += masked_tags(f"{what} {key}", (kind,) if kind else (), run_id)
    return kept, tags


def add_file(spool: Spool, path: Path, folder: str, run_id: str) -> None:
    """Keep a file as artifact in this folder within the run; a text without the secrets in it."""
    text, kinds = masked_file(path)
    if not kinds:
        spool.file(path, folder)
        return
    artifact = f"{folder}/{path.name}".lstrip("/")
    spool.text(text, artifact)
    for tag in masked_tags(artifact, kinds, run_id):
        spool.entry(tag)
