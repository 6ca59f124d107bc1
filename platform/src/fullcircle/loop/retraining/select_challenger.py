"""Selects the challenger: exports candidates, judges the best, registers it with its model card."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fullcircle.core.project import Project
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.records.verdicts import Candidate, Evaluation, Verdict
from fullcircle.core.row_tensors import raw_frame
from fullcircle.core.security.untrusted import markdown
from fullcircle.core.settings import Settings
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.core.tasks import Task
from fullcircle.evaluation.curve_plots import PLOTS
from fullcircle.evaluation.gate import affordable, judge
from fullcircle.evaluation.plots import comparison_plot
from fullcircle.export.onnx_graph import export
from fullcircle.graph.onnx_session import Graph
from fullcircle.loop import progress
from fullcircle.loop.retraining.explain_challenger import ExplainRequest, explain_graph
from fullcircle.loop.retraining.interim_analyses import ReservedAnalysis, reserve_analysis
from fullcircle.loop.retraining.latency_noise import note_noise
from fullcircle.loop.retraining.measure_latency import SERVED_P99_MS, graph_path, measure_candidate
from fullcircle.loop.retraining.train_candidates import Champion, Prepared, Trained, best, stable_seed
from fullcircle.loop.training_runs.run_training import delete_workdir
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.registry.model_card import model_card
from fullcircle.tracking.runs.run_schema import DATA_DIGEST, RETRAIN, score_tag
from fullcircle.tracking.runs.run_tags import REASONS
from fullcircle.tracking.ui.ui_links import links

if TYPE_CHECKING:
    from fullcircle.core.records.dataset import DataVersion, Split
    from fullcircle.core.records.disagreement import Disagreement

CANDIDATES, GRAPH = "candidates.json", "graph/model.onnx"
"""Artifacts: of a retrain's run, framework -> run id and seconds of training; of a candidate's run, its graph."""
LATENCY_ROUNDS = "gate/latency.json"
"""Artifact of a challenger's run: the rounds in which its latency was measured, the reference's beside them."""
REPLAYED = "gate/replay.json"
"""Artifact of a challenger's run: where it disagrees with the champion on the last window's logged rows."""
TAG_CHARACTERS = 4900
"""Most characters of a model version's tag: the registry's column holds 5,000."""
REFERENCE_ROWS = 10_000
REFERENCE_VALUES = 50_000_000
"""Most numbers in the reference where a row is an image: 200 MB. A thousand rows are kept in any case."""
REFERENCE = "reference/reference.parquet"
"""Artifact of a challenger's run: a sample of its training rows with its own answers. Windows are held against it."""


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """The candidate that was nominated, what its graph costs, and what the gate says of it."""

    trained: Trained
    candidate: Candidate
    verdict: Verdict
    disagreement: Disagreement | None = None
    """With the champion, on rows that production saw."""


def export_candidates(
    project: Project, workspace: Workspace, trained: Sequence[Trained], prepared: Prepared, parent: str
) -> None:
    """Each candidate as one graph from raw row to prediction, kept with its run.

    All of them, not the winner's alone, so that candidates can still be compared on rows that nobody has seen yet.
    """
    run_store = workspace.run_store
    for one in trained:
        path = graph_path(workspace.settings, one)
        export(prepared.preprocessor, one.fitted, path, answers=project.target.answers)
        run_store.append(one.run_id).file(path, "graph")
    found = {
        one.framework: {"run_id": one.run_id, "seconds": sum(epoch.seconds for epoch in one.fitted.history)}
        for one in trained
    }
    run_store.append(parent).json(found, CANDIDATES)
    progress.current().stage("export the one graph", f"{len(trained)} candidates, raw row in, answers out")


