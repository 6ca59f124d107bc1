"""A project's MLflow experiment: looked up by name, and created where it is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fullcircle.core.errors import TrackingUnavailable
from fullcircle.core.project import Project
from fullcircle.core.security.untrusted import markdown
from fullcircle.core.settings import Settings
from fullcircle.tracking.connection.client import artifact_root, translated
from fullcircle.tracking.ui.review import VIEW_TAG, saved_view

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment


def experiment_tags(project: Project) -> dict[str, str]:
    """What the UI shows of a project's experiment."""
    about = f"{markdown(project.purpose)}\n\nOwner: {markdown(project.owner)}".strip()
    # The kind: without it the UI opens an experiment as if it were of language models.
    kind = "custom_model_development"
    about_it = {"fullcircle.project": project.name, "mlflow.note.content": about, "mlflow.experimentKind": kind}
    return {**about_it, **saved_view(project.target)}


def experiment_id(client: MlflowClient, settings: Settings, name: str, tags: Mapping[str, str]) -> str:
    """The id of the experiment of this name, which is made if it is missing. Safe in two processes at once.

    Raises:
        TrackingUnavailable: it was deleted.
    """
    with translated(settings, f"looking for the experiment of {name}"):
        found = client.get_experiment_by_name(name)
        if found is None:
            found = _make(client, settings, name, tags)
        elif VIEW_TAG in tags and VIEW_TAG not in found.tags:  # made by an earlier version; somebody's own choice stays
            client.set_experiment_tag(found.experiment_id, VIEW_TAG, tags[VIEW_TAG])
    if found.lifecycle_stage == "deleted":
        raise TrackingUnavailable(
            f"the MLflow experiment {name!r} was deleted",
            hint=f"'mlflow experiments restore --experiment-id {found.experiment_id}' brings it back",
        )
    return str(found.experiment_id)


def _make(client: MlflowClient, settings: Settings, name: str, tags: Mapping[str, str]) -> Experiment:
    from mlflow.exceptions import MlflowException

    root = artifact_root(settings)
    try:
        made = client.create_experiment(
            name, artifact_location=(root / name).as_uri() if root else None, tags=dict(tags)
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
            raise
        found = client.get_experiment_by_name(name)
        assert found is not None, "it exists already"
        return found
    return client.get_experiment(made)
