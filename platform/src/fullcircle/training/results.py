"""The files by which a job's ranks say how it ended: the result, the statistics of each rank, and errors.

rank-<r>.use.json        time, processor and memory that it used (`RankStats`)
result.json, best.npz    by rank 0, when the training is done
preempted.json           by rank 0: asked to stop, and the checkpoint of this step is written
fatal.json               an error that a restart would not mend; a restarted rank returns at once
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core import errors
from fullcircle.core.errors import FullcircleError, Preempted
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.system.files import replacing, write_whole
from fullcircle.training.jobs import BEST, FATAL, PREEMPTED, RESULT, RankStats, Seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATS = "rank-{}.use.json"


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a training came to.

    Attributes:
        weights: of the best epoch, as named arrays.
        size: processes at the end.
    """

    weights: Mapping[str, NDArray[Any]]
    history: tuple[EpochMetrics, ...]
    best_epoch: int
    size: int = 1


def write_result(folder: Path, result: FitResult) -> None:
    """Write what a training came to; by rank 0. The weights first: a result is whole or absent."""
    with replacing(folder / BEST) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, **result.weights)
    history = [dataclasses.asdict(epoch) for epoch in result.history]
    write_whole(folder / RESULT, json.dumps({"history": history, "best": result.best_epoch, "size": result.size}))


def read_result(folder: Path) -> FitResult:
    """What `write_result` wrote, by this version or one before."""
    value = json.loads((folder / RESULT).read_text())
    with np.load(folder / BEST, allow_pickle=False) as file:
        weights = {name: file[name] for name in file.files}
    return FitResult(
        weights=weights,
        history=tuple(EpochMetrics.of(epoch) for epoch in value["history"]),
        best_epoch=int(value["best"]),
        size=int(value["size"]),
    )


def write_stats(folder: Path, stats: RankStats) -> None:
    """Write what one rank used."""
    write_whole(folder / STATS.format(stats.rank), json.dumps(dataclasses.asdict(stats)))


def read_stats(folder: Path) -> Iterator[RankStats]:
    """What each rank used, in order."""
    paths = folder.glob(STATS.format("*"))
    for value in sorted((json.loads(path.read_text()) for path in paths), key=lambda value: int(value["rank"])):
        yield RankStats(**{**value, "seconds": Seconds(**value["seconds"])})


def raise_reported_error(folder: Path) -> None:
    """Raise what the ranks wrote: the error of fatal.json, or Preempted."""
    if (path := folder / FATAL).exists():
        note = json.loads(path.read_text())  # of the errors that training raises: all are made of what and hint
        kind = getattr(errors, note["error"], FullcircleError)
        raise kind(note["what"], hint=note["hint"])
    if (path := folder / PREEMPTED).exists():
        step = int(json.loads(path.read_text())["step"])
        raise Preempted(f"preempted at step {step:,}: its checkpoint is written", step=step)
