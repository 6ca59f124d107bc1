"""Splits by time into train, validation and test, which refuse leakage of the answer or the future."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fullcircle.core.errors import DataUnavailable, LeakageFound, TargetInvalid
from fullcircle.core.project import AtLeast, Better, NotWorse, Project
from fullcircle.core.records.dataset import Leak, LeakageReport, Span, Split, SplitFrames
from fullcircle.data.leakage import after_leaks, listed, overlap_leaks, row_leaks, strengths, strong_leaks, sum_leaks
from fullcircle.data.partitions import aware

if TYPE_CHECKING:
    import pandas as pd

STRONGEST = 10
PARTS = {"train": "training", "validation": "validation", "test": "test"}
"""A split's part -> what tasks call it in sentences."""


def split(
    project: Project, frame: pd.DataFrame, *, now: datetime, inputs: Sequence[str] | None = None
) -> tuple[Split, SplitFrames]:
    """Cut the rows by time: test is the last `split.test`, validation the `split.validation` before it.

    The cuts are moments, so rows of one timestamp are never torn apart. A part begins after its cut and reaches to
    the next one. Training is the rest, or the last `split.history` of it. The frames hold the project's inputs,
    target, time and row id, in the order of time: a column marked `after=True` is not in them.

    Args:
        now: the moment of training, timezone-aware; no row may be later.
        inputs: names of the columns that go to the model; by default the project's inputs.

    Raises:
        LeakageFound: with what leaks, where, and the report.
        DataUnavailable: a part has no row; or rows have no time.
        TargetInvalid: targets from which nothing can be learned, or on which a gate cannot be judged: one class alone
            in a part, a class that no training row has, the same number in all rows.
    """
    now = aware(now)
    names = [column.name for column in project.inputs] if inputs is None else list(inputs)
    _check_present(project, frame, names)
    leaks = [*row_leaks(project, frame, now), *after_leaks(project, frame, names)]
    if leaks:
        _refuse(project, leaks, ())
    parts = _cut(project, frame, names)
    spans = {part: _span(project, part, rows) for part, rows in parts.items()}
    _require_learnable(project, parts)
    leaks += overlap_leaks(project, parts)
    columns = [column for column in project.columns if column.name in names]
    strongest = strengths(project, parts["train"], columns)
    leaks += [*sum_leaks(project, parts["train"], columns), *strong_leaks(project, strongest)]
    if leaks:
        _refuse(project, leaks, strongest)
    report = LeakageReport(leaks=(), strongest=strongest[:STRONGEST])
    return Split(**spans, leakage=report), SplitFrames(**parts)


def _cut(project: Project, frame: pd.DataFrame, names: Sequence[str]) -> dict[str, pd.DataFrame]:
    time, rule = frame[project.time], project.split
    newest = time.max()
    test_from = newest - rule.test
    validation_from = test_from - rule.validation
    in_test = time > test_from
    in_validation = (time > validation_from) & ~in_test
    in_train = ~in_test & ~in_validation
    if rule.history is not None:
        in_train &= time > validation_from - rule.history
    kept = [*names, *project.target.columns, project.time, project.row_id]
    masks = {"train": in_train, "validation": in_validation, "test": in_test}
    order = [project.time, project.row_id]
    return {
        part: frame.loc[mask, kept].sort_values(order, kind="stable", ignore_index=True) for part, mask in masks.items()
    }


def _span(project: Project, part: str, rows: pd.DataFrame) -> Span:
    rule = project.split
    if rows.empty:
        hint = f"the split holds back {rule.validation.days} + {rule.test.days} days; take more data or shorten it"
        raise DataUnavailable(f"project {project.name!r}: the {part} part has no row", hint=hint)
    targets = project.target.targets(rows)
    times = rows[project.time]
    start, end = times.min().to_pydatetime().astimezone(UTC), times.max().to_pydatetime().astimezone(UTC)
    if not project.target.judgeable(targets):
        only = ", ".join(f"{name}={rows[name].iloc[0]}" for name in project.target.columns)
        where = f"the {part} part ({start:%Y-%m-%d} to {end:%Y-%m-%d}, {len(rows):,} rows)"
        hint = "take more data, or lengthen that part in project.py"
        raise TargetInvalid(f"project {project.name!r}: {where} has only {only}", hint=hint)
    return Span(start=start, end=end, rows=len(rows), summary=project.target.summary(targets))


def _require_learnable(project: Project, parts: Mapping[str, pd.DataFrame]) -> None:
    """Refuse before training what training, or the gate, would refuse after it."""
    task = project.target
    targets = {PARTS[part]: task.targets(rows) for part, rows in parts.items()}
    task.require_learnable(targets)
    for name in sorted({gate.metric for gate in project.gates if isinstance(gate, AtLeast | NotWorse | Better)}):
        if (why := task.metrics[name].undefined(targets["test"])) is not None:
            columns = listed(task.columns[:5])
            raise TargetInvalid(
                f"project {project.name!r}: the gate on {name} cannot be judged on the {len(targets['test']):,} test "
                f"rows, target {columns}: {why}",
                hint="name another metric in 'gates' of project.py, or take other rows for the test: see 'split'",
            )


def _check_present(project: Project, frame: pd.DataFrame, names: Sequence[str]) -> None:
    hint = "check the data contract first"
    needed = [*names, *project.target.columns, project.time, project.row_id]
    if missing := [name for name in needed if name not in frame.columns]:
        raise DataUnavailable(f"project {project.name!r}: the rows have no column {missing[0]!r}", hint=hint)
    if frame.empty:
        raise DataUnavailable(f"project {project.name!r}: there is no row to split", hint="choose a later time")
    if getattr(frame[project.time].dtype, "tz", None) is None:
        raise DataUnavailable(f"project {project.name!r}: {project.time!r} holds no times with a timezone", hint=hint)
    if untimed := int(frame[project.time].isna().sum()):
        raise DataUnavailable(f"project {project.name!r}: {untimed:,} rows have no time", hint=hint)


def _refuse(project: Project, leaks: Sequence[Leak], strongest: Sequence[tuple[str, float]]) -> None:
    more = f" (and {len(leaks) - 1} more)" if len(leaks) > 1 else ""
    hint = "mend the data"
    if leaks[0].kind == "after":
        hint = "mark it after=True in project.py, or take it out of the inputs"
    elif leaks[0].kind == "suspicious":
        hint = "mark it after=True if it is known only afterwards; if it truly is that good, raise split.suspicious_auc"
    elif leaks[0].kind == "sum":
        hint = "mark those known only afterwards after=True; if all are known before, no model is needed to add them up"
    report = LeakageReport(leaks=tuple(leaks), strongest=tuple(strongest[:STRONGEST]))
    raise LeakageFound(f"project {project.name!r}: {leaks[0].detail}{more}", report=report, hint=hint)
