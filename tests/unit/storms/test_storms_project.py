"""The storms project: what was measured before is of the same storm, no split cuts one, and its pickle is a table."""

from __future__ import annotations

import lzma
import os
import pickle
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import yaml

from fullcircle.core.project import Project
from fullcircle.core.project.loading import load_project
from fullcircle.data.contract import check

if TYPE_CHECKING:
    from tests.conftest import Script, Shipped

ROOT = Path(__file__).resolve().parents[3]
HOME = ROOT / "projects" / "storms"


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project("storms", ROOT)


@pytest.fixture(scope="module")
def prepare(script: Script) -> Any:
    return script(HOME / "prepare.py")


@pytest.fixture(scope="module")
def source(prepare: Any, shipped: Shipped, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    params: dict[str, Any] = yaml.safe_load((HOME / "params.yaml").read_text())["storms"]
    target = tmp_path_factory.mktemp("storms") / "storms.parquet"
    done = converted(shipped(params, prepare.RAW), target)
    assert done.returncode == 0, done.stderr
    return pd.read_parquet(target)


@pytest.fixture(scope="module")
def rows(prepare: Any, source: pd.DataFrame) -> pd.DataFrame:
    found: pd.DataFrame = prepare.records(source)
    return found


def converted(pickled: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(HOME / "unpickle.py"), str(pickled), str(target)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_every_record_is_there_once_in_the_order_of_time_and_none_is_lost(rows, source):
    assert (len(rows), rows["record_id"].is_unique, rows["observed_at"].is_monotonic_increasing) == (19_537, True, True)
    assert rows["storm"].nunique() == 654
    assert rows["wind"].sum() == source["wind"].sum()


def test_all_of_it_keeps_the_contract(project, rows):
    assert check(project, rows).violations == ()


def test_what_was_measured_before_is_of_the_same_storm_and_at_least_so_old(rows):
    # Katrina on the eve of New Orleans: 150 knots at 12:00 and 145 at 18:00 of 28 August, read off the source.
    katrina = rows[rows["storm"] == "2005-Katrina"].set_index("observed_at")
    eve = pd.Timestamp("2005-08-28T18", tz="UTC")
    for hours in (6, 12):
        then = katrina.loc[eve - pd.Timedelta(hours=hours)]
        now = katrina.loc[eve]
        assert (now[f"wind_{hours}h"], now[f"pressure_{hours}h"]) == (then["wind"], then["pressure"])
    assert now["north_6h"] == pytest.approx(now["lat"] - katrina.loc[eve - pd.Timedelta(hours=6), "lat"])
    first = rows.groupby("storm").head(1)
    assert first[["wind_6h", "wind_12h", "pressure_6h", "north_6h"]].isna().all(axis=None)
    assert (first["age"] == 0).all()


def test_no_model_sees_what_nearly_defines_the_status(project, prepare, rows):
    assert {column.name for column in project.columns if column.after} == set(prepare.AFTER)
    hurricanes = rows["status"] == "hurricane"
    assert rows.loc[hurricanes, "wind"].min() >= 64
    assert ((rows["wind"] >= 64) == hurricanes).mean() > 0.97


@pytest.mark.parametrize("season", range(2001, 2023))
def test_between_two_seasons_the_spans_cut_no_storm_and_leave_every_class_enough_rows(project, rows, season):
    known = rows[rows["observed_at"] < pd.Timestamp(f"{season + 1}-01-01", tz="UTC")]
    parts, upper = [], known["observed_at"].max()
    for span in (project.split.test, project.split.validation):
        parts.append(known[(known["observed_at"] > upper - span) & (known["observed_at"] <= upper)])
        upper -= span
    parts.append(known[known["observed_at"] <= upper])
    test, validation, train = (set(part["storm"]) for part in parts)
    assert test & validation == validation & train == test & train == set()
    assert min(parts[0]["status"].value_counts().reindex(project.target.classes, fill_value=0)) >= 40


def test_a_season_fits_into_the_window_that_is_watched(project, rows):
    at = rows["observed_at"]
    seasons = at[at.dt.month.between(4, 12)].groupby(at.dt.year).agg(lambda times: times.max() - times.min())
    assert (seasons <= project.watch.window + timedelta(days=10)).all()


def test_a_month_without_a_storm_has_no_file(prepare, rows, tmp_path):
    months = prepare.write(rows, tmp_path / "storms")
    assert sorted(months) == sorted(path.stem for path in (tmp_path / "storms").iterdir())
    assert "2022-02" not in months
    assert sum(months.values()) == len(rows)


def test_a_new_status_is_refused(prepare, source):
    with pytest.raises(ValueError, match="medicane"):
        prepare.records(source.assign(status="medicane"))


class Runs:
    """Unpickled, it runs a program."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (lambda mark: Runs(mark), "asks for posix.system"),
        (lambda mark: pd.DataFrame({"cell": [Runs(mark)]}), "asks for posix.system"),
        (lambda mark: np.arange(3), "holds a ndarray, no table"),
        (lambda mark: b"0" * (17 * 2**20), "has more than 16,777,216 bytes"),
    ],
)
def test_a_pickle_that_is_more_than_a_table_is_refused_before_it_runs(held, said, tmp_path):
    pickled, target, mark = tmp_path / "bad.pkl.xz", tmp_path / "bad.parquet", tmp_path / "ran"
    with lzma.open(pickled, "wb", preset=0) as file:
        pickle.dump(held(mark), file)
    done = converted(pickled, target)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not mark.exists()
    assert not target.exists()


def test_the_runbook_that_the_page_links_to_exists(project):
    assert (ROOT / project.runbook).is_file()
