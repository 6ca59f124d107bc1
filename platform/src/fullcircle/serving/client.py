"""A client of the inference server: frames in, frames out, over the Open Inference Protocol."""

from __future__ import annotations

import numbers
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from fullcircle.core.errors import BadRequest, ServiceUnavailable
from fullcircle.core.project import Column, Project
from fullcircle.core.row_tensors import identities, identity, pixels, raw_frame
from fullcircle.core.security.access import bearer

if TYPE_CHECKING:
    import httpx
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

BATCH_ROWS = 1000
BATCH_VALUES = 200_000
"""Most numbers in a request of images: about 4 MB of JSON."""
BATCH_LABELS = 10_000
_ATTEMPTS = 5


class Client:
    """Talks to one project's server over a connection that is kept. Use as a context manager.

    A request whose connection broke is sent again. Its rows may then be in the prediction log twice; the latest
    prediction for a row id is the one that counts, so send row ids.

    Args:
        url: such as `http://127.0.0.1:8080`.
        token: the server's `FULLCIRCLE_TOKEN`, where it has one.
    """

    def __init__(self, url: str, project: Project, *, timeout_s: float = 30.0, token: str = "") -> None:
        import httpx

        self.url, self.project = url.rstrip("/"), project
        # trust_env off: a proxy of the environment has no business between us and loopback.
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s, trust_env=False, headers=bearer(token))
        self._model = f"/v2/models/{project.name}"
        largest = max((column.values for column in project.inputs if column.kind == "image"), default=1)
        self._rows = max(1, min(BATCH_ROWS, BATCH_VALUES // largest))

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Ask for raw rows, in requests of up to 1,000, fewer of large images.

        Args:
            frame: the project's input columns; its row id and time columns too, where they are there.

        Returns:
            row_id ("" where the frame has none), prediction_id, model_version, and the columns of the answers, numbers
            (float32) and words: `probability`. One row for each row of `frame`, in its order and with its index.

        Raises:
            BadRequest: the server refused; `field` names the column.
            ServiceUnavailable: it does not answer, or cannot.
        """
        import numpy as np
        import pandas as pd

        parts = [self._ask(frame.iloc[begin : begin + self._rows]) for begin in range(0, len(frame), self._rows)]
        answers = self.project.target.answers
        columns: dict[str, Any] = {
            name: [value for part in parts for value in part[name]]
            for name in ("prediction_id", "model_version", *answers.names)
        }
        columns |= {name: np.array(columns[name], "float32") for name in answers.numbers}
        row_id = self.project.row_id
        row_ids = identities(frame[row_id]) if row_id in frame else [""] * len(frame)
        return pd.DataFrame({"row_id": row_ids, **columns}, index=frame.index)

    def labels(self, row_ids: Sequence[str], labels: Sequence[Any]) -> int:
        """Send what came true, as it is in the data; how many labels were taken. Sending them again does no harm.

        Args:
            labels: as `LabelCodec.sent` gives those of raw rows: a text or a number each, of several labels a list of
                those that a row has.

        Raises:
            BadRequest, ServiceUnavailable: as `predict`.
        """
        accepted = 0
        widest = max((len(label) for label in labels if isinstance(label, list | dict)), default=1)
        most = max(1, BATCH_LABELS // max(1, widest))
        for begin in range(0, len(row_ids), most):
            part = slice(begin, begin + most)
            rows = [
                {
                    "row_id": str(row_id) if (named := identity(row_id)) is None else named,
                    "label": _plain(label),
                }
                for row_id, label in zip(row_ids[part], labels[part], strict=True)
            ]
            accepted += int(self._post("/labels", {"labels": rows})["accepted"])
        return accepted

    def version(self) -> str | None:
        """The version that answers now; None while the server is not ready or not there.

        Raises:
            BadRequest: the server lets us not in.
        """
        import httpx

        try:
            response = self._http.get(f"{self._model}/ready")
        except httpx.TransportError:
            return None
        if response.status_code in (400, 401, 403):
            raise BadRequest(f"{self.url} refused: {_refusal(response)[0]}")
        return response.headers.get("X-Model-Version") if response.status_code == 200 else None

    def wait_for(self, version: str, timeout_s: float = 30.0) -> None:
        """Return when that version answers. Raises ServiceUnavailable after `timeout_s`, saying what does."""
        deadline = time.monotonic() + timeout_s
        while (now := self.version()) != version:
            if time.monotonic() >= deadline:
                what = f"version {now} answers" if now else "nothing answers"
                raise ServiceUnavailable(
                    f"{self.url}: version {version} of {self.project.name!r} not there in {timeout_s:.0f} s; {what}",
                    hint=f"GET {self.url}/v2/health/ready says why",
                )
            time.sleep(0.05)

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, frame: pd.DataFrame) -> dict[str, list[Any]]:
        answer = self._post(f"{self._model}/infer", {"inputs": tensors_of(frame, self.project)})
        outputs: dict[str, list[Any]] = {output["name"]: output["data"] for output in answer["outputs"]}
        if missing := [name for name in self.project.target.answers.names if name not in outputs]:
            raise ServiceUnavailable(
                f"{self.url} answers without {missing[0]!r}: it serves another version of {self.project.name!r}",
                hint="start it again, with the project.py of today",
            )
        return {**outputs, "model_version": [answer["model_version"]] * len(frame)}

    def _post(self, path: str, content: object) -> dict[str, Any]:
        body = msgspec.json.encode(content)
        response = self._send(path, body)
        if response.status_code == 200:
            answer: dict[str, Any] = msgspec.json.decode(response.content)
            return answer
        what, field = _refusal(response)
        if response.status_code < 500:
            raise BadRequest(f"{self.url}{path} refused: {what}", field=field)
        raise ServiceUnavailable(f"{self.url}{path} cannot answer ({response.status_code}): {what}")

    def _send(self, path: str, body: bytes) -> httpx.Response:
        import httpx

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._http.post(path, content=body, headers={"Content-Type": "application/json"})
            except httpx.TransportError as error:
                if attempt == _ATTEMPTS:
                    raise ServiceUnavailable(
                        f"{self.url} does not answer ({type(error).__name__}: {error})",
                        hint=f"is 'fullcircle serve {self.project.name}' running there?",
                    ) from error
                time.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")


def tensors_of(frame: pd.DataFrame, project: Project) -> list[dict[str, object]]:
    """The input tensors of a request for these raw rows; row ids and times too, where they are there.

    Raises BadRequest, naming a column that is missing.
    """
    shape = [len(frame), 1]
    if missing := [column.name for column in project.inputs if column.name not in frame]:
        raise BadRequest(f"column {missing[0]!r} is missing from the frame", field=missing[0])
    tensors = [_tensor(frame, column) for column in project.inputs]
    if project.row_id in frame:
        ids = identities(frame[project.row_id])
        tensors.append({"name": project.row_id, "shape": shape, "datatype": "BYTES", "data": ids})
    if project.time in frame:
        times = _iso(frame[project.time])
        tensors.append({"name": project.time, "shape": shape, "datatype": "BYTES", "data": times})
    return tensors


def _plain(label: Any) -> Any:
    """A label as JSON has it: whole numbers and truths as integers. NaN becomes null, which the server refuses."""
    if label is None or isinstance(label, str | list | dict):
        return label
    if isinstance(label, numbers.Integral):
        return int(label)
    number = float(label)
    return int(number) if number.is_integer() else number


def _tensor(frame: pd.DataFrame, column: Column) -> dict[str, object]:
    if column.kind == "image":
        flat = pixels(frame[column.name], column).reshape(-1).tolist()
        return {"name": column.name, "shape": [len(frame), *column.tensor_shape], "datatype": "FP32", "data": flat}
    values = raw_frame(frame, [column])[column.name]
    return {
        "name": column.name,
        "shape": [len(frame), 1],
        "datatype": "BYTES" if column.is_text else "FP32",
        "data": values.tolist() if column.is_text else _nullable(values),
    }


def _nullable(values: pd.Series[float]) -> Sequence[float | None]:
    numbers = values.tolist()
    if values.isna().any():
        return [None if number != number else number for number in numbers]  # only NaN differs
    return numbers


def _iso(times: pd.Series[Any]) -> list[str]:
    import numpy as np
    import pandas as pd

    if not isinstance(times.dtype, pd.DatetimeTZDtype):
        what = f"column {times.name!r} holds no times with a timezone (it is {times.dtype})"
        raise BadRequest(what, field=str(times.name), hint="give them one, such as .dt.tz_localize('UTC')")
    moments: NDArray[np.datetime64] = times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    return [str(moment) for moment in np.datetime_as_string(moments, timezone="UTC").tolist()]


def _refusal(response: httpx.Response) -> tuple[str, str]:
    try:
        body = response.json()
        return str(body["error"]), str(body.get("field", ""))
    except (ValueError, KeyError, TypeError):
        return response.text[:200], ""
