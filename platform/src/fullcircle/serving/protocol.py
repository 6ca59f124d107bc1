"""Open Inference Protocol v2 and MLflow's `/invocations`: requests to raw columns. Pure: bytes in, values out. See
`answer_encoding` for the answers.

- Open Inference Protocol v2, REST (https://github.com/kserve/open-inference-protocol): one input tensor for each raw
  column, by name, shape [n] or [n, 1]; of an image [n, height, width, channels] or [n, values].
- MLflow's scoring protocol: `dataframe_split`, `dataframe_records`, `inputs`, `instances`, and text/csv.

In both, a caller may add the project's row id and time columns: labels find their row by the one, windows are cut by
the other. Columns that the model does not take (what is known only after the outcome, the target, unknown names) are
ignored and named in a response header, so that whole rows of a table can be sent. See docs/adr/0042.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from fullcircle.core.errors import BadRequest
from fullcircle.core.project import Column, Project, Task
from fullcircle.serving.answer_encoding import AnswerEncoder
from fullcircle.serving.column_decoding import moments, raw_column, texts
from fullcircle.serving.dataframe_formats import COLUMNS, Expected, csv_columns, csv_number, flat_column
from fullcircle.serving.image_decoding import tensor_rows
from fullcircle.serving.request_limits import Limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTEGERS = {f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
NUMBERS = {"FP16", "FP32", "FP64", "BOOL", *INTEGERS}
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class InferenceRequest:
    """One request's rows.

    Attributes:
        tensors: column name -> (rows, 1), of an image (rows, height, width, channels), as the graph takes them.
        row_ids: "" where the caller gave none.
        event_times: UTC; the time of arrival where the caller gave none.
        ignored: names of columns that were sent and not used.
        request_id: the caller's own id of the request, given back.
        outputs: names of the wanted output tensors, in order.
    """

    rows: int
    tensors: Mapping[str, NDArray[np.generic]]
    row_ids: Sequence[str]
    event_times: Sequence[datetime]
    ignored: tuple[str, ...]
    outputs: tuple[str, ...]
    request_id: str | None = None


class _Input(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any]


class _Output(msgspec.Struct):
    name: str


class _Infer(msgspec.Struct):
    inputs: list[_Input]
    id: str | None = None
    outputs: list[_Output] | None = None


class _Label(msgspec.Struct):
    row_id: str | int
    label: bool | int | float | str | list[Any] | dict[str, Any]


class _Labels(msgspec.Struct):
    labels: list[_Label]


_infer = msgspec.json.Decoder(_Infer)
_scoring = msgspec.json.Decoder(dict[str, Any])
_labels = msgspec.json.Decoder(_Labels)


class Protocol:
    """Reads requests for one project's model.

    Args:
        max_rows, max_bytes: what one request may have; see `Limits`.

    Attributes:
        answers: writes the answers to them.
    """

    def __init__(self, project: Project, *, max_rows: int = 10_000, max_bytes: int = 16 << 20) -> None:
        self.project = project
        self.answers = AnswerEncoder(project.target.answers)
        self.limits = Limits.of(project, rows=max_rows, length=max_bytes)
        self._columns: dict[str, Column] = {column.name: column for column in project.inputs}
        self._expected = Expected(
            names=frozenset((*self._columns, project.row_id, project.time)),
            images=frozenset(column.name for column in project.inputs if column.kind == "image"),
            limits=self.limits,
        )

    def infer(self, body: bytes) -> InferenceRequest:
        """An Open Inference Protocol v2 request. Raises BadRequest naming the field, TooLarge."""
        request = _decoded(_infer, body, self.limits)
        given: dict[str, list[Any]] = {}
        for tensor in request.inputs:
            if tensor.name in given:
                raise BadRequest(f"input {tensor.name!r} is given twice", field=tensor.name)
            given[tensor.name] = self._flat(tensor)
        there = self.answers.outputs
        wanted = tuple(output.name for output in request.outputs or ()) or there
        if unknown := [name for name in wanted if name not in there]:
            raise BadRequest(f"no output {unknown[0]!r:.80}; there are {', '.join(there)}", field=unknown[0])
        return self._request(given, request_id=request.id, outputs=wanted)

    def invocation(self, body: bytes, media_type: str) -> InferenceRequest:
        """An MLflow scoring request, JSON or CSV. Raises BadRequest naming the field, TooLarge."""
        if media_type == "text/csv":
            self.limits.check_length(len(body))
            columns = csv_columns(body, self._expected)
            return self._request({name: self._from_csv(name, values) for name, values in columns.items()})
        parsed = _decoded(_scoring, body, self.limits)
        formats = [name for name in COLUMNS if name in parsed]
        if len(formats) != 1:
            raise BadRequest(f"must have exactly one of {', '.join(COLUMNS)}, got {sorted(parsed)!r:.200}")
        return self._request(COLUMNS[formats[0]](parsed[formats[0]], self._expected))

    def _request(
        self,
        given: Mapping[str, Sequence[Any]],
        *,
        request_id: str | None = None,
        outputs: tuple[str, ...] | None = None,
    ) -> InferenceRequest:
        if missing := [name for name in self._columns if name not in given]:
            raise BadRequest(f"column {missing[0]!r} is missing", field=missing[0], hint=_hint(missing, self._columns))
        rows = len(given[next(iter(self._columns))])
        for name, values in given.items():
            if len(values) != rows:
                raise BadRequest(f"column {name!r} has {len(values)} rows, the others have {rows}", field=name)
        if rows == 0:
            raise BadRequest("there are no rows to answer")
        self.limits.check_rows(rows)
        row_id, time = self.project.row_id, self.project.time
        now = datetime.now(UTC)
        return InferenceRequest(
            rows=rows,
            tensors={name: raw_column(column, given[name]) for name, column in self._columns.items()},
            row_ids=texts(row_id, given[row_id]) if row_id in given else [""] * rows,
            event_times=[at or now for at in moments(time, given[time])] if time in given else [now] * rows,
            ignored=tuple(sorted(set(given) - set(self._columns) - {row_id, time})),
            request_id=request_id,
            outputs=self.answers.outputs if outputs is None else outputs,
        )

    def _flat(self, tensor: _Input) -> list[Any]:
        """The values of a v2 tensor, whose data may be flat or nested, after checks of shape and datatype."""
        name, rows = tensor.name, tensor.shape[0] if tensor.shape else -1
        column = self._columns.get(name)
        self._check_datatype(column, tensor)
        if column is not None and column.kind == "image":
            return tensor_rows(column, tensor.shape, tensor.data)
        if tensor.shape not in ([rows], [rows, 1]) or rows < 0:
            raise BadRequest(f"input {name!r} must have shape [n] or [n, 1], got {tensor.shape!r:.80}", field=name)
        values = flat_column(name, tensor.data)
        if len(values) != rows:
            raise BadRequest(f"input {name!r} has shape {tensor.shape} but {len(values)} values", field=name)
        if tensor.datatype in INTEGERS and float in set(map(type, values)):
            raise BadRequest(f"input {name!r} has datatype {tensor.datatype} but fractions in its data", field=name)
        return values

    def _check_datatype(self, column: Column | None, tensor: _Input) -> None:
        if column is None:
            return
        if tensor.datatype not in ({"BYTES"} if column.is_text else NUMBERS):
            must = "BYTES" if column.is_text else "FP32, FP64, INT64, INT32 or BOOL"
            raise BadRequest(
                f"input {tensor.name!r} must have datatype {must}, got {tensor.datatype!r:.40}", field=tensor.name
            )

    def _from_csv(self, name: str, values: list[Any]) -> list[Any]:
        column = self._columns.get(name)
        if column is not None and column.kind == "image":
            raise BadRequest(f"column {name!r} is an image, which CSV cannot hold", field=name, hint="send JSON")
        if name not in self._expected.names:
            return values
        if column is None or column.is_text:
            return [value or None for value in values]
        return [csv_number(name, index, value) for index, value in enumerate(values)]


def labels(body: bytes, limits: Limits, task: Task) -> tuple[list[str], list[Any]]:
    """Row ids and targets of `{"labels": [{"row_id": ..., "label": ...}, ...]}`, each label as it is in the data.

    Raises:
        BadRequest: a label that the task does not know, or no JSON of this form.
        TooLarge: more rows than one request may have.
    """
    rows = _decoded(_labels, body, limits).labels
    limits.check_rows(len(rows))
    codec = task.label_codec
    cells = codec.received([row.label for row in rows])
    for index in np.flatnonzero(~codec.holds(cells))[:1]:
        must = codec.received_sentence
        raise BadRequest(f"labels[{index}].label must be {must}, got {rows[index].label!r:.80}", field="label")
    return texts("row_id", [row.row_id for row in rows]), codec.codes(cells).tolist()


def metadata(project: Project, versions: Sequence[str]) -> dict[str, object]:
    """The model metadata of the Open Inference Protocol."""
    inputs = [
        {
            "name": column.name,
            "datatype": "BYTES" if column.is_text else "FP32",
            "shape": [-1, *column.tensor_shape],
        }
        for column in project.inputs
    ]
    return {
        "name": project.name,
        "versions": list(versions),
        "platform": "onnx_onnxruntime",
        "inputs": inputs,
        "outputs": AnswerEncoder(project.target.answers).metadata(),
    }


def _decoded(decoder: msgspec.json.Decoder[_T], body: bytes, limits: Limits) -> _T:
    limits.check_length(len(body))
    limits.check_json(body)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at ")
        field = path.strip("`").removeprefix("$").lstrip(".")
        raise BadRequest(f"{field or 'the body'}: {what}", field=field) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(
            f"the body is not JSON ({error})", hint="a missing number is null; NaN and Infinity are no JSON"
        ) from error


def _hint(missing: Sequence[str], columns: Mapping[str, Column]) -> str:
    return f"missing are {', '.join(missing)}" if len(missing) > 1 else f"the model takes {', '.join(columns)}"