def nominate(
    project: Project,
    workspace: Workspace,
    trained: Sequence[Trained],
    champion: Champion | None,
    prepared: Prepared,
    parent: str,
    at: datetime,
) -> Challenger:
    """The best network by its validation rows, judged on the test rows; or the baseline in its place.

    "Start with the simplest viable model": a network that does no better than the logistic baseline on the test rows
    must not keep an old champion in office that the baseline would beat, so the baseline is then judged instead.

    Args:
        parent: the retrain's run, which takes one look at a challenger when there is a champion to compare it with.
        at: the moment of that look, in the time of the data.
    """
    with contextlib.ExitStack() as stack:
        analysis = (
            stack.enter_context(reserve_analysis(project, workspace, parent, at, champion.version.version))
            if champion
            else None
        )
        found = _best_judged(project, workspace, trained, champion, prepared, analysis)
    if found.verdict.noisy:
        note_noise(workspace, parent, at)
    candidate, verdict = found.candidate, found.verdict
    latency = f"p99 {candidate.p99_ms:.3f} ms, {candidate.served_p99_ms:.2f} ms in the server"
    detail = f"parity {candidate.parity:.1e}, {candidate.size_mb:.2f} MB, {latency}"
    progress.current().stage("measure the graph", f"{found.trained.framework}: {detail}")
    progress.current().stage("judge", f"{verdict.outcome}: {verdict.reasons[0]}")
    return found


def _best_judged(
    project: Project,
    workspace: Workspace,
    trained: Sequence[Trained],
    champion: Champion | None,
    prepared: Prepared,
    analysis: ReservedAnalysis | None,
) -> Challenger:
    winner, baseline = best(trained, project.target), next(one for one in trained if one.framework == "baseline")
    found = _judged(project, workspace, winner, baseline, champion, prepared, analysis)
    metric = project.target.main
    ours, other = (one.evaluation.metrics[metric.name].value for one in (winner, baseline))
    if found.verdict.outcome is Outcome.PROMOTE or metric.fall(ours, other) > 0:
        return found
    instead = _judged(project, workspace, baseline, baseline, champion, prepared, analysis)
    if instead.verdict.outcome is not Outcome.PROMOTE:
        return found
    why = f"{winner.framework} does no better than the baseline, which was judged in its place"
    reasons = (why, *instead.verdict.reasons)
    return dataclasses.replace(instead, verdict=dataclasses.replace(instead.verdict, reasons=reasons))


def save_verdict(project: Project, workspace: Workspace, trained: Sequence[Trained], challenger: Challenger) -> None:
    """The verdict, its plots and figures, with the challenger's run."""
    candidate = challenger.candidate
    run = workspace.run_store.append(challenger.trained.run_id)
    evaluations = {one.framework: one.evaluation for one in trained}
    with TemporaryDirectory() as folder:
        pictures = [comparison_plot(project.target, evaluations, Path(folder) / "comparison.png")]
        for name in project.target.plots:
            pictures.append(PLOTS[name](project.target, evaluations, Path(folder) / f"{name}.png"))
        for picture in pictures:
            run.file(picture, "plots")
    run.json(dataclasses.asdict(challenger.verdict), "gate/verdict.json")
    if challenger.disagreement is not None:
        run.json(dataclasses.asdict(challenger.disagreement), REPLAYED)
    figures = {"parity": candidate.parity, "size_mb": candidate.size_mb, "p99_ms": candidate.p99_ms}
    if candidate.served_p99_ms is not None:
        figures["served_p99_ms"] = candidate.served_p99_ms
    if candidate.latency is not None:
        run.json(dataclasses.asdict(candidate.latency), LATENCY_ROUNDS)
    run.metrics(figures)


def cleanup(settings: Settings, trained: Sequence[Trained], parent: str) -> None:
    """Remove the working files of exports and trainings: what is worth keeping is with the runs and in the registry."""
    delete_workdir(settings, parent)
    for one in trained:
        delete_workdir(settings, one.key)
        delete_exports(settings, one.run_id)


def delete_exports(settings: Settings, run_id: str) -> None:
    """Remove the working files of a run's export."""
    import shutil

    shutil.rmtree(settings.home / "exports" / run_id, ignore_errors=True)


def _judged(
    project: Project,
    workspace: Workspace,
    one: Trained,
    baseline: Trained,
    champion: Champion | None,
    prepared: Prepared,
    analysis: ReservedAnalysis | None,
) -> Challenger:
    test = prepared.frames.test
    candidate = measure_candidate(project, workspace, one, baseline, champion, prepared)
    if analysis is not None and affordable(project, candidate):
        analysis.compare()
    verdict = judge(
        project,
        test,
        challenger=one.answers,
        baseline=None if one is baseline else baseline.answers,
        champion=champion.answers if champion else None,
        champion_version=champion.version.version if champion else None,
        evaluation=one.evaluation,
        candidate=candidate,
        analysis=analysis.analysis if analysis is not None else None,
    )
    return Challenger(trained=one, candidate=candidate, verdict=verdict)


