"""`fullcircle tune`: hyperparameter search; trials train on the training rows and are scored on the validation rows.

The test rows take no part in it: they are left out before anything is prepared. A study is gone on with under its
name, whatever stopped it, with the rows, the code and the ranges that it began with.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullcircle.apps.tuning.study_request import TuneRequest as TuneRequest
from fullcircle.apps.tuning.study_request import checked, command
from fullcircle.apps.tuning.study_rows import agreed_rows, refuse_others
from fullcircle.apps.tuning.study_run import log_study
from fullcircle.apps.tuning.trials import STUDY, Trials
from fullcircle.core.errors import Preempted, TrainingFailed, UsageError
from fullcircle.core.project import Project
from fullcircle.core.project.search_space import Search
from fullcircle.core.records.training import short_name
from fullcircle.core.settings import Settings
from fullcircle.loop import progress
from fullcircle.loop.outage_retry import retry_outages
from fullcircle.loop.retraining.train_candidates import ARRAYS
from fullcircle.loop.training_runs.run_training import delete_workdir, job_folder, warn_unsent
from fullcircle.loop.workspace import Workspace
from fullcircle.store.file_locks import held
from fullcircle.tracking.runs.run_tags import DATA
from fullcircle.training.launchers.devices import detect_hardware
from fullcircle.training.launchers.sigterm import sigterm_event
from fullcircle.training.worker_pool import EpochDone, JobDone, JobFailed, JobStopped, WorkerPool

if TYPE_CHECKING:
    from fullcircle.apps.tuning.study import Study, Trial
    from fullcircle.core.records.dataset import DataVersion, Split
    from fullcircle.tracking.runs.run_store import RunState, RunWriter

KIND = "tune"
HOPELESS = 3
"""When so many trials ended and all of them failed, the search is at fault."""
SHOWN = 5
LISTEN_S = 0.2
"""How long to wait for a word of a trial before looking at the clock and at whether we are told to stop."""


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """What a study has come to.

    Attributes:
        run_id: the study's own run, the parent of the trials'.
        asked: trials that were wished for; `ended` of them have ended: `done` came to their end, the others were
            `pruned` or `failed`.
        metric: what trials are worth, as people call it.
        best: those that are worth most, the best first.
        present: the trial with the parameters that the project has now; None when the search does not hold them.
        importance: parameter -> its share in what makes trials good.
        command: trains the best, word by word for a shell; empty before there is one.
    """

    project: str
    framework: str
    study: str
    run_id: str
    data: str
    asked: int
    ended: int
    done: int
    pruned: int
    failed: int
    metric: str
    best: tuple[Trial, ...]
    present: Trial | None
    importance: Mapping[str, float]
    command: str


def tune_each(
    project: Project, workspace: Workspace, frameworks: Sequence[str], request: TuneRequest
) -> list[TuneResult]:
    """One study a framework, one after the other; what cannot be is refused before the first. `request.timeout_s` is
    for all of them. Raises as `tune`."""
    began = time.monotonic()
    wishes = [dataclasses.replace(request, framework=framework) for framework in frameworks]
    for each in wishes:
        checked(project, each)
    results = []
    for each in wishes:
        left = None if request.timeout_s is None else max(0.0, request.timeout_s - (time.monotonic() - began))
        results.append(tune(project, workspace, dataclasses.replace(each, timeout_s=left)))
    return results


@retry_outages
def tune(project: Project, workspace: Workspace, request: TuneRequest) -> TuneResult:
    """Search, or go on with the search of that name.

    Raises:
        UsageError: an unknown framework, parameter or range; more workers than cores; another process has the study; or
            its rows, code or ranges are other ones than those that it began with.
        ContractViolated, LeakageFound: nothing was trained.
        Preempted: told to stop; the same command goes on.
        TrainingFailed: the first trials all failed.
    """
    from fullcircle.apps.tuning.study import Study

    shared, search, present = checked(project, request)
    name = "/".join((project.name, request.framework, *([request.study] if request.study else [])))
    with _alone(workspace.settings, name), sigterm_event() as told:
        main = project.target.main
        study = Study(workspace.database, name, search, present, greater_is_better=main.greater_is_better)
        try:
            return _Search(shared, workspace, request, study, search, present, told.is_set).run()
        finally:
            study.close()


class _Search:
    """One call's part of a study."""

    def __init__(
        self,
        project: Project,
        workspace: Workspace,
        request: TuneRequest,
        study: Study,
        search: Search,
        present: Mapping[str, Any],
        told: Callable[[], bool],
    ) -> None:

        self._project, self._workspace, self._wish = project, workspace, request
        self._study, self._search, self._present, self._told = study, search, present, told
        self._run_store = workspace.run_store
        # A dot is in no name: of two studies none has the other's rows.
        self._folder = f"study-{study.name.replace('/', '.')}"
        self._view = progress.current()
        self._ends = math.inf if request.timeout_s is None else time.monotonic() + request.timeout_s

    def run(self) -> TuneResult:
        """Search until all trials have ended, the time is over or somebody says stop."""
        self._run_store.catch_up()  # what it told last may not have been sent
        refuse_others(self._study, self._project, self._search, self._wish.until)
        known, terms = self._parent_run(), self._study.terms
        if known is not None and known.finished and terms is not None and self._ended() >= self._wish.trials:
            delete_workdir(self._workspace.settings, self._folder)
            return self._result(known.run_id, str(terms["data"]))  # nothing was left to tell either
        folder = job_folder(self._workspace.settings, self._folder)
        data, split = agreed_rows(
            self._study, self._project, self._workspace, self._search, self._wish.until, folder / ARRAYS
        )
        with self._run(known, data, split) as run:
            self._search_in(run, data, folder)
            log_study(run, self._study, self._search, self._project.target)
            if (missing := self._wish.trials - self._ended()) > 0:
                self._view.note(f"the time is over with {missing} trials to go; the same command goes on")
                run.pause(self._ended())
        warn_unsent(run)
        if self._ended() >= self._wish.trials:
            delete_workdir(self._workspace.settings, self._folder)
        return self._result(run.id, data.digest)

    def _search_in(self, run: RunWriter, data: DataVersion, folder: Path) -> None:
        request = self._wish
        shared = (run.id, data, folder / ARRAYS)
        here = Trials(self._project, self._workspace, request.framework, self._study, *shared)
        left = deque(trial.number for trial in self._study.trials if trial.running)
        size = max(1, min(request.workers, request.trials - self._ended()))
        threads = max(1, detect_hardware().cores // request.workers)
        try:
            with WorkerPool(size, folder, threads, self._view.note) as pool:
                self._work(pool, here, left)
        except BaseException as error:
            here.abandon(error)
            if isinstance(error, Exception):  # whoever presses Ctrl-C waits for no pictures
                with contextlib.suppress(Exception):  # and why it ends matters more than they do
                    log_study(run, self._study, self._search, self._project.target)
            raise
        here.pause()

    def _work(self, pool: WorkerPool, here: Trials, left: deque[int]) -> None:
        """Keep the pool busy and hear what it tells."""
        while time.monotonic() < self._ends:
            while pool.idle and (trial := self._next(left)) is not None:
                pool.train(here.begin(trial))
            if pool.idle == pool.size:
                return
            for job, message in pool.poll(LISTEN_S):
                self._hear(pool, here, job, message)
            if self._told():
                at = f"{self._ended()} of {self._wish.trials} trials"
                raise Preempted(f"preempted after {at}, resumable: the same command goes on", step=self._ended())

    def _next(self, left: deque[int]) -> Trial | None:
        """The next trial to train: one that was stopped, or a new one; None when enough were begun."""
        if left:
            return self._study.restart(left.popleft())
        return self._study.ask() if len(self._study.trials) < self._wish.trials else None

    def _hear(self, pool: WorkerPool, here: Trials, job: Any, message: Any) -> None:
        match message:
            case EpochDone(metrics=metrics):
                pool.answer(job, here.epoch(job, metrics))
                return
            case JobDone():
                self._tell(here.done(job))
            case JobStopped():
                self._tell(here.pruned(job))
            case JobFailed(error=error):
                self._tell(here.failed(job, error))
                self._refuse_hopeless()

    def _tell(self, trial: Trial) -> None:
        """Say what a trial came to, and what the best is."""
        from fullcircle.apps.tuning.study import best

        words = ", ".join(word.removeprefix("training.") for word in trial.settings)
        metric = short_name(self._project.target.primary).upper()
        if trial.why:
            came_to = f"failed: {trial.why}"
        elif trial.pruned:
            came_to = f"pruned after epoch {len(trial.curve)} at {metric} {trial.value:.4f}"
        else:
            came_to = f"{metric} {trial.value:.4f}"
        top = next(iter(best(self._study.trials)), None)
        beside = f"; best so far {top.value:.4f}, trial {top.number}" if top is not None else ""
        self._view.stage(f"trial {trial.number} of {self._wish.trials}", f"{came_to}{beside} ({words})")
        self._view.advance(f"tune {self._wish.framework}", min(self._ended(), self._wish.trials), self._wish.trials)

    def _ended(self) -> int:
        return sum(not trial.running for trial in self._study.trials)

    def _refuse_hopeless(self) -> None:
        ended = [trial for trial in self._study.trials if not trial.running]
        if len(ended) >= HOPELESS and all(trial.why for trial in ended):
            raise TrainingFailed(
                f"all {len(ended)} trials of study {self._study.name} failed, the last one so: {ended[-1].why}",
                hint="mend that, or the ranges; --study NAME begins another study",
            )

    def _parent_run(self) -> RunState | None:
        """The study's own run, if it has one."""
        found = (run for run in self._run_store.states(self._project, KIND) if run.tags.get(STUDY) == self._study.name)
        return next(found, None)

    @contextlib.contextmanager
    def _run(self, known: RunState | None, data: DataVersion, split: Split | None) -> Iterator[RunWriter]:
        name, ended = self._study.name, self._ended()
        if known is not None:
            self._view.note(f"going on with study {name}, run {known.run_id[:12]}: {ended} trials ended")
            opened = self._run_store.resume(known.run_id, finished=True, project=self._project)
        else:
            tags = {"fullcircle.framework": self._wish.framework, STUDY: name}
            opened = self._run_store.start(self._project, name=f"tune {name}", kind=KIND, tags=tags)
        with opened as run:
            run.params({"search": {key: f"{each}" for key, each in self._search.items()}})
            if known is None or DATA not in known.tags:  # a kill may have come before it was told
                run.data(data, split)
            yield run

    def _result(self, run_id: str, data: str) -> TuneResult:
        from fullcircle.apps.tuning.study import TrialStatus, best

        all_trials = self._study.trials
        states = Counter(trial.state for trial in all_trials)
        top = tuple(best(all_trials, SHOWN))
        first = all_trials[0] if all_trials else None
        return TuneResult(
            project=self._project.name,
            framework=self._wish.framework,
            study=self._study.name,
            run_id=run_id,
            data=data,
            asked=self._wish.trials,
            ended=len(all_trials) - states[TrialStatus.RUNNING],
            done=states[TrialStatus.DONE],
            pruned=states[TrialStatus.PRUNED],
            failed=states[TrialStatus.FAILED],
            metric=self._project.target.main.title,
            best=top,
            present=first if first is not None and dict(first.parameters) == dict(self._present) else None,
            importance=self._study.importance(),
            command=command(self._project, self._wish, top[0]) if top else "",
        )


@contextlib.contextmanager
def _alone(settings: Settings, name: str) -> Iterator[None]:
    with held(settings.folder("locks") / f"study-{name.replace('/', '.')}.lock") as ours:
        if not ours:
            raise UsageError(
                f"study {name} is being searched by another process",
                hint="wait for it, or stop it; --workers N trains N trials at a time",
            )
        yield
