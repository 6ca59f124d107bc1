"""What MLflow still knows of runs, their artifacts and their data: only read, and what is gone is None, no error."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.dataset import DataVersion
from fullcircle.core.errors import DataUnavailable
from fullcircle.core.settings import Settings
from fullcircle.tracking.client import connect, translated
from fullcircle.tracking.lineage import DATA, DATA_DIGEST, data_version
from fullcircle.tracking.pages import run_page
from fullcircle.tracking.registry import DIGEST

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as MLflow has it.

    Attributes:
        deleted: it is in MLflow's trash, from which it can be restored.
        link: its page, relative to the address of the MLflow UI.
        artifacts: where its artifacts are, as a URI.
    """

    run_id: str
    name: str
    status: str
    deleted: bool
    started: datetime
    ended: datetime | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    link: str
    artifacts: str

    @property
    def project(self) -> str:
        """The project that it is of, "" when the platform did not start it."""
        return self.tags.get("fullcircle.project", "")

    @property
    def kind(self) -> str:
        """What it was for: `retrain`, `candidate`, `train`."""
        return self.tags.get("fullcircle.kind", "")

    @property
    def parent(self) -> str:
        """The run that this one is under, "" when there is none."""
        return self.tags.get("mlflow.parentRunId", "")

    @property
    def data_digest(self) -> str:
        """The data version that it learned from, "" when it names none."""
        return self.tags.get(DATA_DIGEST, "")


class Ancestry:
    """Reads runs of all projects. Every method raises TrackingUnavailable when the store does not answer."""

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
        from mlflow.exceptions import MlflowException
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        doing = f"fetching {artifact_path} of run {run.run_id}"
        with (
            translated(self._settings, doing),
            tempfile.TemporaryDirectory(dir=self._settings.folder("tmp")) as aside,
        ):
            # Not the client's own download, which would ask for the run again, twice.
            repository = get_artifact_repository(run.artifacts, tracking_uri=self._settings.tracking_uri)
            try:
                path = repository.download_artifacts(artifact_path, aside)  # type: ignore[no-untyped-call]
                return Path(path).read_text(encoding="utf-8", errors="replace")
            except (OSError, MlflowException):
                folder = artifact_path.rpartition("/")[0]
                if any(each.path == artifact_path for each in repository.list_artifacts(folder or None)):
                    raise
        return None

    def data(self, run: RunRecord) -> DataVersion | None:
        """The data version that is kept with the run; None when it is not there, or damaged."""
        text = self.text(run, DATA)
        try:
            return data_version(text) if text is not None else None
        except DataUnavailable:
            return None


def _record(run: MlflowRun) -> RunRecord:
    info = run.info
    return RunRecord(
        run_id=info.run_id,
        name=info.run_name or "",
        status=info.status,
        deleted=info.lifecycle_stage == "deleted",
        started=_moment(info.start_time or 0),
        ended=_moment(info.end_time) if info.end_time else None,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        link=run_page(info.experiment_id, info.run_id),
        artifacts=info.artifact_uri or "",
    )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
