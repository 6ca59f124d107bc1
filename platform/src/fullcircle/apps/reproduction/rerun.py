"""Reruns a run's training in a process of its own: `python -m fullcircle.apps.reproduction.rerun FOLDER`.

Whoever reproduces a run starts this with the code of that run in front of everything else. It reads FOLDER/request.json
and leaves result.json and losses.npy there, or error.json. It tells no tracker and writes nowhere else.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fullcircle.core.errors import FullcircleError, UsageError
from fullcircle.core.project import Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.project.overrides import overridden, recalled
from fullcircle.core.records.fingerprint import Fingerprint
from fullcircle.core.settings import quiet_dependencies
from fullcircle.data.parquet_reader import load
from fullcircle.data.partitions import partitions
from fullcircle.loop.retraining.train_candidates import prepare
from fullcircle.loop.training_runs.run_fingerprint import code_digest, fingerprint
from fullcircle.store.json_values import to_json
from fullcircle.tracking.provenance.run_provenance import installed
from fullcircle.training.jobs import job_of

REQUEST, RESULT, ERROR, LOSSES, JOB = "request.json", "result.json", "error.json", "losses.npy", "job"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class RerunRequest:
    """What is to be trained. Another version of the code may read it, so that a field is only ever added.

    Attributes:
        name, root: of the project, for `core.project.loading.load_project`.
        until: ISO 8601; only rows before it are learned from.
        training, compute: as `core.project.overrides.written` wrote them when the run began.
        overrides: on top of these, as words of `--set`.
        data: the folder of partitions.
    """

    name: str
    root: str
    framework: str
    until: str
    training: Mapping[str, Any]
    compute: Mapping[str, Any]
    overrides: Sequence[str]
    data: str
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class RerunResult:
    """What came out. `requirements`: `name==version` lines. `code`: digest of the project's code."""

    fingerprint: Fingerprint
    requirements: str
    code: str


def main(folder: Path) -> int:
    """Do what the folder's request says; returns the exit code."""
    quiet_dependencies()
    try:
        value = json.loads((folder / REQUEST).read_text())
        if value.get("format") != FORMAT:
            raise UsageError(f"this code reads requests of format {FORMAT}, got {value.get('format')!r}")
        rerun(RerunRequest(**value), folder)
    except FullcircleError as error:
        text = json.dumps({"error": type(error).__name__, "what": error.what, "hint": error.hint})
        (folder / ERROR).write_text(text)
        return error.exit_code
    return 0


def rerun(request: RerunRequest, folder: Path) -> None:
    """Load, split, preprocess and train as the request says, and leave the result in the folder."""
    import numpy as np

    from fullcircle.loop.retraining.retrain import split_rows
    from fullcircle.training.launch import launch

    project, until = _project(request), datetime.fromisoformat(request.until)
    code = code_digest(project.folder)
    _, frames = split_rows(project, _rows(project, until), until)
    prepared = prepare(project, frames, folder)
    job = job_of(
        project,
        framework=request.framework,
        data="",
        arrays=prepared.arrays,
        run_id="reproduction",
        folder=folder / JOB,
    )
    made, losses = fingerprint(job, launch(job))
    np.save(folder / LOSSES, losses)
    result = RerunResult(fingerprint=made, requirements=installed()[0], code=code)
    (folder / RESULT).write_text(to_json(result))


def _project(request: RerunRequest) -> Project:
    project = recalled(load_project(request.name, Path(request.root)), request.training, request.compute)
    project = overridden(project, request.overrides)
    # Checkpoints go into the job's folder: what the run left elsewhere stays as it is.
    compute = dataclasses.replace(project.compute, storage=None)
    return dataclasses.replace(project, data=request.data, compute=compute)


def _rows(project: Project, until: datetime) -> Any:
    # What an earlier version took for UTC is taken for it again: these rows were learned from, not asked for anew.
    return load(partitions(project, until), project, until=until, naive_is_utc=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
