"""The model card: one Markdown page on a model's purpose, training data and quality. Pure.

Sections follow Mitchell et al. 2019, "Model Cards for Model Reporting". Names, categories, reasons and ids come from
outside and are shown as text: nothing in them is Markdown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from fullcircle.core.project import Project
from fullcircle.core.records.dataset import DataVersion, Span, Split
from fullcircle.core.records.disagreement import Disagreement
from fullcircle.core.records.training import RunRef
from fullcircle.core.records.verdicts import Candidate, Evaluation, Verdict
from fullcircle.core.security.untrusted import markdown, markdown_code
from fullcircle.core.tasks import Task
from fullcircle.tracking.registry.card_groups import classes, slices, where_it_disagrees
from fullcircle.tracking.registry.card_tables import metric_title, table

SHOWN_METRICS = 12


def model_card(
    project: Project,
    ref: RunRef,
    data: DataVersion,
    split: Split,
    evaluations: Mapping[str, Evaluation],
    verdict: Verdict | None,
    candidate: Candidate | None,
    disagreement: Disagreement | None = None,
) -> str:
    """The card of one candidate.

    Args:
        evaluations: who -> how it does on the test rows. The candidate is found under its framework's name;
            `baseline`, `champion` and the other candidates are shown beside it.
        disagreement: with the champion, on rows that production saw.
    """
    sections = (
        _purpose(project, ref),
        _verdict(verdict),
        _metrics(project.target, evaluations, verdict),
        _data(project, data, split),
        _cost(candidate, project),
        _limits(project, data),
        _origin(ref, project),
        # The longest come last: see `shortened`.
        classes(project.target, evaluations.get(ref.framework)),
        slices(project.target, evaluations.get(ref.framework)),
        where_it_disagrees(project.target, disagreement),
    )
    return "\n".join(line for section in sections for line in section).strip() + "\n"


def shortened(card: str, characters: int) -> str:
    """The card's first sections, as many as fit, and the names of those that were left out.

    Args:
        characters: most that the result may have; at least a few hundred, so that the names fit.
    """
    if len(card) <= characters:
        return card
    first, *sections = re.split(r"^(?=## )", card, flags=re.MULTILINE)
    kept, left = [first], sections
    while left and len("".join([*kept, left[0], _more(left[1:])])) <= characters:
        kept, left = [*kept, left[0]], left[1:]
    text = "".join(kept)
    return (text if len(text + _more(left)) <= characters else _lines(text, characters - len(_more(left)))) + _more(
        left
    )


def spaced(card: str) -> str:
    """The card with a space behind each cell of a table, for pages that set tables without any, as MLflow's registry.

    It is written as an entity, which no parser trims.
    """
    return "".join(_spaced_line(line) for line in card.splitlines(keepends=True))


def _spaced_line(line: str) -> str:
    if not line.startswith("| ") or line.startswith("| ---"):
        return line
    return re.sub(r"(?<!\\) \|(?= )", "&emsp; |", line)


def _lines(text: str, characters: int) -> str:
    """The whole lines at its beginning that fit."""
    return text[: max(0, text.rfind("\n", 0, max(0, characters)) + 1)]


def _more(sections: Sequence[str]) -> str:
    names = ", ".join(section[3:].partition("\n")[0] for section in sections)
    return f"\nMore in the artifact `model_card.md` of the run{f': {names}' if names else ''}.\n"


def _purpose(project: Project, ref: RunRef) -> Iterator[str]:
    yield f"# {markdown(project.name)}, {markdown(ref.framework)}"
    yield ""
    yield "## Purpose"
    yield ""
    yield markdown(project.purpose) or f"Predicts {markdown_code(project.target.name)}."
    yield ""
    yield f"It answers with {markdown(project.target.meaning)}."
    yield ""


def _verdict(verdict: Verdict | None) -> Iterator[str]:
    if verdict is None:
        return
    against = f" against champion version {markdown(verdict.champion_version)}" if verdict.champion_version else ""
    yield f"## Verdict: {verdict.outcome.value}"
    yield ""
    yield f"On {verdict.rows} test rows{against}."
    if verdict.rows_needed is not None:
        yield f"About {verdict.rows_needed} labelled rows would decide."
    if verdict.noisy:
        yield "The machine was too busy to tell; that costs no part of a budget, and the next retrain measures again."
    yield ""
    told = {gate.detail for gate in verdict.gates}
    if not told.issuperset(verdict.reasons):
        yield from (f"- {markdown(reason)}" for reason in verdict.reasons)
        yield ""
    if verdict.gates:
        yield from table(
            ("gate", "passed", "detail"),
            [(markdown(g.gate), "yes" if g.passed else "**no**", markdown(g.detail)) for g in verdict.gates],
        )


def _metrics(task: Task, evaluations: Mapping[str, Evaluation], verdict: Verdict | None) -> Iterator[str]:
    yield "## How good"
    yield ""
    yield "On the test rows, which are newer than all that was learned from; in brackets the 95% interval."
    yield ""
    found = [name for name in task.metrics if any(name in each.metrics for each in evaluations.values())]
    names, more = found[:SHOWN_METRICS], len(found) - SHOWN_METRICS
    rows = [
        (markdown(who), str(each.rows), *(str(each.metrics[name]) if name in each.metrics else "" for name in names))
        for who, each in evaluations.items()
    ]
    yield from table(("model", "rows", *(metric_title(task, name) for name in names)), rows)
    if more > 0:
        yield f"{more:,} more metrics are in evaluation/ of the run."
        yield ""
    if verdict is not None and verdict.against:
        yield "Challenger minus champion on the same rows:"
        yield ""
        yield from (f"- {markdown(name)}: {interval}" for name, interval in verdict.against.items())
        yield ""


def _data(project: Project, data: DataVersion, split: Split) -> Iterator[str]:
    yield "## Data"
    yield ""
    yield f"DVC version {markdown_code(data.digest)}: {data.rows} rows in {len(data.files)} files, "
    yield f"{data.start:%Y-%m-%d} to {data.end:%Y-%m-%d}. {_columns(project)}."
    yield ""
    rows = [_span(project.target, name, getattr(split, name)) for name in ("train", "validation", "test")]
    yield from table(("part", "from", "to", "rows", "target"), rows)


def _columns(project: Project) -> str:
    """The raw columns in words: `12 numeric and 3 categorical raw columns`."""
    kinds = Counter(column.kind for column in project.inputs)
    return COLUMNS[project.inputs[0].kind](project, kinds)


def _table_columns(project: Project, kinds: Counter[str]) -> str:
    return f"{kinds['number']} numeric and {kinds['category']} categorical raw columns"


def _image_column(project: Project, kinds: Counter[str]) -> str:
    column = project.inputs[0]
    size = " x ".join(str(length) for length in column.tensor_shape)
    return f"One image a row: {markdown_code(column.name)}, {size}"


COLUMNS: dict[str, Callable[[Project, Counter[str]], str]] = {
    "number": _table_columns,
    "category": _table_columns,
    "image": _image_column,
}
"""The raw columns in words, by the kind of the first of them: an image is the only one there is."""


def _span(task: Task, name: str, span: Span) -> tuple[str, ...]:
    return (
        name,
        f"{span.start:%Y-%m-%d %H:%M}",
        f"{span.end:%Y-%m-%d %H:%M}",
        str(span.rows),
        markdown(task.described(span.summary, span.rows)),
    )


def _cost(candidate: Candidate | None, project: Project) -> Iterator[str]:
    if candidate is None:
        return
    budgets = project.budgets
    yield "## What it costs"
    yield ""
    if candidate.served_p99_ms is None:
        yield f"- one row: {candidate.p99_ms:.3g} ms at the 99th percentile (budget {budgets.p99_ms:g} ms)"
    else:
        yield (
            f"- one row: {candidate.served_p99_ms:.3g} ms at the 99th percentile over HTTP, logged "
            f"(budget {budgets.p99_ms:g} ms); {candidate.p99_ms:.3g} ms of it in the graph"
        )
    yield f"- size: {candidate.size_mb:.3g} MB (budget {budgets.size_mb:g} MB)"
    yield f"- largest difference to the native model: {candidate.parity:.1e} (budget {budgets.parity:.0e})"
    yield f"- ONNX digest: {markdown_code(candidate.digest)}"
    yield ""


def _limits(project: Project, data: DataVersion) -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield (
        markdown(project.limits)
        or f"Nothing is known of rows from before {data.start:%Y-%m-%d} or long after {data.end:%Y-%m-%d}."
    )
    yield ""


def _origin(ref: RunRef, project: Project) -> Iterator[str]:
    uncommitted = " with uncommitted changes" if ref.dirty else ""
    code = f"{markdown_code(ref.commit[:12])}{uncommitted}" if ref.commit else "not under git"
    yield "## Origin"
    yield ""
    yield f"- owner: {markdown(project.owner)}"
    if project.runbook:
        yield f"- runbook: {_place(project.runbook)}"
    yield f"- run: `{ref.run_id}`, seed {ref.seed}"
    yield f"- code: {code}; environment {markdown_code(ref.environment[:12])}"
    yield "- who released it, when and why: the tags `fullcircle.released_...` of the model version; the ledger has all"
    yield f"- the data comes back with `fullcircle data restore {ref.run_id}`"


def _place(where: str) -> str:
    """A link, where the text is an address of the web; else the text, such as a path within the project's code."""
    return f"<{where}>" if re.fullmatch(r"https?://[^\s<>\\\"`\x00-\x20\u200b-\u2069]+", where) else markdown(where)