def explain(project: Project, workspace: Workspace, challenger: Challenger, prepared: Prepared) -> Path:
    """SHAP values of the graph on raw columns or images, in pictures and figures. Returns the summary's path."""
    winner, candidate = challenger.trained, challenger.candidate
    return explain_graph(
        ExplainRequest(
            project=project,
            score=Graph.load(candidate.graph, digest=candidate.digest),
            frames=prepared.frames,
            seed=stable_seed(project.name, winner.run_id),
            folder=candidate.graph.parent,
            run=workspace.run_store.append(winner.run_id),
        )
    )


def register(
    project: Project,
    workspace: Workspace,
    challenger: Challenger,
    evaluations: Mapping[str, Evaluation],
    prepared: Prepared,
    learned_from: tuple[DataVersion, Split],
    parent: str,
    still_ours: Callable[[], None],
) -> ModelVersion:
    """Register the graph as a model version with its signature, its model card and its reference rows.

    A run that has a version keeps it; judged again, it says what the newest verdict is.

    Args:
        still_ours: called last of all before a version is made; raises when somebody else does this work by now.
    """
    winner, candidate, verdict = challenger.trained, challenger.candidate, challenger.verdict
    data, split = learned_from
    run = workspace.run_store.append(winner.run_id)
    ref = run.ref(winner.framework, project.training.seed)
    card = model_card(project, ref, data, split, evaluations, verdict, candidate, challenger.disagreement)
    run.tags({"fullcircle.verdict": str(verdict.outcome), REASONS: " | ".join(verdict.reasons)})
    run.file(_reference(project, winner, candidate, prepared), "reference")
    registry = workspace.registry
    version = registry.register(
        project,
        run,
        candidate.graph,
        digest=candidate.digest,
        example=prepared.frames.test[[column.name for column in project.inputs]].head(3),
        card=card,
        tags=_version_tags(project.target, challenger, data, parent),
        still_ours=still_ours,
    )
    leads_on = partial(links, run.experiment_id, retrain=parent, data=data.digest)
    # A reviewer's first question is the verdict; the UI folds the rest.
    run.note(leads_on(version=(version.name, version.version)) + _first_of_all(verdict) + card)
    registry.describe(version.name, version.version, leads_on(run=run.id) + card)
    progress.current().stage("register", f"version {version.version}, digest {version.digest[:12]}")
    return version


def _verdict_tags(verdict: Verdict) -> dict[str, str]:
    return {"fullcircle.verdict": str(verdict.outcome), "fullcircle.reasons": " | ".join(verdict.reasons)}


def _version_tags(task: Task, challenger: Challenger, data: DataVersion, parent: str) -> dict[str, str]:
    served = challenger.candidate.served_p99_ms
    tags = {
        **_verdict_tags(challenger.verdict),
        "fullcircle.framework": challenger.trained.framework,
        DATA_DIGEST: data.digest,
        score_tag(task): repr(challenger.trained.evaluation.metrics[task.primary].value),
        RETRAIN: parent,
        **({SERVED_P99_MS: repr(served)} if served is not None else {}),
    }
    return {name: text[:TAG_CHARACTERS] for name, text in tags.items()}


def _first_of_all(verdict: Verdict) -> str:
    reasons = "".join(f"- {markdown(reason)}\n" for reason in verdict.reasons)
    return f"**{verdict.outcome}** (against {_against(verdict)}, {verdict.rows:,} test rows)\n\n{reasons}\n"


def _against(verdict: Verdict) -> str:
    return f"version {verdict.champion_version}" if verdict.champion_version else "no champion yet"


def _reference(project: Project, winner: Trained, candidate: Candidate, prepared: Prepared) -> Path:
    train = prepared.frames.train
    largest = max(column.values for column in project.inputs)
    count = min(REFERENCE_ROWS, max(1000, REFERENCE_VALUES // largest), len(train))
    rows = train.sample(count, random_state=stable_seed(project.name, "reference")).sort_index()
    frame = raw_frame(rows, project.inputs)
    answers = project.target.answers.by_name(Graph.load(candidate.graph)(rows))
    frame = frame.assign(**answers, **{project.row_id: rows[project.row_id]})
    path = candidate.graph.parent / "reference.parquet"
    frame.to_parquet(path, index=False)
    return path
