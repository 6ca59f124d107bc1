"""The graph at run time: loads one ONNX file, checks its digest, and answers raw rows.

The file is read once, hashed, and handed to onnxruntime as those same bytes, so what was checked is what runs.
Nothing is unpickled, and side files of weights are not followed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fullcircle.core.errors import BadRequest, ModelUnavailable
from fullcircle.core.project import Category, Column, Number
from fullcircle.core.rows import tensors as raw_tensors

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

OUTPUT = "probability"
"""Name of the graph's one output, float32 (rows, 1)."""

CHUNK_ROWS = 8192
"""Rows scored at a time by `Graph.__call__`: bounds memory, and one-hot features stay in the cache."""

Dtype = Literal["float32", "string"]

_DTYPES: Mapping[str, Dtype] = {"tensor(float)": "float32", "tensor(string)": "string"}


class Graph:
    """One loaded graph. Safe to share between threads; a `core.models.Scorer`.

    Attributes:
        digest: SHA-256 of the file, hex.
        inputs: (name, "float32" or "string") of each raw column, in the graph's order.
        metadata: what the exporter wrote into the file (framework, fullcircle version).
    """

    def __init__(self, session: Any, digest: str) -> None:
        """Wrap an onnxruntime session; use `Graph.load`. Raises ModelUnavailable when its shape is not ours."""
        self._session = session
        self.digest = digest
        self.inputs: tuple[tuple[str, Dtype], ...] = tuple(
            (i.name, _dtype(i.name, i.type)) for i in session.get_inputs()
        )
        if OUTPUT not in [output.name for output in session.get_outputs()]:
            raise ModelUnavailable(f"graph {digest[:12]} has no output {OUTPUT!r}", hint="export it with fullcircle")
        self.metadata: Mapping[str, str] = dict(session.get_modelmeta().custom_metadata_map)
        self._columns: tuple[Column, ...] = tuple(
            Category(name) if dtype == "string" else Number(name) for name, dtype in self.inputs
        )

    @classmethod
    def load(cls, path: Path, *, digest: str | None = None, threads: int = 1) -> Graph:
        """Load a graph that answers on the CPU.

        Args:
            path: the ONNX file.
            digest: SHA-256 that the file must have; None: whatever it has.
            threads: threads within one operator. One is best for small batches beside other work.

        Raises:
            ModelUnavailable: unreadable, not ONNX, of another digest, or not of raw columns in and `probability` out.
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
        """Probability of the positive class, float32 (rows,).

        Args:
            tensors: column name -> (rows, 1) or (rows,); float32 for numbers (NaN is missing), str or object for
                strings ("" is missing). Names that the graph does not have are ignored.

        Raises:
            BadRequest: a column is missing, or its type or length does not fit; `field` names it when one is at fault.
        """
        feed: dict[str, NDArray[Any]] = {}
        for name, dtype in self.inputs:
            if name not in tensors:
                raise BadRequest(f"column {name!r} is missing", field=name)
            values = np.asarray(tensors[name]).reshape(-1, 1)
            feed[name] = _floats(name, values) if dtype == "float32" else _strings(values)
        lengths = {len(values) for values in feed.values()}
        if len(lengths) > 1:
            raise BadRequest(f"columns differ in their number of rows: {sorted(lengths)}")
        if lengths == {0}:
            return np.empty(0, dtype=np.float32)
        try:
            (answer,) = self._session.run([OUTPUT], feed)
        except Exception as error:  # onnxruntime raises classes of its own, without a common public base
            raise BadRequest(f"the graph {self.digest[:12]} refused the rows ({error})") from error
        return np.asarray(answer, dtype=np.float32).reshape(-1)

    def __call__(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Probability of the positive class of raw rows, float32 (rows,), by chunks of `CHUNK_ROWS`.

        Raises:
            BadRequest: a column is missing; `field` names it.
        """
        if missing := [name for name, _ in self.inputs if name not in frame.columns]:
            raise BadRequest(f"columns are missing: {', '.join(missing)}", field=missing[0])
        answer = np.empty(len(frame), dtype=np.float32)
        for start in range(0, len(frame), CHUNK_ROWS):
            chunk = frame.iloc[start : start + CHUNK_ROWS]
            answer[start : start + len(chunk)] = self.predict(raw_tensors(chunk, self._columns))
        return answer


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hex. Raises ModelUnavailable when it cannot be read."""
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelUnavailable(f"cannot read the graph {path} ({error.strerror or error})") from error


def _dtype(name: str, onnx_type: str) -> Dtype:
    if onnx_type not in _DTYPES:
        raise ModelUnavailable(f"the graph's input {name!r} is a {onnx_type}, not float32 or string")
    return _DTYPES[onnx_type]


def _floats(name: str, values: NDArray[Any]) -> NDArray[np.float32]:
    try:
        return values.astype(np.float32, copy=False)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"column {name!r} must be numbers ({error})", field=name) from error


def _strings(values: NDArray[Any]) -> NDArray[Any]:
    return values if values.dtype.kind in "OU" else values.astype(str)


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
