"""The digits project's data stage: scikit-learn's bundled digits in, one Parquet partition a month out. No download.

    python projects/digits/prepare.py    # -> .fullcircle/data/digits/<YYYY-MM>.parquet, digits.json

`dvc.yaml` beside this file runs it; its parameters are in `params.yaml`. The digits are 1,797 pictures of 8 x 8 grey
levels (Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI). Each is used once: dealt out to the
months by a seeded permutation, so months differ by what their `world` does to them and by chance, not by writers, and
no picture that was learned from comes back in a later month. The output is deterministic to the byte for given versions
of numpy, scipy and pyarrow.

Columns of a partition.

    digit_id      stable and unique: the picture's place in the dataset, such as "d0042"
    scanned_at    UTC; partitions are months of it
    image         64 float32, row by row, 0 (paper) to 16 (ink)
    digit         known only AFTER the outcome, once someone has read it: 0..9
    closed_loop   target: 1 when the digit is written with a closed loop (0, 6, 8, 9), else 0
"""

from __future__ import annotations

import json
import shutil
from calendar import monthrange
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from scipy import ndimage
from sklearn.datasets import load_digits

OUT = Path(".fullcircle/data/digits")
SUMMARY = Path(".fullcircle/data/digits.json")
PARAMETERS = Path("projects/digits/params.yaml")
CLOSED_LOOP = (0, 6, 8, 9)
SIDE, INK = 8, 16.0
SCHEMA = pa.schema(
    [
        ("digit_id", pa.string()),
        ("scanned_at", pa.timestamp("us", tz="UTC")),
        ("image", pa.list_(pa.float32(), SIDE * SIDE)),
        ("digit", pa.int8()),
        ("closed_loop", pa.int8()),
    ]
)


def months(params: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Month -> its rows, in the order of time. No digit is in two months.

    Raises:
        ValueError: the months ask for more pictures than there are, or for a world that is none.
    """
    source = load_digits()
    wanted = {month: int(each["rows"]) for month, each in params["months"].items()}
    if sum(wanted.values()) > len(source.target):
        raise ValueError(f"the months ask for {sum(wanted.values())} digits, there are {len(source.target)}")
    order = np.random.default_rng(params["seed"]).permutation(len(source.target))
    found, start = {}, 0
    for number, (month, each) in enumerate(sorted(params["months"].items())):
        chosen = order[start : start + wanted[month]]
        start += wanted[month]
        # A generator a month: what happens in one month does not depend on the months before it.
        random = np.random.default_rng([params["seed"], number])
        images = seen_through(each["world"], source.images[chosen], params, random)
        found[month] = pd.DataFrame(
            {
                "digit_id": [f"d{index:04d}" for index in chosen],
                "scanned_at": _times(month, len(chosen), random),
                "image": list(images.reshape(len(chosen), -1).astype("float32")),
                "digit": source.target[chosen].astype("int8"),
                "closed_loop": np.isin(source.target[chosen], CLOSED_LOOP).astype("int8"),
            }
        )
    return found


def seen_through(world: str, images: np.ndarray, params: dict[str, Any], random: np.random.Generator) -> np.ndarray:
    """The pictures as a month's scanner sees them, clipped to 0 to 16. Shapes: (rows, 8, 8), twice."""
    if world == "plain":
        return images
    if world == "rotated":
        angles = random.uniform(*params["rotation_degrees"], len(images))
        turned = [
            ndimage.rotate(image, angle, reshape=False, order=1) for image, angle in zip(images, angles, strict=True)
        ]
        return np.clip(np.stack(turned), 0, INK)
    if world == "noisy":
        return np.clip(images + random.normal(0, params["noise"], images.shape), 0, INK)
    raise ValueError(f"a month's world must be plain, rotated or noisy, got {world!r}")


def write(rows: dict[str, pd.DataFrame], folder: Path) -> None:
    """One file a month."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for month, frame in rows.items():
        # From arrays and a bare schema: pandas' own metadata would put versions and an index into the bytes.
        arrays = [pa.array(frame[field.name], type=field.type) for field in SCHEMA]
        table = pa.Table.from_arrays(arrays, schema=SCHEMA)
        pq.write_table(table, folder / f"{month}.parquet", compression="zstd")


def _times(month: str, rows: int, random: np.random.Generator) -> pd.Series:
    start = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    seconds = np.sort(random.integers(0, monthrange(start.year, start.month)[1] * 86_400, rows))
    return pd.Series(pd.Timestamp(start) + pd.to_timedelta(seconds, unit="s")).astype("datetime64[us, UTC]")


def main() -> None:
    """Write all months, and what they hold."""
    params = yaml.safe_load(PARAMETERS.read_text())["digits"]
    rows = months(params)
    write(rows, OUT)
    positives = sum(int(frame["closed_loop"].sum()) for frame in rows.values())
    total = sum(map(len, rows.values()))
    summary = {"rows": total, "closed_loop": positives, "months": {month: len(frame) for month, frame in rows.items()}}
    SUMMARY.write_text(json.dumps(summary, indent=2) + "\n")
    print(f"{total:,} digits in {len(rows)} partitions")


if __name__ == "__main__":
    main()
