"""Reads runs, versions and artifacts from an MLflow server by its REST API: without a second of imports."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from urllib.parse import quote, urlsplit

from fullcircle.core.models import ModelVersion
from fullcircle.tracking.ancestry.client import Ancestry
from fullcircle.tracking.ancestry.record import RunRecord, run_record, version_record
from fullcircle.tracking.client import translated
from fullcircle.tracking.rest import Refused, Rest

_API, _FILES = "/api/2.0/mlflow", "/api/2.0/mlflow-artifacts/artifacts"
_GONE = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")


class OfServer(Ancestry):
    """As `Ancestry`, whose slower way it goes for what is asked seldom."""

    @cached_property
    def _rest(self) -> Rest:
        return Rest(self._settings)

    def run(self, run_id: str) -> RunRecord | None:
        """The run with this id, also from the trash; None when there is none."""
        with translated(self._settings, f"reading run {run_id}"):
            found = self._asked("runs/get", run_id=run_id)
        return None if found is None else _run(found["run"])

    def version(self, name: str, number: str) -> ModelVersion | None:
        """The registered version with this number; None when there is none."""
        with translated(self._settings, f"reading version {number} of {name}"):
            found = self._asked("model-versions/get", name=name, version=number)
        if found is None:
            return None
        version = found["model_version"]
        return version_record(
            name=version["name"],
            version=str(version["version"]),
            run_id=version.get("run_id"),
            created_ms=int(version["creation_timestamp"]),
            aliases=version.get("aliases", ()),
            tags=_pairs(version.get("tags", ())),
        )

    def _fetched(self, run: RunRecord, artifact_path: str) -> bytes | None:
        """An artifact that the server hands out; of other stores by MLflow's client."""
        where = urlsplit(run.artifacts)
        if where.scheme != "mlflow-artifacts" or where.netloc:
            return super()._fetched(run, artifact_path)
        try:
            return self._rest.content(_FILES + quote(f"/{where.path.strip('/')}/{artifact_path}"))
        except Refused:
            folder = artifact_path.rpartition("/")[0]
            listed = self._asked("artifacts/list", run_id=run.run_id, path=folder) or {}
            if any(each["path"] == artifact_path and not each.get("is_dir") for each in listed.get("files", ())):
                raise
        return None

    def _asked(self, what: str, **query: str) -> Any:
        """What the server says; None when it says that there is no such thing."""
        try:
            return self._rest.get(f"{_API}/{what}", query)
        except Refused as error:
            if error.error_code in _GONE:
                return None
            raise


def _run(run: Any) -> RunRecord:
    info, data = run["info"], run.get("data", {})
    return run_record(
        run_id=info["run_id"],
        experiment_id=info["experiment_id"],
        name=info.get("run_name"),
        status=info["status"],
        stage=info["lifecycle_stage"],
        started_ms=info.get("start_time"),
        ended_ms=info.get("end_time"),
        artifacts=info.get("artifact_uri"),
        tags=_pairs(data.get("tags", ())),
        params=_pairs(data.get("params", ())),
    )


def _pairs(found: Any) -> dict[str, str]:
    return {each["key"]: each.get("value", "") for each in found}
