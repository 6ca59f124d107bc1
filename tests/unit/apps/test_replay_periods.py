"""Where a replay begins, and what it goes through: by the project, by its split, or as it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fullcircle.apps.replay.periods import ReplaySpan, later, plan_periods
from fullcircle.core.errors import ProjectInvalid, UsageError
from fullcircle.core.project import Binary, Number, Project, ReplayPlan, SplitRule

Make = Callable[..., Project]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A project with a file for each of the months, of a row a day."""

    def made(*months: str, **given: Any) -> Project:
        project = Project(
            name="p", owner="o@example.com", columns=(Number("x"),), target=Binary("y", "yes"), time="at", row_id="id",
            torch=lambda *_: None, folder=tmp_path, **given,
        )  # fmt: skip
        project.partitions.mkdir()
        for month in months:
            at = pd.date_range(f"{month}-01", periods=28, freq="D", tz="UTC")
            rows = pd.DataFrame({"at": at, "id": [f"{month}-{day}" for day in range(28)], "x": 1.0, "y": 0})
            rows.to_parquet(project.partitions / f"{month}.parquet", index=False)
        return project

    return made


def months(first: str, count: int) -> list[str]:
    begin = datetime.strptime(first, "%Y-%m").replace(tzinfo=UTC)
    return [f"{later(begin, number):%Y-%m}" for number in range(count)]


def names(project: Project, **asked: Any) -> list[str]:
    return [period.name for period in plan_periods(project, ReplaySpan(**asked))]


def test_three_months_are_learned_from_where_nobody_says_otherwise(make: Make) -> None:
    assert names(make(*months("2013-01", 6))) == ["2013-04", "2013-05", "2013-06"]


def test_more_are_where_the_split_holds_back_more(make: Make) -> None:
    split = SplitRule(validation=timedelta(days=30), test=timedelta(days=60))
    assert names(make(*months("2013-01", 8), split=split)) == ["2013-07", "2013-08"]


def test_the_project_says_where_it_begins_and_the_command_line_says_otherwise(make: Make) -> None:
    project = make(*months("2012-01", 14), replay=ReplayPlan(start="2013-01"))
    assert names(project) == ["2013-01", "2013-02"]
    assert names(project, start="2012-10", until="2012-12") == ["2012-10", "2012-11"]
    assert names(project, start="2012-10", months=1) == ["2012-10"]


def test_seasons_are_years_from_a_month_on_with_what_months_they_have(make: Make) -> None:
    there = ("2001-08", "2001-09", "2002-06", "2002-09", "2003-01", "2004-08")
    project = make(*there, replay=ReplayPlan(start="2002-03", period="year"))
    found = plan_periods(project, ReplaySpan())
    assert [(one.name, [part.month for part in one.parts]) for one in found] == [
        ("2002", ["2002-06", "2002-09", "2003-01"]),
        ("2004", ["2004-08"]),
    ]
    assert (found[0].start, found[0].end) == (datetime(2002, 3, 1, tzinfo=UTC), datetime(2003, 3, 1, tzinfo=UTC))


def test_no_row_is_in_two_periods_and_none_after_the_start_is_left_out(make: Make) -> None:
    project = make(*months("2012-01", 20), replay=ReplayPlan(start="2012-05", period="quarter"))
    found = plan_periods(project, ReplaySpan())
    assert [part.month for one in found for part in one.parts] == months("2012-05", 16)
    assert [one.name for one in found[:3]] == ["2012-Q2", "2012-Q3", "2012-Q4"]


def test_a_start_before_which_there_is_nothing_to_learn_from_is_refused_before_any_training(make: Make) -> None:
    project = make(*months("2013-01", 6))
    with pytest.raises(UsageError, match=r"p has nothing to learn from before 2013-01: its first partition is 2013-01"):
        names(project, start="2013-01")
    with pytest.raises(UsageError, match=r"before 2011-05.*its split holds back 28 days"):
        names(project, start="2011-05")


def test_a_span_without_rows_is_refused_with_the_last_month_that_there_is(make: Make) -> None:
    project = make(*months("2013-01", 6))
    with pytest.raises(UsageError, match=r"no rows from 2013-09 on: its last partition is 2013-06"):
        names(project, start="2013-09")
    with pytest.raises(UsageError, match=r"no rows from 2013-05 on and before 2013-04"):
        names(project, start="2013-05", until="2013-04")


@pytest.mark.parametrize(
    ("option", "given"), [("start", "2013"), ("start", "2013-13"), ("until", "2013-04-01"), ("until", "")]
)
def test_what_is_no_month_is_refused(make: Make, option: str, given: str) -> None:
    with pytest.raises(UsageError, match=rf"--(from|until) must be a month, such as 2012-01, got '{given}'$"):
        names(make(*months("2013-01", 6)), **{option: given})


def test_a_start_in_project_py_that_is_no_month_is_refused_when_the_project_is_made(make: Make) -> None:
    with pytest.raises(ProjectInvalid, match=r"replay\.start must be a month, such as 2012-01, got 'spring'"):
        make(replay=ReplayPlan(start="spring"))
    with pytest.raises(ProjectInvalid, match=r"period must be"):
        ReplayPlan(period="week")  # type: ignore[arg-type]
