"""Damaged bytes of write-ahead files: set aside, and said."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from fullcircle.core.system.files import write_whole
from fullcircle.predictions import wal

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Bytes of a dead writer's file that could not be read back, and where they were put."""

    source: str
    rows_kept: int
    bytes_lost: int
    kept_in: Path


def set_aside(path: Path, folder: Path) -> tuple[Damage, ...]:
    """Put what of a write-ahead file cannot be read back into `folder`/damaged, and say so. The file stays.

    Raises:
        HomeUnwritable: the folder cannot be written.
    """
    damage = []
    found, size = wal.read(path), path.stat().st_size
    rows = sum(len(record.prediction_ids) for record in found.records)
    for start, end in [*found.gaps, *([(found.offset, size)] if found.offset < size else [])]:
        target = folder / "damaged" / f"{path.stem}-{start}.bin"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as source:
                source.seek(start)
                write_whole(target, source.read(end - start), durable=True)
        except OSError as error:
            raise wal.unwritable(folder, error) from error
        damage.append(Damage(source=path.name, rows_kept=rows, bytes_lost=end - start, kept_in=target))
        logger.warning(
            "%s: %d rows read back; %d bytes at %d are damaged and set aside in %s",
            path,
            rows,
            end - start,
            start,
            target,
        )
    return tuple(damage)
