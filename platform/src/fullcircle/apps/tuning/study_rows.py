"""The rows of a study: fixed when it begins, prepared once for all trials, without the test rows.

The values of trials can be compared only when all of them learned from the same rows, by the same code and in the same
ranges. A study that has begun with some refuses others.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.errors import DataUnavailable, UsageError
from fullcircle.core.project import Project
from fullcircle.core.project.search_space import Search
from fullcircle.core.records.dataset import SplitFrames
from fullcircle.core.settings import Settings
from fullcircle.loop import progress
from fullcircle.loop.clock import now, refuse_ahead
from fullcircle.loop.retraining.resume import plan
from fullcircle.loop.retraining.retrain import checked_rows, split_rows, version_data
from fullcircle.loop.workspace import Workspace
from fullcircle.training.arrays import load, store
from fullcircle.training.preprocessing.tabular import fit

if TYPE_CHECKING:
    from fullcircle.apps.tuning.study import Study
    from fullcircle.core.records.dataset import DataVersion, Split

ANOTHER = "--study NAME begins another study"


def refuse_others(study: Study, project: Project, search: Search, until: datetime | None) -> None:
    """Raises UsageError when the study has begun with other ranges, rows, code or parameters than these."""
    terms = study.terms
    if terms is None:
        return
    if terms["search"] != _words(search):
        began = ", ".join(f"{name}={text}" for name, text in terms["search"].items())
        raise UsageError(f"study {study.name} searches {began}", hint=ANOTHER)
    if until is not None and until.isoformat() != terms["until"]:
        raise UsageError(f"study {study.name} learns from the rows before {terms['until']}", hint=ANOTHER)
    if terms["plan"] != plan(project):
        raise UsageError(f"study {study.name} began with other code or other parameters of training", hint=ANOTHER)


def agreed_rows(
    study: Study, project: Project, workspace: Workspace, search: Search, until: datetime | None, folder: Path
) -> tuple[DataVersion, Split | None]:
    """Prepare the arrays of all trials, if they are not there, and write down what the study learns from.

    Args:
        until: of a study that begins: learn from rows before this; None: from all whose labels are known by now.
        folder: where the arrays are to be.

    Returns:
        The data version; the split, where it was made now.

    Raises:
        UsageError: the rows are no longer those that the study began with.
        ContractViolated, LeakageFound: nothing was prepared.
    """
    terms = study.terms
    if terms is not None:
        began = datetime.fromisoformat(terms["until"])
        data = version_data(project, workspace, began)
        if data.digest != terms["data"]:
            raise UsageError(
                f"study {study.name} learns from data version {terms['data'][:12]}, and the rows before "
                f"{began:%Y-%m-%d %H:%M} are {data.digest[:12]} now",
                hint=f"'fullcircle data restore' brings those back, or {ANOTHER}",
            )
        if _prepared(folder):
            return data, None
        return data, _prepare(project, workspace.settings, began, folder)
    refuse_ahead(project, workspace, until, "--until")
    until = until or now(project, workspace) - project.labels_after
    split = _prepare(project, workspace.settings, until, folder)
    data = version_data(project, workspace, until)
    study.agree(
        {"until": until.isoformat(), "data": data.digest, "plan": plan(project), "search": _words(search)},
    )
    return data, split


def _prepare(project: Project, settings: Settings, until: datetime, folder: Path) -> Split:
    """Check and split the rows, fit the preprocessing on the training rows, write these and the validation rows."""
    split, frames = split_rows(project, checked_rows(project, settings, until), until)
    # Without the test rows: what is not there cannot be looked at by mistake.
    frames = SplitFrames(train=frames.train, validation=frames.validation, test=frames.test.iloc[:0])
    preprocessor = fit(project, frames.train)
    store(project, preprocessor, frames, folder)
    rows = f"{len(frames.train):,} training and {len(frames.validation):,} validation rows"
    progress.current().stage("preprocess", f"{len(preprocessor.features)} features of {rows}, once for all trials")
    return split


def _prepared(folder: Path) -> bool:
    with contextlib.suppress(DataUnavailable):
        load(folder)
        return True
    return False


def _words(search: Search) -> dict[str, str]:
    return {name: f"{each}" for name, each in search.items()}
