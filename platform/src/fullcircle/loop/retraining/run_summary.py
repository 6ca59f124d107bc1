"""Writes the summary of a finished retrain into its MLflow run: verdict first, then links and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Project
from fullcircle.loop.retraining.train_candidates import Prepared, Trained, parameters
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.ui.review import CARD, SHAP, retrain_note, score_tags, verdict_tags

if TYPE_CHECKING:
    from fullcircle.loop.retraining.retrain_result import RetrainResult
    from fullcircle.tracking.runs.run_store import RunWriter


def write_summary(
    project: Project,
    workspace: Workspace,
    parent: RunWriter,
    winner: Trained,
    prepared: Prepared,
    result: RetrainResult,
    promoted: bool,
) -> None:
    """Give the retrain's run its winner's figures, parameters, model, card and SHAP summary, and the verdict."""
    parent.metrics({f"test_{name}": interval.value for name, interval in winner.evaluation.metrics.items()})
    parent.params(parameters(project, winner.framework, prepared))
    decided = verdict_tags(winner.framework, result.verdict, result.version, promoted)
    parent.tags({**decided, **score_tags(project.target, winner.evaluation)})
    _show_files(workspace, parent, winner)
    # By the tracker's own id: a retrain that began while the tracker was away goes by another.
    workspace.registry.show_with(workspace.run_store.find(parent.id), result.version)
    parent.note(
        retrain_note(
            parent.experiment_id,
            run_id=parent.id,
            winner=winner.framework,
            winner_run_id=winner.run_id,
            verdict=result.verdict,
            version=result.version,
            promoted=promoted,
            task=project.target,
            metrics=winner.evaluation.metrics,
            data=result.data,
        )
    )


def _show_files(workspace: Workspace, parent: RunWriter, winner: Trained) -> None:

    for artifact_path in (CARD, SHAP):
        try:
            path = workspace.run_store.download(winner.run_id, artifact_path)
        except DataUnavailable:
            continue  # the links to it say so; the winner's own page has what there is
        parent.file(path, artifact_path.rpartition("/")[0])
