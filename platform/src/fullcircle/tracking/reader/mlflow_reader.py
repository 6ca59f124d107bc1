"""Reads runs, model versions and artifacts through MLflow's client: any store, after a slow import."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from fullcircle.core.errors import DataUnavailable, ModelUnavailable
from fullcircle.core.records.dataset import DataVersion
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import write_whole
from fullcircle.core.system.temporary_folders import temporary
from fullcircle.store.json_values import to_json
from fullcircle.tracking.connection.client import connect, retrying, translated
from fullcircle.tracking.reader.records import RegisteredModel, RunRecord, run_record
from fullcircle.tracking.reader.run_query import RunQuery, brief, matching
from fullcircle.tracking.runs.run_schema import DATA, DIGEST, data_version
from fullcircle.tracking.runs.run_tags import DATA as DATA_TAG
from fullcircle.tracking.runs.run_tags import PROJECT, filters

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun


class MlflowReader:
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
        from fullcircle.tracking.registry.model_registry import Registry

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

    def list_runs(self, wanted: RunQuery) -> tuple[RunRecord, ...]:
        """The runs that are asked for, newest first, as they stand in a list: see `wanted`."""
        return matching((run for where in wanted.filters() for run in self.runs(where)), wanted)

    def holders(self, digests: Collection[str] = (), project: str | None = None) -> Mapping[str, tuple[RunRecord, ...]]:
        """Data version -> the runs that learned from it, newest first; of these versions, or of all that there are."""
        wanted = RunQuery(data=frozenset(digests), project=project)
        runs = self.list_runs(wanted) if digests else self._all_with_data(project)
        found: dict[str, list[RunRecord]] = {}
        for run in runs:
            if run.project and run.data_digest:
                found.setdefault(run.data_digest, []).append(run)
        return {digest: tuple(each) for digest, each in found.items()}

    def _all_with_data(self, project: str | None) -> tuple[RunRecord, ...]:
        of = f" and tags.`{PROJECT}` = '{project}'" if project is not None else ""
        found = [brief(run) for where in filters(DATA_TAG, "LIKE '%'") for run in self.runs(where + of)]
        return tuple(sorted(found, key=lambda run: (-run.started.timestamp(), run.run_id)))

    def data_version(self, digest: str, holders: Iterable[RunRecord]) -> DataVersion | None:
        """The data version of this digest, from the first of these runs that keeps it; None when none does.

        What was fetched from a server is kept under home: a digest never means anything else.
        """
        kept = self._settings.home / "downloads" / "data" / f"{digest}.json"
        for run in holders:
            if _local(run.artifacts) is not None:
                if (found := self.data(run)) is not None:
                    return found
                continue
            if (known := _kept(kept, digest)) is not None:
                return known
            if (found := self.data(run)) is not None:
                self._settings.folder("downloads", "data")
                write_whole(kept, to_json(found))
                return found
        return None

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """All registered versions, newest first; empty when the model does not exist."""
        from fullcircle.tracking.registry.model_registry import Registry

        return Registry(self._settings).versions(name)

    def model(self, name: str) -> RegisteredModel | None:
        """The registered model's aliases and tags; None when there is none."""
        from mlflow.exceptions import MlflowException

        with translated(self._settings, f"reading the registered model {name}"):
            try:
                found = self._client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}:
                    return None
                raise
        return RegisteredModel(aliases={key: str(each) for key, each in found.aliases.items()}, tags=dict(found.tags))

    def copies(self, name: str) -> tuple[str, ...]:
        """Numbers of the versions that MLflow copied from another model's, the oldest first."""
        found: list[str] = []
        token: str | None = None
        with translated(self._settings, f"looking for copies among the versions of {name}"):
            while True:
                page = self._client.search_model_versions(copied(name), max_results=200, page_token=token)
                found += [str(each.version) for each in page]
                token = page.token
                if not token:
                    return tuple(sorted(found, key=int))

    def run_of_graph(self, digest: str) -> RunRecord | None:
        """The run that registered a graph with this digest, whether or not its version is still registered."""
        if not digest.isalnum():
            return None
        with translated(self._settings, f"looking for the run of the graph {digest[:12]}"):
            every = [each.experiment_id for each in self._client.search_experiments()]
            where = f"tags.`{DIGEST}` = '{digest}'"
            found = self._client.search_logged_models(every, filter_string=where, max_results=1) if every else []
        return self.run(found[0].source_run_id) if found and found[0].source_run_id else None

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
            repository = retrying(self._settings, found)
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


def copied(name: str) -> str:
    """MLflow's filter for the versions of a model that are copies of another one's."""
    return f"name = '{name}' AND source_path LIKE 'models:/%'"


def _kept(path: Path, digest: str) -> DataVersion | None:
    try:
        found = data_version(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, DataUnavailable):
        return None
    return found if found.digest == digest else None


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
