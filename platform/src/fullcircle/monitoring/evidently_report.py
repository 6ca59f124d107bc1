"""The Evidently report of a window: Evidently's own metrics, held to the thresholds of our `Health`.

Evidently looks at the same sampled rows with the same distances, so its numbers and verdicts are those of the health.
A number that drifted by its missing values appears as a column of its own, `<column> (missing)`.

Whoever sends a request chooses what categories there are, and Evidently writes them into a script as they are. So names
and categories are made harmless before it sees them, and its page stands in a frame without rights within one of ours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.project import Project
from fullcircle.core.records.health import ColumnDrift, Health
from fullcircle.core.security.html_page import framed_page, html_page
from fullcircle.core.security.untrusted import disambiguated, html_text
from fullcircle.core.settings import home_unwritable
from fullcircle.core.system.files import replacing
from fullcircle.monitoring import drift_metrics
from fullcircle.monitoring.image_drift import as_numbers
from fullcircle.monitoring.labelled_report import Naming, labelled_snapshot
from fullcircle.monitoring.prediction_drift import answer_frames, number_drifts
from fullcircle.monitoring.samples import ROWS, categories, numbers, sample

if TYPE_CHECKING:
    import pandas as pd

CLIPPED = "fullcircle_wasserstein"
MOST_COLUMNS = 40
"""Columns in a report, the furthest over their thresholds first: Evidently draws several pictures of each."""
MOST_SUMMARIES = 10
"""Of these, the columns with a table of statistics: Evidently draws seven pictures for each, of which it shows one."""
MOST_ANSWERS = 8
"""Numbers of an answer in a report, the furthest over their thresholds first."""


def evidently_report(
    project: Project,
    health: Health,
    current: pd.DataFrame,
    reference: pd.DataFrame,
    path: Path,
    *,
    seed: int = 0,
    naming: Naming = disambiguated,
) -> Path:
    """Write the window's Evidently report as one HTML file, 4 to 6 MB: drift, data summary, and, once labels are
    known, how well the predictions did.

    Args:
        health: of this very window, judged with the same `seed`.
        current, reference: as for `assess_window`. Of a window that was judged by its fingerprints `current` is a
            sample of the rows; its distances may then differ from the health's by as much as samples do.
        naming: as for `snapshot`.

    A window without rows gets a page that says so.

    Raises:
        HomeUnwritable: when the folder cannot be written.
    """
    empty = current.empty or reference.empty or not health.columns
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file half written by a killed watch would be taken for a report.
        with replacing(path) as part:
            if empty:
                part.write_text(_empty_page(health), encoding="utf-8")
            else:
                with _quiet(), _white_pictures():
                    made = snapshot(project, health, current, reference, seed=seed, naming=naming)
                    made.save_html(str(part))
                inner = part.read_text(encoding="utf-8")
                part.write_text(framed_page(_title(health), _summary(health, len(current)), inner), encoding="utf-8")
    except OSError as error:
        raise home_unwritable(path.parent, error) from error
    return path


def snapshot(
    project: Project,
    health: Health,
    current: pd.DataFrame,
    reference: pd.DataFrame,
    *,
    seed: int = 0,
    naming: Naming = disambiguated,
) -> Any:  # an evidently Snapshot; it stays in this room
    """What Evidently made of the window: `.dict()` has its numbers, `.save_html()` the report.

    Of an image it shows the numbers of the embedding, each held to the threshold that the verdict held it to.

    Args:
        naming: how Evidently gets the names of columns and the categories. It escapes nothing: with the texts as they
            are, a category runs as a script.
    """
    current, reference = current.reset_index(drop=True), reference.reset_index(drop=True)
    answers = _answers(project, health, current, reference, seed)
    project, health, current, reference = as_numbers(project, health, current, reference, seed=seed)
    now, before = sample(current, ROWS, seed), sample(reference, ROWS, seed)
    found = _drift_snapshot(project, health, now, before, answers, naming)
    if health.performance is None or "label" not in now:
        return found
    labelled = labelled_snapshot(project.target, now, naming)
    return found if labelled is None else _with_widgets_of(found, labelled)


def drift_column(column: str, method: str) -> str:
    """The name under which a drifted column appears in the report."""
    return f"{column} (missing)" if method == drift_metrics.MISSING else column


@dataclasses.dataclass(frozen=True)
class _Answers:
    """The numbers of an answer that are shown, worst first, and both sides' values by row (of the whole frames)."""

    drifts: tuple[ColumnDrift, ...]
    now: pd.DataFrame
    before: pd.DataFrame

    @property
    def names(self) -> list[str]:
        return [drift.column for drift in self.drifts]


def _answers(project: Project, health: Health, current: pd.DataFrame, reference: pd.DataFrame, seed: int) -> _Answers:
    spec = project.target.answers
    now, before = answer_frames(spec.of_some(current), spec.of_some(reference), spec.numbers)
    if len(now.columns) > 1:
        # The health keeps the worst alone; the same seed draws the same rows again.
        found = number_drifts(now, before, project.watch.false_alarms, seed=seed)
    else:
        found = (health.prediction,) if health.prediction else ()
    return _Answers(tuple(sorted(found, key=_badness)[:MOST_ANSWERS]), now, before)


def _badness(drift: ColumnDrift) -> float:
    return -drift.distance / max(drift.threshold, 1e-12)


