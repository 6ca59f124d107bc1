"""The one place of this checkout that reads a pickle: the table of storms, as Parquet, in a process of its own.

    python -I projects/storms/unpickle.py storms.pkl.xz storms.parquet

A pickle is a program. The package that ships the storms has them in no other form, so this one is read, of exactly the
bytes that params.yaml names, and may name nothing but what a pandas table is made of (ALLOWED). `-I` keeps the folder,
the user's packages and the environment's settings out of the process.
"""

from __future__ import annotations

import lzma
import pickle
import sys
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ALLOWED = frozenset(
    (
        ("builtins", "slice"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.numeric", "_frombuffer"),
        ("pandas._libs.internals", "_unpickle_block"),
        ("pandas.core.frame", "DataFrame"),
        ("pandas.core.indexes.base", "Index"),
        ("pandas.core.indexes.base", "_new_Index"),
        ("pandas.core.indexes.range", "RangeIndex"),
        ("pandas.core.internals.managers", "BlockManager"),
    )
)
"""(module, name) of everything that the pickle may ask for. None of them opens a file or runs what it is given."""
LARGEST_BYTES = 16 * 2**20
"""Of the pickle, decompressed: the storms are 2 MB."""


class TableUnpickler(pickle.Unpickler):
    """Finds what a table is made of, and refuses every other name before it is imported."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Raises UnpicklingError for what is not in ALLOWED."""
        # NumPy 2 moved what pickles of NumPy 1 call numpy.core.
        module = module_name.replace("numpy.core.", "numpy._core.", 1)
        if (module, global_name) not in ALLOWED:
            raise pickle.UnpicklingError(f"the pickle asks for {module_name}.{global_name}, which no table is made of")
        return super().find_class(module, global_name)


def table(file: IO[bytes]) -> pd.DataFrame:
    """The table in an xz-compressed pickle.

    Raises:
        pickle.UnpicklingError: it is more than a table, something else, or too large.
    """
    with lzma.open(file) as content:
        held = content.read(LARGEST_BYTES + 1)
    if len(held) > LARGEST_BYTES:
        raise pickle.UnpicklingError(f"the pickle has more than {LARGEST_BYTES:,} bytes")
    found = TableUnpickler(BytesIO(held)).load()
    if not isinstance(found, pd.DataFrame):
        raise pickle.UnpicklingError(f"the pickle holds a {type(found).__name__}, no table")
    return found


def main(source: str, target: str) -> None:
    """Convert one file. From arrays: pandas' own metadata would put versions into the bytes."""
    with Path(source).open("rb") as file:
        frame = table(file)
    arrays = [pa.array(frame[name], from_pandas=True) for name in frame.columns]
    pq.write_table(pa.Table.from_arrays(arrays, names=[str(name) for name in frame.columns]), target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: unpickle.py storms.pkl.xz storms.parquet")
    try:
        main(sys.argv[1], sys.argv[2])
    except (OSError, lzma.LZMAError, pickle.UnpicklingError) as error:
        sys.exit(f"cannot convert {sys.argv[1]}: {error}")
