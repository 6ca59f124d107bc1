"""The table of trainers: one entry for each family of models. A family's module is imported when it is asked for.

To add a family: a module with a value `TRAINER` that keeps `ports.Trainer`'s guarantees, an entry here, and a
`ModelSpec` in `core.project.model_specs` by which a project names it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Compute, ModelFunction, Task, Training
from fullcircle.core.project.model_specs import BASELINE
from fullcircle.core.records.training import Arrays, EpochMetrics, Fitted
from fullcircle.training.jobs import RankJob
from fullcircle.training.parameters import for_model
from fullcircle.training.ports import Trainer
from fullcircle.training.results import read_result
from fullcircle.training.training_loop.event_log import NullListener


@dataclass(frozen=True, kw_only=True)
class Family:
    """Where a family's trainer is, and what is known of it without importing it.

    Attributes:
        module: has the value `TRAINER`.
        extra: of the package `fullcircle`, which installs what the module imports.
        one_process: why it is always trained in the process that launches it; empty: any launcher will do.
    """

    module: str
    extra: str = ""
    one_process: str = ""


FAMILIES = {
    BASELINE: Family(
        module="fullcircle.training.on_sklearn.baseline", one_process="the baseline is solved in one process"
    ),
    "torch": Family(module="fullcircle.training.on_torch.framework", extra="torch"),
    "keras": Family(module="fullcircle.training.on_keras.framework", extra="tensorflow"),
}


def trainer(family: str) -> Trainer:
    """The trainer of a family of models.

    Raises:
        UsageError: no such family, or what it needs is not installed: the line names the extra to install.
    """
    if family not in FAMILIES:
        raise UsageError(f"no trainer for {family!r}", hint=f"there are {', '.join(FAMILIES)}")
    entry = FAMILIES[family]
    try:
        found: Trainer = importlib.import_module(entry.module).TRAINER
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "fullcircle":
            raise
        raise UsageError(
            f"the framework {family!r} cannot be imported ({error})", hint=f'pip install "fullcircle[{entry.extra}]"'
        ) from error
    return found


class _OnEpoch(NullListener):
    def __init__(self, on_epoch: Callable[[EpochMetrics], None]) -> None:
        self._on_epoch = on_epoch

    def epoch(self, metrics: EpochMetrics) -> None:
        self._on_epoch(metrics)


def fit(
    family: str,
    build: ModelFunction | None,
    arrays: Arrays,
    training: Training,
    *,
    task: Task,
    folder: Path,
    compute: Compute = Compute(),  # noqa: B008 - it is frozen
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
) -> Fitted:
    """Fit one model in this process, with the very function and arrays: what `launch` does, for a notebook.

    Args:
        folder: gets checkpoints, event log and result; a fit on one that was stopped goes on from there.

    Raises:
        FullcircleError: as the trainer's `check` and `fit`.
    """
    chosen = trainer(family)
    job = RankJob(
        project="",
        task=task,
        build=build,
        arrays=arrays,
        training=for_model(training, family),
        compute=compute,
        storage=str(folder / "checkpoints"),
        folder=folder,
    )
    chosen.check(job, 1)
    chosen.fit(job, _OnEpoch(on_epoch))
    return chosen.fitted(job, read_result(folder))