def _drift_snapshot(
    project: Project, health: Health, now: pd.DataFrame, before: pd.DataFrame, answers: _Answers, naming: Naming
) -> Any:
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift
    from evidently.presets import DataDriftPreset, DataSummaryPreset

    _register()
    methods = {drift_metrics.WASSERSTEIN: CLIPPED}
    worst = sorted(health.columns, key=_badness)[:MOST_COLUMNS]
    shown = {c.column for c in worst}
    names = {kind: [c.name for c in project.inputs if c.name in shown and c.is_text == kind] for kind in (True, False)}
    gaps = [c.column for c in worst if c.method == drift_metrics.MISSING]
    # A column with no value at all on either side is summed up by its missing values alone.
    hollow = [
        name for name in names[False] if np.isnan(numbers(now, name)).all() or np.isnan(numbers(before, name)).all()
    ]
    kept = [name for name in names[False] if name not in hollow]
    called = naming(
        [*kept, *names[True], *(drift_column(name, drift_metrics.MISSING) for name in gaps), *answers.names]
    )
    columns = {called[drift_column(c.column, c.method)]: c for c in worst}
    definition = DataDefinition(
        numerical_columns=[called[name] for name in (*kept, *answers.names)],
        categorical_columns=[
            called[name] for name in (*names[True], *(drift_column(n, drift_metrics.MISSING) for n in gaps))
        ],
    )
    frames = _frames((now, before), kept, names[True], gaps, naming)
    for frame, side, values in zip(frames, (now, before), (answers.now, answers.before), strict=True):
        for name in answers.names:
            frame[name] = values[name].reindex(side.index).to_numpy(dtype=np.float64)
    sides = [Dataset.from_pandas(frame.rename(columns=called), data_definition=definition) for frame in frames]
    drift = DataDriftPreset(
        columns=list(columns),
        drift_share=health.drifted_share_limit,
        per_column_method={name: methods.get(c.method, drift_metrics.JENSEN_SHANNON) for name, c in columns.items()},
        per_column_threshold={name: c.threshold for name, c in columns.items()},
    )
    answered = [
        ValueDrift(column=called[each.column], method=CLIPPED, threshold=each.threshold) for each in answers.drifts
    ]
    summed = [c.column for c in worst if c.column in (*kept, *names[True])][:MOST_SUMMARIES]
    summary = DataSummaryPreset(columns=[called[name] for name in dict.fromkeys(summed)])
    return Report([drift, *answered, summary]).run(sides[0], sides[1])


def _frames(
    sides: tuple[pd.DataFrame, pd.DataFrame], kept: list[str], words: list[str], gaps: list[str], naming: Naming
) -> list[pd.DataFrame]:
    import pandas as pd

    made: list[dict[str, object]] = [{name: numbers(side, name) for name in kept} for side in sides]
    for name in words:
        values = [categories(side, name) for side in sides]
        # Of both sides at once, as a category must be called the same on both.
        called = {**naming(str(text) for text in np.unique(np.concatenate(values))), "": "(missing)"}
        for data, found in zip(made, values, strict=True):
            data[name] = np.array([called[str(text)] for text in found], dtype=object)
    for data, side in zip(made, sides, strict=True):
        for name in gaps:
            data[drift_column(name, drift_metrics.MISSING)] = np.where(
                np.isnan(numbers(side, name)), "missing", "present"
            )
    return [pd.DataFrame(data) for data in made]


def _with_widgets_of(main: Any, other: Any) -> Any:
    from evidently.core.report import Snapshot

    model, added = main.to_snapshot_model(), other.to_snapshot_model()
    model.widgets = [*model.widgets, *added.widgets]
    model.metric_results = {**model.metric_results, **added.metric_results}
    model.top_level_metrics = [*model.top_level_metrics, *added.top_level_metrics]
    return Snapshot.load_model(model)


def _register() -> None:
    """Our Wasserstein distance as one of Evidently's methods: it shows it by this name."""
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    def clipped(reference: pd.Series, current: pd.Series, kind: object, threshold: float) -> tuple[float, bool]:
        distance = drift_metrics.wasserstein(reference.to_numpy(dtype=np.float64), current.to_numpy(dtype=np.float64))
        return distance, distance > threshold

    test = StatTest(
        name=CLIPPED,
        display_name="Wasserstein distance (normed, outliers clipped)",
        allowed_feature_types=[ColumnType.Numerical],
    )
    register_stattest(test, default_impl=clipped)


def _title(health: Health) -> str:
    return f"{health.window.project}, {health.window.name}"


def _summary(health: Health, rows: int) -> str:
    drifted = f"{len(health.drifted)} of {len(health.columns)} columns drifted"
    sampled = f" · drawn from a sample of {rows:,}, by which a distance may differ" if rows < health.window.rows else ""
    return f"{drifted} · {health.window.rows:,} predictions of version {health.champion_version}{sampled}"


def _empty_page(health: Health) -> str:
    said = html_text(f"{_title(health)}: no predictions were logged, so there is nothing to compare.")
    return html_page(_title(health), f"<p>{said}</p>", styles=("p { font: 15px/1.5 system-ui, sans-serif; }",))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Evidently divides by zero and warns of its own deprecations on every run."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _white_pictures() -> Iterator[None]:
    """Plotly's default template goes into each picture: a fifth of the time, 3 kB a picture, and a grey background."""
    import plotly.io as pio

    before = pio.templates.default
    pio.templates.default = "none"
    try:
        yield
    finally:
        pio.templates.default = before
