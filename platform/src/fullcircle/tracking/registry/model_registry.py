"""The MLflow model registry: model versions, aliases, and their ONNX graphs with the digest checked.

A registered model is a folder of two files that matter: `graph.onnx`, byte for byte the exported graph, named by its
digest in the version's tag `fullcircle.digest`; and `model.onnx`, the graph for MLflow's own server (see
`mlflow_model`). Nothing here is ever unpickled: only `graph.onnx` is read back, and only if its digest is the one in
the tag."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fullcircle.core.errors import ModelUnavailable
from fullcircle.core.project import Project
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import sha256_of
from fullcircle.core.system.outages import wait_out
from fullcircle.core.system.temporary_folders import temporary
from fullcircle.store.file_locks import exclusive
from fullcircle.tracking.connection.client import DISK_ERRORS, away, connect, retrying, translated
from fullcircle.tracking.reader.records import version_record
from fullcircle.tracking.registry.mlflow_model import to_mlflow_graph
from fullcircle.tracking.registry.model_card import shortened, spaced
from fullcircle.tracking.registry.signature import input_example, signature
from fullcircle.tracking.runs.run_schema import DIGEST
from fullcircle.tracking.runs.run_writer import FAILURE, PREEMPTED, RunWriter

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

T = TypeVar("T")

GRAPH = "graph.onnx"
MLFLOW_MODEL_VERSIONS = "mlflow.modelVersions"
_DESCRIPTION_CHARACTERS = 4900  # the registry's column holds 5,000
_REQUIREMENTS = ("mlflow", "onnx", "onnxruntime", "numpy", "pandas")


def _description(markdown: str) -> str:
    return shortened(spaced(markdown), _DESCRIPTION_CHARACTERS)


class Registry:
    """Registered versions and aliases of all projects. Nothing is read or written before the first call.

    Every method raises TrackingUnavailable when the registry does not answer. Setting an alias is one atomic step.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _client(self) -> MlflowClient:
        return connect(self._settings)

    def register(
        self,
        project: Project,
        run: RunWriter,
        graph: Path,
        *,
        digest: str,
        example: pd.DataFrame,
        card: str,
        tags: Mapping[str, str],
        still_ours: Callable[[], None] = lambda: None,
    ) -> ModelVersion:
        """Register the graph as the next version of the project's model. A run that has a version of it keeps that one,
        with these tags and this card: it may have been judged again.

        Args:
            digest: SHA-256 of the graph file; refused with ModelUnavailable when the file has another.
            example: a few raw rows, kept as input example.
            still_ours: called last of all before a version is made: raises when it is not ours to make any more.
            card: markdown, kept as the version's description and, whole, as artifact `model_card.md` of the run.

        Raises:
            ModelUnavailable: also for a run that failed, was killed or was preempted: its weights are not to be used.
        """
        self._refuse_unusable(project, run)
        _expect(graph, digest, f"the graph to register for {project.name}")
        self._ensure_model(project)
        # Whole, when the registry went away in the middle: what was made of it is looked for first.
        return wait_out(lambda: self._registered(project, run, graph, digest, example, card, tags, still_ours))

    def _registered(
        self,
        project: Project,
        run: RunWriter,
        graph: Path,
        digest: str,
        example: pd.DataFrame,
        card: str,
        tags: Mapping[str, str],
        still_ours: Callable[[], None],
    ) -> ModelVersion:
        with exclusive(self._settings.folder("locks") / f"register-{project.name}.lock"):
            known = self._version_of_run(project.name, run.id, digest)
            run.text(card, "model_card.md")
            if known is not None:
                self.tag(project.name, known.version, {k: v for k, v in tags.items() if known.tags.get(k) != v})
                self._name_on_pages(known)
                return self.version(project.name, known.version)
            with translated(self._settings, f"registering the model of run {run.id}"):
                model_id = self._log_model(project, run, graph, digest, example)
                still_ours()
                made = self._client.create_model_version(
                    project.name,
                    source=self._client.get_logged_model(model_id).artifact_location,
                    run_id=run.id,
                    model_id=model_id,
                    description=_description(card),
                    tags={DIGEST: digest, "fullcircle.project": project.name, **tags},
                )
        found = self.version(project.name, str(made.version))
        self._name_on_pages(found)
        return found

    def _name_on_pages(self, version: ModelVersion) -> None:
        """Have MLflow's pages of the run, and of each run that shows its model, name the version, as after its own
        `register_model`: they look for it in a tag of the logged model. Safe to call twice.
        """
        this = {"name": version.name, "version": version.version}
        with translated(self._settings, f"naming version {version.version} of {version.name} in its run"):
            for model_id in self._models_of(version.run_id):
                said = self._client.get_logged_model(model_id).tags.get(MLFLOW_MODEL_VERSIONS)
                known = json.loads(said) if said else []
                if this not in known:
                    self._client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps([*known, this])})

    def version(self, name: str, ref: str) -> ModelVersion:
        """A version by number ("3") or alias ("champion"). Raises ModelUnavailable, saying what there is."""
        found = self._by_number(name, ref) if ref.isdigit() else self.alias(name, ref)
        if found is None:
            raise ModelUnavailable(f"no version or alias {ref!r} of model {name!r}", hint=self._what_exists(name))
        return found

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """All versions, newest first; empty when the model does not exist."""
        with translated(self._settings, f"listing the versions of {name}"):
            # The search leaves aliases out; the model has them all in one request.
            aliases = self._aliases(name)
            found: list[ModelVersion] = []
            token: str | None = None
            while True:
                page = self._client.search_model_versions(f"name='{name}'", max_results=200, page_token=token)
                found += [_value(each, tuple(sorted(aliases.get(str(each.version), ())))) for each in page]
                token = page.token
                if not token:
                    break
        return tuple(sorted(found, key=lambda each: -int(each.version)))

    def alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version that an alias points to, or None."""
        with translated(self._settings, f"reading alias {alias} of {name}"):
            found = self._or_none(lambda: self._client.get_model_version_by_alias(name, alias))
        return None if found is None else _value(found)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version, atomically. Raises ModelUnavailable when there is no such version."""
        self.version(name, version)
        with translated(self._settings, f"setting alias {alias} of {name} to version {version}"):
            self._client.set_registered_model_alias(name, alias, version)

    def drop_alias(self, name: str, alias: str) -> None:
        """Remove an alias. Safe to call when there is none."""
        with translated(self._settings, f"dropping alias {alias} of {name}"):
            self._or_none(lambda: self._client.delete_registered_model_alias(name, alias))

    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with translated(self._settings, f"tagging version {version} of {name}"):
            for key, value in tags.items():
                self._client.set_model_version_tag(name, version, key, value)

    def show_with(self, run_id: str, version: ModelVersion) -> None:
        """Have the page of another run than its own show the version's model, too. Safe to call twice."""
        with translated(self._settings, f"showing version {version.version} of {version.name} with run {run_id}"):
            shown = self._models_of(run_id)
            new = [each for each in self._models_of(version.run_id) if each not in shown]
            if new:
                from mlflow.entities import LoggedModelOutput

                self._client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0) for model_id in new])

    def describe(self, name: str, version: str, markdown: str) -> None:
        """Set the description that the MLflow UI shows for a version; cut to the registry's 5,000 characters."""
        with translated(self._settings, f"describing version {version} of {name}"):
            self._client.update_model_version(name, version, description=_description(markdown))

    def graph(self, version: ModelVersion) -> Path:
        """The version's ONNX file, fetched once and kept under home. Raises ModelUnavailable on a wrong digest."""
        kept = self._settings.folder("models", version.name, version.version) / GRAPH
        if kept.is_file() and sha256_of(kept) == version.digest:
            return kept
        doing = f"keeping the graph of {version.name} version {version.version}"
        with translated(self._settings, doing), temporary(kept.parent, ".fetch-") as aside:
            fetched = self._fetch(version, aside)
            _expect(fetched, version.digest, f"the graph of {version.name} version {version.version}")
            os.replace(fetched, kept)
        return kept

    def _refuse_unusable(self, project: Project, run: RunWriter) -> None:
        """A run that is still RUNNING passes: its own process may register as its last act."""
        with translated(self._settings, f"reading run {run.id}"):
            found = self._client.get_run(run.id)
        if found.info.status not in ("FINISHED", "RUNNING"):
            stopped = found.data.tags.get(PREEMPTED, "")
            why = found.data.tags.get(FAILURE) or (f"preempted at {stopped}" if stopped else "it did not finish")
            raise ModelUnavailable(
                f"run {run.id} is {found.info.status} ({why}), so nothing of it is registered under {project.name}",
                hint="only a run that came to its end may become a version",
            )

    def _fetch(self, version: ModelVersion, folder: Path) -> Path:
        doing = f"fetching {version.name} version {version.version}"
        with translated(self._settings, doing):
            from mlflow.exceptions import MlflowException
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            source = self._client.get_model_version_download_uri(version.name, version.version)
            try:
                found = get_artifact_repository(source, tracking_uri=self._settings.tracking_uri)
                repository = retrying(self._settings, found)
                fetched = Path(repository.download_artifacts(GRAPH, str(folder)))  # type: ignore[no-untyped-call]
                if fetched.parent != folder:  # a local repository hands out its own file
                    fetched = Path(shutil.copyfile(fetched, folder / GRAPH))
            except (OSError, MlflowException) as error:
                if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                    raise
                if (away_now := away(self._settings, doing, error)) is not None:  # it is there, and not to be had now
                    raise away_now from error
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise ModelUnavailable(
                    f"the graph of {version.name} version {version.version} cannot be fetched ({reason})",
                    hint=f"'fullcircle data restore {version.run_id}' gives its data, to train it again",
                ) from error
        return fetched

    def _log_model(self, project: Project, run: RunWriter, graph: Path, digest: str, example: pd.DataFrame) -> str:
        from mlflow.entities import LoggedModelOutput

        model = self._client.create_logged_model(
            run.experiment_id, name=project.name, source_run_id=run.id, tags={DIGEST: digest}, model_type="onnx"
        )
        with temporary(self._settings.folder("tmp")) as aside:
            folder = aside / "model"
            _save(project, run, graph, example, folder, str(model.model_id))
            self._client.log_model_artifacts(model.model_id, str(folder))
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(run.id, [LoggedModelOutput(model.model_id, step=0)])
        return str(model.model_id)

    def _models_of(self, run_id: str) -> list[str]:
        """Ids of the logged models that a run shows."""
        outputs = self._client.get_run(run_id).outputs
        return [str(each.model_id) for each in outputs.model_outputs] if outputs else []

    def _ensure_model(self, project: Project) -> None:
        from mlflow.exceptions import MlflowException

        with translated(self._settings, f"making the registered model {project.name}"):
            if self._or_none(lambda: self._client.get_registered_model(project.name)) is not None:
                return
            about = f"{project.purpose}\n\nOwner: {project.owner}".strip()
            try:
                self._client.create_registered_model(project.name, {"fullcircle.project": project.name}, about)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
                    raise

    def _version_of_run(self, name: str, run_id: str, digest: str) -> ModelVersion | None:
        with translated(self._settings, f"looking for the version of run {run_id}"):
            found = self._client.search_model_versions(f"name='{name}' and run_id='{run_id}'")
        same = [each for each in found if each.tags.get(DIGEST) == digest]
        return self.version(name, str(same[0].version)) if same else None

    def _by_number(self, name: str, number: str) -> ModelVersion | None:
        with translated(self._settings, f"reading version {number} of {name}"):
            found = self._or_none(lambda: self._client.get_model_version(name, number))
        return None if found is None else _value(found)

    def _aliases(self, name: str) -> dict[str, set[str]]:
        model = self._or_none(lambda: self._client.get_registered_model(name))
        by_version: dict[str, set[str]] = {}
        for alias, number in (model.aliases if model else {}).items():
            by_version.setdefault(str(number), set()).add(alias)
        return by_version

    def _what_exists(self, name: str) -> str:
        known = self.versions(name)
        if not known:
            return f"nothing is registered under {name!r}; 'fullcircle run {name}' trains and registers a first version"
        shown = [f"{each.version} ({', '.join(each.aliases)})" if each.aliases else each.version for each in known[:10]]
        return f"there are versions {', '.join(shown)}"

    def _or_none(self, ask: Callable[[], T]) -> T | None:
        """What `ask` returns, or None when MLflow says that it does not exist."""
        from mlflow.exceptions import MlflowException

        try:
            return ask()
        except MlflowException as error:
            # A missing alias is INVALID_PARAMETER_VALUE in the SQL store, a missing model RESOURCE_DOES_NOT_EXIST.
            missing = error.error_code == "INVALID_PARAMETER_VALUE" and "not found" in str(error)
            if missing or error.error_code in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}:
                return None
            raise


