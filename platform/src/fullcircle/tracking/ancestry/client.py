"""Reads what MLflow still knows of runs, versions and artifacts through its client: any store, after a slow import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from fullcircle.core.dataset import DataVersion
from fullcircle.core.errors import DataUnavailable, ModelUnavailable
from fullcircle.core.leftovers import temporary
from fullcircle.core.models import ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.tracking.ancestry.record import RunRecord, run_record
from fullcircle.tracking.client import connect, translated, waiting
from fullcircle.tracking.lineage import DATA, DIGEST, data_version

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun


class Ancestry:
    """Reads runs, versions and artifacts of all projects; what is gone is None, no error.

    Every method raises TrackingUnavailable when the store does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _client(self) -> MlflowClient:
        return connect(self._settings)

    def run(self, run_id: str) -> RunRecord | None:
        """The run with this id, also from the trash; None when there is none."""
        from mlflow.exceptions import MlflowException

        with translated(self._settings, f"reading run {run_id}"):
            try:
                return _record(self._client.get_run(run_id))
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise

    def version(self, name: str, number: str) -> ModelVersion | None:
        """The registered version with this number; None when there is none."""
        from fullcircle.tracking.registry import Registry

        try:
            return Registry(self._settings).version(name, number)
        except ModelUnavailable:
            return None

    def runs(self, where: str = "") -> Iterator[RunRecord]:
        """Runs of all experiments that fit MLflow's filter, those in the trash as well, newest first."""
        from mlflow.entities import ViewType

        with translated(self._settings, "searching runs"):
            every = [each.experiment_id for each in self._client.search_experiments(view_type=ViewType.ALL)]
            token: str | None = None
            while every:
                page = self._client.search_runs(every, where, ViewType.ALL, max_results=1000, page_token=token)
                yield from map(_record, page)
                token = page.token
                if not token:
                    return

    def run_of_graph(self, digest: str) -> RunRecord | None:
        """The run that registered a graph with this digest, whether or not its version is still registered."""
        if not digest.isalnum():
            return None
        with translated(self._settings, f"looking for the run of the graph {digest[:12]}"):
            every = [each.experiment_id for each in self._client.search_experiments()]
            where = f"tags.`{DIGEST}` = '{digest}'"
            found = self._client.search_logged_models(every, filter_string=where, max_results=1) if every else []
        return self.run(found[0].source_run_id) if found and found[0].source_run_id else None

    def graphs(self) -> Mapping[str, str]:
        """Run id -> digest of the graph that it registered, whether or not its version is still registered."""
        found: dict[str, str] = {}
        with translated(self._settings, "listing the graphs of runs"):
            every = [each.experiment_id for each in self._client.search_experiments()]
            token: str | None = None
            while every:
                page = self._client.search_logged_models(every, page_token=token)
                found |= {each.source_run_id or "": each.tags[DIGEST] for each in page if DIGEST in each.tags}
                token = page.token
                if not token:
                    break
        return found

    def text(self, run: RunRecord, artifact_path: str) -> str | None:
        """A text artifact of the run; None when it has none of that name."""
        with translated(self._settings, f"fetching {artifact_path} of run {run.run_id}"):
            folder = _local(run.artifacts)
            found = _read(folder / artifact_path) if folder else self._fetched(run, artifact_path)
        return None if found is None else found.decode(errors="replace")

    def _fetched(self, run: RunRecord, artifact_path: str) -> bytes | None:
        """An artifact that is not on this machine; None when there is none of that name."""
        from mlflow.exceptions import MlflowException
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with temporary(self._settings.folder("tmp")) as aside:
            # Not the client's own download, which would ask for the run again, twice.
            found = get_artifact_repository(run.artifacts, tracking_uri=self._settings.tracking_uri)
            repository = waiting(self._settings, found)
            try:
                path = repository.download_artifacts(artifact_path, str(aside))  # type: ignore[no-untyped-call]
                return Path(path).read_bytes()
            except (OSError, MlflowException):
                folder = artifact_path.rpartition("/")[0]
                if any(
                    each.path == artifact_path and not each.is_dir for each in repository.list_artifacts(folder or None)
                ):
                    raise
        return None

    def data(self, run: RunRecord) -> DataVersion | None:
        """The data version that is kept with the run; None when it is not there, or damaged."""
        text = self.text(run, DATA)
        try:
            return data_version(text) if text is not None else None
        except DataUnavailable:
            return None


def _local(uri: str) -> Path | None:
    """The folder of an artifact URI that is on this machine."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(url2pathname(parts.path))
    return Path(uri) if not parts.scheme and uri.startswith("/") else None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _record(run: MlflowRun) -> RunRecord:
    info = run.info
    return run_record(
        run_id=info.run_id,
        experiment_id=info.experiment_id,
        name=info.run_name,
        status=info.status,
        stage=info.lifecycle_stage,
        started_ms=info.start_time,
        ended_ms=info.end_time,
        artifacts=info.artifact_uri,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
    )
