"""Logs a study into its MLflow run: best parameters, counts, importances, trials and plots."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fullcircle.apps.tuning.trials import value_name
from fullcircle.core.project.search_space import Search
from fullcircle.core.security.untrusted import markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fullcircle.apps.tuning.study import Study, Trial
    from fullcircle.core.tasks import Task
    from fullcircle.tracking.runs.run_store import RunWriter

FOLDER = "tune"
"""Of the artifacts: trials.json and the pictures."""
BEST = "fullcircle.best"
"""Tag: the words that set the best parameters. No parameter of the run, since those never change and the best does."""


def log_study(run: RunWriter, study: Study, search: Search, task: Task) -> None:
    """Tell the study's run how the study stands, in the task's primary metric. May be told again when more ended."""
    from fullcircle.apps.tuning.study import TrialStatus, best
    from fullcircle.apps.tuning.study_plots import pictures

    trials, importance = study.trials, study.importance()
    ended = [trial for trial in trials if not trial.running]
    counts = {
        "trials": float(len(ended)),
        "pruned": float(sum(trial.pruned for trial in ended)),
        "failed": float(sum(trial.state is TrialStatus.FAILED for trial in ended)),
        **{f"importance.{name}": share for name, share in importance.items()},
    }
    run.metrics(counts, len(ended))
    for number, value in _best_so_far(trials):
        run.metrics({value_name(task): value}, number)
    run.json(
        {"study": study.name, "search": {k: f"{v}" for k, v in search.items()}, "trials": trials},
        f"{FOLDER}/trials.json",
    )
    top = best(trials, 5)
    if top:
        run.tags({BEST: " ".join(top[0].settings), "fullcircle.best_trial": str(top[0].number)})
        run.note(_note(top, len(ended), task.main.title))
    with TemporaryDirectory() as folder:
        for picture in pictures(trials, search, importance, Path(folder), f"validation {task.main.title}"):
            run.file(picture, FOLDER)


def _best_so_far(trials: Sequence[Trial]) -> list[tuple[int, float]]:
    """(trial, the best value up to it), as far as all before it have ended: these points stay as they are."""
    found: list[tuple[int, float]] = []
    top: Trial | None = None
    for trial in trials:
        if trial.running:
            break
        if trial.value is not None and not trial.pruned and (top is None or trial.gain > top.gain):
            top = trial
        if top is not None and top.value is not None:
            found.append((trial.number, top.value))
    return found


def _note(top: Sequence[Trial], ended: int, metric: str) -> str:
    """What the MLflow UI shows on top of the run."""
    names = list(top[0].parameters)
    head = (
        " | ".join(["| trial", f"validation {metric}", *(_cell(name.removeprefix("training.")) for name in names)])
        + " |"
    )
    lines = [f"The best of {ended} trials, on the validation rows:", "", head, "|" + " --- |" * (len(names) + 2)]
    for trial in top:
        values = " | ".join(_cell(trial.parameters[name]) for name in names)
        lines.append(f"| {trial.number} | {trial.value:.4f} | {values} |")
    return "\n".join(lines)


def _cell(value: object) -> str:
    return markdown(value).replace("|", "\\|")
