"""The web application: what is answered, what is logged, and what is refused how."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from fullcircle.core.security.access import Access
from fullcircle.predictions import log_reader, lookup
from fullcircle.predictions.labels import LabelLog
from fullcircle.serving.app import OPEN_PATHS, create_app

START = datetime(2013, 4, 1, tzinfo=UTC)
INFER = "/v2/models/small/infer"


def expected(distance: float, wind: float | None, carrier: str, weight: float = 1.0) -> float:
    import numpy as np

    return float(1 / (1 + np.exp(-weight * (distance / 1000 + (wind or 0) + (carrier == "UA")))))


def body(rows: int = 2, **more: list) -> dict:
    columns = {
        "distance": ("FP32", [500.0] * rows),
        "wind": ("FP64", [None] * rows),
        "carrier": ("BYTES", ["UA"] * rows),
        "id": ("BYTES", [f"row-{index}" for index in range(rows)]),
        "time": ("BYTES", ["2013-04-02T10:00:00Z"] * rows),
    } | {name: ("FP32", data) for name, data in more.items()}
    inputs = [
        {"name": name, "datatype": datatype, "shape": [rows, 1], "data": data}
        for name, (datatype, data) in columns.items()
    ]
    return {"id": "my-request", "inputs": inputs}


def window(project, log):
    return log_reader.window(project, log.folder, START, START + timedelta(days=30))


def test_v2_infer_answers_with_version_probability_and_prediction_ids(http, project, log):
    answer = http.post(INFER, json=body())
    assert answer.status_code == 200
    assert answer.headers["X-Model-Version"] == "1"
    told = answer.json()
    assert (told["model_name"], told["model_version"], told["id"]) == ("small", "1", "my-request")
    probability, prediction_id = told["outputs"]
    assert probability["data"] == pytest.approx([expected(500, None, "UA")] * 2, abs=1e-6)
    assert [(o["name"], o["datatype"], o["shape"]) for o in told["outputs"]] == [
        ("probability", "FP32", [2, 1]),
        ("prediction_id", "BYTES", [2, 1]),
    ]
    _, frame = window(project, log)
    assert frame["prediction_id"].tolist() == prediction_id["data"]
    assert frame["probability"].tolist() == probability["data"]
    assert frame["row_id"].tolist() == ["row-0", "row-1"]
    assert frame["event_time"].tolist() == [datetime(2013, 4, 2, 10, tzinfo=UTC)] * 2


def test_invocations_answers_the_same_probability_and_is_logged_too(http, project, log):
    rows = [{"distance": 500, "wind": None, "carrier": "UA", "id": "x", "time": "2013-04-02T00:00:00Z"}]
    answer = http.post("/invocations", json={"dataframe_records": rows})
    told = answer.json()
    assert told["predictions"][0]["probability"] == http.post(INFER, json=body(1)).json()["outputs"][0]["data"][0]
    assert (told["model_version"], answer.headers["X-Model-Version"]) == ("1", "1")
    assert lookup.find(log.folder, told["prediction_ids"][0])["row_id"] == "x"


def test_a_large_request_is_answered_like_a_small_one(http, project, log):
    answer = http.post(INFER, json=body(1000))
    assert len(answer.json()["outputs"][0]["data"]) == 1000
    assert window(project, log)[0].rows == 1000


def test_columns_known_only_afterwards_are_ignored_and_named_in_a_header(http, project):
    answer = http.post(INFER, json=body(1, delay=[300], late=[1], **{"a\r\nb: c": [1]}))
    assert answer.headers["X-Ignored-Columns"] == "a%0D%0Ab%3A%20c, delay, late"
    assert answer.json()["outputs"][0]["data"] == http.post(INFER, json=body(1)).json()["outputs"][0]["data"]


def test_labels_find_the_rows_that_were_answered(http, project, log):
    ids = http.post(INFER, json=body(2)).json()["outputs"][1]["data"]
    assert len(ids) == 2
    answer = http.post("/labels", json={"labels": [{"row_id": "row-1", "label": 1}, {"row_id": "later", "label": 0}]})
    assert answer.json() == {"accepted": 2}
    seen, frame = window(project, log)
    assert (seen.labelled, frame["label"].tolist()[1]) == (1, 1.0)


def test_a_release_is_followed_between_requests_and_each_answer_says_who_gave_it(
    http, registry, reloader, project, log
):
    http.post(INFER, json=body(1))
    registry.release("2", -1.0)
    reloader.check()
    told = http.post("/v2/models/small/versions/2/infer", json=body(1)).json()
    assert told["model_version"] == "2"
    assert told["outputs"][0]["data"] == pytest.approx([expected(500, None, "UA", -1.0)], abs=1e-6)
    assert window(project, log)[1]["model_version"].tolist() == ["2"]  # the latest for that row id
    gone = http.post("/v2/models/small/versions/1/infer", json=body(1))
    assert (gone.status_code, gone.json()["error"]) == (404, "version '1' of 'small' is not served; version 2 is")


PATHS = ["/v2", "/v2/health/live", "/v2/health/ready", "/ping", "/health", "/version", "/metrics"]
MODEL_PATHS = ["", "/ready", "/versions/1", "/versions/1/ready"]


@pytest.mark.parametrize("path", PATHS + [f"/v2/models/small{path}" for path in MODEL_PATHS])
def test_health_and_metadata_answer_with_the_model_version(http, path):
    answer = http.get(path)
    assert (answer.status_code, answer.headers["X-Model-Version"]) == (200, "1")


def test_model_metadata_lists_the_raw_columns_and_never_what_is_known_afterwards(http):
    told = http.get("/v2/models/small").json()
    assert [(i["name"], i["datatype"]) for i in told["inputs"]] == [
        ("distance", "FP32"),
        ("wind", "FP32"),
        ("carrier", "BYTES"),
    ]
    assert (told["name"], told["versions"]) == ("small", ["1"])


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "error", "field"),
    [
        ("POST", INFER, {"json": {"inputs": []}}, 400, "column 'distance' is missing", "distance"),
        (
            "POST",
            INFER,
            {"json": body(1, distance=["far"])},
            400,
            "column 'distance', row 0: must be a num",
            "distance",
        ),
        ("POST", "/invocations", {"json": {"x": 1}}, 400, "must have exactly one of", ""),
        ("POST", "/labels", {"json": {"labels": [{"row_id": "a", "label": 7}]}}, 400, "must be 0 or 1, got 7", "label"),
        (
            "POST",
            "/labels",
            {"json": {"labels": [{"row_id": "", "label": 1}]}},
            400,
            "a label without a row id",
            "row_id",
        ),
        ("POST", INFER, {"content": b"{}"}, 415, "Content-Type must be application/json in UTF-8, got 'nothing'", ""),
        ("POST", INFER, {"data": {"a": "b"}}, 415, "got 'application/x-www-form-urlencoded'", ""),
        (
            *("POST", "/invocations"),
            {"content": b"a", "headers": {"Content-Type": "text/csv; charset=latin-1"}},
            *(415, "Content-Type must be application/json or text/csv in UTF-8", ""),
        ),
        ("POST", INFER, {"json": body(1001)}, 413, "1001 rows are more than the 1000", ""),
        ("POST", INFER, {"json": {"x": "y" * (1 << 20)}}, 413, "larger than the 1048576 bytes", ""),
        ("POST", "/v2/models/other/infer", {"json": body(1)}, 404, "no model 'other' is served here", ""),
        ("GET", "/v2/models/other", {}, 404, "there is 'small'", ""),
        ("GET", "/nowhere", {}, 404, "GET /nowhere is nothing that is served here", ""),
        ("GET", INFER, {}, 405, "Method Not Allowed", ""),
    ],
)
def test_a_bad_request_is_refused_with_one_line_and_the_field(
    http, log, project, method, path, sent, status, error, field
):
    answer = http.request(method, path, **sent)
    assert answer.status_code == status
    assert error in answer.json()["error"]
    assert answer.json()["field"] == field
    assert answer.headers["X-Model-Version"] == "1"
    assert window(project, log)[0].rows == 0


def test_while_nothing_is_loaded_it_is_alive_but_not_ready(project, reloader, log, tmp_path):
    reloader.check()
    with TestClient(create_app(project, reloader, log, LabelLog(tmp_path, project.target)), "http://localhost") as http:
        assert http.get("/v2/health/live").status_code == 200
        for answer in (http.get("/v2/health/ready"), http.get("/ping"), http.post(INFER, json=body(1))):
            assert answer.status_code == 503
            assert "no version of 'small' is the champion" in answer.json()["error"]


def test_what_cannot_be_logged_is_not_answered(http, log, project, tmp_path):
    log.close()  # as good as a disk that is gone: nothing can be appended any more
    answer = http.post(INFER, json=body(1))
    assert answer.status_code == 503
    assert "the prediction log" in answer.json()["error"]
    assert "outputs" not in answer.json()


def test_another_hosts_name_is_not_answered_on_loopback(project, reloader, log, registry, tmp_path):
    registry.release("1")
    reloader.check()
    app = create_app(project, reloader, log, LabelLog(tmp_path, project.target))
    with TestClient(app) as http:
        assert http.get("/v2", headers={"Host": "127.0.0.1:8080"}).status_code == 200
        assert http.get("/v2", headers={"Host": "evil.example"}).status_code == 400


def test_every_route_but_the_open_ones_asks_for_the_token(project, reloader, log, registry, tmp_path):
    registry.release("1")
    reloader.check()
    token = "a-token-that-is-long-enough-for-it-to-be-one"
    app = create_app(project, reloader, log, LabelLog(tmp_path, project.target), access=Access(token=token))
    filled = {"name": "small", "version": "1"}
    with TestClient(app, "http://localhost") as http:
        asked = [(method, route.path.format_map(filled)) for route in app.routes for method in route.methods]
        anonymous = {(method, path) for method, path in asked if http.request(method, path).status_code != 401}
        known = [http.request(method, path, headers={"Authorization": f"Bearer {token}"}) for method, path in asked]
        foreign = {"Authorization": f"Bearer {token}", "Origin": "https://evil.example"}
        from_afar = {
            http.request(method, path, headers=foreign).status_code for method, path in asked if method == "POST"
        }
    assert anonymous == {(method, path) for path in OPEN_PATHS for method in ("GET", "HEAD")}
    assert not {401, 404, 405} & {answer.status_code for answer in known}
    assert from_afar == {403}


def test_metrics_count_what_was_answered(http):
    http.post(INFER, json=body(3))
    http.post(INFER, json={"inputs": []})
    told = http.get("/metrics").text
    assert "fullcircle_predictions_total 3\n" in told
    assert 'fullcircle_requests_total{status="400"} 1\n' in told
    assert 'fullcircle_model_info{model="small",version="1"' in told
