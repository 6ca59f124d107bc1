"""The replay's HTML report: one self-contained file, charts inline, nothing fetched from anywhere.

A row is one period, by default a month: month (its name), start, end, rows, late_share, level, auc_frozen,
auc_champion, auc_champion_low, auc_champion_high, drifted (names, worst first), drifted_share, decision, reason,
serving, retrained, promoted, verdict, run_url, report_url; and, where there was a release, released: the version that
serves from the period's end on. Homes of the first version have these keys, so they keep their names: `auc_` is the
task's primary metric, whatever it is; `late_share` is the task's level where that is a share, else `level` is.

Its links to drift reports are relative: these lie beside it, wherever the folder is taken.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from fullcircle.apps.replay import report_charts
from fullcircle.apps.replay.primary_metric import PrimaryMetric, headline
from fullcircle.apps.replay.report_charts import Curve
from fullcircle.apps.replay.report_table import decision_text, serves_now
from fullcircle.core.project import Project, Task
from fullcircle.core.security.html_page import html_page
from fullcircle.core.security.untrusted import safe_link, visible
from fullcircle.core.settings import home_unwritable
from fullcircle.core.system.files import write_whole

if TYPE_CHECKING:
    from markupsafe import Markup

SIGNS = {"promote": "✓", "reject": "✗", "inconclusive": "?"}
"""What a verdict looks like to who does not tell its colour from another."""
AGREEMENT = 0.02
"""Of the primary metric (of an error: as a share) within which the frameworks' candidates should be of each other."""


@dataclass(frozen=True, kw_only=True)
class CandidateScore:
    """One framework's primary metric on the first month's rows; the baseline's `framework` is `baseline`."""

    framework: str
    value: float
    low: float | None = None
    high: float | None = None
    seconds: float | None = None
    """How long its training took."""
    run_url: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportExtras:
    """What the report shows beside the months.

    Attributes:
        started, generated_by: when the replay began and what wrote the report.
        drift: month -> column -> distance over its threshold (1 and more: drifted).
        reliability: (label, bins) of each curve.
        shap_png: the champion's SHAP summary plot.
        page: what on-call got: `title` and `message` (or `body`).
        candidates: the first retrain's candidates on the first month's rows, baseline included.
        cards: title -> model card (Markdown).
        links: what it is -> URL or path.
        notes: sentences that the reader should know, such as what fell short.
    """

    started: datetime | None = None
    generated_by: str = "fullcircle"
    drift: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    reliability: tuple[tuple[str, Curve], ...] = ()
    shap_png: Path | None = None
    page: Mapping[str, Any] | None = None
    candidates: tuple[CandidateScore, ...] = ()
    cards: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def write_report(project: Project, rows: Sequence[Mapping[str, Any]], extras: ReportExtras, path: Path) -> Path:
    """Write the report. The file is replaced in one step, so a reader never sees half of one.

    Raises:
        HomeUnwritable: when the file cannot be written.
    """
    html = render(project, rows, extras)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, html)
    except OSError as error:
        raise home_unwritable(path.parent, error) from error
    return path


