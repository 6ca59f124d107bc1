"""Sections of a model card on groups of rows: actual classes, slices, where it disagrees with the champion. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fullcircle.core.records.disagreement import Disagreement
from fullcircle.core.records.verdicts import Evaluation, SliceScore
from fullcircle.core.security.untrusted import markdown, markdown_code
from fullcircle.core.tasks import Task
from fullcircle.core.tasks.answer_format import rounded
from fullcircle.tracking.registry.card_tables import metric_title, table

SHOWN_SLICES = 12


def classes(task: Task, evaluation: Evaluation | None) -> Iterator[str]:
    """How it does on the rows of each actual class, the weakest first."""
    by_class = task.by_class
    found = evaluation.by_column(by_class.column) if evaluation is not None and by_class is not None else ()
    if not found or by_class is None:
        return
    yield "## Each actual class"
    yield ""
    yield f"The {by_class.main.title} on the rows that really are of it."
    yield ""
    head = (markdown(by_class.column), "rows", by_class.main.title, "minus champion")
    rows = [(markdown(each.group), *_figures(each)) for each in _weakest(found, by_class.main.greater_is_better)]
    yield from table(head, rows)


def slices(task: Task, evaluation: Evaluation | None) -> Iterator[str]:
    """How it does on each group of the columns that the project slices by."""
    found = [each for each in evaluation.slices if each.metric == task.primary] if evaluation is not None else []
    if not found:
        return
    yield "## Slices"
    yield ""
    # The weakest first: that is what a reviewer must see.
    weakest = _weakest(found, task.main.greater_is_better)
    yield from table(
        ("slice", "rows", metric_title(task, task.primary), "minus champion"),
        [(_group(each.column, each.group), *_figures(each)) for each in weakest[:SHOWN_SLICES]],
    )
    if len(weakest) > SHOWN_SLICES:
        yield f"{len(weakest) - SHOWN_SLICES} more slices do better; evaluation/ of the run has them all."
        yield ""


def _weakest(scores: Iterable[SliceScore], greater_is_better: bool) -> list[SliceScore]:
    return sorted(scores, key=lambda each: each.score.value, reverse=not greater_is_better)


def _figures(score: SliceScore) -> tuple[str, str, str]:
    difference = "" if score.difference is None else str(score.difference)
    return str(score.rows), str(score.score), difference if score.judged else "too few rows to judge"


def where_it_disagrees(task: Task, found: Disagreement | None) -> Iterator[str]:
    """On rows that production saw: how far its answers are from the champion's, and where most."""
    if found is None:
        return
    form, unit = task.answer_format, f" {task.distance_unit}" if task.distance_unit else ""
    yield "## Where it disagrees with the champion"
    yield ""
    span = f"{found.start:%Y-%m-%d} to {found.end:%Y-%m-%d}"
    yield f"On {found.rows} of the rows that production answered from {span} its answers differ from the champion's by"
    apart = (
        f"{found.mean_absolute:.3f}"
        if form.is_share
        else f"{rounded(found.mean_absolute)} {markdown(form.unit)}".rstrip()
    )
    yield f"{apart} on average, and {found.share:.1%} of them by more than {found.margin:g}{unit}."
    if found.unanswered:
        yield f"To **{found.unanswered}** of them it has no finite answer."
    yield ""
    groups = [
        (_group(g.column, g.group), str(g.rows), f"{g.mean:+.3f}", f"{g.mean_absolute:.3f}") for g in found.groups
    ]
    yield from table(("slice", "rows", "mean difference", "mean absolute difference"), groups) if groups else ()
    rows = [
        (
            markdown_code(r.row_id),
            f"{r.champion:.3f}",
            f"{r.challenger:.3f}",
            "unknown" if r.label is None else markdown(r.label),
        )
        for r in found.largest
    ]
    yield from table(("row", "champion", "challenger", "outcome"), rows) if rows else ()


def _group(column: str, group: str) -> str:
    return f"{markdown(column)} = {markdown(group or '(missing)')}"
