"""MLflow REST client: one persistent connection, each request sent once, MLflow itself not imported.

MLflow's client takes over a second to be imported, more than all the rest of a `fullcircle trace`. In the process that
trains it spends 1.5 ms of each request on looking for packages of platforms that are not there; and it repeats requests
on its own. The API: https://mlflow.org/docs/latest/api_reference/rest-api.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from fullcircle.core.errors import TrackerAway
from fullcircle.core.settings import Settings
from fullcircle.tracking.connection import credentials
from fullcircle.tracking.connection.client import address, translated
from fullcircle.tracking.connection.connectivity import LISTENS_WITHIN_S

if TYPE_CHECKING:
    from requests import Response

REQUEST_TIMEOUT_S = 30.0
_SHOWN_CHARACTERS = 300
_LOG_BATCH = "/api/2.0/mlflow/runs/log-batch"


class MlflowError(Exception):
    """What a server answered in place of what it was asked for.

    Attributes:
        error_code: MLflow's word for it; "" when it was not MLflow that answered.
        status: of HTTP.
    """

    def __init__(self, error_code: str, status: int, message: str) -> None:
        super().__init__(f"{error_code}: {message}" if error_code else f"HTTP {status}: {message}")
        self.error_code = error_code
        self.status = status

    def get_http_status_code(self) -> int:
        """The same, as MLflow's exceptions tell it."""
        return self.status


class Rest:
    """Requests to the settings' MLflow server. Not for two threads at once.

    Every method raises Refused when the server answers something else than 200, TrackerAway when it answers nothing,
    and `requests.RequestException` when it cannot be reached.
    """

    def __init__(self, settings: Settings, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        import requests

        self._base = settings.tracking_uri.rstrip("/")
        self._settings, self._shown = settings, address(settings)
        self._timeout_s = (LISTENS_WITHIN_S, timeout_s)
        self._session = session = requests.Session()
        around = session.merge_environment_settings(
            self._base, {}, None, credentials.verify(), credentials.certificate()
        )
        # Proxies and certificates were looked up now; else it would be done again for each request.
        session.trust_env = False
        session.proxies, session.verify, session.cert = around["proxies"], around["verify"], around["cert"]
        session.auth = credentials.signing() or requests.utils.get_netrc_auth(self._base)
        self._headers = credentials.headers()

    def get(self, path: str, query: dict[str, str]) -> Any:
        """What the server answers to a question, as JSON."""
        return self._json(path, self._asked("GET", path, params=query))

    def post(self, path: str, body: object) -> Any:
        """What the server answers to this body, as JSON."""
        return self._json(path, self._asked("POST", path, data=msgspec.json.encode(body)))

    def log_points(self, run_id: str, points: Iterable[tuple[str, float, int, int]]) -> None:
        """Log at most 1,000 points in one request, each (metric, value, milliseconds since the epoch, step).

        The request of MLflow's `log_batch` without its thousand protobuf messages, which take 20 times as long to make:
        it is made in the process that trains, and once: the spool tries again, with a pause that the training does not
        pay for. Raises as `connection.client.translated`.
        """
        metrics = [
            _Metric(key, value if math.isfinite(value) else _word(value), at_ms, step)
            for key, value, at_ms, step in points
        ]
        with translated(self._settings, f"logging metrics of run {run_id}"):
            self.post(_LOG_BATCH, {"run_id": run_id, "metrics": metrics})

    def content(self, path: str) -> bytes:
        """The file that the server has there."""
        return self._asked("GET", path).content

    def _asked(self, method: str, path: str, **what: Any) -> Response:
        headers = {"Content-Type": "application/json", **credentials.authorization(), **self._headers()}
        answer = self._session.request(method, self._base + path, headers=headers, timeout=self._timeout_s, **what)
        if answer.status_code != 200:
            raise _refused(answer)
        return answer

    def _json(self, path: str, answer: Response) -> Any:
        if not answer.content.strip():
            raise TrackerAway(f"{self._shown} answered nothing to {path}: is it MLflow?")
        try:
            return msgspec.json.decode(answer.content)
        except msgspec.DecodeError as error:
            raise MlflowError("", answer.status_code, f"{path} answered no JSON: is it MLflow?") from error


class _Metric(msgspec.Struct, gc=False):
    key: str
    value: float | str
    timestamp: int
    step: int


def _word(value: float) -> str:
    """As protobuf's JSON has numbers that are none."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _refused(answer: Response) -> MlflowError:
    try:
        said = msgspec.json.decode(answer.content)
        return MlflowError(str(said["error_code"]), answer.status_code, str(said["message"]))
    except (msgspec.DecodeError, KeyError, TypeError):
        words = " ".join(answer.text.split())[:_SHOWN_CHARACTERS]  # a proxy's page, for one
        return MlflowError("", answer.status_code, words or answer.reason or "no reason given")