def _expect(path: Path, digest: str, what: str) -> None:
    found = sha256_of(path)
    if not digest:
        hint = "it is not used: 'fullcircle run' registers versions with one"
        raise ModelUnavailable(f"{what} has no digest that it could be held against", hint=hint)
    if found != digest:
        raise ModelUnavailable(f"{what} has digest {found[:12]}, not {digest[:12]} as recorded", hint="it is not used")


def _save(project: Project, run: RunWriter, graph: Path, example: pd.DataFrame, folder: Path, model_id: str) -> None:
    import mlflow.onnx
    from mlflow.models import Model

    mlflow.onnx.save_model(
        to_mlflow_graph(graph),
        str(folder),
        mlflow_model=Model(run_id=run.id, model_id=model_id),
        signature=signature(project),
        input_example=input_example(project, example),
        # Given, because MLflow would find them out in a subprocess, for 10 s.
        pip_requirements=[f"{name}=={installed_version(name)}" for name in _REQUIREMENTS],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    shutil.copyfile(graph, folder / GRAPH)


def _value(version: MlflowVersion, aliases: tuple[str, ...] | None = None) -> ModelVersion:
    return version_record(
        name=version.name,
        version=str(version.version),
        run_id=version.run_id,
        created_ms=version.creation_timestamp,
        aliases=version.aliases if aliases is None else aliases,
        tags=dict(version.tags),
    )
