"""The graph at run time: loads one ONNX file, checks its digest, and answers raw rows.

The file is read once, hashed, and handed to onnxruntime as those same bytes, so what was checked is what runs.
Nothing is unpickled, and side files of weights are not followed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import BadRequest, ModelUnavailable
from fullcircle.core.project import Category, Column, Image, Number
from fullcircle.core.row_tensors import tensors as raw_tensors

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

CHUNK_ROWS = 8192
"""Rows scored at a time by `Graph.__call__`: bounds memory, and one-hot features stay in the cache."""

CHUNK_VALUES = 1 << 20
"""Most numbers scored at a time, where a row is an image: a network's inner layers are many times as large."""

_KINDS = {"tensor(float)": "float32", "tensor(string)": "string"}


class Graph:
    """One loaded graph. Safe to share between threads; a `core.records.training.Scorer`.

    Attributes:
        digest: SHA-256 of the file, hex.
        answers: names of the numbers that it answers with, in order: outputs of float32 (rows, 1). What it answers in
            words follows from them (`core.tasks.answers`), and is not asked for.
        inputs: (name, kind) of each raw column, in the graph's order: "float32", "string", or for an image
            "float32[height,width,channels]".
        metadata: what the exporter wrote into the file (framework, fullcircle version).
    """

    def __init__(self, session: Any, digest: str) -> None:
        """Wrap an onnxruntime session; use `Graph.load`. Raises ModelUnavailable when its shape is not ours."""
        self._session = session
        self.digest = digest
        self._columns = tuple(_column(i.name, i.type, tuple(i.shape)) for i in session.get_inputs())
        self.inputs = tuple((column.name, kind(column)) for column in self._columns)
        self.answers = tuple(o.name for o in session.get_outputs() if o.type == "tensor(float)" and o.shape[1:] == [1])
        if not self.answers:
            raise ModelUnavailable(
                f"graph {digest[:12]} has no output of one number a row", hint="export it with fullcircle"
            )
        self.metadata: Mapping[str, str] = dict(session.get_modelmeta().custom_metadata_map)
        largest = max((column.values for column in self._columns), default=1)
        self._chunk_rows = max(1, min(CHUNK_ROWS, CHUNK_VALUES // largest))

    @classmethod
    def load(cls, path: Path, *, digest: str | None = None, threads: int = 1) -> Graph:
        """Load a graph that answers on the CPU.

        Args:
            path: the ONNX file.
            digest: SHA-256 that the file must have; None: whatever it has.
            threads: threads within one operator. One is best for small batches beside other work.

        Raises:
            ModelUnavailable: unreadable, not ONNX, of another digest, or not of raw columns in and numbers out.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise ModelUnavailable(f"cannot read the graph {path} ({error.strerror or error})") from error
        actual = hashlib.sha256(content).hexdigest()
        if digest is not None and actual != digest:
            raise ModelUnavailable(
                f"the graph {path} has the digest {actual[:12]}, not {digest[:12]} as registered",
                hint="the file was changed or damaged: remove it to have it fetched again",
            )
        return cls(_session(content, path, threads), actual)

    def predict(self, tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Answers, float32 (rows,), or (rows, numbers) in the order of `answers` where they are several.

        Args:
            tensors: column name -> (rows, 1) or (rows,); float32 for numbers (NaN is missing), str or object for
                strings ("" is missing); an image (rows, height, width, channels), or flat (rows, values). Names
                that the graph does not have are ignored.

        Raises:
            BadRequest: a column is missing, or its type or length does not fit; `field` names it when one is at fault.
        """
        feed: dict[str, NDArray[Any]] = {}
        for column in self._columns:
            name = column.name
            if name not in tensors:
                raise BadRequest(f"column {name!r} is missing", field=name)
            feed[name] = _FEED[column.kind](column, np.asarray(tensors[name]))
        lengths = {len(values) for values in feed.values()}
        if len(lengths) > 1:
            raise BadRequest(f"columns differ in their number of rows: {sorted(lengths)}")
        if lengths == {0}:
            return np.empty(self._shape(0), dtype=np.float32)
        try:
            columns = self._session.run(self.answers, feed)
        except Exception as error:  # onnxruntime raises classes of its own, without a common public base
            raise BadRequest(f"the graph {self.digest[:12]} refused the rows ({error})") from error
        if len(columns) > 1:
            return np.concatenate(columns, axis=1)
        return np.asarray(columns[0], dtype=np.float32).reshape(-1)

    def __call__(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Answers to raw rows, shaped as `predict` says, by chunks of `CHUNK_ROWS` at most.

        Raises:
            BadRequest: a column is missing; `field` names it.
            ValueError: a cell does not fit its column (`core.row_tensors.raw_frame`).
        """
        if missing := [name for name, _ in self.inputs if name not in frame.columns]:
            raise BadRequest(f"columns are missing: {', '.join(missing)}", field=missing[0])
        answer = np.empty(self._shape(len(frame)), dtype=np.float32)
        for start in range(0, len(frame), self._chunk_rows):
            chunk = frame.iloc[start : start + self._chunk_rows]
            answer[start : start + len(chunk)] = self.predict(raw_tensors(chunk, self._columns))
        return answer

    def _shape(self, rows: int) -> tuple[int, ...]:
        return (rows,) if len(self.answers) == 1 else (rows, len(self.answers))


def kind(column: Column) -> str:
    """What a graph takes a column as: "float32", "string", or "float32[height,width,channels]"."""
    if column.values > 1:
        return f"float32[{','.join(map(str, column.tensor_shape))}]"
    return "string" if column.is_text else "float32"


def _column(name: str, onnx_type: str, shape: tuple[object, ...]) -> Column:
    """The raw column that an input of the file is. Raises ModelUnavailable when it is none."""
    found = _KINDS.get(onnx_type)
    if found is None:
        raise ModelUnavailable(f"the graph's input {name!r} is a {onnx_type}, not float32 or string")
    if len(shape) != 4:
        return Category(name) if found == "string" else Number(name)
    lengths = tuple(length for length in shape[1:] if isinstance(length, int) and length > 0)
    if found == "string" or len(lengths) != 3:
        raise ModelUnavailable(
            f"the graph's input {name!r} is a {onnx_type} of shape {shape}, not an image of one size"
        )
    return Image(name, shape=lengths)


def _images(column: Column, values: NDArray[Any]) -> NDArray[np.float32]:
    rows = len(values) if values.ndim else 0
    if values.shape not in ((rows, *column.tensor_shape), (rows, column.values)):
        must = f"must have shape (rows, {', '.join(map(str, column.tensor_shape))})"
        raise BadRequest(f"column {column.name!r} {must}, got {values.shape}", field=column.name)
    return _floats(column, values.reshape(rows, *column.tensor_shape))


def _numbers(column: Column, values: NDArray[Any]) -> NDArray[np.float32]:
    return _floats(column, values.reshape(-1, 1))


def _floats(column: Column, values: NDArray[Any]) -> NDArray[np.float32]:
    try:
        return values.astype(np.float32, copy=False)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"column {column.name!r} must be numbers ({error})", field=column.name) from error


def _strings(column: Column, values: NDArray[Any]) -> NDArray[Any]:
    values = values.reshape(-1, 1)
    return values if values.dtype.kind in "OU" else values.astype(str)


_FEED: Mapping[str, Callable[[Column, NDArray[Any]], NDArray[Any]]] = MappingProxyType(
    {"number": _numbers, "category": _strings, "image": _images}
)
"""Kind of column -> its tensor as the graph takes it."""


def _session(content: bytes, path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors alone; they come as exceptions too
    try:
        return onnxruntime.InferenceSession(content, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelUnavailable(f"the graph {path} does not load ({reason})") from error
