"""Trials of a study as MLflow runs: each one's training, its metrics, and how it ended.

A trial ends in the study first and in MLflow then. A kill in between leaves a run that the next start ends as the
study says; a kill before leaves a trial that goes on in its run from its newest checkpoint.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.errors import FullcircleError, TrainingFailed, UsageError
from fullcircle.core.project import Project
from fullcircle.core.project.overrides import overridden
from fullcircle.core.records.training import EpochMetrics, model_params, short_name
from fullcircle.core.security.untrusted import markdown_code
from fullcircle.core.tasks import Task
from fullcircle.loop.training_runs.run_training import delete_workdir, job_folder
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.runs.run_tags import DATA
from fullcircle.training.jobs import job_of
from fullcircle.training.training_loop.train_state import best_epoch

if TYPE_CHECKING:
    from fullcircle.apps.tuning.study import Study, Trial
    from fullcircle.core.records.dataset import DataVersion
    from fullcircle.tracking.runs.run_store import RunState, RunWriter
    from fullcircle.training.jobs import TrainJob

KIND = "trial"
NUMBER, STUDY, PRUNED = "fullcircle.trial", "fullcircle.study", "fullcircle.pruned"
"""Tags of a trial's run; STUDY is its parent's, too."""


def value_name(task: Task) -> str:
    """Metric of a run: what a trial is worth, such as `best_validation_auc`.

    The primary metric on the validation rows at the epoch with the least validation loss: that of the weights that
    would be kept, and what a retrain chooses among its candidates by.
    """
    return f"best_validation_{short_name(task.primary)}"


def worth(history: Mapping[int, EpochMetrics]) -> float:
    """What a training is worth that did these epochs (number -> metrics)."""
    return history[best_epoch(list(history.values()))].primary[1]


@dataclass
class _Open:
    """A trial that is being trained here."""

    trial: Trial
    run: RunWriter
    history: dict[int, EpochMetrics]


class Trials:
    """The trials of one study under its parent run. `begin` gives the job of one; every other method hears of it.

    Args:
        project: with what all trials share already set.
        parent: the study's own run.
        arrays: the training and validation rows of all trials.
    """

    def __init__(
        self,
        project: Project,
        workspace: Workspace,
        framework: str,
        study: Study,
        parent: str,
        data: DataVersion,
        arrays: Path,
    ) -> None:

        self._project, self._workspace, self._framework, self._study = project, workspace, framework, study
        self._parent, self._data, self._arrays = parent, data, arrays
        self._run_store = workspace.run_store
        self._open: dict[str, _Open] = {}
        self._known = self._settled()

    def begin(self, trial: Trial) -> TrainJob:
        """Open the trial's run, that of an earlier process if it has one, and say what to train."""
        project = overridden(self._project, trial.settings)
        run = self._run(trial)
        self._open[run.key] = _Open(trial, run, {})
        run.params(model_params(project.training) | {"framework": self._framework})
        return job_of(
            project,
            framework=self._framework,
            data=self._data.digest,
            arrays=self._arrays,
            run_id=run.key,
            folder=job_folder(self._workspace.settings, run.key),
        )

    def epoch(self, job: TrainJob, metrics: EpochMetrics) -> bool:
        """An epoch was done, or was found done in a checkpoint. Returns whether to go on."""
        here = self._open[job.run_id]
        if metrics.epoch not in here.history:
            here.run.epoch(metrics)
        here.history[metrics.epoch] = metrics
        go_on = self._study.report(here.trial.number, metrics.epoch, worth(here.history))
        return go_on or metrics.epoch >= job.training.epochs  # after the last one there is nothing to save

    def done(self, job: TrainJob) -> Trial:
        """The trial came to its end."""
        here = self._open[job.run_id]
        return self._ended(job, self._study.done(here.trial.number, worth(here.history)))

    def pruned(self, job: TrainJob) -> Trial:
        """The trial was ended, as `epoch` said."""
        return self._ended(job, self._study.pruned(self._open[job.run_id].trial.number))

    def failed(self, job: TrainJob, error: FullcircleError) -> Trial:
        """The trial came to nothing. Raises the error when it is not the trial's own: a full disk ends the search."""
        if not isinstance(error, TrainingFailed | UsageError):
            raise error
        return self._ended(job, self._study.failed(self._open[job.run_id].trial.number, error.what))

    def pause(self) -> None:
        """Leave the trials that are being trained as they are: another call goes on with them."""
        with contextlib.ExitStack() as ends:
            for here in self._open.values():
                ends.callback(here.run.pause, len(here.history))
        self._open.clear()

    def abandon(self, error: BaseException) -> None:
        """The search is stopped by this error: its runs say so, and another call goes on with them."""
        with contextlib.ExitStack() as ends:  # all of them, when Ctrl-C is pressed again while one is ended
            for here in self._open.values():
                ends.callback(here.run.__exit__, type(error), error, None)
        self._open.clear()

    def _run(self, trial: Trial) -> RunWriter:
        known = self._known.pop(trial.number, None)
        if known is not None:
            run = self._run_store.resume(known.run_id, project=self._project)
        else:
            tags = {"fullcircle.framework": self._framework, NUMBER: f"{trial.number}", STUDY: self._study.name}
            name = f"trial {trial.number}"
            run = self._run_store.start(self._project, name=name, kind=KIND, parent=self._parent, tags=tags)
        if known is None or DATA not in known.tags:  # the last of its data; a kill may have come before
            run.note("\n".join(f"- {markdown_code(f'--set {word}')}" for word in trial.settings))
            run.data(self._data)
        return run

    def _ended(self, job: TrainJob, trial: Trial) -> Trial:
        here = self._open.pop(job.run_id)
        finish_trial(here.run, trial, self._project.target)
        delete_workdir(self._workspace.settings, here.run.key)
        return trial

    def _settled(self) -> dict[int, RunState]:
        """End the runs of trials that have ended; returns those of trials that have not: number -> run."""
        trials = {trial.number: trial for trial in self._study.trials}
        running: dict[int, RunState] = {}
        for state in self._run_store.children(self._project, self._parent):
            trial = trials.get(int(state.tags.get(NUMBER, "0")))
            if trial is None:
                continue
            if trial.running:
                if not state.finished:
                    running.setdefault(trial.number, state)
                continue
            if state.status != ("FAILED" if trial.why else "FINISHED"):
                finish_trial(self._run_store.resume(state.run_id), trial, self._project.target)
            delete_workdir(self._workspace.settings, state.key)
        return running


def finish_trial(run: RunWriter, trial: Trial, task: Task) -> None:
    """Tell a trial's run what the trial came to, and end it.

    A pruned one is FINISHED, with a tag: it came to the end that was meant for it, and nobody is to go on with it.
    """
    if trial.why:
        run.end("FAILED", reason=trial.why)
        return
    if trial.value is not None:
        run.metrics({value_name(task): trial.value})
    if trial.pruned:
        run.tags({PRUNED: f"epoch {len(trial.curve)}"})
    run.end()
