"""The report, made by the real Evidently, says what the health says."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.errors import HomeUnwritable
from fullcircle.core.project import Binary, Category, Number, Project
from fullcircle.core.records.health import Health, Window
from fullcircle.core.statistics.binary_metrics import log_loss, roc_auc
from fullcircle.monitoring.drift_metrics import jensen_shannon, wasserstein
from fullcircle.monitoring.evidently_report import MOST_COLUMNS, drift_column, evidently_report, snapshot
from fullcircle.monitoring.health import assess_window

PROJECT = Project(
    name="flights",
    owner="ops@example.com",
    columns=(
        Number("distance"),
        Number("gust", nullable=True),
        Number("visib", nullable=True),
        Category("origin"),
        Category("carrier", nullable=True),
    ),
    target=Binary("late", positive="late"),
    time="time",
    row_id="row_id",
    torch=lambda inputs, params: None,
)


def rows(count: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    gust = rng.gamma(2, 8 + shift, count)
    gust[rng.random(count) < 0.3] = np.nan
    probability = rng.beta(2, 6 - shift, count)
    return pd.DataFrame(
        {
            "distance": rng.lognormal(6.5, 0.5, count).astype("float32"),
            "gust": gust.astype("float32"),
            "visib": rng.choice([10, 9, 2], count).astype("float32"),
            "origin": rng.choice(["EWR", "JFK", "LGA"], count, p=[0.4 + 0.1 * shift, 0.35 - 0.1 * shift, 0.25]),
            "carrier": rng.choice(["AA", "B6", "UA", ""], count, p=[0.4, 0.3, 0.2, 0.1]),
            "probability": probability.astype("float32"),
            "label": (rng.random(count) < probability).astype("float64"),
        }
    )


def judged(current: pd.DataFrame, reference: pd.DataFrame, project: Project = PROJECT) -> Health:
    window = Window(
        project="flights",
        start=datetime(2013, 4, 1, tzinfo=UTC),
        end=datetime(2013, 5, 1, tzinfo=UTC),
        rows=len(current),
        labelled=int(current["label"].notna().sum()),
        versions=("3",),
    )
    return assess_window(project, window, current, reference, champion_version="3", expected=0.7)


def metrics(found: dict[str, object]) -> dict[str, object]:
    """Metric name, and its column where it has one -> value."""
    return {
        metric["config"]["type"].split(":")[-1] + ":" + str(metric["config"].get("column", "")): metric["value"]
        for metric in found["metrics"]  # type: ignore[attr-defined]
    }


def test_our_distances_are_those_of_evidentlys_own_methods() -> None:
    from evidently.legacy.calculations.stattests import jensenshannon_stat_test, wasserstein_stat_test
    from evidently.legacy.core import ColumnType

    before, now = rows(3000, 1), rows(2000, 2, shift=1.0)
    low, high = np.quantile(before["distance"].astype(float), [0.005, 0.995])
    a, b = (side["distance"].astype(float).clip(low, high) for side in (before, now))
    theirs = wasserstein_stat_test(a, b, ColumnType.Numerical, 0.1).drift_score
    assert wasserstein(
        before["distance"].to_numpy(dtype=float), now["distance"].to_numpy(dtype=float)
    ) == pytest.approx(theirs)
    theirs = jensenshannon_stat_test(before["origin"], now["origin"], ColumnType.Categorical, 0.1).drift_score
    assert jensen_shannon(
        before["origin"].to_numpy(dtype=object), now["origin"].to_numpy(dtype=object)
    ) == pytest.approx(theirs)


def test_the_reports_numbers_and_verdicts_are_those_of_the_health() -> None:
    current, reference = rows(7000, 2, shift=1.0), rows(9000, 1)
    current.loc[:3000, "visib"] = np.nan
    health = judged(current, reference)
    found = metrics(snapshot(PROJECT, health, current, reference).dict())
    assert {"gust", "origin", "visib"} <= set(health.drifted)
    assert next(c for c in health.columns if c.column == "visib").method == "missing"
    for column in health.columns:
        assert found[f"ValueDrift:{drift_column(column.column, column.method)}"] == pytest.approx(column.distance)
    assert health.prediction is not None
    assert found["ValueDrift:prediction"] == pytest.approx(health.prediction.distance)
    assert found["DriftedColumnsCount:"] == {"count": len(health.drifted), "share": pytest.approx(health.drifted_share)}


def test_the_reports_performance_is_that_of_the_labelled_rows() -> None:
    current, reference = rows(4000, 2), rows(5000, 1)
    current.loc[:999, "label"] = np.nan
    found = metrics(snapshot(PROJECT, judged(current, reference), current, reference).dict())
    known = current[current["label"].notna()]
    labels, p = known["label"].to_numpy(), known["probability"].to_numpy()
    assert found["RocAuc:"] == pytest.approx(roc_auc(labels, p))
    assert found["LogLoss:"] == pytest.approx(log_loss(labels, p))


def test_a_report_is_one_html_file_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    current, reference = rows(2000, 2), rows(3000, 1)
    path = evidently_report(
        PROJECT, judged(current, reference), current, reference, tmp_path / "reports" / "2013-04.html"
    )
    assert [found.name for found in path.parent.iterdir()] == ["2013-04.html"]
    text = path.read_text(encoding="utf-8")
    assert "Wasserstein distance (normed, outliers clipped)" in text
    assert "gust" in text


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file where the folder should be")
    current, reference = rows(0, 2), rows(500, 1)
    with pytest.raises(HomeUnwritable, match=r"cannot write to .*reports"):
        evidently_report(PROJECT, judged(current, reference), current, reference, tmp_path / "reports" / "a.html")


@pytest.mark.parametrize("side", ["current", "reference", "both"])
def test_columns_without_a_single_value_do_not_stop_the_report(tmp_path: Path, side: str) -> None:
    current, reference = rows(600, 2), rows(3000, 1)
    for frame, name in ((current, "current"), (reference, "reference")):
        if side in (name, "both"):
            frame["gust"], frame["carrier"] = np.float32("nan"), ""
    path = evidently_report(PROJECT, judged(current, reference), current, reference, tmp_path / "report.html")
    assert path.stat().st_size > 100_000


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_window_of_hardly_any_rows_still_gets_a_page(tmp_path: Path, count: int) -> None:
    current, reference = rows(count, 2), rows(500, 1)
    path = evidently_report(PROJECT, judged(current, reference), current, reference, tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    assert "<!doctype html>" in text.lower()[:200]
    assert ("no predictions were logged" in text) == (count == 0)


def test_a_window_without_labels_has_no_performance() -> None:
    current, reference = rows(600, 2), rows(3000, 1)
    current["label"] = np.nan
    found = metrics(snapshot(PROJECT, judged(current, reference), current, reference).dict())
    assert "RocAuc:" not in found
    assert "ValueDrift:gust" in found


@pytest.mark.slow
def test_a_project_of_many_columns_reports_the_worst_of_them() -> None:
    names = [f"c{index}" for index in range(MOST_COLUMNS + 10)]
    project = dataclasses.replace(PROJECT, columns=tuple(Number(name) for name in names))
    rng = np.random.default_rng(0)
    sides = []
    for shift in (1.0, 0.0):
        frame = pd.DataFrame({name: rng.normal(0, 1, 300) for name in names})
        frame["c42"] += shift
        frame["probability"], frame["label"] = np.float32(0.5), np.nan
        sides.append(frame)
    found = metrics(snapshot(project, judged(*sides, project=project), *sides).dict())
    drifts = [name for name in found if name.startswith("ValueDrift:c")]
    assert len(drifts) == MOST_COLUMNS
    assert "ValueDrift:c42" in drifts


def page_of(path: Path, text: str, **how: Any) -> str:
    """The address of a report whose categories and whose column are called `text`."""
    columns = (Number("distance"), Category("origin"), Category(text))
    project = dataclasses.replace(PROJECT, columns=columns)
    current, reference = (rows(400, seed, shift).assign(**{text: "plain"}) for seed, shift in ((2, 1.0), (1, 0.0)))
    current.loc[:99, "origin"] = text
    current.loc[:50, text] = text
    return evidently_report(project, judged(current, reference, project), current, reference, path, **how).as_uri()


CONNECTED = """() => new Promise(done => {
    addEventListener('securitypolicyviolation', found => done(found.effectiveDirective));
    fetch('http://127.0.0.1:9/').then(() => done('open'));
})"""
"""What forbade the page to connect."""


def test_a_category_or_a_column_that_is_a_script_does_not_run_and_can_still_be_read(
    chromium: Any, tmp_path: Path, hostile: str
) -> None:
    asked: list[str] = []
    found: dict[str, Any] = {}

    def drawn(page: Any) -> None:
        page.on("request", lambda request: asked.append(request.url))
        page.reload()
        frame = page.frames[1]
        frame.wait_for_selector("text=Drift Score", timeout=120_000)
        found["header"], found["report"] = page.inner_text("header"), frame.inner_text("body")
        found["pictures"] = frame.locator("svg.main-svg").count()
        found["rights"] = frame.evaluate("self.origin"), frame.evaluate(CONNECTED)

    url = page_of(tmp_path / "report.html", hostile)
    assert chromium.said(url, until=drawn) == []
    assert [each for each in asked if not each.startswith(("data:", "about:"))] == [url]
    assert "flights, 2013-04" in found["header"]
    assert "\u2039script\u203aconsole.log(31337)\u2039/script\u203a" in found["report"]
    assert found["pictures"] > 3  # it still draws, without an origin and without a connection
    assert found["rights"] == ("null", "connect-src")


def test_with_the_texts_as_they_came_the_script_runs(chromium: Any, tmp_path: Path, hostile: str) -> None:
    url = page_of(tmp_path / "report.html", hostile, naming=lambda texts: {text: text for text in texts})
    assert "31337" in chromium.said(url)
