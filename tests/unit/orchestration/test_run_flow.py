"""Times as flow parameters, and what a schedule and an event say."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import UsageError
from fullcircle.core.records.health import ColumnDrift, Health, Performance, Window
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.tasks.binary import ROC_AUC
from fullcircle.orchestration.events import summary
from fullcircle.orchestration.run_flow import moment


def test_a_day_is_its_first_moment_in_utc() -> None:
    assert moment("2013-04-01") == datetime(2013, 4, 1, tzinfo=UTC)
    assert moment("2013-04-01T06:00+02:00") == datetime(2013, 4, 1, 4, tzinfo=UTC)
    assert moment(None) is None


def test_what_is_no_time_is_named_with_an_example() -> None:
    with pytest.raises(UsageError, match=r"'next week' is no ISO 8601 time; write it as 2013-04-01"):
        moment("next week")


@given(st.datetimes(timezones=st.sampled_from([UTC])))
def test_every_moment_comes_back_from_its_text(at: datetime) -> None:
    assert moment(at.isoformat()) == at


def test_a_summary_is_plain_json_and_names_the_worst_columns_first() -> None:
    start = datetime(2013, 4, 1, tzinfo=UTC)
    auc = Interval(value=0.61, low=0.6, high=0.62)
    health = Health(
        window=Window(project="p", start=start, end=start + timedelta(days=30), rows=9, labelled=9, versions=("1",)),
        champion_version="1",
        columns=tuple(
            ColumnDrift(column=name, method="w", distance=distance, threshold=0.1)
            for name, distance in (("calm", 0.05), ("mild", 0.2), ("wild", 0.9))
        ),
        prediction=None,
        quality=(),
        performance=Performance.by(ROC_AUC, rows=9, summary={"positives": 3}, metrics={"roc_auc": auc}, expected=0.7),
        drifted_share_limit=0.5,
    )
    said = summary(health, "it fell")
    assert json.loads(json.dumps(said)) == said
    assert (said["reason"], said["window"], said["drifted"]) == ("it fell", "2013-04", ["wild", "mild"])
