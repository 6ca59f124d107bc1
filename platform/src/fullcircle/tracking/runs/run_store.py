"""All MLflow runs of the platform: start, resume, end, find, and read what they have."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Project
from fullcircle.core.records.dataset import DataVersion
from fullcircle.core.settings import Settings
from fullcircle.tracking.connection.client import connect, translated
from fullcircle.tracking.provenance.origin import Origin, origin_of, said_in_tags
from fullcircle.tracking.provenance.run_provenance import provenance
from fullcircle.tracking.runs import run_lookup, run_resume, run_start
from fullcircle.tracking.runs.experiments import experiment_id, experiment_tags
from fullcircle.tracking.runs.metrics import MetricDedup
from fullcircle.tracking.runs.run_resume import RunState, is_gone, last_steps, ref, state
from fullcircle.tracking.runs.run_schema import COMMIT, DATA, PROVENANCE, data_version
from fullcircle.tracking.runs.run_tags import KIND, PROJECT
from fullcircle.tracking.runs.run_writer import RunWriter
from fullcircle.tracking.spool.sync import spool_dirs_of, sync, sync_run
from fullcircle.tracking.ui.review import review_page
from fullcircle.tracking.ui.ui_links import run_page

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

__all__ = ["RunState", "RunStore", "RunWriter"]


class RunStore:
    """Runs of all projects on the settings' MLflow. Nothing is read or written before the first call.

    Every method but `start` raises TrackingUnavailable when the store does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _client(self) -> MlflowClient:
        return connect(self._settings)

    def prepare(self) -> None:
        """Make the store if it is missing (3 s, once), so that a server may be started on it."""
        self._client  # noqa: B018 - connecting is the effect

    def start(
        self,
        project: Project,
        *,
        name: str,
        kind: str,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> RunWriter:
        """Start a run in the project's experiment; use it as a context manager.

        Args:
            name: run name, as the UI shows it.
            kind: `retrain` for a parent run, `candidate` for one framework's model, or another word of the caller.
            parent: run id of the parent run, under which the UI groups this one.

        While a tracking server is away, the run begins in its spool, under an id of its own, and gets its MLflow run,
        with the time of its beginning, when the server answers.

        Raises:
            UsageError: the server asks for credentials.
            TrackingUnavailable: the store cannot be used, and waiting would not help.
        """
        about = {
            PROJECT: project.name,
            KIND: kind,
            **({"mlflow.parentRunId": parent} if parent else {}),
        }
        return run_start.start(project, self._settings, lambda: self._client, name=name, tags={**about, **(tags or {})})

    def append(self, run_id: str) -> RunWriter:
        """A run to add artifacts, tags and metrics to, whatever its status, which stays as it is. A metric that it has
        keeps its value: a retrain that was killed logs again what it had logged before."""
        if any(each.metadata().run_id is None for each in spool_dirs_of(self._settings, run_id)):
            sync_run(self._settings, run_id)  # it began while the tracker was away, which does not know it yet
        found = self._get(self.find(run_id))
        return RunWriter(
            self._client,
            self._settings,
            found.info.run_id,
            found.info.experiment_id,
            spool=None,
            ref=ref(found),
            begun_ms=found.info.start_time or 0,
            had=lambda: self._had(found.info.run_id),
            environment=lambda: self._said(found.info.run_id, found.data.tags).environment,
            params=dict(found.data.params),
        )

    def resume(self, run_id: str, *, finished: bool = False, project: Project | None = None) -> RunWriter:
        """Open a run again that stopped before its end; use it as a context manager. It keeps its id and its points:
        a metric that it has for a step is not logged a second time.

        Args:
            finished: also one that came to its end, and has more to log since.
            project: whose code goes on with it; a run that was killed before it could say where it comes from is then
                logged so, if its commit is the same.

        Raises:
            UsageError: no such run, one that is finished (unless that is asked for), or one whose process is still at
                work.
            TrackingUnavailable: what it logged before cannot be sent, so nobody knows which points it has.
        """
        run_id = self.find(run_id)
        self._refuse_unless_stopped(run_id, finished)
        sync_run(self._settings, run_id)  # else what it logged before would be sent behind what it logs now
        found = self._refuse_unless_stopped(run_id, finished)  # what it logged may have been its end
        run = run_resume.reopen(self._client, self._settings, found)
        if project is not None:
            try:
                self._make_up(found, run, project)
            except BaseException as error:
                run.__exit__(type(error), error, None)
                raise
        return run

    def _make_up(self, found: MlflowRun, run: RunWriter, project: Project) -> None:
        """What a kill kept a run from saying of its origin is said by whoever goes on with it, with the same code."""
        if said_in_tags(found.data.tags) or self._has_artifact(found.info.run_id, PROVENANCE):
            return
        origin = provenance(project.folder)
        if origin.commit == found.data.tags.get(COMMIT, ""):
            run_start.keep(origin, run, {**found.data.tags, **run_resume.process_tags()}, found.info.start_time or 0)

    def _refuse_unless_stopped(self, run_id: str, finished: bool) -> MlflowRun:
        found = self._get(run_id)
        if not (finished and found.info.status == "FINISHED"):
            run_resume.refuse_unless_stopped(found)
        return found

    def give_up(self, run_id: str, why: str) -> None:
        """End a stopped run as KILLED, with the reason: nobody will resume it."""
        run_resume.give_up(self._client, self._settings, run_id, why)

    def state(self, reference: str) -> RunState:
        """How a run (id, unique beginning of an id, or name) stands. Raises UsageError when there is none."""
        return state(self._get(self.find(reference)))

    def states(self, project: Project, kind: str) -> tuple[RunState, ...]:
        """The project's runs of one kind, newest first."""
        return self._states(project, f"tags.`{KIND}` = '{kind}'")

    def children(self, project: Project, parent: str) -> tuple[RunState, ...]:
        """The runs under a parent run, newest first."""
        return self._states(project, f"tags.`mlflow.parentRunId` = '{parent}'")

    def _states(self, project: Project, where: str) -> tuple[RunState, ...]:
        found = run_lookup.search(self._client, self._settings, where, [self.experiment_id(project)])
        return tuple(state(run) for run in found)

    def experiment_id(self, project: Project) -> str:
        """The id of the project's experiment, which is made if it is missing. Safe in two processes at once."""
        return experiment_id(self._client, self._settings, project.name, experiment_tags(project))

    def catch_up(self) -> None:
        """Send what stopped processes left in the spool of this home. What cannot be sent is left there."""
        sync(self._settings)

    def find(self, reference: str) -> str:
        """The run id behind an id, a unique beginning of an id, or a run name.

        Raises:
            UsageError: with the nearest ids and names when there is none, or with the ids when there are several.
        """
        return run_lookup.find(self._client, self._settings, reference)

    def data_version(self, run_id: str) -> DataVersion:
        """The data that a run (id, unique beginning of an id, or name) was trained on; a parent's for its children.

        Raises:
            UsageError: when there is no such run, with the nearest ids.
            DataUnavailable: when that run names no data.
        """
        return data_version(self._artifact_text(self.find(run_id), DATA))

    def origin(self, state: RunState) -> Origin:
        """Where a run's code lay, and what was installed. Of a run that does not say it, nothing."""
        return self._said(state.run_id, state.tags)

    def _said(self, run_id: str, tags: Mapping[str, str]) -> Origin:
        text = None
        if not said_in_tags(tags):
            with contextlib.suppress(DataUnavailable):
                text = self.download(run_id, PROVENANCE).read_text(encoding="utf-8")
        return origin_of(text, tags)

    def split(self, run_id: str) -> dict[str, object]:
        """The split that a run used: `train`, `validation`, `test` (start, end, rows, positives) and `leakage`."""
        value = json.loads(self._artifact_text(self.find(run_id), "data/split.json"))
        assert isinstance(value, dict)
        return value

    def link(self, run_id: str, artifact: str = "") -> str:
        """The page of a run, or of an artifact of it, relative to the MLflow UI: `#/experiments/<id>/runs/<id>`."""
        info = self._get(run_id).info
        return run_page(info.experiment_id, info.run_id, artifact)

    def review_link(self, run_id: str) -> str:
        """The runs of this one's project in the view that a reviewer wants, relative to the address of the UI."""
        return review_page(self._get(run_id).info.experiment_id)

    def download(self, run_id: str, artifact_path: str) -> Path:
        """An artifact (or folder of artifacts) as local path; do not write to it. Raises DataUnavailable."""
        run = self.find(run_id)
        kept = self._settings.folder("downloads", run)
        with translated(self._settings, f"fetching {artifact_path} of run {run}"):
            from mlflow.exceptions import MlflowException

            try:
                path = Path(self._client.download_artifacts(run, artifact_path, str(kept)))
            except (OSError, MlflowException) as error:
                if not self._has_artifact(run, artifact_path):
                    raise DataUnavailable(f"run {run} has no artifact {artifact_path}") from error
                raise
        return path

    def end_abandoned(self, project: Project) -> int:
        """End (KILLED) the runs of this project whose process on this machine is gone; returns how many.

        A process is told from a later one with the same id by its start time and the machine's boot. A run that was
        ended so may still be resumed, as a preempted one, which is not touched.
        """
        self.catch_up()
        gone = [run for run in self._states(project, "attributes.status = 'RUNNING'") if is_gone(run.tags)]
        for run in gone:
            self.give_up(run.run_id, "its process ended without ending the run")
        return len(gone)

    def _had(self, run_id: str) -> MetricDedup:
        sync(self._settings, run_id)  # what stopped processes logged of the run and MLflow does not have yet
        return MetricDedup(last_steps(self._get(run_id)))

    def _get(self, run_id: str) -> MlflowRun:
        return run_lookup.get(self._client, self._settings, run_id)

    def _has_artifact(self, run_id: str, artifact_path: str) -> bool:
        folder = artifact_path.rpartition("/")[0]
        return any(each.path == artifact_path for each in self._client.list_artifacts(run_id, folder or None))

    def _artifact_text(self, run_id: str, artifact_path: str) -> str:
        """The artifact of the run, or of its parent: a retrain keeps its data once for all its candidates."""
        try:
            return self.download(run_id, artifact_path).read_text(encoding="utf-8")
        except DataUnavailable:
            parent = self._get(run_id).data.tags.get("mlflow.parentRunId")
            if parent is None:
                raise
        return self._artifact_text(parent, artifact_path)
