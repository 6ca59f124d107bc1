"""What a reviewer sees first in MLflow: columns that answer, and a retrain's page with its verdict on top."""

from __future__ import annotations

import base64
import json
import zlib
from datetime import UTC, datetime

import pytest

from fullcircle.core.project import Binary
from fullcircle.core.records.dataset import DataVersion
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.records.verdicts import Evaluation, Verdict
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.tracking.ui.review import (
    VIEW_TAG,
    retrain_note,
    review_columns,
    review_page,
    rows_tags,
    saved_view,
    score_tags,
    verdict_tags,
)

JANUARY, MARCH = datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 3, 31, 23, tzinfo=UTC)
AUC = {"roc_auc": Interval(value=0.8049, low=0.7683, high=0.8384)}
DATA = DataVersion(
    project="flights", digest="d.dir", pointer="", rows=12345, size_bytes=1, start=JANUARY, end=MARCH, fingerprint="f",
    files=(),
)  # fmt: skip
VERSION = ModelVersion(
    name="flights", version="7", run_id="b" * 32, digest="e" * 64, aliases=(), tags={}, created=JANUARY
)

LATE = Binary("late", "arrived late")


def verdict(outcome: Outcome, champion: str | None, *reasons: str) -> Verdict:
    return Verdict(outcome=outcome, reasons=reasons, gates=(), against={}, rows=560, champion_version=champion)


def evaluated(metrics: dict[str, Interval]) -> Evaluation:
    return Evaluation(framework="torch", rows=560, summary={"positives": 9}, metrics=metrics, slices=())


def test_the_saved_view_is_what_mlflow_unpacks_and_its_columns_are_tags_that_a_retrain_sets() -> None:
    view = json.loads(saved_view(LATE)[VIEW_TAG])
    packed = base64.b64decode(view["state"].removeprefix("deflate;"))
    state = json.loads(zlib.decompress(packed))
    told = {
        **verdict_tags("torch", verdict(Outcome.PROMOTE, "6"), VERSION, promoted=True),
        **score_tags(LATE, evaluated(AUC)),
        **rows_tags(DATA),
    }
    assert view["name"] == "Review"
    assert state["selectedColumns"] == [f"tags.`{name}`" for name in review_columns(LATE)]
    assert set(review_columns(LATE)) <= set(told)
    assert all(len(told[name]) <= 13 for name in review_columns(LATE)), "a column shows 13 characters"


def test_the_saved_view_is_the_same_text_each_time_so_that_no_run_writes_it_again() -> None:
    assert saved_view(LATE) == saved_view(LATE)
    assert review_page("3") == "#/experiments/3/runs?viewStateShareKey=fullcircle-review&workflowType=machine_learning"


@pytest.mark.parametrize(
    ("champion", "promoted", "said"),
    [("6", True, "7, was 6"), (None, True, "7, the first"), ("6", False, "6 stays"), (None, False, "none yet")],
)
def test_the_champion_column_says_who_serves_after_the_retrain(champion: str | None, promoted: bool, said: str) -> None:
    outcome = Outcome.PROMOTE if promoted else Outcome.REJECT
    assert verdict_tags("torch", verdict(outcome, champion), VERSION, promoted)["champion"] == said


def test_a_run_without_the_primary_metric_says_nothing_of_it() -> None:
    assert score_tags(LATE, evaluated({})) == {}


def test_a_retrains_page_says_verdict_and_reasons_before_it_links_to_winner_version_card_and_shap() -> None:
    shown = note(verdict(Outcome.REJECT, "6", "too [slow](http://evil.example)"), promoted=False)
    lines = shown.splitlines()
    assert lines[0].startswith("**reject**: torch, version 7, is not released; ROC AUC 0.8049 [0.7683, 0.8384] on 560")
    assert "](http://evil.example)" not in shown
    assert lines[-1].count(f"#/experiments/3/runs/{'a' * 32}/artifacts/") == 2
    assert f"#/experiments/3/runs/{'b' * 32}" in lines[-2]


def test_while_the_tracker_is_away_the_page_names_no_links_that_lead_nowhere() -> None:
    shown = note(verdict(Outcome.PROMOTE, "6", "better"), promoted=True, experiment="")
    assert "artifacts/" not in shown
    assert shown.startswith("**promote**")


def note(found: Verdict, *, promoted: bool, experiment: str = "3") -> str:
    return retrain_note(
        experiment,
        run_id="a" * 32,
        winner="torch",
        winner_run_id="b" * 32,
        verdict=found,
        version=VERSION,
        promoted=promoted,
        task=LATE,
        metrics=AUC,
        data=DATA,
    )
