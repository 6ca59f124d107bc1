"""Reports the first number that is not finite (NaN or infinity): the layer that made it, and the rows it came from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fullcircle.core.errors import TrainingFailed
from fullcircle.core.records.training import Arrays
from fullcircle.training.ports import Chunk, Diagnosis, Framework, ProcessGroup, TrainEngine
from fullcircle.training.training_loop.sampler import Share

NAMED_ROWS = 5

PASSES = {
    "forward": "forward pass",
    "loss": "loss",
    "backward": "backward pass",
    "update": "whose weights were bad already",
}


def diagnose(
    framework: Framework,
    engine: TrainEngine,
    process_group: ProcessGroup,
    arrays: Arrays,
    chunk: Chunk,
    share: Share,
    checkpoint: int,
    folder: Path,
) -> TrainingFailed:
    """Look into the one step of a chunk, which the engine stands before, and say what went wrong there.

    Collective. What each rank found is kept in `folder/nonfinite-rank-<r>.json`.

    Args:
        checkpoint: step of the newest checkpoint, all of whose numbers are finite.
    """
    found = engine.diagnose(chunk)
    rows = [int(share.rows[0, position]) for position in found.rows] if found else []
    ids = [str(arrays.ids_train[row]) if arrays.ids_train is not None else f"row {row}" for row in rows]
    if found:
        note = {"step": chunk.first, "layer": found.layer, "where": found.where, "samples": ids}
        (folder / f"nonfinite-rank-{process_group.rank}.json").write_text(json.dumps(note))
    if process_group.size > 1:
        process_group.sum_over_ranks(np.zeros(1))  # all have written
        found, ids = _first(folder, process_group.size)
    return TrainingFailed(
        f"{framework.name}: non-finite at step {chunk.first} in {_place(found)}{_samples(ids)}",
        hint=f"look at these rows, or lower training.learning_rate; the checkpoint of step {checkpoint} is finite",
    )


def _first(folder: Path, size: int) -> tuple[Diagnosis | None, list[str]]:
    """What the ranks found: in the forward pass before the backward one, the lower rank before the higher."""
    notes = []
    for rank in range(size):
        path = folder / f"nonfinite-rank-{rank}.json"
        if path.exists():
            notes.append(json.loads(path.read_text()))
    if not notes:
        return None, []
    order = ("forward", "loss", "backward", "update")
    first = min(notes, key=lambda note: order.index(note["where"]) if note["where"] in order else len(order))
    return Diagnosis(first["layer"], first["where"], ()), list(first["samples"])


def _place(found: Diagnosis | None) -> str:
    if found is None:
        return "an unknown layer (the step done again stayed finite: the arithmetic here is not reproducible)"
    return f"layer {found.layer}, {PASSES.get(found.where, found.where)}"


def _samples(ids: list[str]) -> str:
    if not ids:
        return ", from no single sample"
    more = f" and {len(ids) - NAMED_ROWS} more" if len(ids) > NAMED_ROWS else ""
    return f", samples {', '.join(ids[:NAMED_ROWS])}{more}"
