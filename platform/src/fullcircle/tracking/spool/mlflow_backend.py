"""The spool's MLflow backend: every request may be repeated without duplicates."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.errors import TrackingUnavailable
from fullcircle.core.settings import Settings
from fullcircle.tracking.connection.client import address, connect, is_server, translated
from fullcircle.tracking.connection.connectivity import probe
from fullcircle.tracking.connection.rest import Rest
from fullcircle.tracking.runs.run_tags import SPOOL, filters
from fullcircle.tracking.spool.spool_dir import NewRun
from fullcircle.tracking.spool.spool_file import Artifact, Inputs, Params, Point, Status, Tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

_CREATE = "/api/2.0/mlflow/runs/create"


class MlflowBackend:
    """A `spool.backend.Backend` to the settings' MLflow.

    Args:
        client: None: one is connected now. Raises as `tracking.connection.client.connect`.
    """

    def __init__(self, settings: Settings, client: MlflowClient | None = None) -> None:
        self._settings = settings
        self._client = client or connect(settings)

    @cached_property
    def _rest(self) -> Rest:
        return Rest(self._settings)

    @contextlib.contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        """The spool asks again by itself: a server at which nobody listens is not asked four times, for 15 s."""
        with translated(self._settings, doing):
            if is_server(self._settings):
                probe(self._settings.tracking_uri)
            yield

    def create_run(self, begin: NewRun, key: str) -> str:
        """The run that was begun for this spool, found by its tag or made now: an earlier request may have made it, and
        its answer was lost."""
        with self._asking(f"starting run {begin.name!r} of {begin.experiment}"):
            experiment = self._experiment(begin)
            for where in filters(SPOOL, f"= '{key}'"):
                if found := self._client.search_runs([experiment], where, max_results=1):
                    return str(found[0].info.run_id)
        return self.create_new_run(begin, key)[0]

    def create_new_run(self, begin: NewRun, key: str) -> tuple[str, str]:
        """(run id, experiment id) of a run that is made now for a spool of which the tracker was never told before.

        Raises:
            TrackerAway: nobody knows whether it was made; `create_run` finds out.
        """
        with self._asking(f"starting run {begin.name!r} of {begin.experiment}"):
            experiment, tags = self._experiment(begin), {**begin.tags, SPOOL: key}
            if is_server(self._settings):
                return self._make_once(experiment, begin, tags), experiment
            made = self._client.create_run(experiment, begin.started_ms, tags=tags, run_name=begin.name)
        return str(made.info.run_id), experiment

    @cached_property
    def log_points(self) -> Callable[[str, Sequence[Point]], None]:
        """Log at most 1,000 points in one request: of a server the connection's own method, into a database ours."""
        return self._rest.log_points if is_server(self._settings) else self._insert_points

    def log(self, run_id: str, entry: Params | Tags | Inputs) -> None:
        """Log parameters, tags or a dataset."""
        from mlflow.entities import Param, RunTag

        match entry:
            case Params():
                params = [Param(key, value) for key, value in entry.values.items()]
                with self._asking(f"logging parameters of run {run_id}"):
                    for start in range(0, len(params), 100):  # MLflow's limit for one request
                        self._client.log_batch(run_id, params=params[start : start + 100])
            case Tags():
                tags = [RunTag(key, value) for key, value in entry.values.items()]
                with self._asking(f"tagging run {run_id}"):
                    for start in range(0, len(tags), 100):
                        self._client.log_batch(run_id, tags=tags[start : start + 100])
            case Inputs():
                self._inputs(run_id, entry)

    def get_tags(self, run_id: str) -> Mapping[str, str]:
        """The tags that the run has."""
        with self._asking(f"reading run {run_id}"):
            return dict(self._client.get_run(run_id).data.tags)

    def upload(self, run_id: str, path: Path, artifact: Artifact) -> None:
        """Upload a file and look at its size there. Raises TrackingUnavailable when it is not there in full."""
        with self._asking(f"keeping {path.name} with run {run_id}"):
            self._client.log_artifact(run_id, str(path), artifact.folder or None)
        if not self.has_artifact(run_id, artifact):
            raise TrackingUnavailable(
                f"{path.name} was uploaded for run {run_id} and is not there with its {artifact.size} bytes"
            )

    def has_artifact(self, run_id: str, artifact: Artifact) -> bool:
        """Whether the run has this artifact with this size; stores that do not tell sizes are believed."""
        name = Path(artifact.file).name
        wanted = f"{artifact.folder}/{name}" if artifact.folder else name
        with self._asking(f"looking for {wanted} of run {run_id}"):
            found = self._client.list_artifacts(run_id, artifact.folder or None)
        return any(each.path == wanted and each.file_size in (None, artifact.size) for each in found)

    def set_status(self, run_id: str, status: Status) -> None:
        """Set the run's status; one that may be resumed gets no time of its end."""
        with self._asking(f"ending run {run_id}"):
            if status.status in ("RUNNING", "SCHEDULED"):
                self._client.update_run(run_id, status=status.status)
            else:
                self._client.set_terminated(run_id, status.status, status.at_ms)

    def _insert_points(self, run_id: str, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        with translated(self._settings, f"logging metrics of run {run_id}"):
            self._client.log_batch(run_id, metrics=[Metric(*point) for point in points])

    def _experiment(self, begin: NewRun) -> str:
        from fullcircle.tracking.runs.experiments import experiment_id

        return experiment_id(self._client, self._settings, begin.experiment, begin.experiment_tags)

    def _inputs(self, run_id: str, entry: Inputs) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(entry.name, entry.digest, entry.source_type, entry.source, profile=entry.profile)
        with self._asking(f"logging the data of run {run_id}"):
            context = InputTag("mlflow.data.context", entry.context)
            self._client.log_inputs(run_id, [DatasetInput(dataset, [context])])

    def _make_once(self, experiment: str, begin: NewRun, tags: dict[str, str]) -> str:
        """The request of `create_run`, which MLflow's client repeats when no answer comes: each one makes a run."""
        body = {
            "experiment_id": experiment,
            "user_id": tags.get("mlflow.user", "unknown"),
            "start_time": begin.started_ms,
            "run_name": begin.name,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        answer = self._rest.post(_CREATE, body)
        try:
            return str(answer["run"]["info"]["run_id"])
        except (KeyError, TypeError) as error:
            what = f"{address(self._settings)} answered without a run when asked for {begin.name!r}"
            raise TrackingUnavailable(what, hint="is MLFLOW_TRACKING_URI an MLflow server?") from error
