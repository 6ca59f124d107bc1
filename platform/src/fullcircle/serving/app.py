"""The web application: routes, headers and status codes around `protocol`, the champion and the prediction log.

An answer leaves after its rows are in the log. Errors are `{"error": ..., "field": ...}`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fullcircle.core.errors import BadRequest, FullcircleError, UsageError
from fullcircle.core.project import Project
from fullcircle.core.security.access import Access
from fullcircle.core.security.guard import Guard
from fullcircle.predictions.batch import Batch
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.prediction_log import PredictionLog
from fullcircle.serving import protocol
from fullcircle.serving.model_reloader import ModelReloader, ServedModel
from fullcircle.serving.protocol import InferenceRequest, Protocol
from fullcircle.serving.request_limits import TooLarge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMALL_BODY = 16 << 10
"""Up to so many bytes a request is answered on the event loop: a thread would cost more than the answer."""

OPEN_PATHS = ("/v2/health/live", "/v2/health/ready")
"""What is answered without a token: whether the server lives, and whether it can answer."""

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]
Answer = tuple[ServedModel, InferenceRequest, "NDArray[np.float32]", Sequence[str]]


def create_app(
    project: Project,
    reloader: ModelReloader,
    log: PredictionLog,
    labels: LabelLog,
    *,
    max_rows: int = 10_000,
    max_bytes: int = 16 << 20,
    access: Access | None = None,
    lifespan: Lifespan | None = None,
) -> Starlette:
    """The ASGI application of one project.

    Args:
        max_rows, max_bytes: what one request may have, see `Limits`; beyond it is answered 413.
        access: who may ask; by default who reaches it by a name of loopback.
        lifespan: what to do at start and end; the server opens and closes the log there.
    """
    server = _Server(project, reloader, log, labels, Protocol(project, max_rows=max_rows, max_bytes=max_bytes))
    model = "/v2/models/{name}"
    both = (model, f"{model}/versions/{{version}}")
    routes = [
        Route("/v2", server.about),
        Route("/v2/health/live", server.live),
        Route("/v2/health/ready", server.ready),
        *[Route(path, server.metadata) for path in both],
        *[Route(f"{path}/ready", server.ready) for path in both],
        *[Route(f"{path}/infer", server.infer, methods=["POST"]) for path in both],
        Route("/invocations", server.invocations, methods=["POST"]),
        Route("/ping", server.ping),
        Route("/health", server.ping),
        Route("/version", server.mlflow_version),
        Route("/labels", server.labels, methods=["POST"]),
        Route("/metrics", server.metrics),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, access=access or Access(), open_paths=OPEN_PATHS)],
        exception_handlers={FullcircleError: server.failed, HTTPException: server.refused, Exception: server.crashed},
        lifespan=lifespan,
    )


@dataclass
class _Counts:
    """What /metrics shows; counted on the event loop alone."""

    predictions: int = 0
    labels: int = 0
    seconds: float = 0.0
    requests: dict[int, int] = field(default_factory=dict)


@dataclass
class _Server:
    project: Project
    reloader: ModelReloader
    log: PredictionLog
    label_log: LabelLog
    protocol: Protocol
    counts: _Counts = field(default_factory=_Counts)

    async def infer(self, http: HttpRequest) -> Response:
        """POST /v2/models/{name}[/versions/{version}]/infer."""
        began = time.perf_counter()
        self._named(http)
        if "inference-header-content-length" in http.headers:
            raise BadRequest("binary tensor data is not supported", hint="send the data as JSON")
        body, _ = await self._body(http, "application/json")
        served = self._served(http)
        served, request, answers, ids = await self._answer(served, partial(self.protocol.infer, body), len(body))
        content = self.protocol.answers.tensors(
            answers,
            ids,
            request.outputs,
            request_id=request.request_id,
            model=self.project.name,
            version=served.version.version,
        )
        return self._answered(served, request, content, began)

    async def invocations(self, http: HttpRequest) -> Response:
        """POST /invocations."""
        began = time.perf_counter()
        body, media_type = await self._body(http, "application/json", "text/csv")
        parse = partial(self.protocol.invocation, body, media_type)
        served, request, answers, ids = await self._answer(self._served(http), parse, len(body))
        content = self.protocol.answers.predictions(answers, ids, version=served.version.version)
        return self._answered(served, request, content, began)

    async def labels(self, http: HttpRequest) -> Response:
        """POST /labels."""
        body, _ = await self._body(http, "application/json")
        row_ids, labels = protocol.labels(body, self.protocol.limits, self.project.target)
        try:
            accepted = await run_in_threadpool(self.label_log.append, row_ids, labels)
        except UsageError as error:
            raise BadRequest(str(error), field="row_id") from error
        self.counts.labels += accepted
        return self._json({"accepted": accepted})

    async def about(self, http: HttpRequest) -> Response:
        """GET /v2."""
        return self._json({"name": "fullcircle", "version": installed_version("fullcircle"), "extensions": []})

    async def live(self, http: HttpRequest) -> Response:
        """GET /v2/health/live."""
        return self._json({"live": True})

    async def ready(self, http: HttpRequest) -> Response:
        """GET /v2/health/ready and /v2/models/{name}[/versions/{version}]/ready."""
        self._named(http)
        served = self._served(http)
        body = {"ready": True, "model_version": served.version.version}
        return self._json(body | ({"problem": self.reloader.problem} if self.reloader.problem else {}))

    async def metadata(self, http: HttpRequest) -> Response:
        """GET /v2/models/{name}[/versions/{version}]."""
        self._named(http)
        served = self._served(http)
        return self._json(protocol.metadata(self.project, [served.version.version]))

    async def ping(self, http: HttpRequest) -> Response:
        """GET /ping and /health: an empty 200 once a model is loaded, as MLflow's server answers."""
        served = self._served(http)
        return Response(b"\n", media_type="application/json", headers=_version_header(served))

    async def mlflow_version(self, http: HttpRequest) -> Response:
        """GET /version: the version of MLflow whose scoring protocol this is."""
        return PlainTextResponse(installed_version("mlflow"), headers=_version_header(self.reloader.current))

    async def metrics(self, http: HttpRequest) -> Response:
        """GET /metrics, in Prometheus' text format."""
        counts, served = self.counts, self.reloader.current
        answered = sum(count for status, count in counts.requests.items() if status == 200)
        lines = [
            "# TYPE fullcircle_predictions_total counter",
            f"fullcircle_predictions_total {counts.predictions}",
            "# TYPE fullcircle_labels_total counter",
            f"fullcircle_labels_total {counts.labels}",
            "# TYPE fullcircle_requests_total counter",
            *(f'fullcircle_requests_total{{status="{key}"}} {value}' for key, value in sorted(counts.requests.items())),
            "# TYPE fullcircle_answer_seconds summary",
            f"fullcircle_answer_seconds_sum {counts.seconds:.6f}",
            f"fullcircle_answer_seconds_count {answered}",
        ]
        if served:
            of = f'model="{self.project.name}",version="{served.version.version}",digest="{served.version.digest[:12]}"'
            lines += ["# TYPE fullcircle_model_info gauge", f"fullcircle_model_info{{{of}}} 1"]
        return PlainTextResponse("\n".join(lines) + "\n", headers=_version_header(served))

    async def failed(self, http: HttpRequest, error: Exception) -> Response:
        """An error of ours, as the caller sees it."""
        assert isinstance(error, FullcircleError)
        status = 413 if isinstance(error, TooLarge) else 400 if isinstance(error, BadRequest) else 503
        return self._refusal(status, str(error), error.field if isinstance(error, BadRequest) else "")

    async def refused(self, http: HttpRequest, error: Exception) -> Response:
        """No such path, wrong method, wrong media type."""
        assert isinstance(error, HTTPException)
        nowhere = error.status_code == 404 and error.detail == "Not Found"  # the router's own word
        what = f"{http.method} {http.url.path} is nothing that is served here" if nowhere else str(error.detail)
        answer = self._refusal(error.status_code, what)
        answer.headers.update(error.headers or {})
        return answer

    async def crashed(self, http: HttpRequest, error: Exception) -> Response:
        """A fault of ours; the traceback goes to the server's log."""
        return self._refusal(500, f"the server failed ({type(error).__name__})")

    async def _answer(self, served: ServedModel, parse: Callable[[], InferenceRequest], size: int) -> Answer:
        if size <= SMALL_BODY:
            return self._score(served, parse)
        return await run_in_threadpool(self._score, served, parse)

    def _score(self, served: ServedModel, parse: Callable[[], InferenceRequest]) -> Answer:
        """Parse, predict, log: in this order, so that nothing is answered that is not logged."""
        request = parse()
        answers = served.graph.predict(request.tensors)
        ids = self.log.append(
            Batch(
                model_version=served.version.version,
                digest=served.version.digest,
                event_times=request.event_times,
                row_ids=request.row_ids,
                inputs=request.tensors,
                answers=answers,
            )
        )
        return served, request, answers, ids

    def _answered(self, served: ServedModel, request: InferenceRequest, content: bytes, began: float) -> Response:
        headers = _version_header(served)
        if request.ignored:  # quoted: names come from the caller
            shown = ", ".join(quote(name[:64]) for name in request.ignored[:20])
            headers["X-Ignored-Columns"] = shown + (", ..." if len(request.ignored) > 20 else "")
        self.counts.predictions += request.rows
        self.counts.seconds += time.perf_counter() - began
        self._count(200)
        return Response(content, media_type="application/json", headers=headers)

    async def _body(self, http: HttpRequest, *media_types: str) -> tuple[bytes, str]:
        """The body and its media type. Raises TooLarge, or 415.

        A media type is insisted on: a web page may send anything but JSON and CSV to another origin unasked.
        """
        media_type, _, parameters = http.headers.get("content-type", "").partition(";")
        media_type = media_type.strip().lower()
        charset = parameters.lower().replace(" ", "").partition("charset=")[2].strip('"')
        if media_type not in media_types or charset not in {"", "utf-8"}:
            got = http.headers.get("content-type", "nothing")
            raise HTTPException(415, f"Content-Type must be {' or '.join(media_types)} in UTF-8, got {got!r:.80}")
        announced = http.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit():  # refused before it is sent; what comes is counted all the same
            self.protocol.limits.check_length(int(announced[:20]))
        chunks, size = [], 0
        async for chunk in http.stream():
            size += len(chunk)
            self.protocol.limits.check_length(size)
            chunks.append(chunk)
        return b"".join(chunks), media_type

    def _named(self, http: HttpRequest) -> None:
        name = http.path_params.get("name", self.project.name)
        if name != self.project.name:
            raise HTTPException(404, f"no model {name!r:.80} is served here; there is {self.project.name!r}")

    def _served(self, http: HttpRequest) -> ServedModel:
        """What answers this request. Raises 503 while nothing is loaded, 404 for a version that is not."""
        served = self.reloader.current
        if served is None:
            raise HTTPException(503, self.reloader.problem or "no model is loaded")
        wanted = http.path_params.get("version", served.version.version)
        if wanted != served.version.version:
            now = served.version.version
            raise HTTPException(404, f"version {wanted!r:.40} of {self.project.name!r} is not served; version {now} is")
        return served

    def _refusal(self, status: int, what: str, field_: str = "") -> Response:
        """One line of bounded length: names and values in it come from the caller."""
        self._count(status)
        return self._json({"error": _short(what, 1000), "field": _short(field_, 200)}, status)

    def _json(self, content: object, status: int = 200) -> Response:
        headers = _version_header(self.reloader.current)
        return Response(msgspec.json.encode(content), status, headers, "application/json")

    def _count(self, status: int) -> None:
        self.counts.requests[status] = self.counts.requests.get(status, 0) + 1


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def _version_header(served: ServedModel | None) -> dict[str, str]:
    return {"X-Model-Version": served.version.version} if served else {}