def render(project: Project, rows: Sequence[Mapping[str, Any]], extras: ReportExtras) -> str:
    """The report as HTML text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    task, metric = project.target, PrimaryMetric.of(project.target)
    loader = PackageLoader("fullcircle.apps.replay", "templates")
    environment = Environment(
        loader=loader,
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {"percent": _percent, "signed": metric.signed, "href": safe_link}
    environment.filters |= {**filters, "auc": lambda value: metric.value(value, "–")}
    body = environment.get_template("report.html.j2").render(
        project=project,
        period=project.replay.period,
        metric=metric,
        shares=_shares(rows, task),
        subtitle=SUBTITLES[task.kind](task) if task.kind in SUBTITLES else task.meaning,
        months=[_month(row, metric) for row in rows],
        head=headline(rows, metric),
        extras=extras,
        charts=_charts(rows, extras, project.target),
        shap=_data_uri(extras.shap_png),
        page=_page(extras.page),
        agreement=agreement(extras.candidates, metric),
        links={name: link for name, url in extras.links.items() if (link := safe_link(url))},
    )
    style, _, _ = loader.get_source(environment, "report.css")
    return html_page(f"{project.name}: the circle, replayed", body, styles=(style,))


def _shown(value: object) -> object:
    """What a placeholder of the template becomes before it is escaped: text without hidden characters."""
    return visible(value, keep="\n\t") if isinstance(value, str) and not hasattr(value, "__html__") else value


def agreement(candidates: Sequence[CandidateScore], metric: PrimaryMetric) -> tuple[str, ...]:
    """What the candidates' figures say, plainly: within 0.02 of each other, and above the baseline, or which is not."""
    baseline = next((one for one in candidates if one.framework == "baseline"), None)
    models = [one for one in candidates if one.framework != "baseline"]
    said: list[str] = []
    if len(models) > 1:
        spread = metric.apart(max(one.value for one in models), min(one.value for one in models))
        names = " and ".join(one.framework for one in models)
        within = "within" if spread <= AGREEMENT else "NOT within"
        shown, limit = (f"{spread:.1%}", f"{AGREEMENT:.0%}") if metric.relative else (f"{spread:.4f}", f"{AGREEMENT}")
        said.append(f"{names} are {shown} apart, {within} {limit} of each other.")
    if baseline is not None:
        better, called = ("above", "logistic baseline") if metric.greater_is_better else ("better than", "baseline")
        for one in models:
            by = metric.gain(one.value, baseline.value)
            said.append(
                f"{one.framework} is {better if by > 0 else f'NOT {better}'} the {called} ({metric.signed(by, 4)})."
            )
    return tuple(said)


SUBTITLES: dict[str, Callable[[Task], str]] = {"binary": lambda task: f"positive: {task.outcome}"}
"""Kind of task -> what the page says below its title; else what an answer means."""


def _month(row: Mapping[str, Any], metric: PrimaryMetric) -> dict[str, Any]:
    frozen, circle = row.get("auc_frozen"), row.get("auc_champion")
    return {
        "month": str(row["month"]),
        "rows": int(row["rows"]),
        "late": row.get("late_share"),
        "level": row.get("level"),
        "frozen": frozen,
        "circle": circle,
        "low": row.get("auc_champion_low"),
        "high": row.get("auc_champion_high"),
        "ahead": metric.gain(circle, frozen) if circle is not None and frozen is not None else None,
        "drifted": [str(name) for name in row.get("drifted") or ()],
        "badge": str(row.get("verdict") or row["decision"]),
        "sign": SIGNS.get(str(row.get("verdict")), ""),
        "decided": decision_text(row),
        "reason": str(row.get("reason") or ""),
        "why": [str(reason) for reason in row.get("verdict_reasons") or ()],
        "promoted": bool(row.get("promoted")),
        "serves": serves_now(row),
        "run_url": safe_link(row.get("run_url")),
        "report_url": _beside(row.get("report_url")),
    }


def _shares(rows: Sequence[Mapping[str, Any]], task: Task) -> str:
    """What the line beside the drifted columns is; "" where the targets have a level that is no share."""
    return "" if any(row.get("level") is not None for row in rows) else f"share of {task.level_title}"


def _beside(url: str | None) -> str | None:
    """Where a file lies that is beside the report, relative to it; rows of an earlier version have whole paths."""
    if url is None or (link := safe_link(url)) is None:
        return None
    parts = urlsplit(link)
    return link if parts.scheme in ("http", "https") else f"./{quote(unquote(parts.path).rpartition('/')[2])}"


def _charts(rows: Sequence[Mapping[str, Any]], extras: ReportExtras, task: Task) -> dict[str, Markup]:
    from markupsafe import Markup

    drawn = {}
    if rows:
        drawn["auc"] = report_charts.metric_chart(rows, PrimaryMetric.of(task).axis)
        drawn["drift"] = report_charts.drift_chart(rows, task.level_title)
    if any(extras.drift.values()):
        drawn["heat"] = report_charts.heat_map(extras.drift)
    if any(bins for _, bins in extras.reliability):
        drawn["reliability"] = report_charts.reliability_chart(extras.reliability)
    # Not markup of a user: matplotlib escapes the names that it writes.
    return {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704


def _data_uri(image: Path | None) -> str | None:
    if image is None or not image.is_file():
        return None
    return f"data:image/png;base64,{base64.b64encode(image.read_bytes()).decode('ascii')}"


def _page(page: Mapping[str, Any] | None) -> dict[str, str] | None:
    if not page:
        return None
    body = str(page.get("message") or page.get("body") or "")
    return {"title": str(page.get("title") or "Alert"), "body": body}


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}%"
