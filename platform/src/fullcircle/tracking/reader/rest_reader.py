"""Reads runs, model versions and artifacts by MLflow's REST API, without importing MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlsplit

from fullcircle.core.records.releases import ModelVersion
from fullcircle.tracking.connection.client import retrying, translated
from fullcircle.tracking.connection.rest import MlflowError, Rest
from fullcircle.tracking.reader.mlflow_reader import MlflowReader, copied
from fullcircle.tracking.reader.records import RegisteredModel, RunRecord, run_record, version_record

_API, _FILES = "/api/2.0/mlflow", "/api/2.0/mlflow-artifacts/artifacts"
PAGE = 1000
"""So many runs or versions are asked for at once."""
_GONE = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")


class RestReader(MlflowReader):
    """As `MlflowReader`, whose slower way it goes for what is asked seldom."""

    @cached_property
    def _rest(self) -> Rest:
        return retrying(self._settings, Rest(self._settings))

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
        return _version(version, version.get("aliases", ()))

    def runs(self, where: str = "") -> Iterator[RunRecord]:
        """Runs of all experiments that fit MLflow's filter, those in the trash as well, newest first."""
        with translated(self._settings, "searching runs"):
            every = [
                each["experiment_id"]
                for each in self._pages("experiments/search", "experiments", view_type="ALL", max_results=1000)
            ]
            asked = {"experiment_ids": every, "filter": where, "run_view_type": "ALL", "max_results": PAGE}
            found = self._pages("runs/search", "runs", **asked) if every else iter(())
            yield from map(_run, found)

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """All registered versions, newest first; empty when the model does not exist."""
        model = self.model(name)
        if model is None:
            return ()
        aliases: dict[str, list[str]] = {}
        for alias, number in model.aliases.items():
            aliases.setdefault(number, []).append(alias)
        with translated(self._settings, f"listing the versions of {name}"):
            every = self._found(f"name='{name}'")
            found = [_version(each, aliases.get(str(each["version"]), ())) for each in every]
        return tuple(sorted(found, key=lambda each: -int(each.version)))

    def copies(self, name: str) -> tuple[str, ...]:
        """Numbers of the versions that MLflow copied from another model's, the oldest first."""
        with translated(self._settings, f"looking for copies among the versions of {name}"):
            found = [str(each["version"]) for each in self._found(copied(name))]
        return tuple(sorted(found, key=int))

    def _found(self, where: str) -> Iterator[Any]:
        """The versions that fit MLflow's filter, as it tells them: without their aliases."""
        token = ""
        while True:
            query = {"filter": where, "max_results": str(PAGE), "page_token": token}
            page = self._rest.get(f"{_API}/model-versions/search", query)
            yield from page.get("model_versions", ())
            token = page.get("next_page_token") or ""
            if not token:
                return

    def model(self, name: str) -> RegisteredModel | None:
        """The registered model's aliases and tags; None when there is none."""
        with translated(self._settings, f"reading the registered model {name}"):
            found = self._asked("registered-models/get", name=name)
        if found is None:
            return None
        model = found["registered_model"]
        aliases = {each["alias"]: str(each["version"]) for each in model.get("aliases", ())}
        return RegisteredModel(aliases=aliases, tags=_pairs(model.get("tags", ())))

    def _pages(self, what: str, name: str, **asked: object) -> Iterator[Any]:
        token = ""
        while True:
            page = self._rest.post(f"{_API}/{what}", {**asked, **({"page_token": token} if token else {})})
            yield from page.get(name, ())
            token = page.get("next_page_token") or ""
            if not token:
                return

    def _fetched(self, run: RunRecord, artifact_path: str) -> bytes | None:
        """An artifact that the server hands out; of other stores by MLflow's client."""
        where = urlsplit(run.artifacts)
        if where.scheme != "mlflow-artifacts" or where.netloc:
            return super()._fetched(run, artifact_path)
        try:
            return self._rest.content(_FILES + quote(f"/{where.path.strip('/')}/{artifact_path}"))
        except MlflowError:
            folder = artifact_path.rpartition("/")[0]
            listed = self._asked("artifacts/list", run_id=run.run_id, path=folder) or {}
            if any(each["path"] == artifact_path and not each.get("is_dir") for each in listed.get("files", ())):
                raise
        return None

    def _asked(self, what: str, **query: str) -> Any:
        """What the server says; None when it says that there is no such thing."""
        try:
            return self._rest.get(f"{_API}/{what}", query)
        except MlflowError as error:
            if error.error_code in _GONE:
                return None
            raise


def _version(version: Any, aliases: Iterable[str]) -> ModelVersion:
    return version_record(
        name=version["name"],
        version=str(version["version"]),
        run_id=version.get("run_id"),
        created_ms=int(version["creation_timestamp"]),
        aliases=aliases,
        tags=_pairs(version.get("tags", ())),
    )


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
