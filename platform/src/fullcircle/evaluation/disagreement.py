"""Champion and challenger on the same production rows: how far apart, where most, and whether a project minds. Pure."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.project import AgreementGate, Project
from fullcircle.core.records.disagreement import Disagreement, GroupDisagreement, RowDisagreement
from fullcircle.core.records.verdicts import GateResult, Verdict
from fullcircle.core.row_tensors import coded
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.evaluation.slices import group_names, sliced_columns

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.tasks import Task

MIN_ROWS, MOST_GROUPS, MOST_ROWS = 30, 12, 10
GATE = "agrees with champion"


def disagreement(
    project: Project,
    frame: pd.DataFrame,
    *,
    champion: NDArray[np.float32],
    challenger: NDArray[np.float32],
    answered: int,
    start: datetime,
    end: datetime,
) -> Disagreement:
    """Compare two models' answers on logged rows.

    Args:
        frame: prediction_id, row_id, label (NaN while unknown) and the project's inputs; at least one row.
        answered: of the rows, those that this champion answered in production.

    Raises:
        ValueError: no rows, or shapes differ.
    """
    shape = project.target.answers.shape(len(frame))
    if not len(frame) or champion.shape != shape or challenger.shape != shape:
        raise ValueError(f"{len(frame)} rows do not fit answers of shape {champion.shape} and {challenger.shape}")
    margin = next((gate.margin for gate in project.gates if isinstance(gate, AgreementGate)), AgreementGate().margin)
    task = project.target
    apart, difference = task.distance(challenger, champion), task.scalar(challenger) - task.scalar(champion)
    finite = np.isfinite(apart)
    known = difference[finite]
    return Disagreement(
        start=start,
        end=end,
        rows=len(frame),
        answered=answered,
        unanswered=int((~np.isfinite(task.scalar(challenger))).sum()),
        margin=margin,
        share=float(np.mean(~finite | (apart > margin))),
        mean=float(known.mean()) if len(known) else 0.0,
        mean_absolute=float(np.abs(known).mean()) if len(known) else 0.0,
        groups=_groups(project, frame, difference, finite),
        largest=_largest(task, frame, task.scalar(champion), task.scalar(challenger), np.where(finite, apart, -1.0)),
    )


def with_agreement(verdict: Verdict, project: Project, found: Disagreement | None) -> Verdict:
    """The verdict with the word of the project's `AgreementGate` gates, where it has some; else the verdict as it is.

    Without a champion there is nothing to agree with; without logged rows nobody knows, which is a doubt.
    """
    for gate in (gate for gate in project.gates if isinstance(gate, AgreementGate)):
        if verdict.champion_version is not None:
            unit = project.target.distance_unit
            verdict = _with(verdict, gate, found, f" {unit}" if unit else "")
    return verdict


def _with(verdict: Verdict, gate: AgreementGate, found: Disagreement | None, unit: str) -> Verdict:
    if found is None:
        outcome, off = Outcome.INCONCLUSIVE, None
        detail = "no row of the last window is logged on which the challenger could be held against the champion"
    elif found.rows < MIN_ROWS:
        outcome, off = Outcome.INCONCLUSIVE, None
        detail = f"{found.rows} logged answers are too few to say how many differ: it takes {MIN_ROWS}"
    else:
        outcome = Outcome.PROMOTE if found.share <= gate.share else Outcome.REJECT
        off = found.share - gate.share if outcome is Outcome.REJECT else None
        detail = (
            f"{found.share:.1%} of {found.rows:,} logged answers differ by more than {found.margin:g}{unit} from the "
            f"champion's, {'within' if off is None else 'over'} the {gate.share:.1%} that are let pass"
        )
    result = GateResult(gate=GATE, passed=outcome is Outcome.PROMOTE, detail=detail, missed_by=off)
    gates = (*verdict.gates, result)
    order = (Outcome.REJECT, Outcome.INCONCLUSIVE, Outcome.PROMOTE)
    if order.index(outcome) > order.index(verdict.outcome):
        return dataclasses.replace(verdict, gates=gates)
    before = verdict.reasons if outcome is verdict.outcome else ()
    return dataclasses.replace(
        verdict, outcome=outcome, reasons=(*before, detail), gates=gates, rows_needed=None, noisy=False
    )


def _groups(
    project: Project, frame: pd.DataFrame, difference: NDArray[np.float64], finite: NDArray[np.bool_]
) -> tuple[GroupDisagreement, ...]:
    columns = sliced_columns(project) or tuple(c.name for c in project.inputs if c.groupable)
    found = []
    for column in columns:
        codes, names = coded(group_names(project, frame, column))
        # The large ones alone are looked at: a column may have as many groups as rows.
        for code in np.flatnonzero(np.bincount(codes[finite], minlength=len(names)) >= MIN_ROWS):
            inside = difference[finite & (codes == code)]
            found.append(
                GroupDisagreement(
                    column=column,
                    group=str(names[code]),
                    rows=len(inside),
                    mean=float(inside.mean()),
                    mean_absolute=float(np.abs(inside).mean()),
                )
            )
    return tuple(sorted(found, key=lambda each: -each.mean_absolute)[:MOST_GROUPS])


def _outcome(task: Task, label: Any) -> int | str | None:
    """The outcome of one row of a log window, a number or a list; None while it is unknown."""
    unknown = label is None or (isinstance(label, float) and np.isnan(label))
    return None if unknown else task.outcome_of(task.label_codec.logged(np.asarray(label, dtype=np.float64)[None])[0])


def _largest(
    task: Task,
    frame: pd.DataFrame,
    champion: NDArray[np.float64],
    challenger: NDArray[np.float64],
    size: NDArray[np.float64],
) -> tuple[RowDisagreement, ...]:
    first = [index for index in np.argsort(-size, kind="stable")[:MOST_ROWS] if size[index] > 0]
    return tuple(
        RowDisagreement(
            prediction_id=str(frame["prediction_id"].iloc[index]),
            row_id=str(frame["row_id"].iloc[index]),
            champion=float(champion[index]),
            challenger=float(challenger[index]),
            label=_outcome(task, frame["label"].iloc[index]),
        )
        for index in first
    )
